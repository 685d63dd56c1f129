"""Views of a clip, made on the device: crops, mirror images and other colours, from one key each.

All frames of a view are altered alike. Views are not rounded to whole numbers: a value near a half
would be rounded otherwise on another number of devices.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.safety.errors import ConfigError

# Share of red, green and blue in brightness (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114])
# RGB to luma and two axes of colour (YIQ, of the NTSC standard); hues turn about the first axis.
YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_CHANGES = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass(frozen=True)
class Crop:
    """A random rectangle of the frame, resized to a square.

    Attributes:
        side: of the square, pixels.
        area: range of the rectangle's share of the frame, uniform.
        aspect: range of its width : height, log-uniform.
    """

    side: int
    area: tuple[float, float]
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"the area of a view must be 0 < low <= high <= 1, got {self.area}")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ConfigError(f"the aspect of a view must be 0 < low <= high, got {self.aspect}")


@dataclasses.dataclass(frozen=True)
class Colours:
    """Colour jitter with the strengths of SimCLR's descendants (Caron et al. 2021, DINO).

    Attributes:
        probability: that brightness, contrast, saturation and hue are changed.
        brightness, contrast, saturation: each is multiplied by a factor uniform in 1 -+ this.
        hue: the hue turns by a share of the circle, uniform in -+ this.
        grey: probability that all colour is taken away.
    """

    probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not 0 <= value <= (0.5 if name == "hue" else 1):
                raise ConfigError(f"colours.{name}={value}: must be a share, of hue at most 0.5")


def view(
    key: jax.Array, clip: jax.Array, crop: Crop, colours: Colours, flip: float = 0.5
) -> jax.Array:
    """A view of one clip.

    Args:
        key: decides everything.
        clip: uint8 [T, H, W, 3].
        flip: probability of the mirror image.

    Returns:
        float32 [T, side, side, 3], 0 to 255.
    """
    box_key, flip_key, colour_key = jax.random.split(key, 3)
    x = cut(clip, box(box_key, *clip.shape[1:3], crop), crop.side)
    x = jnp.where(jax.random.bernoulli(flip_key, flip), x[:, :, ::-1], x)
    matrix, offset = colour_map(x.mean((0, 1, 2)), **draw_colours(colour_key, colours))
    x = jnp.einsum("thwc,dc->thwd", x, matrix) + offset
    return jnp.clip(x, 0, 255)


def box(key: jax.Array, height: int, width: int, crop: Crop) -> jax.Array:
    """A rectangle (top, left, height, width) in pixels, float32 [4], cut at the frame's sides."""
    area_key, aspect_key, top_key, left_key = jax.random.split(key, 4)
    low, high = crop.area
    area = jax.random.uniform(area_key, (), minval=low, maxval=high) * height * width
    low, high = map(math.log, crop.aspect)
    aspect = jnp.exp(jax.random.uniform(aspect_key, (), minval=low, maxval=high))
    h, w = jnp.minimum(jnp.sqrt(area / aspect), height), jnp.minimum(jnp.sqrt(area * aspect), width)
    top = jax.random.uniform(top_key) * (height - h)
    left = jax.random.uniform(left_key) * (width - w)
    return jnp.stack([top, left, h, w])


def cut(clip: jax.Array, rectangle: jax.Array, side: int) -> jax.Array:
    """The rectangle of `box` of every frame, resized to float32 [T, side, side, 3].

    Linear, and antialiased where it shrinks: two matrix products.
    """
    scale = side / rectangle[2:]
    return jax.image.scale_and_translate(
        clip.astype(jnp.float32),
        (len(clip), side, side, 3),
        (1, 2),
        scale,
        -rectangle[:2] * scale,
        "linear",
        precision=jax.lax.Precision.DEFAULT,
    )


def draw_colours(key: jax.Array, how: Colours) -> dict[str, jax.Array]:
    """Draws the changes of a view's colours: factors, a share of the circle, and whether grey."""
    keys = dict(zip(("whether", "grey", *_CHANGES), jax.random.split(key, 6), strict=True))
    changed = jax.random.bernoulli(keys["whether"], how.probability)
    drawn = {"grey": jax.random.bernoulli(keys["grey"], how.grey)}
    for name in _CHANGES:
        limit, still = getattr(how, name), 0.0 if name == "hue" else 1.0
        by = jax.random.uniform(keys[name], (), minval=-limit, maxval=limit)
        drawn[name] = still + jnp.where(changed, by, 0.0)
    return drawn


def colour_map(
    mean: jax.Array,
    brightness: jax.Array,
    contrast: jax.Array,
    saturation: jax.Array,
    hue: jax.Array,
    grey: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """A change of colours, x -> matrix x + offset, in the order of the arguments.

    Brightness is a factor; contrast a factor about the mean brightness of the whole view;
    saturation a factor about each pixel's brightness; hue an angle, as a share of the circle; grey
    takes all colour away. Each is affine in RGB, so that all are one matrix [3, 3] and one
    offset, and values leave their range only once.

    Args:
        mean: [3], of the view's colours.
    """
    angle = 2 * jnp.pi * hue
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.eye(3).at[1:, 1:].set(jnp.array([[cos, -sin], [sin, cos]]))
    turn = np.linalg.inv(YIQ) @ turn @ YIQ
    luma = np.ones((3, 1)) * LUMA  # every channel becomes the brightness
    saturate = saturation * jnp.eye(3) + (1 - saturation) * luma
    last = jnp.where(grey, luma, jnp.eye(3))
    # Later changes than contrast leave greys as they are, and contrast's offset is a grey.
    offset = (1 - contrast) * brightness * (mean @ LUMA)
    return last @ turn @ saturate * contrast * brightness, offset


def kept_ids(key: jax.Array, tokens: int, count: int) -> jax.Array:
    """`count` of a view's token indices, uniform without replacement, sorted: int32 [count]."""
    return jnp.sort(jax.random.permutation(key, tokens)[:count])
