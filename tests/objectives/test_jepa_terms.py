"""JEPA's added terms: distances, motion and diversity against NumPy, and all of them together."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.models.levels import level_layers
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.objectives import find_objective, masking
from surgrec_jax.objectives.masking import BlockMask
from surgrec_jax.objectives.surgmotion import diversity, motion_weights
from surgrec_jax.safety.errors import ConfigError

ENCODER = ViTConfig(*(24, 4, 2, 48), num_frames=4, image_size=(48, 48), patch=8, position="rope_3d")
SECTION = {
    "masks": ({"blocks": 2, "scale": 0.15, "context": 8, "target": 6},),
    "predictor_depth": 1,
    "predictor_width": 16,
    "predictor_heads": 2,
}
ALL = {"levels": 4, "visible_weight": 0.5, "visible_warmup": (0, 0)}
ALL |= {"motion_weight": 0.5, "diversity_weight": 0.1, "target": "frozen"}


def clips(count):
    shape = (count, ENCODER.num_frames, *ENCODER.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_distances_to_the_nearest_hidden_token():
    mask = BlockMask.on(ENCODER.grid, blocks=2, scale=0.15, context=8, target=6)
    keys = jax.random.split(jax.random.key(1), 3)
    seen, hidden = (np.asarray(x) for x in masking.multi_block_mask(keys, ENCODER.grid, mask))
    got = np.asarray(masking.nearest_hidden(jnp.asarray(seen), jnp.asarray(hidden), ENCODER.grid))
    places = np.stack(np.unravel_index(np.arange(ENCODER.num_tokens), ENCODER.grid), 1)
    for b in range(3):
        for column, token in enumerate(seen[b]):
            steps = places[hidden[b]] - places[token]
            nearest = np.sqrt((steps**2).sum(1)).min()
            assert got[b, column] == pytest.approx(nearest, rel=1e-6)


def test_what_moves_weighs_more():
    video = clips(2)
    video[1] = 7  # nothing moves
    got = np.asarray(motion_weights(jnp.asarray(video), ENCODER, 0.25))
    t, h, w = ENCODER.grid
    motion = np.zeros((t, h, w))
    for i in range(t):
        for frame in range(2 * i, 2 * i + 2):
            if frame:
                change = np.abs(video[0, frame].astype(float) - video[0, frame - 1])
                motion[i] += change.reshape(h, 8, w, 8, 3).mean((1, 3, 4)) / 2
    np.testing.assert_allclose(got[0], (0.75 + 0.25 * motion / motion.mean()).ravel(), rtol=1e-5)
    np.testing.assert_array_equal(got[1], 1)


def test_diversity_tells_spread_tokens_from_equal_ones_clip_by_clip():
    keys = jax.random.split(jax.random.key(0), 2)
    tokens = jax.random.normal(jax.random.key(1), (2, 200, 16))
    spread = float(diversity(tokens, keys))
    assert spread < 0.02 < 10 * spread < float(diversity(jnp.zeros((2, 200, 16)), keys))
    each = [float(diversity(tokens[i : i + 1], keys[i : i + 1])) for i in range(2)]
    assert spread == pytest.approx(np.mean(each), rel=1e-5)


def test_all_terms_together_are_a_mean_over_clips():
    """So accumulation changes nothing; with a frozen teacher of another size, of four levels."""
    teacher = dataclasses.replace(ENCODER, width=36, depth=5, heads=3)
    obj = find_objective("jepa").from_config(ENCODER, SECTION | ALL, Compute(), teacher=teacher)
    assert obj.parts()["predictor"]["target_width"] == 4 * 36
    params, keys = obj.init(jax.random.key(0)), jax.random.split(jax.random.key(2), 2)
    frozen = {"encoder": init_encoder(teacher, jax.random.key(1))}

    @jax.jit
    def loss(video, keys):
        batch = obj.prepare({"video": video}, keys, 0)
        return obj.loss(params, batch, keys, frozen)

    video = clips(2)
    whole, metrics = loss(video, keys)
    assert {"loss_visible", "diversity", "predictor_r2_mask0"} <= metrics.keys()
    each = [float(loss(video[i : i + 1], keys[i : i + 1])[0]) for i in range(2)]
    assert float(whole) == pytest.approx(np.mean(each), rel=1e-5)
    parts = metrics["loss_mask0"] + 0.5 * metrics["loss_visible"] + 0.1 * metrics["diversity"]
    assert float(whole) == pytest.approx(float(parts), rel=1e-5)


def test_levels_are_the_last_layers_of_four_quarters():
    assert level_layers(12) == (2, 5, 8, 11) and level_layers(24) == (5, 11, 17, 23)
    assert level_layers(40) == (9, 19, 29, 39) and level_layers(48) == (11, 23, 37, 47)
    assert level_layers(4) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ({"levels": 2}, {}, r"jepa.levels=2: choose from \(1, 4\)"),
        ({"levels": 4}, {"depth": 3}, "3 layers has no 4 levels"),
        ({"levels": 4}, {"frames_apart": True}, "takes frames apart has no levels"),
        ({"visible_weight": -1.0}, {}, "jepa.visible_weight=-1.0"),
        ({"visible_warmup": (9, 3)}, {}, r"jepa.visible_warmup=\(9, 3\)"),
        ({"motion_weight": 1.5}, {}, "jepa.motion_weight=1.5 must be a share"),
        ({"diversity_weight": -0.1}, {}, "jepa.diversity_weight=-0.1"),
    ],
)
def test_what_cannot_be_learnt_is_refused(section, changes, says):
    encoder = dataclasses.replace(ENCODER, **changes)
    with pytest.raises(ConfigError, match=says):
        find_objective("jepa").from_config(encoder, SECTION | section, Compute())
