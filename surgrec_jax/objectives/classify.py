"""Supervised training of an encoder with a classifier on it: fine-tuning."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from surgrec_jax.models.flops import encoder_flops, head_flops, patch_flops
from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.layers import drop_path_scales
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, patchify, pool
from surgrec_jax.objectives import base
from surgrec_jax.objectives.augment import Mixing, erase, mix
from surgrec_jax.safety.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ClassifyOptions:
    """Head, regularisation and augmentation.

    Attributes:
        head: "linear" on pooled features, or "attentive" over tokens with `head_depth`
            self-attention blocks.
        drop_path: rate of the last block's stochastic depth (Huang et al. 2016); it rises linearly
            from 0 at the first.
        label_smoothing: share of a target that is spread over all classes.
        erasing: probability of random erasing.
        mixing: mixup and CutMix.
        ema: whether an exponential moving average of all parameters is kept, evaluated and
            exported.
    """

    head: str = "linear"
    head_depth: int = 0
    drop_path: float = 0.1
    label_smoothing: float = 0.1
    erasing: float = 0.25
    mixing: Mixing = dataclasses.field(default_factory=Mixing)
    ema: bool = False

    def __post_init__(self):
        for name in ("drop_path", "label_smoothing", "erasing"):
            if not 0 <= getattr(self, name) < 1 + (name == "erasing"):
                raise ConfigError(f"classify.{name}={getattr(self, name)}: must be a share below 1")


# Streams of a clip's key.
_ERASE, _MIX, _DROP = 0, 1, 2


class Classify(base.Objective):
    """Cross-entropy of a clip's label: softmax for one track, sigmoids for several binary ones.

    Raises:
        ConfigError: a question without two classes.
    """

    name = "classify"
    needs_labels = True
    rows = ("the clip", "the clip erased and mixed, as the encoder sees it")

    @classmethod
    def from_config(cls, encoder, section, compute, *, question=None, **_):
        """The fields of `ClassifyOptions`; `mixing` as a dict of `Mixing` fields.

        See `base.Objective.from_config`.
        """
        if question is None:
            raise ConfigError("objective='classify' is trained on labels, and none are asked for")
        options = {k: v for k, v in section.items() if k not in ("track", "frame")}
        options["mixing"] = Mixing(**options["mixing"])
        return cls(encoder, ClassifyOptions(**options), question, compute)

    def __init__(
        self,
        encoder: ViTConfig,
        options: ClassifyOptions,
        question: base.Question,
        compute: Compute,
    ):
        if len(question.classes) < 2:
            raise ConfigError(f"{question.tracks} has {len(question.classes)} classes, needs two")
        self.options, self.question, self.uses_target = options, question, options.ema
        self.head = HeadConfig(
            options.head, len(question.classes), options.head_depth, encoder.heads, encoder.mlp_dim
        )

        def build(rngs: nnx.Rngs) -> nnx.Dict:
            return nnx.Dict(
                encoder=VideoViT(encoder, compute, rngs=rngs),
                head=make_head(self.head, encoder, compute, rngs),
            )

        super().__init__(encoder, compute, build)

    def target_of(self, params):
        """All parameters are averaged."""
        return params

    def parts(self):
        """Sizes of the head."""
        return {"head": dataclasses.asdict(self.head)}

    def flops(self):
        """One clip through one step: 2 patch(N) + 3 [L block(N) + head(N)]."""
        config, tokens = self.encoder, self.encoder.num_tokens
        head = head_flops(self.head, config.width, tokens)
        return 2 * patch_flops(config, tokens) + 3 * (encoder_flops(config, tokens) + head)

    def meta(self):
        """Question and head, as `surgrec_jax.frozen.classifier` reads them."""
        return {
            "classifier": dataclasses.asdict(self.question)
            | {"multi_label": self.question.multi_label, "head": dataclasses.asdict(self.head)}
        }

    def prepare(self, batch, keys, step):
        """The augmented batch: "video", "target" float [B, C] and "weight" float [B, C].

        `batch["label"]` is int [B, tracks], -1 = unlabelled. An unlabelled entry weighs nothing; a
        clip mixed with an unlabelled one neither.
        """
        del step
        options, video, label = self.options, batch["video"], batch["label"]
        known = (label >= 0).astype(jnp.float32)  # [B, tracks]
        if self.question.multi_label:
            target = label.astype(jnp.float32) * known
            floor = 0.5
        else:
            count = len(self.question.classes)
            target, known = jax.nn.one_hot(label[:, 0], count), jnp.repeat(known, count, 1)
            floor = 1 / count
        smooth = options.label_smoothing
        target = (1 - smooth) * target + smooth * floor
        if options.erasing:
            config, own = self.encoder, base.streams(keys, _ERASE)
            video = erase(own, video, options.erasing, config.mean, config.std)
        if options.mixing.on:
            video, target = mix(base.streams(keys, _MIX), video, target, options.mixing)
            known = known * known[::-1]
        return {"video": video, "target": target, "weight": known}

    def loss(self, params, batch, keys, target_params=None):
        """Mean cross-entropy over the batch; unlabelled clips add nothing to the sum.

        See `base.Objective.loss`; the batch is that of `prepare`.
        """
        options, config = self.options, self.encoder
        keep = None
        if options.drop_path:
            keep = drop_path_scales(base.streams(keys, _DROP), config.depth, options.drop_path)
        logits = self.logits(params, batch["video"], keep)
        target, weight = batch["target"], batch["weight"]
        if self.question.multi_label:
            each = (weight * optax.sigmoid_binary_cross_entropy(logits, target)).mean(-1)
        else:
            each = weight[:, 0] * optax.softmax_cross_entropy(logits, target)
        return each.mean(), {"labelled": weight.mean()}

    def logits(self, params, video: jax.Array, keep: jax.Array | None = None) -> jax.Array:
        """float32 [B, C] of uint8 clips; `keep` of `drop_path_scales` in training."""
        model = self.module(params)
        cls = self.head.kind == "linear" and self.encoder.pooling == "cls"
        tokens = model.encoder(patchify(video, self.encoder), keep=keep, with_prefix=cls)
        if self.head.kind == "linear":
            tokens = pool(self.encoder, self.compute, params["encoder"], tokens)
        return model.head(tokens).astype(jnp.float32)

    def watched(self, params, video):
        """Probabilities [B, C]."""
        logits = self.logits(params, video)
        return jax.nn.sigmoid(logits) if self.question.multi_label else jax.nn.softmax(logits)

    def images(self, params, batch, key, target_params=None):
        """Rows [B, 2, T, H, W, 3] uint8: clips as loaded, and as the encoder sees them."""
        video = jnp.asarray(batch["video"])
        blank = jnp.zeros((len(video), len(self.question.tracks)), jnp.int32)
        keys = jax.random.split(key, len(video))
        seen = self.prepare({"video": video, "label": blank}, keys, 0)["video"]
        return jnp.stack([video, seen], 1)
