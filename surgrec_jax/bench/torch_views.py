"""Views of clips in PyTorch, by the formulas of objectives/views.py."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from surgrec_jax.objectives import views

# The draws of one view of each of B clips: "box" [B, 4] (top, left, height, width in pixels),
# "flip" [B], what `views.draw_colours` gives [B] each, and "ids" [B, n] of its tokens.
Drawn = dict[str, Any]


def draw(
    batch: int,
    clip_size: tuple[int, int],
    crop: views.Crop,
    colours: views.Colours,
    flip: float,
    tokens: int,
    kept: int,
    device: str,
) -> Drawn:
    """Draws a view of each clip.

    Args:
        clip_size: height and width of the clips.
        tokens, kept: of the view, all and those that are embedded.
    """
    import torch

    height, width = clip_size

    def uniform(low: float, high: float):
        return low + (high - low) * torch.rand(batch, device=device)

    area = uniform(*crop.area) * height * width
    aspect = uniform(*map(math.log, crop.aspect)).exp()
    h, w = (area / aspect).sqrt().clamp(max=height), (area * aspect).sqrt().clamp(max=width)
    box = torch.stack([uniform(0, 1) * (height - h), uniform(0, 1) * (width - w), h, w], 1)
    changed = uniform(0, 1) < colours.probability
    drawn = {"box": box, "flip": uniform(0, 1) < flip, "grey": uniform(0, 1) < colours.grey}
    for name, still in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        limit = getattr(colours, name)
        drawn[name] = still + changed * uniform(-limit, limit)
    return drawn | {"ids": torch.rand(batch, tokens, device=device).argsort(1)[:, :kept]}


def maker(device: str) -> Callable:
    """Makes the map of float clips [B, T, 3, H, W], `Drawn` and a side to their views.

    Views are float [B, T, 3, side, side], 0 to 255.
    """
    colour_map = _colours(device)

    def make(clips, drawn: Drawn, side: int):
        box = drawn["box"]
        rows = _weights(box[:, 0], box[:, 2], clips.shape[3], side)
        columns = _weights(box[:, 1], box[:, 3], clips.shape[4], side)
        columns = columns.where(~drawn["flip"][:, None, None], columns.flip(1))  # mirror images
        x = rows[:, None, None] @ clips @ columns[:, None, None].mT
        matrix, offset = colour_map(x.mean((1, 3, 4)), drawn)
        x = (matrix[:, None] @ x.flatten(3)).unflatten(3, (side, side))
        return (x + offset[:, None, None, None, None]).clamp(0, 255)

    return make


def _weights(start, length, pixels: int, side: int):
    """Weights [B, side, pixels] of a linear, antialiased resizing of [start, start + length)."""
    import torch

    scale = (length / side)[:, None, None]  # pixels of the clip per pixel of the view
    centre = (torch.arange(side, device=start.device)[:, None] + 0.5) * scale
    centre = centre + start[:, None, None] - 0.5
    distance = (centre - torch.arange(pixels, device=start.device)).abs()
    weights = (1 - distance / scale.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(-1, keepdim=True)


def _colours(device: str) -> Callable:
    """Makes `views.colour_map` of means [B, 3] and `Drawn`: matrices [B, 3, 3], offsets [B]."""
    import torch

    luma, eye, still, zero, across, to_yiq, from_yiq = (
        torch.tensor(np.array(x), dtype=torch.float32, device=device)
        for x in (
            np.ones((3, 1)) * views.LUMA,
            np.eye(3),
            np.diag([1, 0, 0]),  # the luma's axis, about which hues turn
            np.diag([0, 1, 1]),
            [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
            views.YIQ,
            np.linalg.inv(views.YIQ),
        )
    )

    def colour_map(mean, drawn: Drawn):
        def each(name: str):
            return drawn[name][:, None, None]

        angle = 2 * math.pi * each("hue")
        turn = from_yiq @ (still + angle.cos() * zero + angle.sin() * across) @ to_yiq
        saturate = each("saturation") * eye + (1 - each("saturation")) * luma
        last = torch.where(each("grey"), luma, eye)
        offset = (1 - drawn["contrast"]) * drawn["brightness"] * (mean.float() * luma[0]).sum(-1)
        return last @ turn @ saturate * each("contrast") * each("brightness"), offset

    return colour_map
