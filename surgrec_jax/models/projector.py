"""The head that LeVJEPA's loss looks through."""

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.elementwise import gelu
from surgrec_jax.models.layers import Linear, kernel_init
from surgrec_jax.models.presets import Compute

# The batch normalisation's (torch's default).
EPS = 1e-5


class Projector(nnx.Module):
    """Linear, batch normalisation, GELU, Linear.

    It is used in training only, so that no averages over batches are kept.

    Args:
        width, hidden, outputs: sizes of the input, of the layer between and of the output.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        outputs: int,
        compute: Compute,
        *,
        init: str,
        rngs: nnx.Rngs,
    ):
        initializer = kernel_init(init)
        self.fc1 = Linear(width, hidden, compute, init=initializer, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(hidden))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.fc2 = Linear(hidden, outputs, compute, init=initializer, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., width] -> float32 [..., outputs]; normalised over all leading axes, in float32."""
        x = self.fc1(x).astype(jnp.float32)
        rows = tuple(range(x.ndim - 1))
        x = x - x.mean(rows)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(rows) + EPS)
        x = x * self.scale[...] + self.bias[...]
        return self.fc2(gelu(x)).astype(jnp.float32)
