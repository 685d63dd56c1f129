"""A stream gives what the whole clip gives, and looks back as far as its window."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.models import streaming, vit
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
    attention="block_causal",
)
CELLS = 6


@functools.cache
def encoder(**changes):
    config = dataclasses.replace(CAUSAL, **changes)
    fresh = vit.init_encoder(config, jax.random.key(0))
    leaves, tree = jax.tree.flatten(fresh)
    rng = np.random.default_rng(0)
    noisy = [np.float32(x + 0.2 * rng.standard_normal(x.shape)) for x in leaves]
    return Encoder(config, jax.tree.unflatten(tree, noisy), fps=4.0, name="ours", batch_size=2)


def video(frames, batch=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, frames, 16, 24, 3), np.uint8)


def tubelets(clips):
    return [clips[:, i : i + 2] for i in range(0, clips.shape[1], 2)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prefix_tokens": 2, "pooling": "cls", "position": "rope_3d_tiled"},
        {"position": "sincos_3d", "final_norm": "pooled", "qkv_bias": "qv"},
        {"position": "learned_2d", "prefix_tokens": 1, "layer_scale": True, "mlp": "swiglu"},
    ],
)
def test_tubelet_by_tubelet_is_the_whole_clip(changes):
    one = encoder(**changes)
    clips = video(8)
    stream = one.stream(batch=2)
    pushed = [stream.push(part) for part in tubelets(clips)]
    tokens = np.concatenate([tokens for tokens, _ in pushed], 1)
    np.testing.assert_allclose(tokens, one.tokens(clips), atol=1e-5)
    np.testing.assert_allclose(pushed[-1][1], one.features(clips), atol=1e-5)
    shorter = Encoder(
        dataclasses.replace(one.config, num_frames=4), one.params, fps=4.0, name="short"
    )
    np.testing.assert_allclose(pushed[1][1], shorter.features(clips[:, :4]), atol=1e-5)
    stream.reset()
    again = stream.push(clips[:, :2])[0]
    np.testing.assert_allclose(again, tokens[:, :CELLS], atol=1e-6)


@pytest.mark.parametrize(("window", "frames"), [(8, 24), (4, 12), (2, 6)])
def test_an_endless_video_is_a_long_clip_under_a_window(window, frames, monkeypatch):
    """Against one pass over all frames in which a token also reads nothing older than its window:
    rotary positions count distances only."""
    one = encoder()
    clips = video(frames, seed=1)
    stream = one.stream(window=window, batch=2)
    tokens = np.concatenate([stream.push(part)[0] for part in tubelets(clips)], 1)

    def banded(q, k, v, implementation="auto", times=None):
        time = jnp.arange(q.shape[1]) // CELLS
        behind = time[:, None] - time[None]
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
        seen = (behind >= 0) & (behind < window // 2)
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v)

    monkeypatch.setattr("surgrec_jax.models.layers.attend", banded)
    long = dataclasses.replace(one.config, num_frames=frames)
    whole = vit.encode(long, Compute(), one.params, clips)
    np.testing.assert_allclose(tokens, whole, atol=2e-5)


def test_one_program_serves_every_tubelet():
    one = encoder()
    stream = one.stream(batch=2)
    parts = tubelets(video(20))
    stream.push(parts[0])
    before = streaming._push._cache_size()
    for part in parts[1:]:
        stream.push(part)
    assert streaming._push._cache_size() == before and stream.count == 10


def test_what_cannot_stream_is_refused():
    full = encoder(attention="full")
    with pytest.raises(ValueError, match="attention is full.*model.attention=block_causal"):
        full.stream()
    for window in (1, 3, 10, 0):
        with pytest.raises(
            ValueError, match=f"window={window} frames: .*the tubelet's 2, up to .*8"
        ):
            encoder().stream(window=window)
    with pytest.raises(ValueError, match="batch=0"):
        encoder().stream(batch=0)
    stream = encoder().stream()
    with pytest.raises(ValueError, match=r"uint8 frames \[1, 2, 16, 24, 3\], not uint8 \[2, 2, 16"):
        stream.push(video(2))
    with pytest.raises(ValueError, match="not float32"):
        stream.push(video(2, batch=1).astype(np.float32))


def test_positions_that_end_with_the_clip():
    stream = encoder(position="sincos_3d", final_norm="pooled", qkv_bias="qv").stream(batch=2)
    parts = tubelets(video(10))
    for part in parts[:4]:
        stream.push(part)
    with pytest.raises(ValueError, match="sincos_3d end with a clip of 8 frames: call reset"):
        stream.push(parts[4])
