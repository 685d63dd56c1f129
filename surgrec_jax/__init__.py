"""Video pretraining for surgery in JAX: masked autoencoding and joint-embedding prediction."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`surgrec_jax.load_encoder`, without importing JAX before it is asked for."""
    if name == "load_encoder":
        from surgrec_jax.frozen.encoder import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
