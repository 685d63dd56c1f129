"""A small state and its checkpoints, for the tests of both."""

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax import sharding
from surgrec_jax.checkpoint import Checkpoints

META = {"objective": "mae", "name": "test"}


def state(scale=1.0, mesh=None):
    rng = np.random.default_rng(0)
    tree = {
        "step": np.int32(7),
        "params": {"encoder": {"kernel": np.float32(scale * rng.standard_normal((64, 2048)))}},
        "opt_state": (np.int32(7), {"mu": np.float32(rng.standard_normal(5))}),
    }
    tree = jax.tree.map(jnp.asarray, tree)
    if mesh is None:
        return tree
    return jax.device_put(tree, sharding.state_shardings(tree, mesh))


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def save(root, steps=(1,), scores=None, **kwargs):
    with_scores = scores or [None] * len(steps)
    saved = Checkpoints(root, **kwargs)
    for step, score in zip(steps, with_scores, strict=True):
        saved.save(step, state(step), META, score)
    saved.close()
