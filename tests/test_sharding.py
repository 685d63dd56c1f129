"""Mesh, rules and refusals."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from surgrec_jax import sharding


def test_mesh_shapes():
    assert dict(sharding.make_mesh(2).shape) == {"data": 4, "fsdp": 2}
    assert dict(sharding.make_mesh(-1).shape) == {"data": 1, "fsdp": 8}


def test_several_cpu_devices_read_no_kept_programs(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        assert sharding.make_mesh(1, jax.devices()[:1]).size == 1
        with pytest.raises(ValueError, match="JAX_COMPILATION_CACHE_DIR=.* unset it"):
            sharding.make_mesh()
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


@pytest.mark.parametrize("fsdp", [0, 3, 16])
def test_a_mesh_that_does_not_divide(fsdp):
    with pytest.raises(ValueError, match=f"mesh.fsdp={fsdp} does not divide the 8 devices"):
        sharding.make_mesh(fsdp)


@pytest.mark.parametrize(
    ("batch", "accum", "use"), [(12, 1, "use 16 or 8"), (4, 1, "use 8"), (24, 2, "use 32 or 16")]
)
def test_a_batch_that_does_not_divide(batch, accum, use):
    with pytest.raises(ValueError, match=use):
        sharding.check_batch_size(batch, sharding.make_mesh(), accum)


def test_rules():
    mesh = sharding.make_mesh(4)
    shape = jax.ShapeDtypeStruct
    state = {
        "params": {
            "blocks": {"layers": {"kernel": shape((24, 256, 1024), np.float32)}},
            "wide": shape((512, 2048), np.float32),
            "odd": shape((511, 1023), np.float32),
            "small": shape((64,), np.float32),
        },
        "step": shape((), np.int32),
    }
    specs = jax.tree.map(lambda s: s.spec, sharding.state_shardings(state, mesh))
    assert specs["params"]["blocks"]["layers"]["kernel"] == P(None, None, "fsdp")
    assert specs["params"]["wide"] == P(None, "fsdp")
    assert specs["params"]["odd"] == specs["params"]["small"] == specs["step"] == P()


def test_helpers_do_nothing_without_a_mesh():
    x = np.ones((4, 2), np.float32)
    assert sharding.constrain_batch(x) is x
