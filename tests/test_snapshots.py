"""What is looked at while a run goes on fits where its steps fit."""

import jax
import numpy as np
import pytest

from surgrec_jax import sharding
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import find_objective
from surgrec_jax.runlog import metrics
from surgrec_jax.snapshots import Watch

ENCODER = ViTConfig(48, 1, 4, 96, num_frames=4, image_size=(32, 32), patch=8, position="rope_3d")
OPTIONS = {"decoder_depth": 1, "decoder_width": 16, "decoder_heads": 2, "mask_ratio": 0.75}
CLIPS, DEVICES = 64, 2


def test_the_collapse_monitor_never_holds_all_tokens_of_a_batch(tmp_path):
    """A step holds a tenth of them, or those of a microbatch."""
    objective = find_objective("mae").from_config(ENCODER, OPTIONS, Compute())
    mesh = sharding.make_mesh(devices=jax.devices()[:DEVICES])
    clips = np.random.default_rng(0).integers(0, 256, (CLIPS, 4, 32, 32, 3), np.uint8)
    params = jax.jit(objective.init)(jax.random.key(0))
    whole = jax.jit(objective.encode)(params["encoder"], clips)
    with jax.set_mesh(mesh):
        watch = Watch(objective, mesh, seed=0, folder=tmp_path)
        state, batch = {"params": params}, sharding.put_batch({"video": clips}, mesh)
        program = watch._features.lower(params["encoder"], batch["video"]).compile()
        found = watch.collapse(state, batch)
    assert program.memory_analysis().temp_size_in_bytes < whole.nbytes / DEVICES
    assert found == pytest.approx(metrics.collapse_statistics(whole.mean(1)), rel=1e-4)
