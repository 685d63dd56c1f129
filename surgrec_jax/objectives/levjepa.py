"""LeVJEPA: views of a clip agree, and embeddings of clips are spread as a normal distribution.

After arXiv 2608.27395: one encoder, no target, no predictor, no stop-gradient.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.flops import encoder_flops, patch_flops
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.projector import Projector
from surgrec_jax.models.vit import VideoViT, patchify, pool, unpatchify
from surgrec_jax.objectives import base, views
from surgrec_jax.objectives.sigreg import directions, sigreg
from surgrec_jax.safety.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class LeVJEPAOptions:
    """Views, projector and loss.

    Attributes:
        local_views: small views of a clip, besides the one global view.
        local_side: of a small view, pixels; the global view has the encoder's.
        global_area, local_area: ranges of a view's share of the frame.
        global_drop, local_drop: shares of a view's patch tokens that are not embedded, drawn
            uniformly for each view of each clip.
        flip: probability that a view is a mirror image.
        colours: of `views.Colours`.
        hidden, outputs: sizes of the projector.
        lines: random directions of SIGReg in a step.
        sigreg_weight: of `sigreg`, which does not grow with the batch. LeVJEPA's 0.02 is of B times
            the same statistic, at its batch B of 3,072.
        ema: whether an average of the encoder is kept, evaluated and exported; no loss sees it.
    """

    local_views: int = 10
    local_side: int = 96
    global_area: tuple[float, float] = (0.8, 1.0)
    local_area: tuple[float, float] = (0.02, 0.4)
    global_drop: float = 0.95
    local_drop: float = 0.95
    flip: float = 0.5
    colours: views.Colours = dataclasses.field(default_factory=views.Colours)
    hidden: int = 2048
    outputs: int = 256
    lines: int = 1024
    sigreg_weight: float = 0.02 * 3072
    ema: bool = False

    def __post_init__(self):
        base.check_sizes("levjepa", self, "local_views", "hidden", "outputs", "lines")
        if not (0 <= self.flip <= 1 and self.sigreg_weight >= 0):
            raise ConfigError(
                f"levjepa.flip={self.flip} must be a probability and levjepa.sigreg_weight="
                f"{self.sigreg_weight} at least 0"
            )


# Streams of a batch's first key, and of a view's own.
_LINES = 0
_PIXELS, _DROP = 0, 1


class LeVJEPA(base.WholeBatchObjective):
    """Small views of a clip are pulled to its large one; SIGReg keeps clips apart.

    A view is what the encoder's features are of it: the CLS token, or the mean of the tokens that
    were kept (`ViTConfig.pooling`).

    Raises:
        ConfigError: views or shares that leave no token, or sizes below 1.
    """

    name = "levjepa"
    rows = ("the clip", "its large view", "a small view, in the corner (what is dropped is grey)")

    @classmethod
    def from_config(cls, encoder, section, compute, **_):
        """The objective of a section of `LeVJEPAOptions` fields; see `base.Objective.from_config`.

        `colours` is a dict of `views.Colours` fields.
        """
        colours = views.Colours(**section.get("colours", {}))
        return cls(encoder, LeVJEPAOptions(**{**section, "colours": colours}), compute)

    def __init__(self, encoder: ViTConfig, options: LeVJEPAOptions, compute: Compute):
        self.options, self.uses_target = options, options.ema
        self.crops = _crops(encoder, options)

        def build(rngs: nnx.Rngs) -> nnx.Dict:
            sizes = encoder.width, options.hidden, options.outputs
            return nnx.Dict(
                encoder=VideoViT(encoder, compute, rngs=rngs),
                projector=Projector(*sizes, compute, init=encoder.init, rngs=rngs),
            )

        super().__init__(encoder, compute, build)
        self.kept = tuple(
            _kept(_view_config(encoder, crop), drop, name)
            for crop, drop, name in zip(
                self.crops,
                (options.global_drop, options.local_drop),
                ("global_drop", "local_drop"),
                strict=True,
            )
        )

    def parts(self):
        """Sizes of the projector."""
        return {"projector": {"hidden": self.options.hidden, "outputs": self.options.outputs}}

    def flops(self):
        """One clip through one LeVJEPA step.

        Per view 2 patch(kept) + 3 [L block(kept + prefix) + 2 D hidden + 2 hidden outputs + 2
        outputs lines]. Cutting out the views is not counted: its cost is that of pixels.
        """
        config, o = self.encoder, self.options
        head = 2 * o.hidden * (config.width + o.outputs) + 2 * o.outputs * o.lines
        total = 0.0
        for count, kept in zip((1, o.local_views), self.kept, strict=True):
            blocks = encoder_flops(config, kept + config.prefix_tokens)
            total += count * (2 * patch_flops(config, kept) + 3 * (blocks + head))
        return total

    def embed(self, params, batch, keys):
        """float32 [B, 1 + local_views, D]: features of every view, the global one first."""
        video, count = jnp.asarray(batch["video"]), self.options.local_views
        view_keys = jax.vmap(lambda key: jax.random.split(key, 1 + count))(keys)  # [B, 1 + V]
        large = self._encode_views(params, video, view_keys[:, :1], local=False)
        small = self._encode_views(params, video, view_keys[:, 1:], local=True)
        return jnp.concatenate([large, small], 1)

    def compare(self, params, embeddings, keys):
        """Invariance + weight x SIGReg (see `base.WholeBatchObjective.compare`).

        Invariance is the mean over clips, views and channels of (z_global - z_view)^2, the global
        view's own zeros included; gradients run through both.

        Metrics: `invariance`, `sigreg`, and `embedding_std`, the deviation over clips of what the
        projector gives, averaged over channels (0 = collapsed).

        Raises:
            ConfigError: a batch of one clip.
        """
        if len(embeddings) < 2:
            raise ConfigError(
                "levjepa compares the clips of a batch, and batch_size=1 has one: give at least 2"
            )
        z = self.module(params).projector(embeddings)  # [B, 1 + V, K]
        invariance = jnp.square(z[:, :1] - z).mean()
        # Equal on all devices, new every step: the first clip's key depends on (seed, step) alone.
        key = jax.random.fold_in(keys[0], _LINES)
        spread = sigreg(z, directions(key, self.options.outputs, self.options.lines))
        metrics = {
            "invariance": invariance,
            "sigreg": spread,
            "embedding_std": z.std(0).mean(),
        }
        return invariance + self.options.sigreg_weight * spread, metrics

    def _encode_views(
        self, params: base.Params, video: jax.Array, keys: jax.Array, *, local: bool
    ) -> jax.Array:
        """Features [B, V, D] of views, all in one pass of the encoder.

        Args:
            keys: [B, V].
        """
        tubelets, ids = self._views(video, keys, local=local)
        batch, count = ids.shape[:2]
        rows = (tubelets.reshape(-1, *tubelets.shape[2:]), ids.reshape(-1, ids.shape[2]))
        cls = self.encoder.pooling == "cls"
        tokens = self.module(params).encoder(*rows, with_prefix=cls).astype(jnp.float32)
        features = pool(self.encoder, self.compute, params["encoder"], tokens)
        return features.reshape(batch, count, -1)

    def _views(self, video: jax.Array, keys: jax.Array, *, local: bool):
        """Tubelets that views keep, float32 [B, V, n, P], and their ids [B, V, n] in the grid.

        A small view lies in the corner of the grid, where positions are those of a grid of its own.
        """
        crop, config = self.crops[local], _view_config(self.encoder, self.crops[local])
        (_, h, w), width = config.grid, self.encoder.grid[2]

        def one(key, clip):
            x = views.view(
                jax.random.fold_in(key, _PIXELS),
                clip,
                crop,
                self.options.colours,
                self.options.flip,
            )
            ids = views.kept_ids(
                jax.random.fold_in(key, _DROP), config.num_tokens, self.kept[local]
            )
            return patchify(x[None], config)[0, ids], ids

        # A view of all clips at a time: pixels in float32 take the most memory of a step.
        tubelets, ids = jax.lax.map(lambda k: jax.vmap(one)(k, video), keys.T)
        time, place = ids // (h * w), ids % (h * w)
        ids = time * self.encoder.grid[1] * width + place // w * width + place % w
        return jnp.moveaxis(tubelets, 0, 1), jnp.moveaxis(ids, 0, 1)

    def images(self, params, batch, key, target_params=None):
        """Rows [B, 3, T, H, W, 3] uint8: the clip, what is seen of a global view, of a local one.

        Dropped tokens are grey.
        """
        video = jnp.asarray(batch["video"])
        keys = jax.random.split(key, (len(video), 2))
        rows, clips = [video], jnp.arange(len(video))[:, None]
        for local in (False, True):
            seen = self._views(video, keys[:, int(local), None], local=local)
            tubelets, ids = (x[:, 0] for x in seen)
            shape = (len(video), self.encoder.num_tokens, self.encoder.patch_dim)
            tubelets = jnp.round(tubelets).astype(jnp.uint8)
            blank = jnp.full(shape, 128, jnp.uint8)
            rows.append(unpatchify(blank.at[clips, ids].set(tubelets), self.encoder))
        return jnp.stack(rows, 1)


def _crops(encoder: ViTConfig, options: LeVJEPAOptions) -> tuple[views.Crop, views.Crop]:
    """Of the global view and of local ones.

    Raises:
        ConfigError: sizes that are not possible.
    """
    height, width = encoder.image_size
    side = options.local_side
    if height != width:
        raise ConfigError(f"levjepa takes square clips, not {height} x {width}")
    if side % encoder.patch or not encoder.patch <= side <= height:
        raise ConfigError(
            f"levjepa.local_side={side}: a local view is a whole number of patches of "
            f"{encoder.patch} pixels, at least one, and no larger than the clip's {height}"
        )
    return views.Crop(height, options.global_area), views.Crop(side, options.local_area)


def _view_config(encoder: ViTConfig, crop: views.Crop) -> ViTConfig:
    return dataclasses.replace(encoder, image_size=(crop.side, crop.side))


def _kept(config: ViTConfig, drop: float, name: str) -> int:
    """Tokens of a view that are kept. Raises ConfigError where there is none."""
    kept = round((1 - drop) * config.num_tokens)
    if not 0 <= drop < 1 or kept < 1:
        raise ConfigError(
            f"levjepa.{name}={drop} keeps {max(kept, 0)} of a view's {config.num_tokens} tokens: "
            "give a share from 0 that keeps at least one"
        )
    return kept
