"""Two ideas of SurgMotion (arXiv 2602.05638) as terms of JEPA's loss.

They are our reading of a paper whose training code is not public: what moves counts more, and
tokens of a scene poor in texture are kept apart.
"""

import jax
import jax.numpy as jnp

from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.models.vit import patchify
from surgrec_jax.objectives.sigreg import directions, sigreg

# Random directions in which a clip's tokens are compared with a normal distribution.
LINES = 64


def motion_weights(video: jax.Array, config: ViTConfig, share: float) -> jax.Array:
    """Weights of a clip's tokens by how much their pixels change, with a mean of one.

    A weight is 1 - share + share * motion / mean motion of the clip; a token's motion is the mean
    absolute difference of its pixels from those of the frame before (zero in the first frame). In
    a clip in which nothing moves all weigh the same.

    Args:
        video: uint8 [B, T, H, W, 3].

    Returns:
        float32 [B, N].
    """
    video = video.astype(jnp.float32)
    change = jnp.pad(jnp.abs(jnp.diff(video, axis=1)), ((0, 0), (1, 0), *[(0, 0)] * 3))
    motion = patchify(change, config).mean(-1)
    mean = motion.mean(1, keepdims=True)
    return 1 - share + share * jnp.where(mean > 0, motion / jnp.maximum(mean, 1e-6), 1)


def diversity(tokens: jax.Array, keys: jax.Array) -> jax.Array:
    """SIGReg's statistic over the tokens of each clip, averaged over clips: 0 where they spread.

    It is of each clip by itself, so microbatches change nothing but the order of sums.

    Args:
        tokens: [B, n, D].
        keys: [B] random keys, one per clip.
    """

    def one(key, x):
        return sigreg(x[:, None], directions(key, x.shape[-1], LINES))

    return jax.vmap(one)(keys, tokens.astype(jnp.float32)).mean()
