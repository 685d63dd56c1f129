"""The plan of an import, settled before any tensor is read."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx, traverse_util

from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape
from surgrec_jax.models.decoder import MAEDecoder
from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.levels import LevelNorms
from surgrec_jax.models.predictor import JEPAPredictor
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """The options of an import.

    Attributes:
        family: a name of `families.FAMILIES`, or "auto".
        encoder: "target" (the EMA) or "online": which encoder is evaluated and exported.
        num_frames, image_size: of the clips the file was trained on, where it does not say.
        resize_to: another clip (frames, height, width), to which positions are resized.
        resize_method: "interpolate" or "extend" (see `models.resize`).
        heads, head_heads: attention heads of the encoder, and of its decoder or predictor.
        norm_eps: LayerNorm epsilon: one of two, where config.json has another than the family.
        fps: frames per second of the clips it was trained on.
        mask_tokens: numbers of the file's mask tokens, one for each kind of masks here.
        frames: for image encoders: "apart" (frame by frame) or "inflated" (tubelets of two).
        probe: number of the attentive probe in a file with several; None for the first.
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
    """The plan of an import, as the family's reader made it.

    Attributes:
        family, objective: names; the objective decides what training can continue it.
        encoder: the architecture the file was trained with.
        rules, ignored: the table; paths start with "params/" or "target_params/".
        fps: frames per second of its clips.
        decoder, predictor: sizes (depth, width, heads, and num_masks), where the file has one.
        levels: whether the norms of earlier levels go with the encoder (V-JEPA 2.1).
        head: the classifier, where the file has one.
        prefixes: prefixes of the file's keys, which an export gives back.
        notes: assumptions, in sentences.
        split: a regular expression for keys whose tensors are read as two (see `SplitTensors`).
    """

    family: str
    objective: str
    encoder: ViTConfig
    rules: list[Rule]
    ignored: list[Ignored]
    fps: float
    decoder: dict[str, int] | None = None
    predictor: dict[str, Any] | None = None
    levels: bool = False
    head: HeadConfig | None = None
    prefixes: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    split: str | None = None

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
    """Path -> shape of the parameters of "encoder", "levels", "decoder", "predictor" or "head"."""
    sizes = {"decoder": decoder, "predictor": predictor}.get(part) or {}
    return dict(_part_shapes(part, encoder, tuple(sorted(sizes.items())), head))


@functools.lru_cache(maxsize=64)  # tracing a module takes a quarter of a second
def _part_shapes(
    part: str, encoder: ViTConfig, sizes: tuple[tuple[str, Any], ...], head: HeadConfig | None
) -> dict[str, Shape]:
    build = {
        "encoder": lambda r: VideoViT(encoder, Compute(), rngs=r),
        "levels": lambda r: LevelNorms(encoder),
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
    return traverse_util.unflatten_dict(dict(flat), sep="/")
