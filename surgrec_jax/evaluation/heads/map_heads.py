"""The networks that answer for every pixel from the tokens of a frame.

* `dense_linear`: a 1 x 1 convolution.
* `dense_conv`: tokens narrowed to WIDTH channels and two 3 x 3 convolutions.
* `dense_levels`: the tokens of four layers of the encoder side by side, narrowed to as many groups
  of WIDTH channels, which are added one after another, from the last to the first, with a 3 x 3
  convolution before each (a small DPT: Ranftl et al. 2021, section 3), and one more.

The last 3 x 3 convolution works at twice the size, unless that would be finer than the pixels that
a step of training looks at. Each is a depthwise and a 1 x 1 one (Chollet 2017), whose outcome is
added to what it was given: full ones without that cost more and learn more slowly.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from surgrec_jax.evaluation.heads.grid import Params
from surgrec_jax.models.levels import COUNT

WIDTH = 32  # channels of the convolutions

# (key, width of tokens, answers) -> parameters
Init = Callable[[jax.Array, int, int], Params]
# (parameters, tokens [b, h, w, D], factor) -> answers [b, factor h, factor w, C]
Apply = Callable[[Params, jax.Array, int], jax.Array]


@dataclasses.dataclass(frozen=True)
class MapHead:
    """A head on maps.

    Attributes:
        init: makes the parameters; arrays called "kernel" decay.
        apply: gives the answers, larger by `factor`.
        levels: it takes the tokens of several layers side by side [b, h, w, levels D].
        enlarges: `factor` may be 2; else it is 1.
    """

    init: Init
    apply: Apply
    levels: bool = False
    enlarges: bool = False


def _layer(key: jax.Array, fan_in: int, out: int) -> Params:
    kernel = jax.random.normal(key, (fan_in, out)) / math.sqrt(fan_in)
    return {"kernel": kernel, "bias": jnp.zeros(out)}


def _convolution(key: jax.Array) -> Params:
    deep, flat = jax.random.split(key)
    return {"each": _layer(deep, 9, WIDTH), "mixed": _layer(flat, WIDTH, WIDTH)}


def _silent(fan_in: int, out: int) -> Params:
    """A layer of zeros: a head that learns too slowly is no random answer, which may be lucky."""
    return {"kernel": jnp.zeros((fan_in, out)), "bias": jnp.zeros(out)}


def _affine(layer: Params, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def _convolved(layer: Params, x: jax.Array) -> jax.Array:
    """A 3 x 3 convolution, zeros outside, after a ReLU and added to x: [b, h, w, WIDTH]."""
    h, w = x.shape[1:3]
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = [wide[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    kernel, bias = layer["each"]["kernel"], layer["each"]["bias"]
    each = sum(place * weight for place, weight in zip(places, kernel, strict=True)) + bias
    return x + jax.nn.relu(_affine(layer["mixed"], each))


def _enlarged(x: jax.Array, factor: int) -> jax.Array:
    b, h, w, c = x.shape
    return x if factor == 1 else jax.image.resize(x, (b, factor * h, factor * w, c), "bilinear")


def _linear_init(key: jax.Array, width: int, answers: int) -> Params:
    del key
    return {"answer": _silent(width, answers)}


def _linear(params: Params, tokens: jax.Array, factor: int) -> jax.Array:
    del factor
    return _affine(params["answer"], tokens)


def _conv_init(key: jax.Array, width: int, answers: int, groups: int = 1) -> Params:
    first, last, *others = jax.random.split(key, 2 + max(1, groups - 1))
    return {
        "narrow": _layer(first, width, groups * WIDTH),
        "joined": [_convolution(k) for k in others],
        "last": _convolution(last),
        "answer": _silent(WIDTH, answers),
    }


def _conv(params: Params, tokens: jax.Array, factor: int) -> jax.Array:
    """Groups of channels joined from the last to the first; one group has nothing to be joined."""
    narrow = jax.nn.relu(_affine(params["narrow"], tokens))
    *earlier, x = jnp.split(narrow, narrow.shape[-1] // WIDTH, -1)
    for number, layer in enumerate(params["joined"], 1):
        x = _convolved(layer, x)
        x = x + earlier[-number] if earlier else x
    return _affine(params["answer"], _convolved(params["last"], _enlarged(x, factor)))


def _levels_init(key: jax.Array, width: int, answers: int) -> Params:
    return _conv_init(key, width, answers, groups=COUNT)


MAP_HEADS: dict[str, MapHead] = {
    "dense_linear": MapHead(_linear_init, _linear),
    "dense_conv": MapHead(_conv_init, _conv, enlarges=True),
    "dense_levels": MapHead(_levels_init, _conv, levels=True, enlarges=True),
}
