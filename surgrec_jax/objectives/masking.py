"""Masks as index arrays of static size, drawn on the device from one key per clip.

A mask is drawn over the spatial cells of one tubelet layer and holds for every tubelet of the clip
("tube"), so every tubelet is equally represented and shapes never change between steps.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.models.position import Grid
from surgrec_jax.safety.errors import ConfigError


def over_time(cells: jax.Array, grid: Grid) -> jax.Array:
    """Cell ids [..., C] of one layer -> token ids [..., t * C] of all, in the order of time."""
    t, h, w = grid
    ids = jnp.arange(t)[:, None] * (h * w) + cells[..., None, :]  # [..., t, C]
    return ids.reshape(*cells.shape[:-1], -1)


def tube_mask(keys: jax.Array, grid: Grid, ratio: float) -> tuple[jax.Array, jax.Array]:
    """VideoMAE's tube mask: int(ratio * h * w) random cells are hidden, the same in every tubelet.

    Args:
        keys: [B] random keys, one per clip.

    Returns:
        visible ids [B, V] and hidden ids [B, M], sorted, V + M = N.
    """
    _, h, w = grid
    hidden = int(ratio * h * w)

    def one(key):
        order = jax.random.permutation(key, h * w)
        return jnp.sort(order[hidden:]), jnp.sort(order[:hidden])

    visible, masked = jax.vmap(one)(keys)
    return over_time(visible, grid), over_time(masked, grid)


def running_cells(grid: Grid, ratio: float, start: jax.Array | int = 0) -> jax.Array:
    """VideoMAE v2's running-cell mask of the decoder: which tokens it does *not* decode.

    The layer is tiled with cells of 2 x 2 positions. A queue of four, whose first `4 * ratio` are
    left out, lies over the cell row by row, and turns by one position per tubelet, so that over
    four tubelets every position is decoded equally often (Wang et al. 2023, section 3.2; the order
    is that of their code).

    Args:
        start: turns of the queue before the first tubelet, 0 to 3.

    Returns:
        [t, h, w] bool, True = left out.

    Raises:
        ConfigError: a ratio that is not a quarter, a half or three quarters, or an odd grid.
    """
    t, h, w = grid
    left_out = round(4 * ratio)
    if left_out != 4 * ratio or not 1 <= left_out <= 3 or h % 2 or w % 2:
        raise ConfigError(
            f"mae.decoder_mask_ratio={ratio} on a {h} x {w} grid: running cells of 2 x 2 take "
            "0.25, 0.5 or 0.75 and an even grid; 0 decodes everything"
        )
    place = jnp.tile(jnp.array([[0, 1], [2, 3]]), (h // 2, w // 2))  # [h, w]
    return (place + jnp.arange(t)[:, None, None] + start) % 4 < left_out


def decoded_ids(keys: jax.Array, hidden_ids: jax.Array, grid: Grid, ratio: float) -> jax.Array:
    """The hidden tokens that are decoded under a running-cell mask: [B, (1 - ratio) M], sorted.

    Tokens that the encoder sees carry no loss (dual masking), so only hidden ones are asked for.
    A tube mask over a multiple of four tubelets has exactly this many outside the running cells;
    otherwise the few missing or surplus ones are chosen at random. Each clip's queue has turned
    by a number of its own.
    """
    keep = round((1 - ratio) * hidden_ids.shape[1])

    def one(key, ids):
        start_key, order_key = jax.random.split(key)
        start = jax.random.randint(start_key, (), 0, 4)
        left_out = running_cells(grid, ratio, start).reshape(-1)  # [N]
        score = jax.random.uniform(order_key, ids.shape) + left_out[ids]
        return jnp.sort(ids[jnp.argsort(score)[:keep]])

    return jax.vmap(one)(keys, hidden_ids)


TRIMS = ("random", "side")


@dataclasses.dataclass(frozen=True)
class BlockMask:
    """One kind of V-JEPA multi-block mask (Bardes et al. 2024, section 3.2).

    Attributes:
        blocks: rectangles whose union is the target region.
        scale: area of a rectangle as a share of the layer.
        context: cells per tubelet that the encoder sees, drawn from outside the union.
        target: cells per tubelet that are predicted, drawn from inside the union.
        aspect: range of a rectangle's height / width, uniform.
        trim: which cells a side with too many gives up: "random" ones, or those beyond a straight
            line of random direction (a "side"), so that the rest hangs together.
    """

    blocks: int
    scale: float
    context: int
    target: int
    aspect: tuple[float, float] = (0.75, 1.5)
    trim: str = "random"

    def __post_init__(self):
        if self.trim not in TRIMS:
            raise ConfigError(f"jepa mask trim={self.trim!r}: choose from {TRIMS}")

    @classmethod
    def on(cls, grid: Grid, *, context: float, target: float, **fields: Any) -> "BlockMask":
        """The mask on a grid, whose layers have h * w cells.

        Args:
            context, target: shares of a layer's cells, which mean the same at any image size; from
                1 on, numbers of cells.
        """
        _, h, w = grid
        cells = (round(x * h * w) if x < 1 else x for x in (context, target))
        return cls(context=next(cells), target=next(cells), **fields)


def block_union(key: jax.Array, mask: BlockMask, height: int, width: int) -> jax.Array:
    """[h, w] bool: the union of `mask.blocks` random rectangles."""
    shape_key, top_key, left_key = jax.random.split(key, 3)
    low, high = mask.aspect
    aspect = jax.random.uniform(shape_key, (), minval=low, maxval=high)  # one for all rectangles
    area = mask.scale * height * width
    h = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 1, height).astype(jnp.int32)
    w = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 1, width).astype(jnp.int32)
    top = jax.random.randint(top_key, (mask.blocks, 1, 1), 0, height - h + 1)
    left = jax.random.randint(left_key, (mask.blocks, 1, 1), 0, width - w + 1)
    row, column = jnp.arange(height)[None, :, None], jnp.arange(width)[None, None, :]
    inside = (row >= top) & (row < top + h) & (column >= left) & (column < left + w)
    return inside.any(0)


def across(key: jax.Array, height: int, width: int) -> jax.Array:
    """[h w] where cells lie along a random direction, from 0 to below 1."""
    angle = 2 * jnp.pi * jax.random.uniform(key)
    row, column = jnp.divmod(jnp.arange(height * width), width)
    place = row * jnp.sin(angle) + column * jnp.cos(angle)
    return (place - place.min()) / (place.max() - place.min() + 1e-3)


def _fits(union: jax.Array, mask: BlockMask) -> jax.Array:
    inside = union.sum()
    return (inside >= mask.target) & (union.size - inside >= mask.context)


def multi_block_mask(keys: jax.Array, grid: Grid, mask: BlockMask) -> tuple[jax.Array, jax.Array]:
    """Context and target tokens of a clip, in numbers that never change.

    Rectangles are drawn again until enough cells lie on both sides; of each side's cells a fixed
    number is kept, as `mask.trim` says. (V-JEPA's code, src/masks, cuts every clip of a batch to
    the batch's smallest count in raster order, which starves the last tubelets.)

    Args:
        keys: [B] random keys, one per clip.

    Returns:
        context ids [B, t * mask.context] and target ids [B, t * mask.target], sorted.
    """
    _, h, w = grid

    def one(key):
        draw_key, context_key, target_key = jax.random.split(key, 3)

        def again(state):
            key, _ = state
            key, draw = jax.random.split(key)
            return key, block_union(draw, mask, h, w)

        start = again((draw_key, None))
        _, union = jax.lax.while_loop(lambda s: ~_fits(s[1], mask), again, start)
        union = union.reshape(-1)

        def pick(key, allowed, count):
            order = across(key, h, w) if mask.trim == "side" else jax.random.uniform(key, (h * w,))
            return jnp.sort(jnp.argsort(order + ~allowed)[:count])  # orders are below 1

        return pick(context_key, ~union, mask.context), pick(target_key, union, mask.target)

    context, target = jax.vmap(one)(keys)
    return over_time(context, grid), over_time(target, grid)


def nearest_hidden(context: jax.Array, target: jax.Array, grid: Grid) -> jax.Array:
    """How far visible tokens lie from the nearest hidden one of their mask, in steps of the grid.

    A mask holds for every tubelet, so the nearest hidden token lies in the same one.

    Args:
        context, target: ids [B, t C] and [B, t M] of `multi_block_mask`.

    Returns:
        float32 [B, t C], at least 1.
    """
    t, _, w = grid
    seen, hidden = (ids[:, : ids.shape[1] // t] for ids in (context, target))  # of one layer
    rows, columns = (
        a[:, :, None] - b[:, None] for a, b in ((seen // w, hidden // w), (seen % w, hidden % w))
    )
    distance = jnp.sqrt((rows**2 + columns**2).min(-1).astype(jnp.float32))
    return jnp.tile(distance, (1, t))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))  # compiled once per mask and process
def _cells_inside(keys: jax.Array, mask: BlockMask, height: int, width: int) -> jax.Array:
    # Some at a time: a grid of 800 x 800 would take gigabytes.
    return jax.lax.map(lambda key: block_union(key, mask, height, width).sum(), keys, batch_size=32)


def check_block_mask(grid: Grid, mask: BlockMask, *, tries: int = 512, least: float = 0.1) -> float:
    """The share of draws that fit, so that an impossible mask is refused before training.

    Raises:
        ConfigError: no context or no target, or fewer than `least` of `tries` draws have enough
            cells of both; the message gives the counts that would fit.
    """
    _, h, w = grid
    if min(mask.context, mask.target) < 1:
        raise ConfigError(
            f"jepa mask {mask}: on a {h} x {w} grid that is not one context and one target cell; "
            "raise context and target"
        )
    keys = jax.random.split(jax.random.key(0), tries)
    hashable = dataclasses.replace(mask, aspect=tuple(mask.aspect))
    inside = np.asarray(_cells_inside(keys, hashable, h, w))
    fits = float(np.mean((inside >= mask.target) & (h * w - inside >= mask.context)))
    if fits < least:
        target, context = (int(np.quantile(x, 0.25)) for x in (inside, h * w - inside))
        raise ConfigError(
            f"jepa mask {mask}: only {fits:.1%} of draws on a {h} x {w} grid leave {mask.context} "
            f"context and {mask.target} target cells; about {context} and {target} "
            f"({context / (h * w):.2f} and {target / (h * w):.2f} of the cells) would fit three "
            "draws in four each"
        )
    return fits
