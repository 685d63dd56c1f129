"""The device mesh, and the rules that place parameters and batches on it.

Two axes: every device holds a part of the batch; parameters, optimizer moments and the EMA target
are split over `fsdp` and copied over `data`. The helpers used inside models do nothing where no
mesh is set, so models run unchanged in a notebook.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

BATCH_AXES = ("data", "fsdp")
# Below this many elements a parameter is copied to every device: gathering it costs more.
MIN_SHARDED_SIZE = 2**16


def make_mesh(fsdp: int = 1) -> Mesh:
    """A (data, fsdp) mesh over all devices of all processes.

    Args:
        fsdp: devices that share one copy of the state; -1 means all of them.

    Raises:
        ValueError: the device count does not divide by `fsdp`.
    """
    devices = jax.device_count()
    fsdp = devices if fsdp == -1 else fsdp
    if fsdp < 1 or devices % fsdp:
        raise ValueError(
            f"mesh.fsdp={fsdp} does not divide the {devices} devices; "
            f"choose a divisor of {devices}, or -1 for all"
        )
    return jax.make_mesh((devices // fsdp, fsdp), BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def check_batch_size(batch_size: int, mesh: Mesh, accum_steps: int = 1) -> None:
    """Raises ValueError where a global batch does not divide over devices and microbatches."""
    parts = mesh.size * accum_steps
    if batch_size < 1 or batch_size % parts:
        below, above = batch_size // parts * parts, (batch_size // parts + 1) * parts
        raise ValueError(
            f"batch_size={batch_size} does not divide over {mesh.size} devices x "
            f"{accum_steps} accumulation steps; use {above}" + (f" or {below}" if below else "")
        )


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """A NamedSharding for every array of a state, from its shape alone.

    The longest dimension that divides by the fsdp axis is split, the layer dimension of stacked
    blocks excepted (a scan over it would gather every layer at once).
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path, leaf, mesh.shape["fsdp"])),
        abstract_state,
    )


def _spec(path, leaf, fsdp: int) -> P:
    if fsdp == 1 or leaf.size < MIN_SHARDED_SIZE:
        return P()
    stacked = any(getattr(key, "key", None) == "layers" for key in path)
    candidates = [d for d in range(int(stacked), leaf.ndim) if leaf.shape[d] % fsdp == 0]
    if not candidates:
        return P()
    longest = max(candidates, key=lambda d: leaf.shape[d])
    return P(*(None,) * longest, "fsdp")


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Leading dimension over all devices."""
    return NamedSharding(mesh, P(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, P())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """The global batch, from this process's part of it."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def constrain_batch(x: jax.Array) -> jax.Array:
    """Keeps an activation split over its leading (batch) dimension."""
    return constrain(x, P(BATCH_AXES))


def gather(params: Any, dtype: Any) -> Any:
    """A layer's weights, whole on every device, matrices in the compute dtype.

    Called inside a scanned and rematerialised body, so that one layer is gathered at a time.
    Casting comes first: half the bytes travel.
    """

    def one(x):
        return constrain(x.astype(dtype) if x.ndim >= 2 else x, P())

    return jax.tree.map(one, params)


def constrain(x: jax.Array, spec: P) -> jax.Array:
    """x with its layout fixed; x itself where no mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec)
