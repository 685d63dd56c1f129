"""Layers and attention of an encoder: what they give is what its own pass computes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.models.vit import encoder_graph, init_encoder, patchify, times
from surgrec_jax.safety.errors import ConfigError

TINY = ViTConfig(24, 2, 2, 32, num_frames=4, image_size=(8, 16), patch=8, position="rope_3d")
KINDS = {
    "causal, with CLS": dataclasses.replace(
        TINY, attention="block_causal", prefix_tokens=1, pooling="cls"
    ),
    "frames apart, pooled norm": dataclasses.replace(
        TINY, frames_apart=True, prefix_tokens=2, final_norm="pooled"
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def encoder(request):
    config = KINDS[request.param]
    params = jax.jit(init_encoder, static_argnums=0)(config, jax.random.key(0))
    return Encoder(config, params, fps=4.0, name="ours", batch_size=8)


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(0).integers(0, 256, (3, 4, 8, 16, 3), dtype=np.uint8)


def test_the_last_layer_gives_the_features(encoder, video):
    both, tokens = encoder.features(video, (-1, 0)), encoder.tokens(video, [1])
    assert both.shape == (3, 2, 24) and both.dtype == np.float32
    np.testing.assert_allclose(both[:, 0], encoder.features(video), atol=1e-5)
    np.testing.assert_allclose(tokens[:, 0], encoder.tokens(video), atol=1e-5)
    assert np.abs(both[:, 0] - both[:, 1]).max() > 0.01


def test_the_weights_are_those_of_the_layers_own_attention(encoder, video):
    config, compute = encoder.config, encoder.compute
    weights = encoder.attention(video, 1)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)

    @jax.jit
    def own(params, weights):
        """What the layer's attention gives, and what its values give by these weights."""
        model = nnx.merge(encoder_graph(config, compute), params)
        x, rope = model.entering(patchify(video, config))
        (x,) = model.blocks.outputs(x, (0,), rope, times=times(config, None))
        graph, stacked = nnx.split(model.blocks.layers)
        block = nnx.merge(graph, jax.tree.map(lambda p: p[1], stacked))
        normed = block.norm1(x)
        _, _, values = block.attn.heads_of(normed)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights.reshape(-1, *weights.shape[-3:]), values)
        mixed = block.attn.proj(mixed.reshape(x.shape))
        return block.attn(normed, rope, None, times(config, None)), mixed

    attended, mixed = own(encoder.params, weights)
    np.testing.assert_allclose(mixed, attended, atol=1e-5)
    some = encoder.attention(video, 1, queries=(3, 0))
    np.testing.assert_allclose(some, weights[..., [3, 0], :], atol=1e-6)


def test_what_there_is_not_is_refused_in_a_sentence(video):
    encoder = Encoder(TINY, {}, fps=4.0, name="ours")
    for layers in ((2,), (-3,), (), ("a",), 1):
        with pytest.raises(ConfigError, match=r"encoder's 2 layers, 0 to 1, or -1 for the last"):
            encoder.features(video, layers)
    with pytest.raises(ConfigError, match="layer .*2 layers"):
        encoder.attention(video, 2)
    with pytest.raises(ConfigError, match=r"queries=\(4,\): give numbers of the 4 tokens, 0 to 3"):
        encoder.attention(video, 0, (4,))
