"""Video pretraining for surgery in JAX: masked autoencoding and joint-embedding prediction."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what an editor and a type checker see; `__getattr__` imports it when it runs
    from surgrec_jax.frozen.classifier import load_classifier as load_classifier
    from surgrec_jax.frozen.encoder import load_encoder as load_encoder
    from surgrec_jax.prediction.api import embed as embed
    from surgrec_jax.prediction.api import predict as predict
    from surgrec_jax.prediction.api import read_video as read_video

__version__ = "0.1.0"

# What a notebook needs (docs/api.md), and where it stands.
_SURFACE = {
    "load_encoder": "surgrec_jax.frozen.encoder",
    "load_classifier": "surgrec_jax.frozen.classifier",
    "read_video": "surgrec_jax.prediction.api",
    "embed": "surgrec_jax.prediction.api",
    "predict": "surgrec_jax.prediction.api",
}


def __getattr__(name: str) -> Any:
    """Imports a function of the surface, and JAX with it, at its first use."""
    if name in _SURFACE:
        return getattr(importlib.import_module(_SURFACE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_SURFACE]
