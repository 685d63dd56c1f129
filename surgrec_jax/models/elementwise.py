"""The operations around the matrix products: LayerNorm, GELU and bias, float32 inside.

Their backward passes are written out: differentiated as they stand, they read and write whole
activations more often than they need to (docs/performance.md, "On a GPU").
"""

import functools
import math

import jax
import jax.numpy as jnp


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """The sum of x [..., D] and bias [D], in the dtype of x; see `spread`."""
    return x + spread(bias, x.shape, x.dtype)


def spread(parameter: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """A parameter broadcast to an activation's shape and dtype; its gradient is summed in float32.

    In bfloat16, of eight bits, a sum over a batch's tokens would stop growing after some hundred.
    """
    return jnp.broadcast_to(parameter.astype(jnp.float32), shape).astype(dtype)


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
    """GELU, x Phi(x) with Phi the normal cdf (Hendrycks and Gimpel 2016; torch's nn.GELU)."""
    return (x * _cdf(x)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    cdf, y = _cdf(x), x.astype(jnp.float32)
    pdf = jnp.exp(-0.5 * y * y) / math.sqrt(2 * math.pi)
    return (y * cdf).astype(x.dtype), tangent * (cdf + y * pdf).astype(x.dtype)


def _cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jax.lax.erf(x.astype(jnp.float32) * math.sqrt(0.5)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    """(x - mean) / sqrt(variance + eps) * scale + bias over the last axis (Ba et al. 2016).

    Two passes over x, as other frameworks do it: the variance of what is left of the mean.

    Args:
        x: [..., D] of any floating dtype, which the result has too.
        scale, bias: [D], used in float32.
    """
    return _layer_norm_forward(x, scale, bias, eps)[0]


def _layer_norm_forward(x, scale, bias, eps):
    y = x.astype(jnp.float32)
    mean = y.mean(-1, keepdims=True)
    y = y - mean
    inverse = jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + eps)
    out = y * inverse * scale + bias
    return out.astype(x.dtype), (x, mean, inverse, scale)


def _layer_norm_backward(eps, kept, gradient):
    del eps
    tokens = tuple(range(gradient.ndim - 1))
    *values, scale = kept
    # Behind a barrier: XLA would else join these sums over tokens with those over channels below,
    # and keep what both need in memory, in float32.
    y, g = _normed(*jax.lax.optimization_barrier((*values, gradient)))
    d_scale, d_bias = (g * y).sum(tokens), g.sum(tokens)
    y, g = _normed(*values, gradient)
    g = g * scale
    dx = values[2] * (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True))
    return dx.astype(gradient.dtype), d_scale, d_bias


def _normed(x, mean, inverse, gradient):
    return (x.astype(jnp.float32) - mean) * inverse, gradient.astype(jnp.float32)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)
