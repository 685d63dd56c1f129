"""config.json and preprocessor_config.json of transformers, read and compared with the tensors."""

import math
from typing import Any

from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.models.presets import IMAGENET_MEAN, IMAGENET_STD


def config_json(file: Any, *model_types: str) -> dict[str, Any]:
    """The config.json beside a file.

    Raises:
        ConvertError: none, one of another model, or an activation that is neither the exact GELU
            nor, in a gated MLP, SiLU.
    """
    config = file.config
    if config is None:
        raise ConvertError(f"{file.name} has no config.json beside it; give the whole folder")
    if config.get("model_type") not in model_types:
        raise ConvertError(
            f"config.json is of {config.get('model_type')!r}, the keys are of {model_types[0]!r}"
        )
    expected = "silu" if config.get("use_gated_mlp") else "gelu"
    if config.get("hidden_act", "gelu") != expected:
        raise ConvertError(
            f"config.json says hidden_act={config.get('hidden_act', 'gelu')!r}; these encoders are "
            f"trained with {expected!r} (gelu: the exact one, erf)"
        )
    return config


def number(config: dict[str, Any], name: str, default: float, kind: type = int) -> Any:
    """A positive number of config.json, where no tensor shows it.

    Raises:
        ConvertError: it is none.
    """
    value = config.get(name, default)
    allowed = (int, float) if kind is float else int
    if isinstance(value, bool) or not isinstance(value, allowed) or not 0 < value < math.inf:
        what = "number" if kind is float else "whole number"
        raise ConvertError(f"config.json: {name}={value!r} is no positive {what}")
    return value


def sides(config: dict[str, Any], name: str, default: int) -> tuple[int, int]:
    """(height, width) of config.json: one number or a list of two."""
    value = config.get(name, default)
    pair = value if isinstance(value, list) and len(value) == 2 else [value, value]
    height, width = (number({name: side}, name, default) for side in pair)
    return height, width


def agree(config: dict[str, Any], **expected: Any) -> None:
    """Compares fields of config.json with their values in the tensors, or the only ones known here.

    Raises:
        ConvertError: all that differ, with both values.
    """
    wrong = []
    for name, value in expected.items():
        stated = config.get(name, value)
        if isinstance(stated, list) and stated and all(one == stated[0] for one in stated):
            stated = stated[0]
        if stated != value:
            wrong.append(f"{name}={stated!r} (here {value!r})")
    if wrong:
        raise ConvertError(f"config.json does not fit its tensors: {', '.join(wrong)}")


def ratio_agrees(config: dict[str, Any], name: str, width: int, mlp_dim: int) -> None:
    """Compares an MLP ratio, which transformers multiplies and rounds down, with the tensors."""
    ratio = number(config, name, mlp_ratio(width, mlp_dim), float)
    if int(width * ratio) != mlp_dim:
        raise ConvertError(
            f"config.json does not fit its tensors: {name}={ratio!r} (here {mlp_dim} of {width})"
        )


def mlp_ratio(width: int, mlp_dim: int) -> float:
    """A ratio that gives back mlp_dim as int(width * ratio), which division alone may miss."""
    ratio = mlp_dim / width
    while int(width * ratio) < mlp_dim:
        ratio *= 1 + 1e-12
    return ratio


def statistics(file: Any) -> dict[str, Any]:
    """Mean and deviation of the preprocessor config beside a file, ImageNet's where it has none.

    Raises:
        ConvertError: another normalisation, or numbers that are none.
    """
    pre = file.preprocessor or {}
    scale = number(pre, "rescale_factor", 1 / 255, float)
    if not pre.get("do_normalize", True) or abs(scale * 255 - 1) > 1e-6:
        raise ConvertError(
            "preprocessor config: only x / 255, then (x - mean) / std, is known here"
        )
    normalisation = {}
    for name, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        values = pre.get(f"image_{name}", usual)
        plain = isinstance(values, (list, tuple)) and len(values) == 3
        if not plain or not all(type(v) in (int, float) and 0 <= v < math.inf for v in values):
            raise ConvertError(f"preprocessor config: image_{name}={values!r}: give three numbers")
        normalisation[name] = tuple(map(float, values))
    if not all(normalisation["std"]):
        raise ConvertError(
            f"preprocessor config: image_std={list(normalisation['std'])} has a zero"
        )
    return normalisation
