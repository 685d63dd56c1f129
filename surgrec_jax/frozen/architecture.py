"""The architecture of an encoder as checkpoints record it."""

import dataclasses
import math
from typing import Any

from surgrec_jax import checkpoint
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.safety import untrusted


def meta_of(config: ViTConfig, *, fps: float) -> dict[str, Any]:
    """The JSON values that `load_encoder` needs."""
    return {"encoder": dataclasses.asdict(config), "fps": fps}


def config_from_meta(meta: dict[str, Any]) -> ViTConfig:
    """The architecture that a checkpoint records; JSON has lists where it has tuples.

    Raises:
        CheckpointError: it describes none, or an impossible one.
    """
    with untrusted.interpreting(
        f"the checkpoint {meta.get('name')!r}", error_type=checkpoint.CheckpointError
    ):
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["encoder"].items()}
        config = ViTConfig(**{k: _as_declared(k, v) for k, v in fields.items()})
        pixels = config.num_frames * math.prod(config.image_size)
        if pixels > MAX_CLIP_PIXELS:
            raise ValueError(f"clips of {pixels} pixels, more than {MAX_CLIP_PIXELS}")
    return config


def _as_declared(name: str, value: Any) -> Any:
    """Checks a field of ViTConfig; raises ValueError for another type, or a size below 1."""
    like = _LIKE[name]
    if name == "position_grid" and value is None:
        return None
    if isinstance(like, tuple):
        if not isinstance(value, tuple) or len(value) != len(like):
            raise ValueError(f"{name}={value!r}: {len(like)} numbers are asked for")
        least = {"image_size": 1, "position_grid": 0}.get(name, -math.inf)
        fits = all(
            type(x) in (int, type(y)) and x >= least for x, y in zip(value, like, strict=True)
        )
    elif isinstance(like, bool | str):
        fits = type(value) is type(like)
    elif isinstance(like, float):
        fits = type(value) in (int, float) and value >= 0
    else:
        fits = type(value) is int and value >= min(1, like)
    if not fits:
        raise ValueError(f"{name}={value!r} is no such value as {like!r}")
    return value


# An example of every field, for its type. A clip of 64 frames of 1024 x 1024 has a quarter of the
# most pixels.
_LIKE = dataclasses.asdict(ViTConfig(192, 12, 3, 768, position_grid=(8, 14, 14)))
MAX_CLIP_PIXELS = 2**28


def check_architecture(
    meta: dict[str, Any], config: ViTConfig, saved: ViTConfig | None = None
) -> None:
    """Refuses a checkpoint whose weights do not fit the meaning of a config.

    Shapes cannot tell tiled from interleaved rotary positions, or one epsilon from another.

    Args:
        saved: the encoder as the weights are taken, the checkpoint's own where None.

    Raises:
        CheckpointError: fields differ; the message has both values.
    """
    saved = saved or config_from_meta(meta)
    different = [
        f"{field.name}: {getattr(saved, field.name)!r} in the checkpoint, "
        f"{getattr(config, field.name)!r} asked for"
        for field in dataclasses.fields(ViTConfig)
        if field.name != "init" and getattr(saved, field.name) != getattr(config, field.name)
    ]
    if different:
        raise checkpoint.CheckpointError(
            f"{meta['name']} is an encoder of another architecture ({'; '.join(different)}); set "
            "config.model to the checkpoint's values, or give --config.model.preset=checkpoint"
        )
