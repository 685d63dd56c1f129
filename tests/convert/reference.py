"""Encoders in the key style of the original repositories, run by plain torch on a state dict.

Written from the papers and the formats in the documentation: a second opinion on positions, norms
and layouts that does not share a line with the package.
"""

import math

import torch
from torch.nn import functional as F


def block_shapes(prefix, width, mlp, qv=False, scale=False):
    """Keys and shapes of one block."""
    shapes = {
        "norm1.weight": [width],
        "norm1.bias": [width],
        "attn.qkv.weight": [3 * width, width],
        "attn.proj.weight": [width, width],
        "attn.proj.bias": [width],
        "norm2.weight": [width],
        "norm2.bias": [width],
        "mlp.fc1.weight": [mlp, width],
        "mlp.fc1.bias": [mlp],
        "mlp.fc2.weight": [width, mlp],
        "mlp.fc2.bias": [width],
    }
    if qv:
        shapes |= {"attn.q_bias": [width], "attn.v_bias": [width]}
    else:
        shapes["attn.qkv.bias"] = [3 * width]
    if scale:
        shapes |= {"ls1.gamma": [width], "ls2.gamma": [width]}
    return {prefix + key: shape for key, shape in shapes.items()}


def encoder_shapes(prefix, depth=2, width=48, mlp=96, kernel=(2, 4, 4), **style):
    """Keys and shapes of an encoder without its last norm."""
    shapes = {
        f"{prefix}patch_embed.proj.weight": [width, 3, *kernel],
        f"{prefix}patch_embed.proj.bias": [width],
    }
    for i in range(depth):
        shapes |= block_shapes(f"{prefix}blocks.{i}.", width, mlp, **style)
    return shapes


def norm_shapes(key, width=48):
    return {f"{key}.weight": [width], f"{key}.bias": [width]}


def layer_norm(x, state, key, eps=1e-6):
    weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def linear(x, state, key):
    return F.linear(x, state[f"{key}.weight"], state.get(f"{key}.bias"))


def attention(x, state, key, heads, turn=None):
    b, n, d = x.shape
    bias = state.get(f"{key}qkv.bias")
    if f"{key}qkv.bias_mask" in state:
        bias = bias * state[f"{key}qkv.bias_mask"]
    if f"{key}q_bias" in state:
        q, v = state[f"{key}q_bias"], state[f"{key}v_bias"]
        bias = torch.cat([q, torch.zeros_like(v), v])
    qkv = F.linear(x, state[f"{key}qkv.weight"], bias)
    q, k, v = qkv.view(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)  # [B, H, N, d]
    if turn is not None:
        q, k = turn(q), turn(k)
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(d // heads), -1)
    return linear((weights @ v).transpose(1, 2).reshape(b, n, d), state, f"{key}proj")


def block(x, state, key, heads, turn=None, eps=1e-6):
    y = attention(layer_norm(x, state, f"{key}norm1", eps), state, f"{key}attn.", heads, turn)
    x = x + y * state.get(f"{key}ls1.gamma", 1)
    y = layer_norm(x, state, f"{key}norm2", eps)
    y = linear(F.gelu(linear(y, state, f"{key}mlp.fc1")), state, f"{key}mlp.fc2")
    return x + y * state.get(f"{key}ls2.gamma", 1)


def tokens(pixels, state, prefix):
    """Patch embedding of [B, T, 3, H, W] -> [B, N, D], by torch's own convolution."""
    weight, bias = (state[f"{prefix}patch_embed.proj.{n}"] for n in ("weight", "bias"))
    x = pixels.transpose(1, 2)
    return F.conv3d(x, weight, bias, stride=weight.shape[2:]).flatten(2).transpose(1, 2)


def coordinates(grid):
    """[N, 3] float (t, h, w)."""
    return torch.cartesian_prod(*(torch.arange(float(n)) for n in grid))


def rope(grid, ids=None, *, tiled, stretch=(1.0, 1.0, 1.0)):
    """3-D rotary embedding, one axis after another as complex numbers or V-JEPA 2's tiling."""
    where = coordinates(grid) * torch.tensor(stretch)
    where = where[None, None] if ids is None else where[ids][:, None]  # [B, 1, N, 3]

    def turn(x):
        size = 2 * (x.shape[-1] // 3 // 2)
        out = x.clone()
        frequency = 10000.0 ** -(torch.arange(size // 2) / (size // 2))
        for axis in range(3):
            part = x[..., axis * size : (axis + 1) * size]
            angle = where[..., axis : axis + 1] * frequency  # [B, 1, N, size / 2]
            angle = angle.repeat(1, 1, 1, 2) if tiled else angle.repeat_interleave(2, -1)
            a, b = part[..., 0::2], part[..., 1::2]
            even = a * angle[..., 0::2].cos() - b * angle[..., 0::2].sin()
            odd = b * angle[..., 1::2].cos() + a * angle[..., 1::2].sin()
            out[..., axis * size : (axis + 1) * size] = torch.stack([even, odd], -1).flatten(-2)
        return out

    return turn


def sincos_3d(grid, width):
    """V-JEPA 1's table (`uniform_power`): each axis 2 ceil(D / 6) columns, sines first."""
    half = math.ceil(width / 6)
    frequency = 10000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
    where = coordinates(grid).double()
    parts = [where[:, a : a + 1] * frequency for a in range(3)]
    table = torch.cat([torch.cat([p.sin(), p.cos()], 1) for p in parts], 1)
    return table[:, :width].float()


def sincos_1d(count, width):
    """VideoMAE's table over the flat index: sine and cosine alternate."""
    column = torch.arange(width)
    exponent = 2 * torch.div(column, 2, rounding_mode="floor") / width
    angle = torch.arange(count, dtype=torch.float64)[:, None] / 10000.0 ** exponent.double()
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()
