"""Comparison of an imported encoder with the original's numbers, and a search for the wrong part.

Keys and shapes cannot show that a square matrix is transposed or that query and key are exchanged.
A reference can: an .npz with `video` uint8 [B, T, H, W, 3] and `tokens` float32 [B, N, D], made by
the original model, and optionally `hidden` float32 [L + 1, B, N, D], the input of every block and
the last one's output. With `rows` [R], tokens and hidden are of these tokens only, as `record` (run
by every export) writes them; with `features` [B, D], the pooled tokens are compared too.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from surgrec_jax import sharding
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.models.layers import Block, Rope
from surgrec_jax.models.position import Positions
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encode, encoder_graph, extract_features, patchify, pool, times
from surgrec_jax.safety import untrusted

# Forward passes in float32 differ by less than this where they sum in another order.
TOLERANCE = 1e-4
# A wrong number of heads is seen in the first block.
HEADS_SHOW_NOWHERE = (
    " (its weights, or the number of heads, which no shape shows: --heads, or config.json)"
)
# The number of tokens that `record` keeps.
ROWS = 8
# dtype and number of axes of a reference's arrays.
KINDS = {
    "video": (np.uint8, 5),
    "tokens": (np.floating, 3),
    "features": (np.floating, 2),
    "hidden": (np.floating, 4),
    "rows": (np.integer, 1),
}

Params = dict[str, Any]


def beside(weights: str | Path) -> Path:
    """The file of an export's record: it lies beside the weights and has their name."""
    return Path(f"{weights}.expected.npz")


def _on_cpu(function: Callable[[Any, ViTConfig, Params], Any]) -> Callable[..., Any]:
    """The function on the CPU, whatever accelerator there is.

    A GPU rounds the factors of float32 products to TF32 and a TPU to bfloat16, which TOLERANCE does
    not allow for. The mesh makes attention choose a kernel of the CPU's.
    """

    @functools.wraps(function)
    def wrapped(path: Any, config: ViTConfig, params: Params) -> Any:
        host = jax.local_devices(backend="cpu")[0]
        with jax.set_mesh(sharding.make_mesh(devices=[host])):
            return function(path, config, jax.device_put(params, host))

    return wrapped


@_on_cpu
def record(path: Path, config: ViTConfig, params: Params) -> None:
    """Writes a random clip and an encoder's output for it, at some tokens, after every block."""
    rng = np.random.default_rng(0)
    height, width = config.image_size
    small = (1, config.num_frames, -(-height // 4), -(-width // 4), 3)
    video = rng.integers(0, 256, small, dtype=np.uint8).repeat(4, 2).repeat(4, 3)  # compresses well
    video = video[:, :, :height, :width]
    rows = np.unique(np.linspace(0, config.num_tokens - 1, ROWS).astype(int))
    x, rope = _embed(config, params, video)
    hidden = [x[:, rows]]
    for layer in range(config.depth):
        x = _run(config, _block(params, layer), x, rope)
        hidden.append(x[:, rows])
    tokens, features = _finish(config, params, x)
    np.savez_compressed(
        path, video=video, rows=rows, tokens=tokens[:, rows], features=features, hidden=hidden
    )


@_on_cpu
def check(reference: str | Path, config: ViTConfig, params: Params) -> float:
    """Compares an encoder with a reference; returns the largest difference.

    Raises:
        ConvertError: a difference above TOLERANCE (relative to the largest value), with the first
            wrong layer where the reference has `hidden`, and its remedy where the mistake is a
            usual one.
    """
    expected = _read(reference, config)
    video = expected["video"]
    all_tokens, features = map(np.asarray, _encode(config, params, video))
    rows = expected.get("rows", slice(None))
    outputs = {"tokens": all_tokens[:, rows]}
    if "features" in expected:
        outputs["features"] = features
    shapes = {name: array.shape for name, array in outputs.items()}
    if "hidden" in expected:
        shapes["hidden"] = (config.depth + 1, *shapes["tokens"])
    for name, shape in shapes.items():
        if expected[name].shape != shape:
            raise ConvertError(
                f"{reference}: {name} {expected[name].shape}, this encoder gives {shape}"
            )
    worst, wrong = 0.0, ""
    for name, ours in outputs.items():
        theirs = expected[name]
        worst = max(worst, float(np.abs(ours - theirs).max()))
        wrong = wrong or ("" if _close(ours, theirs) else name)
    if not wrong:
        return worst
    message = f"{wrong} differ from those of {reference} by up to {worst:.3g}"
    if "hidden" in expected and not config.prefix_tokens:
        message += "; " + diagnose(config, params, video, expected["hidden"], rows)
    raise ConvertError(message)


def _read(reference: str | Path, config: ViTConfig) -> dict[str, np.ndarray]:
    """The arrays of a reference, each of its kind.

    Raises:
        ConvertError: it is none, or has clips of another size.
    """
    try:
        expected = untrusted.read_arrays(Path(reference))
        missing = {"video", "tokens"} - expected.keys()
        if missing:
            raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
        for name, array in expected.items():
            dtype, axes = KINDS.get(name, (array.dtype, array.ndim))
            if array.ndim != axes or not np.issubdtype(array.dtype, dtype):
                raise ValueError(f"{name} is {array.dtype} {list(array.shape)}")
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise ValueError(f"{name} has numbers that are NaN or infinite")
        rows = expected.get("rows", np.zeros(1, int))
        if not len(rows) or rows.min() < 0 or rows.max() >= config.num_tokens:
            raise ValueError(f"rows are not of {config.num_tokens} tokens")
    except (OSError, ValueError) as error:
        raise ConvertError(f"{reference} is no reference with video and tokens: {error}") from error
    clip, shape = (config.num_frames, *config.image_size, 3), expected["video"].shape
    if shape[1:] != clip or not shape[0]:
        raise ConvertError(
            f"{reference} has clips {list(shape[1:])}, this encoder takes {list(clip)}: give "
            "--num_frames and --image_size as the file was trained"
        )
    return expected


def diagnose(
    config: ViTConfig, params: Params, video: np.ndarray, hidden: np.ndarray, rows: Any
) -> str:
    """Names the first part of an encoder whose output differs from the reference's `hidden`.

    Args:
        hidden: [L + 1, B, rows, D]: the input of every block and the last one's output.
        rows: indices of its tokens.
    """
    x, rope = _embed(config, params, video)
    if not _close(x[:, rows], hidden[0]):
        return "the patch embedding or the positions are wrong"
    for layer in range(config.depth):
        block = _block(params, layer)
        out = _run(config, block, x, rope)
        if not _close(out[:, rows], hidden[layer + 1]):
            for name, changed in _mistakes(block):
                if _close(_run(config, changed, x, rope)[:, rows], hidden[layer + 1]):
                    return f"blocks.{layer}: {name}"
            return f"blocks.{layer} is wrong" + ("" if layer else HEADS_SHOW_NOWHERE)
        x = out
    return "the final norm is wrong"


# The functions below are compiled once per architecture.
@functools.partial(jax.jit, static_argnums=0)
def _encode(config: ViTConfig, params: Params, video: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens [B, N, D] and features [B, D]."""
    tokens = encode(config, Compute(), params, video)
    return tokens, extract_features(config, Compute(), params, video)


@functools.partial(jax.jit, static_argnums=0)
def _embed(config: ViTConfig, params: Params, video: jax.Array) -> tuple[jax.Array, Rope]:
    """The input of the first block, [B, N, D], and the rotary tables of all blocks."""
    model = nnx.merge(encoder_graph(config, Compute()), params)
    return model.embed(patchify(video, config), None), Positions(config).rotary(None)


@functools.partial(jax.jit, static_argnums=0)
def _run(config: ViTConfig, block: Params, x: jax.Array, rope: Rope) -> jax.Array:
    """One block."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Block(config, Compute(), rngs=nnx.Rngs(0))))
    return nnx.merge(graph, block)(x, rope, None, times=times(config, None))


def _block(params: Params, layer: int) -> Params:
    return jax.tree.map(lambda x: np.asarray(x[layer]), params["blocks"]["layers"])


def _finish(config: ViTConfig, params: Params, x: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [B, N, D] and features [B, D] of the last block's output."""
    if config.final_norm == "tokens":
        x = nnx.merge(encoder_graph(config, Compute()), params).norm(x)
    return np.asarray(x), np.asarray(pool(config, Compute(), params, x))


def _mistakes(block: Params) -> Iterator[tuple[str, Params]]:
    """Names of usual mistakes, each with the block in which that one is undone."""
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
