"""The encoder against a plain NumPy transformer, and its configurations."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from surgrec_jax.models import position, vit
from surgrec_jax.models.layers import Stack
from surgrec_jax.models.presets import Compute, ViTConfig, preset

TINY = ViTConfig(24, 3, 2, 40, num_frames=4, image_size=(16, 24), patch=8, init="trunc_normal")


def video(config, batch=2, seed=0):
    shape = (batch, config.num_frames, *config.image_size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def random_params(config, seed=0):
    """Every parameter random, so that no bias or scale is invisible."""
    params = vit.init_encoder(config, jax.random.key(seed))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    leaves = [np.float32(x + 0.2 * rng.standard_normal(x.shape)) for x in leaves]
    return jax.tree.unflatten(tree, leaves)


def layer_norm(x, p, eps):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return x * p["scale"] + p["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def numpy_encoder(config, params, clips):
    """Tokens of whole clips, one clip, layer and head at a time, in float64."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    out = []
    for clip in clips:
        t, h, w = config.grid
        p, q = config.tubelet, config.patch
        rows = []
        for a in range(t):
            for b in range(h):
                for c in range(w):
                    cut = clip[a * p : a * p + p, b * q : b * q + q, c * q : c * q + q] / 255
                    rows.append(((cut - config.mean) / config.std).reshape(-1))
        x = np.stack(rows) @ params["patch_embed"]["kernel"] + params["patch_embed"]["bias"]
        if config.position == "sincos_1d":
            x = x + position.sincos_1d(config.num_tokens, config.width)
        elif config.position == "sincos_3d":
            x = x + position.sincos_3d(config.grid, config.width)
        for i in range(config.depth):
            layer = jax.tree.map(lambda a, i=i: a[i], params["blocks"]["layers"])
            x = x + numpy_attention(config, layer["attn"], layer_norm(x, layer["norm1"], 1e-6))
            y = layer_norm(x, layer["norm2"], 1e-6)
            y = gelu(y @ layer["mlp"]["fc1"]["kernel"] + layer["mlp"]["fc1"]["bias"])
            x = x + y @ layer["mlp"]["fc2"]["kernel"] + layer["mlp"]["fc2"]["bias"]
        out.append(layer_norm(x, params["norm"], 1e-6))
    return np.stack(out)


def numpy_attention(config, p, x):
    qkv = x @ p["qkv"]["kernel"]
    if config.qkv_bias == "qkv":
        qkv = qkv + p["qkv"]["bias"]
    q, k, v = np.split(qkv, 3, -1)
    if config.qkv_bias == "qv":
        q, v = q + p["q_bias"], v + p["v_bias"]
    d = config.width // config.heads
    heads = []
    for i in range(config.heads):
        a, b, c = (y[:, i * d : (i + 1) * d] for y in (q, k, v))
        if config.position.startswith("rope"):
            cos, sin = position.rope_3d(config.grid, d, tiled=config.position.endswith("tiled"))
            a, b = (
                np.asarray(position.rotate(jnp.asarray(y)[None, :, None], cos[None], sin[None]))[
                    0, :, 0
                ]
                for y in (a, b)
            )
        scores = np.exp(a @ b.T / math.sqrt(d))
        if config.attention == "block_causal":
            time = np.arange(config.num_tokens) // (config.grid[1] * config.grid[2])
            scores[time[:, None] < time] = 0
        heads.append(scores / scores.sum(-1, keepdims=True) @ c)
    return np.concatenate(heads, -1) @ p["proj"]["kernel"] + p["proj"]["bias"]


@pytest.mark.parametrize("position_kind", ["sincos_1d", "sincos_3d", "rope_3d", "rope_3d_tiled"])
@pytest.mark.parametrize(
    ("qkv_bias", "attention"), [("qkv", "full"), ("qv", "full"), ("qkv", "block_causal")]
)
def test_tokens_equal_a_numpy_transformer(position_kind, qkv_bias, attention):
    config = dataclasses.replace(
        TINY, position=position_kind, qkv_bias=qkv_bias, attention=attention
    )
    params, clips = random_params(config), video(config)
    tokens = vit.encode(config, Compute(), params, clips)
    np.testing.assert_allclose(tokens, numpy_encoder(config, params, clips), atol=2e-4)


def test_patchify_round_trip_and_order():
    clips = video(TINY)
    tubelets = vit.patchify(jnp.asarray(clips), TINY)
    np.testing.assert_array_equal(vit.unpatchify(tubelets, TINY), clips)
    # Token 4 is (time 0, row 1, column 1); its values run over frame, row, column, channel.
    cut = clips[:, 0:2, 8:16, 8:16]
    np.testing.assert_array_equal(tubelets[:, 4], cut.reshape(2, -1))


def test_a_subset_of_tokens_knows_its_positions():
    """Without attention between tokens, encoding a subset equals the subset of the encoding."""
    config = dataclasses.replace(TINY, depth=1)
    params = random_params(config)
    attention = params["blocks"]["layers"]["attn"]["proj"]
    attention["kernel"], attention["bias"] = attention["kernel"] * 0, attention["bias"] * 0
    clips = jnp.asarray(video(config))
    ids = jnp.array([[0, 5, 7], [11, 2, 3]])
    import flax.nnx as nnx

    model = nnx.merge(vit.encoder_graph(config, Compute()), params)
    some = model(vit.take_tokens(vit.patchify(clips, config), ids), ids)
    whole = vit.encode(config, Compute(), params, clips)
    np.testing.assert_allclose(some, vit.take_tokens(whole, ids), atol=1e-5)


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
@pytest.mark.parametrize("unroll", [1, 3])
def test_memory_policies_do_not_change_gradients(remat, unroll):
    params, clips = random_params(TINY), video(TINY)

    def loss(params, compute):
        return jnp.mean(jnp.square(vit.encode(TINY, compute, params, clips)))

    plain = jax.jit(jax.grad(loss), static_argnums=1)(params, Compute())
    other = jax.jit(jax.grad(loss), static_argnums=1)(params, Compute(remat=remat, unroll=unroll))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_one_layers_tokens_are_those_it_gives_among_others():
    stack = Stack(TINY, Compute(), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 5, TINY.width))
    first, last = stack.outputs(x, (0, TINY.depth - 1))
    (alone,) = stack.outputs(x, (0,))
    np.testing.assert_allclose(alone, first, rtol=1e-6)
    np.testing.assert_allclose(stack(x), last, rtol=1e-6)
    assert np.abs(first - last).max() > 1e-3


def test_bfloat16_keeps_parameters_float32_and_is_close():
    params, clips = random_params(TINY), video(TINY)
    half = vit.encode(TINY, Compute(dtype=jnp.bfloat16), params, clips)
    assert half.dtype == jnp.bfloat16
    whole = vit.encode(TINY, Compute(), params, clips)
    assert np.abs(np.float32(half) - whole).mean() < 0.02 * np.abs(whole).mean() * 2


def test_depth_scaled_initialisation():
    """V-JEPA: output projections of layer i have deviation 0.02 / sqrt(2 i)."""
    config = ViTConfig(192, 4, 3, 768, image_size=(32, 32), init="trunc_normal")
    layers = vit.init_encoder(config, jax.random.key(0))["blocks"]["layers"]
    plain = float(layers["attn"]["qkv"]["kernel"].std())
    assert plain == pytest.approx(0.02, rel=0.02)
    for i in range(4):
        for kernel in (layers["attn"]["proj"]["kernel"], layers["mlp"]["fc2"]["kernel"]):
            assert float(kernel[i].std()) == pytest.approx(plain / math.sqrt(2 * (i + 1)), rel=0.03)


def test_xavier_initialisation():
    config = ViTConfig(192, 2, 3, 768, image_size=(32, 32), init="xavier")
    params = vit.init_encoder(config, jax.random.key(0))
    qkv = params["blocks"]["layers"]["attn"]["qkv"]["kernel"]
    bound = math.sqrt(6 / (192 + 3 * 192))
    assert 0.99 * bound < float(jnp.abs(qkv).max()) <= bound
    patch = params["patch_embed"]["kernel"]
    assert 0.99 / math.sqrt(1536) < float(jnp.abs(patch).max()) <= 1 / math.sqrt(1536)


# Parameters of the encoders in millions, counted by hand from the published sizes.
@pytest.mark.parametrize(
    ("name", "millions"), [("Ti", 5.6), ("S", 21.9), ("B", 86.2), ("L", 303.9), ("H", 632)]
)
def test_preset_sizes(name, millions):
    config = preset(name)
    shapes = jax.eval_shape(lambda: vit.init_encoder(config, jax.random.key(0)))
    count = sum(x.size for x in jax.tree.leaves(shapes)) / 1e6
    assert count == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 15}, "patches of 15"),
        ({"num_frames": 3}, "tubelets of 2"),
        ({"heads": 5}, "5 heads"),
        ({"position": "rope"}, "rope_3d_tiled"),
        ({"attention": "causal"}, "'causal': choose from .*block_causal"),
        ({"attention": "block_causal", "frames_apart": True}, "never looks at other tubelets"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_unknown_preset():
    with pytest.raises(ValueError, match="'XL'.*'B'"):
        preset("XL")


def test_clip_of_another_size_is_refused():
    with pytest.raises(ValueError, match="takes \\(4, 16, 24, 3\\)"):
        vit.patchify(jnp.zeros((1, 4, 16, 16, 3), jnp.uint8), TINY)


def test_a_clip_of_more_tokens_than_any_model_takes():
    with pytest.raises(ValueError, match="64 frames of .* are 524288 tokens; at most 262144"):
        ViTConfig(192, 1, 3, 768, num_frames=64, image_size=(2048, 2048))
