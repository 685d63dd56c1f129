"""Block-causal attention: every implementation, and what a causal encoder's tokens read."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from surgrec_jax import sharding
from surgrec_jax.checkpoint import CheckpointError
from surgrec_jax.frozen.architecture import check_architecture, config_from_meta, meta_of
from surgrec_jax.models import attention, vit
from surgrec_jax.models.presets import Compute, ViTConfig

CAUSAL = ViTConfig(
    24,
    3,
    2,
    40,
    num_frames=8,
    image_size=(16, 24),
    patch=8,
    position="rope_3d",
    prefix_tokens=2,
    attention="block_causal",
)
CELLS = 6


def reference(q, k, v, times):
    """Softmax over the keys whose time is not later, query by query, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    times = [np.broadcast_to(part, (len(q), part.shape[1])) for part in times]
    out = np.zeros_like(q)
    for b, i, h in np.ndindex(q.shape[:3]):
        read = times[1][b] <= times[0][b, i]
        score = k[b, read, h] @ q[b, i, h] / np.sqrt(q.shape[-1])
        weight = np.exp(score - score.max())
        out[b, i, h] = weight / weight.sum() @ v[b, read, h]
    return out


def inputs(queries, keys=None, known=True):
    """q, k, v of two clips, and times: in order and the same in both, or each clip's own."""
    rng = np.random.default_rng(queries)
    keys = keys or queries
    q, k, v = (rng.standard_normal((2, n, 3, 8)).astype(np.float32) for n in (queries, keys, keys))
    if known:
        times = np.arange(queries, dtype=np.int32)[None] * 8 // queries
        return (q, k, v), (times, times)
    q_times = rng.integers(0, 8, (2, queries)).astype(np.int32)
    k_times = rng.integers(0, 8, (2, keys)).astype(np.int32)
    k_times[:, 3] = 0  # every query reads one key at least
    return (q, k, v), (jnp.asarray(q_times), jnp.asarray(k_times))


# cuDNN's own kernel runs on a GPU only; its mask and padding run here without it.
RUNS_HERE = {
    "einsum": attention.einsum_attention,
    "chunked": attention.chunked_attention,
    "splash": attention.splash_attention,
    "cudnn": functools.partial(attention.cudnn_attention, implementation="xla"),
}


@pytest.mark.parametrize(
    ("name", "queries", "keys", "known"),
    [
        ("einsum", 40, 40, True),
        ("einsum", 31, 50, False),
        ("chunked", 192, 192, True),
        ("chunked", 128, 75, False),
        ("cudnn", 40, 40, True),
        ("cudnn", 33, 51, False),
        ("splash", 200, 200, True),  # padded to 256
    ],
)
def test_every_implementation_and_its_gradients(name, queries, keys, known):
    qkv, times = inputs(queries, keys, known)
    weight = np.random.default_rng(1).standard_normal(qkv[0].shape).astype(np.float32)

    def run(function):
        loss = lambda *qkv: jnp.sum(function(*qkv, times) * weight)  # noqa: E731
        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*qkv)

    got = jax.jit(lambda *qkv: RUNS_HERE[name](*qkv, times))(*qkv)
    np.testing.assert_allclose(got, reference(*qkv, times), atol=5e-6)
    plain = run(attention.einsum_attention)
    for a, b in zip(run(RUNS_HERE[name]), plain, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_chunks_are_masked_on_each_devices_own_clips():
    qkv, times = inputs(128, 128, known=False)
    qkv, times = jax.tree.map(lambda x: np.tile(x, (4,) + (1,) * (x.ndim - 1)), (qkv, times))
    with jax.set_mesh(sharding.make_mesh()):
        got = jax.jit(lambda *qkv: attention.attend(*qkv, "chunked", times))(*qkv)
    np.testing.assert_allclose(got, reference(*qkv, times), atol=5e-6)


def test_what_auto_chooses():
    """The TPU kernel needs times that are known when compiling; cuDNN's takes odd lengths too."""
    x = jax.ShapeDtypeStruct((2, 1569, 4, 64), jnp.bfloat16)
    times = (np.zeros((1, 1569), np.int32),) * 2
    drawn = (jax.ShapeDtypeStruct((2, 1569), jnp.int32),) * 2
    assert attention.choose(x, x, "gpu", times) == "cudnn"
    assert attention.choose(x, x, "tpu", times) == "splash"
    assert attention.choose(x, x, "tpu", drawn) == "einsum"
    qkv, times = inputs(40, 40, known=False)
    with pytest.raises(ValueError, match="whole clips only.*compute.attention=auto"):
        attention.attend(*qkv, "splash", times)


@functools.cache
def params():
    fresh = vit.init_encoder(CAUSAL, jax.random.key(0))
    leaves, tree = jax.tree.flatten(fresh)
    rng = np.random.default_rng(0)
    noisy = [np.float32(x + 0.2 * rng.standard_normal(x.shape)) for x in leaves]
    return jax.tree.unflatten(tree, noisy)


def clips():
    return np.random.default_rng(0).integers(0, 256, (2, 8, 16, 24, 3), np.uint8)


@functools.partial(jax.jit, static_argnums=0)
def run(config, params, video, ids=None):
    """Prefix tokens and patch tokens."""
    model = nnx.merge(vit.encoder_graph(config, Compute()), params)
    tubelets = vit.patchify(video, config)
    if ids is not None:
        tubelets = vit.take_tokens(tubelets, ids)
    tokens = model(tubelets, ids, with_prefix=True)
    return tokens[:, :2], tokens[:, 2:]


def test_a_patch_does_not_read_what_comes_later():
    video = clips()
    changed = video.copy()
    changed[:, 4:6] = 255 - changed[:, 4:6]  # the third of four tubelets
    prefix, tokens = run(CAUSAL, params(), video)
    prefix_after, after = run(CAUSAL, params(), changed)
    np.testing.assert_array_equal(tokens[:, : 2 * CELLS], after[:, : 2 * CELLS])
    for own_and_later in (2, 3):
        span = slice(own_and_later * CELLS, (own_and_later + 1) * CELLS)
        assert float(np.abs(tokens[:, span] - after[:, span]).min(-1).max()) > 1e-3
    assert float(np.abs(prefix - prefix_after).min()) > 1e-4
    full = dataclasses.replace(CAUSAL, attention="full")
    whole, whole_after = run(full, params(), video)[1], run(full, params(), changed)[1]
    assert float(np.abs(whole[:, 0] - whole_after[:, 0]).max()) > 1e-3


def test_no_patch_reads_a_prefix_token():
    other = params() | {"prefix": jnp.roll(params()["prefix"], 1, 1)}
    before, after = run(CAUSAL, params(), clips()), run(CAUSAL, other, clips())
    np.testing.assert_array_equal(before[1], after[1])
    assert float(np.abs(before[0] - after[0]).max()) > 1e-2


def test_a_part_of_the_tokens_in_any_order():
    """Times follow positions: a shuffled part gives the same, shuffled, and the first tubelets'
    tokens are those of a clip that ends there."""
    rng = np.random.default_rng(3)
    ids = np.stack([rng.permutation(4 * CELLS)[:13] for _ in range(2)])
    order = np.argsort(ids, 1)
    prefix, tokens = run(CAUSAL, params(), clips(), ids)
    prefix_sorted, in_order = run(CAUSAL, params(), clips(), np.take_along_axis(ids, order, 1))
    np.testing.assert_allclose(
        np.take_along_axis(np.asarray(tokens), order[..., None], 1), in_order, atol=1e-5
    )
    np.testing.assert_allclose(prefix, prefix_sorted, atol=1e-5)
    first = np.tile(np.arange(2 * CELLS), (2, 1))
    np.testing.assert_allclose(
        run(CAUSAL, params(), clips(), first)[1],
        run(CAUSAL, params(), clips())[1][:, : 2 * CELLS],
        atol=1e-5,
    )


def test_a_checkpoint_is_opened_as_it_was_trained():
    meta = meta_of(CAUSAL, fps=4.0) | {"name": "ours"}
    assert config_from_meta(meta) == CAUSAL
    full = dataclasses.replace(CAUSAL, attention="full")
    for saved, asked in ((CAUSAL, full), (full, CAUSAL)):
        meta = meta_of(saved, fps=4.0) | {"name": "ours"}
        with pytest.raises(CheckpointError, match="attention: '.*' in the checkpoint, '.*' asked"):
            check_architecture(meta, asked)
    before = meta_of(full, fps=4.0) | {"name": "ours"}
    del before["encoder"]["attention"]  # checkpoints from before there was a choice
    assert config_from_meta(before) == full
