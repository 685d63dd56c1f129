"""The files a run writes of itself: metrics, TensorBoard, pictures, health, environment."""
