"""The files a run writes about itself: metrics, TensorBoard, pictures, health, environment."""
