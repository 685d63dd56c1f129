"""Video pretraining for surgery in JAX: masked autoencoding and joint-embedding prediction."""

__version__ = "0.1.0"
