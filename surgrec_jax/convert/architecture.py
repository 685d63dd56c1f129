"""An encoder's architecture, as keys, shapes, config.json and options state it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from surgrec_jax.convert.import_plan import ImportOptions
from surgrec_jax.convert.strict import ConvertError, Shape, listing

# Attention heads of the public encoders by width. H has 16 heads of 80; g differs by family.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1152: 18, 1280: 16, 1536: 24, 1664: 26, 4096: 32}


def find_prefix(shapes: Mapping[str, Shape], anchor: str, under: str = "") -> str:
    """The prefix of the one key that ends with `anchor` and begins with `under`.

    Raises:
        ConvertError: no key ends with it, or several do.
    """
    keys = [k for k in shapes if k.startswith(under) and re.search(rf"(^|[./]){anchor}$", k)]
    if len(keys) != 1:
        what = "several keys end" if keys else "no key ends"
        raise ConvertError(f"{what} with {anchor}: {listing(keys or shapes)}")
    return keys[0].removesuffix(anchor)


def depth_of(shapes: Mapping[str, Shape], prefix: str) -> int:
    """The number of numbered layers under a prefix, e.g. "encoder.blocks."."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({m.group(1) for key in shapes if (m := pattern.match(key))})


def shape_of(shapes: Mapping[str, Shape], key: str) -> Shape:
    """The shape of a tensor.

    Raises:
        ConvertError: the file has no such tensor.
    """
    if key not in shapes:
        raise ConvertError(f"missing from the file: {key}")
    return shapes[key]


def sizes_of(shapes: Mapping[str, Shape], kernel: str, layer: str, mlp: str) -> dict[str, int]:
    """width, depth, mlp_dim, tubelet and patch of an encoder of tubelets, by their names.

    Args:
        kernel: key of the 3-D patch convolution.
        layer: prefix of the blocks, before their number.
        mlp: name of the first matrix of a block's MLP.

    Raises:
        ConvertError: the file lacks one of them.
    """
    width, _, tubelet, patch, _ = shape_of(shapes, kernel)
    mlp_dim = shape_of(shapes, f"{layer}0.{mlp}.weight")[0]
    sizes = {"width": width, "depth": depth_of(shapes, layer), "mlp_dim": mlp_dim}
    return sizes | {"tubelet": tubelet, "patch": patch}


def heads_of(part: str, width: int, heads: int | None, remedy: str) -> int:
    """The attention heads of a part ("an encoder"), checked against its width.

    Args:
        heads: as the user, config.json or the table of public sizes has it; None for an unknown
            width, as no shape shows the number.
        remedy: the end of the sentence, e.g. "give --heads".

    Raises:
        ConvertError: an unknown number, or one that does not divide the width.
    """
    if not heads:
        raise ConvertError(f"{part} of width {width} is not a public size; {remedy}")
    if width % heads:
        raise ConvertError(f"{heads} heads do not divide {part} of {width}; {remedy}")
    return heads


def settle_eps(stated: float | None, usual: float, options: ImportOptions, family: str) -> float:
    """The LayerNorm epsilon: config.json's, which must be the family's unless the user decides.

    Args:
        stated: by config.json, None where there is none.
        usual: the epsilon that the family trains with.

    Raises:
        ConvertError: config.json has an unusual value and --norm_eps does not choose one of the
            two, or --norm_eps contradicts config.json.
    """
    asked = options.norm_eps
    if stated is None:
        return asked or usual
    if asked is None and stated != usual:
        raise ConvertError(
            f"config.json says layer_norm_eps={stated:g}, and {family} is trained with {usual:g}; "
            f"outputs hardly show it. Give --norm_eps={usual:g} for what it was trained "
            f"with, or --norm_eps={stated:g} to follow the file"
        )
    if asked not in (None, stated, usual):
        raise ConvertError(
            f"--norm_eps={asked:g} contradicts config.json, which says layer_norm_eps={stated:g}; "
            "leave it out"
        )
    return asked or stated


def settle_clip(
    options: ImportOptions,
    stated: tuple[int | None, tuple[int, int] | None],
    usual: tuple[int, tuple[int, int]],
    notes: list[str],
    *,
    decisive: bool = False,
) -> dict[str, Any]:
    """num_frames and image_size of the clips that a file was trained on.

    Args:
        stated: by the file, None where it does not say.
        usual: of the family's public files, assumed with a note where nobody says.
        decisive: whether the size decides a position table that the file lacks, so that nothing
            is assumed.

    Raises:
        ConvertError: the user's values contradict the file's, or nobody states a decisive one.
    """
    clip, missing = {}, []
    for name, own, assumed in zip(("num_frames", "image_size"), stated, usual, strict=True):
        asked = getattr(options, name)
        if asked is not None and own is not None and asked != own:
            raise ConvertError(
                f"--{name}={asked}, and the file was trained with {own}; leave it out, and use "
                "--resize_to to resize positions"
            )
        clip[name] = asked or own or assumed
        if asked is None and own is None:
            notes.append(f"the file does not state {name}; {assumed} is what its family uses")
            side = assumed if name == "num_frames" else "x".join(map(str, assumed))
            missing.append(f"--{name}={side}")
    if decisive and missing:
        raise ConvertError(
            "the file does not state the clip it was trained on, which its positions depend on; "
            f"give {' '.join(missing)} if that is as in its family's public files"
        )
    return clip


def is_table(expected: np.ndarray, name: str) -> Callable[[np.ndarray], str | None]:
    """A check for an ignored position table: it must be the one that our formula gives."""

    def check(table: np.ndarray) -> str | None:
        if table.reshape(-1).shape != expected.reshape(-1).shape:
            return f"has {list(table.shape)} values where {name} has {list(expected.shape)}"
        worst = float(np.abs(table.reshape(expected.shape) - expected).max())
        return None if worst < 1e-5 else f"is not {name}: it differs by up to {worst:.2g}"

    return check
