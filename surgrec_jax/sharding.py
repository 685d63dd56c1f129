"""The device mesh, and the rules that place parameters and batches on it.

Two axes: every device holds a part of the batch; parameters, optimizer moments and the EMA target
are split over `fsdp` and copied over `data`. The helpers used inside models do nothing where no
mesh is set, so models run unchanged in a notebook.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from surgrec_jax.safety.errors import ConfigError

BATCH_AXES = ("data", "fsdp")
# A parameter (or a layer's part of it) of fewer elements is copied to every device: gathering it
# costs more.
MIN_SHARDED_SIZE = 2**16
# The name of a layer's weights after `gather`, for remat policies: keeping those of all layers for
# the backward pass would undo what splitting them saves.
GATHERED = "gathered"


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes a (data, fsdp) mesh over all devices of all processes.

    On TPUs neighbours in the mesh are neighbours in the torus; with several slices the data axis
    runs over slices, so that only gradients pass between them.

    Args:
        fsdp: number of devices that share one copy of the state; -1 for all of them.
        devices: devices of the mesh, if not all of this run, e.g. those of a topology.

    Raises:
        ValueError: the device count does not divide by `fsdp`, a copy of the state would lie
            across slices, or compiled programs are kept for several CPU devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    count = len(devices)
    fsdp = count if fsdp == -1 else fsdp
    if fsdp < 1 or count % fsdp:
        raise ConfigError(
            f"mesh.fsdp={fsdp} does not divide the {count} devices; "
            f"choose a divisor of {count}, or -1 for all"
        )
    if count > 1 and devices[0].platform == "cpu" and _reads_cached_programs():
        raise ConfigError(
            f"JAX_COMPILATION_CACHE_DIR={jax.config.jax_compilation_cache_dir}: on {count} CPU "
            "devices a program read from there can stand still for ever; unset it for this run"
        )
    slices = len({getattr(d, "slice_index", 0) for d in devices if d.platform == "tpu"}) or 1
    per_slice = count // slices
    if per_slice % fsdp:
        raise ConfigError(
            f"mesh.fsdp={fsdp} does not divide the {per_slice} devices of each of the {slices} "
            f"TPU slices; choose a divisor of {per_slice}"
        )
    shape = (per_slice // fsdp, fsdp)
    options = {"devices": devices, "allow_split_physical_axes": True}
    if slices > 1:
        grid = mesh_utils.create_hybrid_device_mesh(shape, (slices, 1), **options)
    else:
        grid = mesh_utils.create_device_mesh(shape, **options)
    return Mesh(grid, BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def _reads_cached_programs() -> bool:
    # XLA's CPU programs order their collectives by one object that all of them hold; a program that
    # is read back (CreateResourceFromProto, jaxlib 0.10.2) holds one for each, and devices that run
    # independent collectives in different orders wait for one another.
    return bool(jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir)


def device() -> jax.Device:
    """A device of the mesh that is set, else the default one (outside of jit)."""
    mesh = jax.sharding.get_mesh()
    return jax.devices()[0] if mesh.empty else mesh.devices.flat[0]


def platform() -> str:
    """The platform that programs are compiled for, "cpu", "gpu" or "tpu", also inside jit.

    It is that of the mesh, whose devices this machine may not have (`compile_report`).
    """
    abstract = jax.sharding.get_abstract_mesh().abstract_device
    name = abstract.platform if abstract else jax.default_backend()
    return "gpu" if name in ("cuda", "rocm") else name


def check_batch_size(batch_size: int, mesh: Mesh, accum_steps: int = 1) -> None:
    """Raises ValueError where a global batch does not divide over devices and microbatches."""
    parts = mesh.size * accum_steps
    if batch_size < 1 or batch_size % parts:
        below, above = batch_size // parts * parts, (batch_size // parts + 1) * parts
        raise ConfigError(
            f"batch_size={batch_size} does not divide over {mesh.size} devices x "
            f"{accum_steps} accumulation steps; use {above}" + (f" or {below}" if below else "")
        )


def state_shardings(abstract_state: Any, mesh: Mesh) -> Any:
    """Gives every array of a state a NamedSharding from its shape alone, see `split`.

    The layer dimension of stacked blocks is never split: a scan over it would gather every layer
    at once.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path, leaf, mesh.shape["fsdp"])),
        abstract_state,
    )


def _spec(path, leaf, fsdp: int) -> P:
    if any(getattr(key, "key", None) == "layers" for key in path):
        inner = split(leaf.shape[1:], fsdp)
        return P(None, *inner) if inner else inner
    return split(leaf.shape, fsdp)


def split(shape: tuple[int, ...], fsdp: int) -> P:
    """Splits an array, or a layer of a stacked one, along its longest fitting side."""
    fitting = [d for d, side in enumerate(shape) if side % fsdp == 0]
    if fsdp == 1 or math.prod(shape) < MIN_SHARDED_SIZE or not fitting:
        return P()
    longest = max(fitting, key=lambda d: shape[d])
    return P(*(None,) * longest, "fsdp")


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: its leading dimension over all devices."""
    return NamedSharding(mesh, P(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a value that is the same on every device."""
    return NamedSharding(mesh, P())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes the global batch from this process's part of it."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def microbatches(x: jax.Array, count: int) -> jax.Array:
    """Splits [B, ...] into [count, B / count, ...], with clips of every device in each part.

    Clip i is in microbatch i mod count.
    """
    x = x.reshape(len(x) // count, count, *x.shape[1:]).swapaxes(0, 1)
    return constrain(x, P(None, BATCH_AXES))


def whole_batch(x: jax.Array) -> jax.Array:
    """The inverse of `microbatches`: [count, B / count, ...] -> [B, ...]."""
    return constrain_batch(x.swapaxes(0, 1).reshape(-1, *x.shape[2:]))


def constrain_batch(x: jax.Array) -> jax.Array:
    """Keeps an activation split over its leading (batch) dimension."""
    return constrain(x, P(BATCH_AXES))


def gather(params: Any, dtype: Any) -> Any:
    """Makes a layer's weights whole on every device, with matrices in the compute dtype.

    It is called inside a scanned and rematerialised body, so that one layer is gathered at a time.
    Casting comes first, so that half the bytes travel.
    """
    fsdp = fsdp_size()

    def one(x):
        target = dtype if x.ndim >= 2 else x.dtype
        if fsdp == 1 and x.dtype == target:
            return x  # a scan's forward pass would copy a new array for the backward
        return checkpoint_name(_whole(x, target, split(x.shape, fsdp)), GATHERED)

    return jax.tree.map(one, params)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _whole(x: jax.Array, dtype: Any, spec: P) -> jax.Array:
    """Casts x and makes it whole on every device; its gradient is left split as x is.

    The gradient of a plain constraint would be constrained to be whole as well: an all-reduce
    of every layer's gradients where a reduce-scatter, half the bytes, is enough.
    """
    del spec
    return constrain(x.astype(dtype), P())


def _whole_forward(x: jax.Array, dtype: Any, spec: P):
    return _whole(x, dtype, spec), jnp.zeros((), x.dtype)


def _whole_backward(dtype: Any, spec: P, like: jax.Array, gradient: jax.Array):
    del dtype
    gradient = constrain(gradient, spec) if spec != P() else gradient
    return (gradient.astype(like.dtype),)


_whole.defvjp(_whole_forward, _whole_backward)


def per_device(function: Callable[..., jax.Array], *args: jax.Array) -> jax.Array:
    """Calls a function with each device computing its own clips (a kernel XLA cannot split).

    Raises:
        ValueError: the batch does not divide over the mesh.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return function(*args)
    if not divides(len(args[0])):
        raise ValueError(f"{len(args[0])} clips do not divide over {mesh.size} devices")
    spec = P(BATCH_AXES)
    mapped = jax.shard_map(function, in_specs=(spec,) * len(args), out_specs=spec, check_vma=False)
    return mapped(*args)


def fsdp_size() -> int:
    """Number of parts into which the current mesh, if there is one, splits parameters."""
    return dict(jax.sharding.get_abstract_mesh().shape).get("fsdp", 1)


def divides(batch: int) -> bool:
    """Whether a batch divides over the current mesh, if there is one."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.empty or batch % mesh.size == 0


def constrain(x: jax.Array, spec: P) -> jax.Array:
    """Fixes the layout of x; returns x itself without a mesh."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec)


def filled(clips: int, batch_size: int, devices: int = 1) -> int:
    """The size that a batch is filled up to: a power of two for each device, or the whole batch.

    So a clip alone costs a clip, and log2(batch_size) + 1 shapes are compiled at most.

    Args:
        clips: of the batch, batch_size at most.
        batch_size: of whole batches, a multiple of the devices.
    """
    each = max(1, -(-clips // devices))
    return min(devices * 2 ** (each - 1).bit_length(), batch_size)
