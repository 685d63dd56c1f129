"""JEPA with a frozen teacher against NumPy, and what its predictor is said to tell."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.models import vit
from surgrec_jax.models.presets import Compute
from surgrec_jax.objectives import find_objective, jepa, masking
from surgrec_jax.safety.errors import ConfigError
from tests.objectives.test_objectives import JEPA_ENCODER, JEPA_OPTIONS, batch_for, keys, noisy


def test_a_frozen_teacher_of_another_size_is_what_is_predicted():
    """Its own normalised tokens, as wide as it is, with nothing to follow it."""
    teacher = dataclasses.replace(JEPA_ENCODER, width=36, depth=1, heads=3, mlp_dim=40)
    section = JEPA_OPTIONS | {"target": "frozen", "teacher_fingerprint": "of no matter here"}
    obj = find_objective("jepa").from_config(JEPA_ENCODER, section, Compute(), teacher=teacher)
    assert not obj.uses_target and obj.teacher == teacher
    assert obj.parts()["predictor"]["target_width"] == 36
    params, batch = noisy(obj.init(jax.random.key(0))), batch_for(obj)
    frozen = noisy(vit.init_encoder(teacher, jax.random.key(1)))
    loss, metrics = jax.jit(obj.loss)(params, batch, keys(3), {"encoder": frozen})
    told = np.asarray(vit.encode(teacher, Compute(), frozen, batch["video"]), np.float64)
    told = (told - told.mean(-1, keepdims=True)) / np.sqrt(told.var(-1, keepdims=True) + 1e-5)
    model, losses = obj.module(params), []
    tubelets = vit.patchify(jnp.asarray(batch["video"]), obj.encoder)
    both = jax.vmap(lambda key: jax.random.split(key, 2))(keys(3))
    for i, mask in enumerate(obj.options.masks):
        context, target = masking.multi_block_mask(both[:, i], obj.encoder.grid, mask)
        seen = model.encoder(vit.take_tokens(tubelets, context), context)
        [guess], _ = model.predictor(seen, [context], [target], [i])
        guess, wanted = np.asarray(guess, np.float64), np.asarray(target)
        assert guess.shape == (3, wanted.shape[1], 36)
        wanted = np.stack([told[b, wanted[b]] for b in range(3)])
        losses.append(np.abs(guess - wanted).mean())
        errors, spread = 0.0, 0.0
        for b in range(3):
            error = guess[b] - wanted[b]
            errors += ((error - error.mean(0)) ** 2).sum()
            spread += ((wanted[b] - wanted[b].mean(0)) ** 2).sum()
        r2 = float(metrics[f"predictor_r2_mask{i}"])
        assert r2 == pytest.approx(1 - errors / spread, abs=1e-5)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_r2_is_one_for_the_truth_and_zero_for_the_mean_of_a_clip():
    told = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 3)), jnp.float32)
    assert float(jepa.within_clip_r2(told, told)) == 1
    assert float(jepa.within_clip_r2(told + jnp.arange(2.0)[:, None, None], told)) == 1
    same = jnp.broadcast_to(told.mean(1, keepdims=True), told.shape)
    assert float(jepa.within_clip_r2(same, told)) == pytest.approx(0, abs=1e-6)
    assert float(jepa.within_clip_r2(2 * told, told)) == pytest.approx(0, abs=1e-6)
    assert float(jepa.within_clip_r2(told / 2, told)) == pytest.approx(0.75, abs=1e-6)


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ({"target": "frozen"}, None, "jepa.target='frozen'.*--config.jepa.teacher"),
        ({}, {}, "jepa.target='ema'.*an average none"),
        ({"target": "mean"}, None, "jepa.target='mean': choose from"),
        ({"target": "frozen"}, {"image_size": (64, 64)}, r"image_size=\(64, 64\) \(here \(48, 48"),
        ({"target": "frozen"}, {"patch": 4}, r"patch=4 \(here 8\)"),
        ({"target": "frozen"}, {"mean": (0.5, 0.5, 0.5)}, r"normalisation: mean=\(0.5"),
    ],
)
def test_teachers_that_cannot_be_learnt_from_are_refused(section, changes, says):
    teacher = None if changes is None else dataclasses.replace(JEPA_ENCODER, **changes)
    with pytest.raises(ConfigError, match=says):
        find_objective("jepa").from_config(
            JEPA_ENCODER, JEPA_OPTIONS | section, Compute(), teacher=teacher
        )
