"""Facts that configs and checkpoints of earlier versions leave out, told from what they have."""

from typing import Any

from surgrec_jax.models.presets import MAE_DECODERS
from surgrec_jax.safety.errors import ConfigError


def complete_config(config: dict[str, Any]) -> dict[str, Any]:
    """A workdir's config with the values that were no choice yet when it was written."""
    if isinstance(config.get("classify"), dict):
        config["classify"].setdefault("frame", "centre")
    if isinstance(config.get("jepa"), dict):
        for name, value in _JEPA_BEFORE.items():
            config["jepa"].setdefault(name, value)
    if "init_from" in config:
        config.setdefault("init_resize", "")
        config.setdefault("continue_from", "")
    if isinstance(config.get("data"), dict):
        config["data"].setdefault("allow_changed", False)
    return config


# The values of options that JEPA had not, and went by.
_JEPA_BEFORE = {
    "target": "ema",
    "teacher": "",
    "teacher_fingerprint": None,
    "levels": 1,
    "visible_weight": 0.0,
    "visible_warmup": [15_000, 30_000],
    "motion_weight": 0.0,
    "diversity_weight": 0.0,
}


def parts_of(meta: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`Objective.parts` of a checkpoint: as its meta records them, or from an earlier one's config.

    Raises:
        ConfigError: it records none, and is of no objective of that time.
    """
    if "parts" in meta:
        return meta["parts"]
    config = meta["config"]
    if config["objective"] == "mae":
        usual = MAE_DECODERS.get(config["model"]["preset"], (None, None, None))
        given = config["mae"]
        sizes = {
            k: given.get(f"decoder_{k}") or v
            for k, v in zip(("depth", "width", "heads"), usual, strict=True)
        }
        return {"decoder": sizes | {"mlp_dim": given.get("decoder_mlp_dim")}}
    if config["objective"] == "jepa":
        given = config["jepa"]
        sizes = {k: given[f"predictor_{k}"] for k in ("depth", "width", "heads")}
        return {"predictor": sizes | {"num_masks": len(given["masks"])}}
    if config["objective"] == "classify":
        return {"head": meta["classifier"]["head"]}
    raise ConfigError(
        f"the checkpoint {meta.get('name')!r} (objective {config['objective']!r}) does not say "
        "which parts it has; leave out --whole for the encoder alone"
    )
