"""What JEPA can be told: masks, predictor, target, levels; and what does not go together."""

import dataclasses

from surgrec_jax.models import levels
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import base
from surgrec_jax.objectives.masking import BlockMask
from surgrec_jax.safety.errors import ConfigError

TARGETS = ("ema", "frozen")


@dataclasses.dataclass(frozen=True)
class JEPAOptions:
    """Sizes of the predictor, the kinds of masks a clip is seen under, and whose tokens are told.

    Attributes:
        target: "ema", an average of the encoder, or "frozen", another encoder.
        teacher: architecture of the frozen encoder.
        levels: layers of the encoder that are fused and predicted: 1, the last, or 4 (V-JEPA 2.1).
        visible_weight: of the loss on visible tokens, 0 for none (V-JEPA 2.1: 0.5).
        visible_warmup: steps between which that weight rises linearly from 0.
        motion_weight: share of a hidden token's weight that goes by its motion (SurgMotion).
        diversity_weight: of the term that keeps a clip's visible tokens apart (SurgMotion).
    """

    masks: tuple[BlockMask, ...]
    predictor_depth: int = 12
    predictor_width: int = 384
    predictor_heads: int = 12
    target: str = "ema"
    teacher: ViTConfig | None = None
    levels: int = 1
    visible_weight: float = 0.0
    visible_warmup: tuple[int, int] = (15_000, 30_000)
    motion_weight: float = 0.0
    diversity_weight: float = 0.0

    def __post_init__(self):
        base.check_sizes("jepa", self, "predictor_depth", "predictor_width", "predictor_heads")
        if self.levels not in (1, levels.COUNT):
            raise ConfigError(f"jepa.levels={self.levels}: choose from {(1, levels.COUNT)}")
        start, end = self.visible_warmup
        if self.visible_weight < 0 or not 0 <= start <= end:
            raise ConfigError(
                f"jepa.visible_weight={self.visible_weight} must be at least 0, and the steps of "
                f"jepa.visible_warmup={self.visible_warmup} ascend from 0"
            )
        if not 0 <= self.motion_weight <= 1 or self.diversity_weight < 0:
            raise ConfigError(
                f"jepa.motion_weight={self.motion_weight} must be a share from 0 to 1, and "
                f"jepa.diversity_weight={self.diversity_weight} at least 0"
            )
        if self.target not in TARGETS:
            raise ConfigError(f"jepa.target={self.target!r}: choose from {TARGETS}")
        if (self.target == "frozen") != (self.teacher is not None):
            raise ConfigError(
                f"jepa.target={self.target!r} and jepa.teacher do not fit: a frozen target takes "
                "the workdir or checkpoint of an encoder in --config.jepa.teacher, an average none"
            )

    @property
    def more(self) -> bool:
        """Whether there is anything that V-JEPA 2 has not."""
        added = self.visible_weight or self.motion_weight or self.diversity_weight
        return self.target != "ema" or self.levels > 1 or bool(added)

    def predictor(self, encoder: ViTConfig) -> dict[str, int]:
        """The sizes that `JEPAPredictor` takes beside this encoder."""
        sizes = {name: getattr(self, f"predictor_{name}") for name in ("depth", "width", "heads")}
        sizes |= {"num_masks": len(self.masks)}
        width = (self.teacher or encoder).width
        sizes |= {} if width == encoder.width else {"target_width": self.levels * width}
        sizes |= {} if self.levels == 1 else {"levels": self.levels, "modality": True}
        return sizes | ({"visible": True} if self.visible_weight else {})


def check_levels(config: ViTConfig) -> None:
    """Raises ConfigError for an encoder that has not as many layers, or is one of single frames."""
    levels.level_layers(config.depth)
    if config.frames_apart:
        raise ConfigError("jepa.levels=4: an encoder that takes frames apart has no levels here")


def check_teacher(encoder: ViTConfig, teacher: ViTConfig) -> None:
    """Raises ConfigError where a teacher's tokens are not of the same pixels as the encoder's."""
    fields = ("num_frames", "image_size", "tubelet", "patch", "mean", "std")
    different = [
        f"{name}={getattr(teacher, name)!r} (here {getattr(encoder, name)!r})"
        for name in fields
        if getattr(teacher, name) != getattr(encoder, name)
    ]
    if different:
        raise ConfigError(
            f"jepa.teacher is an encoder of other clips, tokens or normalisation: "
            f"{', '.join(different)}; give config.model its values, or another teacher"
        )
