"""Video transformers: the encoder, the MAE decoder and the JEPA predictor."""
