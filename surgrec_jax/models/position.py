"""Positions of tokens: fixed sine-cosine tables and 3-D rotary embedding.

All tables are computed in float64 on the host from the token grid and enter the program as
constants; none of them is part of a checkpoint.
"""

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.models.presets import ViTConfig

Grid = tuple[int, int, int]
TEMPERATURE = 10_000.0


def grid_coordinates(grid: Grid) -> np.ndarray:
    """[N, 3] integer (t, h, w) of every token, in raster order."""
    return np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)


def sincos_1d(num_tokens: int, dim: int) -> np.ndarray:
    """[N, D] table over the flat token index (VideoMAE, after Vaswani et al. 2017, section 3.5).

    Column 2i is sin(n / 10000^(2i / D)), column 2i + 1 the cosine of the same angle.
    """
    column = np.arange(dim)
    angle = np.arange(num_tokens)[:, None] / TEMPERATURE ** (2 * (column // 2) / dim)  # [N, D]
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def sincos_3d(grid: Grid, dim: int) -> np.ndarray:
    """[N, D] table of the three coordinates side by side (V-JEPA 1, `uniform_power`).

    Each axis takes 2 * ceil(D / 6) columns, sines before cosines; what exceeds D is cut off.
    """
    half = int(np.ceil(dim / 6))
    frequency = TEMPERATURE ** -(np.arange(half) / half)
    angles = grid_coordinates(grid)[:, :, None] * frequency  # [N, 3, half]
    table = np.concatenate([np.sin(angles), np.cos(angles)], -1)  # [N, 3, 2 half]
    return table.reshape(len(table), -1)[:, :dim].astype(np.float32)


def rope_axis_dim(head_dim: int) -> int:
    """Rotated dimensions per axis: the largest even number of which three fit in a head.

    20 of a head of 64 (4 dimensions stay as they are), 10 of a head of 32 (2 stay).
    """
    return 2 * (head_dim // 3 // 2)


def rope_3d(
    grid: Grid, head_dim: int, *, tiled: bool = False, origin: Grid | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine tables [N, head_dim] of 3-D rotary position embedding.

    A head's dimensions are (time, height, width, rest); pair (2i, 2i + 1) of an axis turns by
    coordinate / 10000^(i / pairs). The rest is not turned.

    Args:
        tiled: V-JEPA 2's variant, in which element j of an axis has the frequency j mod pairs, so
            that the two elements of a pair turn by different angles (modules.py of its code).
        origin: the grid whose range of coordinates this one is stretched to; 0 leaves an axis.
    """
    axis_dim = rope_axis_dim(head_dim)
    pairs = axis_dim // 2
    frequency = TEMPERATURE ** -(np.arange(pairs) / pairs)
    frequency = np.tile(frequency, 2) if tiled else np.repeat(frequency, 2)  # [axis_dim]
    coordinates = grid_coordinates(grid) * _stretch(grid, origin)  # [N, 3]
    angle = coordinates[:, :, None] * frequency  # [N, 3, axis_dim]
    angle = angle.reshape(len(angle), -1)
    angle = np.pad(angle, ((0, 0), (0, head_dim - 3 * axis_dim)))
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _stretch(grid: Grid, origin: Grid | None) -> np.ndarray:
    """[3] factors on the coordinates of a grid that give them the range of the origin's."""
    pairs = zip(grid, origin or (0, 0, 0), strict=True)
    return np.array([(o - 1) / (g - 1) if o and g > 1 else 1.0 for g, o in pairs])


# Periods of DINOv3's rotary embedding run from 1 to this (Siméoni et al. 2025; public code).
ROPE_2D_BASE = 100.0


def rope_2d(grid: Grid, head_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine tables [N, head_dim] of DINOv3's axial rotary embedding.

    Rows and columns are cell centres in [-1, 1]; pair i of the first half of the pairs turns by
    2 pi row / 100^(i / (head_dim / 4)), of the second half likewise by the column. Time does not
    turn. (DINOv3 pairs element j with j + head_dim / 2; converters put pairs side by side.)
    """
    period = ROPE_2D_BASE ** (np.arange(head_dim // 4) / (head_dim // 4))
    centres = 2 * (grid_coordinates(grid)[:, 1:] + 0.5) / np.array(grid[1:]) - 1  # [N, 2]
    angle = 2 * np.pi * centres[:, :, None] / period  # [N, 2, head_dim / 4]
    angle = np.repeat(angle.reshape(len(angle), -1), 2, axis=-1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def resample(table: np.ndarray, origin: Grid, grid: Grid) -> np.ndarray:
    """A table [N0, D] over the grid `origin`, resampled trilinearly to another grid, [N, D].

    Cell centres are aligned and borders repeated (torch's `interpolate`, align_corners=False).
    """
    x = table.reshape(*origin, -1).astype(np.float64)
    for axis, (old, new) in enumerate(zip(origin, grid, strict=True)):
        where = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(where).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (where - low).reshape([-1 if a == axis else 1 for a in range(4)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x.reshape(-1, table.shape[-1]).astype(np.float32)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Turns x by the tables: pairs (a, b) become (a cos - b sin, b cos + a sin).

    Args:
        x: [B, N, heads, head_dim].
        cos, sin: [B or 1, N, head_dim], rows of `rope_3d` for these tokens.
    """
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    swapped = jnp.stack([-pairs[..., 1], pairs[..., 0]], -1).reshape(x.shape)
    turned = x * cos[:, :, None, :] + swapped * sin[:, :, None, :]
    return turned.astype(x.dtype)


class Positions:
    """Positions of one transformer: added to its input once, or turned into every attention.

    Args:
        config: of the transformer.
        grid: tokens along (time, height, width); None for the transformer's own.
    """

    def __init__(self, config: ViTConfig, grid: Grid | None = None):
        self.kind, self.origin = config.position, config.position_grid
        self.grid, self.width = grid or config.grid, config.width
        self.head_dim = config.width // config.heads

    def add(self, x: jax.Array, ids: jax.Array | None) -> jax.Array:
        """Adds to x [B, n, D] the table rows of its tokens; other kinds leave x as it is."""
        if not self.kind.startswith("sincos"):
            return x
        origin = tuple(o or g for g, o in zip(self.grid, self.origin or self.grid, strict=True))
        if self.kind == "sincos_1d":
            table = sincos_1d(int(np.prod(origin)), self.width)
        else:
            table = sincos_3d(origin, self.width)
        if origin != self.grid:
            table = resample(table, origin, self.grid)
        return x + _rows(table, ids).astype(x.dtype)

    def rotary(self, ids: jax.Array | None) -> tuple[jax.Array, jax.Array] | None:
        """(cos, sin), each [B or 1, n, head_dim], for `rotate`; None for additive kinds."""
        if not self.kind.startswith("rope"):
            return None
        if self.kind == "rope_2d":
            cos, sin = rope_2d(self.grid, self.head_dim)
        else:
            tiled = self.kind == "rope_3d_tiled"
            cos, sin = rope_3d(self.grid, self.head_dim, tiled=tiled, origin=self.origin)
        return _rows(cos, ids), _rows(sin, ids)


def _rows(table: np.ndarray, ids: jax.Array | None) -> jax.Array:
    """Rows of a [N, D] table for ids [B, n], or the whole table as [1, N, D]."""
    table = jnp.asarray(table)
    return table[None] if ids is None else table[ids]
