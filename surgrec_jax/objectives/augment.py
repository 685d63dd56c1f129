"""Random erasing, mixup and CutMix inside the compiled step, drawn from one key per clip.

Clips stay uint8: what an alteration rounds away is below what the camera's compression does. The
partner of a clip is its mirror image in the global batch, so the result depends neither on the
number of devices nor on gradient accumulation.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from surgrec_jax.safety.errors import ConfigError

# Random erasing: share of the area, and log-uniform height : width (Zhong et al. 2020, section 3,
# with the bounds VideoMAE takes over from timm).
ERASED_AREA, ERASED_RATIO = (0.02, 1 / 3), (0.3, 10 / 3)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

    Attributes:
        mixup, cutmix: alpha of their Beta(alpha, alpha); 0 turns one off.
        probability: that a clip is mixed at all.
        switch: that it is CutMix, where both are on.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self):
        if min(self.mixup, self.cutmix) < 0:
            raise ConfigError(f"mixup {self.mixup} and cutmix {self.cutmix} must be at least 0")
        if not (0 <= self.probability <= 1 and 0 <= self.switch <= 1):
            raise ConfigError(
                f"probabilities must be 0 to 1, got {self.probability} (mixing), {self.switch}"
            )

    @property
    def on(self) -> bool:
        """Whether anything is mixed."""
        return self.probability > 0 and (self.mixup > 0 or self.cutmix > 0)


def _inside(length: int, start: jax.Array, size: jax.Array) -> jax.Array:
    """[length] bool: start <= index < start + size."""
    index = jnp.arange(length)
    return (index >= start) & (index < start + size)


def erase(
    keys: jax.Array,
    video: jax.Array,
    probability: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> jax.Array:
    """Replaces a rectangle, the same in all frames, by noise: normal after normalisation.

    Args:
        keys: [B].
        video: uint8 [B, T, H, W, 3].
        mean, std: of the input normalisation, per channel.
    """
    height, width = video.shape[2:4]

    def one(key, clip):
        key_on, key_area, key_ratio, key_top, key_left, key_noise = jax.random.split(key, 6)
        area = jax.random.uniform(key_area, (), minval=ERASED_AREA[0], maxval=ERASED_AREA[1])
        low, high = map(math.log, ERASED_RATIO)
        ratio = jnp.exp(jax.random.uniform(key_ratio, (), minval=low, maxval=high))
        area = area * height * width
        h = jnp.minimum(jnp.round(jnp.sqrt(area * ratio)), height).astype(jnp.int32)
        w = jnp.minimum(jnp.round(jnp.sqrt(area / ratio)), width).astype(jnp.int32)
        top = jax.random.randint(key_top, (), 0, height - h + 1)
        left = jax.random.randint(key_left, (), 0, width - w + 1)
        box = _inside(height, top, h)[:, None] & _inside(width, left, w)  # [H, W]
        box &= jax.random.bernoulli(key_on, probability)
        noise = jax.random.normal(key_noise, clip.shape) * jnp.asarray(std) + jnp.asarray(mean)
        noise = jnp.clip(jnp.round(255 * noise), 0, 255).astype(jnp.uint8)
        return jnp.where(box[:, :, None], noise, clip)

    return jax.vmap(one)(keys, video)


def mix(
    keys: jax.Array, video: jax.Array, targets: jax.Array, how: Mixing
) -> tuple[jax.Array, jax.Array]:
    """Every clip with its partner.

    Args:
        keys: [B].
        video: uint8 [B, T, H, W, 3].
        targets: float [B, C].

    Returns:
        the mixed clips, uint8, and the mixed targets.
    """
    cut = how.switch if how.mixup and how.cutmix else float(how.cutmix > 0)

    def one(key, clip, other, target, other_target):
        key_on, key_cut, key_mixup, key_cutmix, key_box = jax.random.split(key, 5)
        cuts = jax.random.bernoulli(key_cut, cut)
        share = jax.random.beta(key_mixup, how.mixup or 1.0, how.mixup or 1.0)
        box_share = jax.random.beta(key_cutmix, how.cutmix or 1.0, how.cutmix or 1.0)
        box = _cut_box(key_box, *clip.shape[1:3], 1 - box_share)
        share = jnp.where(cuts, 1 - box.mean(), share)  # the box is whole pixels: its true share
        kept = jnp.where(cuts, 1.0 - box[:, :, None], share)  # [H, W, 1], of the clip itself
        on = jax.random.bernoulli(key_on, how.probability)
        share, kept = jnp.where(on, share, 1.0), jnp.where(on, kept, 1.0)
        mixed = kept * clip.astype(jnp.float32) + (1 - kept) * other.astype(jnp.float32)
        return jnp.round(mixed).astype(jnp.uint8), share * target + (1 - share) * other_target

    return jax.vmap(one)(keys, video, video[::-1], targets, targets[::-1])


def _cut_box(key: jax.Array, height: int, width: int, area: jax.Array) -> jax.Array:
    """A box of a share of the area, cut at the edges: float32 [H, W], 1 inside (CutMix, eq. 2)."""
    key_y, key_x = jax.random.split(key)
    h, w = jnp.round(height * jnp.sqrt(area)), jnp.round(width * jnp.sqrt(area))
    y = jax.random.randint(key_y, (), 0, height)
    x = jax.random.randint(key_x, (), 0, width)
    rows = _inside(height, y - h // 2, h)
    columns = _inside(width, x - w // 2, w)
    return (rows[:, None] & columns).astype(jnp.float32)
