"""Does an imported encoder give the numbers of the original? And if not, which part is wrong?

Keys and shapes cannot show that a square matrix is transposed or that query and key are exchanged.
A reference can: an .npz with `video` uint8 [B, T, H, W, 3] and `tokens` float32 [B, N, D], made by
the original model, and optionally `hidden` float32 [L + 1, B, N, D], the input of every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.models.layers import Block
from surgrec_jax.models.position import Positions
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encode, encoder_graph, patchify

# Of float32 forward passes in another order of sums.
TOLERANCE = 1e-4

Params = dict[str, Any]


def check(reference: str | Path, config: ViTConfig, params: Params) -> float:
    """Compares an encoder with a reference; returns the largest difference.

    Raises:
        ConvertError: a difference above TOLERANCE (relative to the largest token), with the first
            layer that is wrong where `hidden` is given, and what would put it right where that is
            one of the usual mistakes.
    """
    try:
        with np.load(reference, allow_pickle=False) as file:
            video, tokens = file["video"], file["tokens"]
            hidden = file["hidden"] if "hidden" in file.files else None
    except (OSError, ValueError, KeyError) as error:
        raise ConvertError(f"{reference} is no reference with video and tokens: {error}") from error
    found = np.asarray(encode(config, Compute(), params, video))
    if found.shape != tokens.shape:
        raise ConvertError(f"{reference}: tokens {tokens.shape}, this encoder gives {found.shape}")
    worst = float(np.abs(found - tokens).max())
    if worst <= TOLERANCE * max(1.0, float(np.abs(tokens).max())):
        return worst
    message = f"tokens differ from those of {reference} by up to {worst:.3g}"
    if hidden is not None and not config.prefix_tokens:
        message += "; " + diagnose(config, params, video, hidden)
    raise ConvertError(message)


def diagnose(config: ViTConfig, params: Params, video: np.ndarray, hidden: np.ndarray) -> str:
    """The first part of an encoder that does not do what the reference's `hidden` shows."""
    positions = Positions(
        config.position, config.grid, config.width, config.heads, config.position_grid
    )
    embedded = _embed(config, params, patchify(video, config), positions)
    if not _close(embedded, hidden[0]):
        return "the patch embedding or the positions are wrong"
    rope = positions.rotary(None)
    for layer in range(config.depth):
        block = jax.tree.map(lambda x, i=layer: np.asarray(x[i]), params["blocks"]["layers"])
        run = _runner(config, rope, hidden[layer])
        if _close(run(block), hidden[layer + 1]):
            continue
        for name, changed in _mistakes(block, config.width):
            if _close(run(changed), hidden[layer + 1]):
                return f"blocks.{layer}: {name}"
        return f"blocks.{layer} is wrong"
    return "the final norm is wrong"


def _embed(config: ViTConfig, params: Params, tubelets: jax.Array, positions: Positions):
    model = nnx.merge(encoder_graph(config, Compute()), params)
    x = model.patch_embed(model.normalise(tubelets))
    if config.modality_embedding:
        x = x + model.modality[...]
    return positions.add(x, None)


def _runner(config: ViTConfig, rope: Any, x: np.ndarray) -> Callable[[Params], np.ndarray]:
    graph = nnx.graphdef(nnx.eval_shape(lambda: Block(config, Compute(), rngs=nnx.Rngs(0))))
    return lambda params: np.asarray(nnx.merge(graph, params)(x, rope))


def _mistakes(block: Params, width: int) -> Iterator[tuple[str, Params]]:
    """A block with one usual mistake undone at a time, and what the mistake is called."""
    names = ("query", "key", "value")
    for a, b in ((0, 1), (0, 2), (1, 2)):
        order = [b if n == a else a if n == b else n for n in range(3)]
        fixed = jax.tree.map(lambda x: x, block)
        for name, value in block["attn"]["qkv"].items():
            parts = np.split(value, 3, axis=-1)
            fixed["attn"]["qkv"][name] = np.concatenate([parts[n] for n in order], -1)
        yield f"{names[a]} and {names[b]} are exchanged", fixed
    for part, name in (("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
        kernel = block[part][name]["kernel"]
        if kernel.shape[0] == kernel.shape[1]:
            fixed = jax.tree.map(lambda x: x, block)
            fixed[part][name]["kernel"] = kernel.T
            yield f"{part}.{name} is transposed", fixed
    fixed = jax.tree.map(lambda x: x, block)
    parts = np.split(block["attn"]["qkv"]["kernel"], 3, axis=-1)
    fixed["attn"]["qkv"]["kernel"] = np.concatenate([p.T for p in parts], -1)
    yield "query, key and value are transposed", fixed
    fixed = jax.tree.map(lambda x: x, block) | {"norm1": block["norm2"], "norm2": block["norm1"]}
    yield "norm1 and norm2 are exchanged", fixed


def _close(a: Any, b: np.ndarray) -> bool:
    return float(np.abs(np.asarray(a) - b).max()) <= TOLERANCE * max(1.0, float(np.abs(b).max()))
