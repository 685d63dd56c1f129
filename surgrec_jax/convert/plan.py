"""What an import is going to do, settled before any tensor is read."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape, listing
from surgrec_jax.models.decoder import MAEDecoder
from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.predictor import JEPAPredictor
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT

# Heads of the public encoders by width; a file does not say. H has 16 of 80; g differs by family.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1152: 18, 1280: 16, 1536: 24, 1664: 26, 4096: 32}


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What a user may say about an import.

    Attributes:
        family: a name of `families.FAMILIES`, or "auto".
        encoder: "target" (the EMA) or "online": which encoder is evaluated and exported.
        num_frames, image_size: what the file was trained on, where it does not say.
        resize_to: another (frames, height, width); positions are then resized.
        resize_method: "interpolate" (positions keep their range) or "extend" (they go on).
        heads, head_heads: attention heads of the encoder, and of its decoder or predictor.
        norm_eps: LayerNorm epsilon, to confirm or overrule an unusual one.
        fps: frames per second of the clips it was trained on.
        mask_tokens: which of the file's mask tokens serve this project's kinds of masks.
        frames: of an image encoder: "apart" (per frame) or "inflated" (tubelets of two).
        probe: which attentive probe of a file with several, the first one where None.
    """

    family: str = "auto"
    encoder: str = "target"
    num_frames: int | None = None
    image_size: tuple[int, int] | None = None
    resize_to: tuple[int, int, int] | None = None
    resize_method: str = "interpolate"
    heads: int | None = None
    head_heads: int | None = None
    norm_eps: float | None = None
    fps: float | None = None
    mask_tokens: tuple[int, ...] | None = None
    frames: str = "apart"
    probe: int | None = None

    def __post_init__(self):
        choices = {
            "encoder": ("target", "online"),
            "resize_method": ("interpolate", "extend"),
            "frames": ("apart", "inflated"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConvertError(f"--{name}={getattr(self, name)!r}: choose from {allowed}")
        positive = (
            "num_frames",
            "image_size",
            "resize_to",
            "heads",
            "head_heads",
            "norm_eps",
            "fps",
        )
        for name in positive:
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if value is not None and not all(0 < n < math.inf for n in numbers):
                raise ConvertError(f"--{name}={value}: give more than 0")


@dataclasses.dataclass
class Plan:
    """An import, as the family's reader settled it.

    Attributes:
        family, objective: names; the objective decides what training can continue it.
        encoder: the architecture the file was trained with.
        rules, ignored: the table; paths start with "params/" or "target_params/".
        fps: of its clips.
        decoder, predictor: sizes (depth, width, heads, and num_masks), where the file has one.
        head: a classifier, where the file has one.
        prefixes: what stands before the file's keys, kept for the way back.
        notes: what was assumed, in sentences.
        halves: a regular expression for keys whose tensors are read as two (see `halves.Halves`).
        table_resize: how a learned position table is resized, a name of `resize.TABLES`.
    """

    family: str
    objective: str
    encoder: ViTConfig
    rules: list[Rule]
    ignored: list[Ignored]
    fps: float
    decoder: dict[str, int] | None = None
    predictor: dict[str, int] | None = None
    head: HeadConfig | None = None
    prefixes: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    halves: str | None = None
    table_resize: str | None = None

    def wanted(self) -> dict[str, Shape]:
        """Path -> shape of every parameter of this import."""
        shapes = {}
        for tree, part in sorted({tuple(rule.path.split("/")[:2]) for rule in self.rules}):
            made = part_shapes(part, self.encoder, self.decoder, self.predictor, self.head)
            shapes |= {f"{tree}/{part}/{path}": shape for path, shape in made.items()}
        return shapes


def part_shapes(
    part: str,
    encoder: ViTConfig,
    decoder: Mapping[str, int] | None = None,
    predictor: Mapping[str, int] | None = None,
    head: HeadConfig | None = None,
) -> dict[str, Shape]:
    """Path -> shape of the parameters of "encoder", "decoder", "predictor" or "head"."""
    sizes = {"decoder": decoder, "predictor": predictor}.get(part) or {}
    return dict(_part_shapes(part, encoder, tuple(sorted(sizes.items())), head))


@functools.lru_cache(maxsize=64)  # tracing a module takes a quarter of a second
def _part_shapes(
    part: str, encoder: ViTConfig, sizes: tuple[tuple[str, Any], ...], head: HeadConfig | None
) -> dict[str, Shape]:
    build = {
        "encoder": lambda r: VideoViT(encoder, Compute(), rngs=r),
        "decoder": lambda r: MAEDecoder(encoder, Compute(), rngs=r, **dict(sizes)),
        "predictor": lambda r: JEPAPredictor(encoder, Compute(), rngs=r, **dict(sizes)),
        "head": lambda r: make_head(head, encoder, Compute(), r),
    }[part]
    params = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: build(nnx.Rngs(0))), nnx.Param))
    return {path: leaf.shape for path, leaf in flatten(params).items()}


def flatten(tree: Any) -> dict[str, Any]:
    """A nested dict as {"a/b/c": leaf}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def find_prefix(shapes: Mapping[str, Shape], anchor: str, under: str = "") -> str:
    """What stands before `anchor` in the one key that ends with it.

    Raises:
        ConvertError: no such key, or several.
    """
    found = [k for k in shapes if k.startswith(under) and re.search(rf"(^|[./]){anchor}$", k)]
    if len(found) != 1:
        what = "several keys end" if found else "no key ends"
        raise ConvertError(f"{what} with {anchor}: {listing(found or shapes)}")
    return found[0].removesuffix(anchor)


def depth_of(shapes: Mapping[str, Shape], prefix: str) -> int:
    """How many numbered layers stand under a prefix, e.g. "encoder.blocks."."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({m.group(1) for key in shapes if (m := pattern.match(key))})


def shape_of(shapes: Mapping[str, Shape], key: str) -> Shape:
    """A tensor's shape; ConvertError where the file lacks it."""
    if key not in shapes:
        raise ConvertError(f"missing from the file: {key}")
    return shapes[key]


def heads_of(width: int, options: ImportOptions, usual: Mapping[int, int]) -> int:
    """Attention heads of an encoder by its width; a file does not say.

    Args:
        usual: width -> heads of the family's public encoders.

    Raises:
        ConvertError: an unknown width without --heads.
    """
    heads = options.heads or usual.get(width)
    if not heads:
        raise ConvertError(f"an encoder of width {width} is not a public size; give --heads")
    return heads


def settle_eps(stated: float | None, usual: float, options: ImportOptions, family: str) -> float:
    """The LayerNorm epsilon: what the file states, unless it is not what the family trains with.

    Raises:
        ConvertError: an unusual value that --norm_eps does not settle.
    """
    if options.norm_eps is not None:
        return options.norm_eps
    if stated is not None and stated != usual:
        raise ConvertError(
            f"config.json says layer_norm_eps={stated:g}, and {family} is trained with {usual:g}; "
            f"outputs hardly show it. Give --norm_eps={usual:g} for what it was trained "
            f"with, or --norm_eps={stated:g} to follow the file"
        )
    return usual


def settle_clip(
    options: ImportOptions,
    stated: tuple[int | None, tuple[int, int] | None],
    usual: tuple[int, tuple[int, int]],
    notes: list[str],
) -> dict[str, Any]:
    """num_frames and image_size a file was trained on.

    Args:
        stated: by the file, None where it does not say.
        usual: of the family, assumed with a note where neither file nor user says.

    Raises:
        ConvertError: the user's values contradict the file's.
    """
    clip = {}
    names = ("num_frames", "image_size")
    for name, told, assumed in zip(names, stated, usual, strict=True):
        asked = getattr(options, name)
        if asked is not None and told is not None and asked != told:
            raise ConvertError(
                f"--{name}={asked}, and the file was trained with {told}; leave it out, and use "
                "--resize_to to resize positions"
            )
        clip[name] = asked or told or assumed
        if asked is None and told is None:
            notes.append(f"the file does not state {name}; {assumed} is what its family uses")
    return clip


def is_table(expected: np.ndarray, what: str):
    """A check for an ignored position table: that it is the one our formula gives."""

    def check(table: np.ndarray) -> str | None:
        if table.reshape(-1).shape != expected.reshape(-1).shape:
            return f"has {list(table.shape)} values where {what} has {list(expected.shape)}"
        worst = float(np.abs(table.reshape(expected.shape) - expected).max())
        return None if worst < 1e-5 else f"is not {what}: it differs by up to {worst:.2g}"

    return check
