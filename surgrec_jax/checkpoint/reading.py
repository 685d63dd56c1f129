"""Reading checkpoints: verified, strict about shapes and dtypes, whole or in part."""

import contextlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from surgrec_jax.checkpoint import checksums
from surgrec_jax.checkpoint.locations import (
    CheckpointError,
    DamagedError,
    Location,
    MismatchError,
    first_line,
)
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import UserError

META = "meta.json"
FORMAT = 1  # to be raised when the meaning of the meta changes


def read_meta(location: Location) -> dict[str, Any]:
    """Reads the JSON part of a checkpoint.

    Raises:
        DamagedError: it is not as it was saved.
        MismatchError: it is of another format.
    """
    checksums.check(location, (META,))
    try:
        meta = untrusted.read_json(location.path / META)
    except (OSError, UserError) as error:
        raise DamagedError(first_line(error)) from error
    if meta.get("format") != FORMAT:
        raise MismatchError(
            f"{location.path} has format {meta.get('format')!r}, this version reads {FORMAT}"
        )
    return meta


def restore_state(location: Location, abstract_state: Any, *, verified: bool = False) -> Any:
    """Restores the arrays of a checkpoint, or those of the subtree that `abstract_state` names.

    Args:
        abstract_state: shapes, dtypes and shardings, which may differ from the saved ones; an array
            without a sharding comes to the first local device.
        verified: whether the caller has compared the files with the manifest already.

    Raises:
        MismatchError: an array is missing or has another shape or dtype.
        DamagedError: the files are not those that were saved.
        CheckpointError: the files cannot be read.
    """
    if not verified:
        checksums.check(location)
    _check_same(location, abstract_state)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract_state = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=s.sharding or device),
        abstract_state,
    )
    path = (location.path / "state").absolute()
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
        restore_args = ocp.checkpoint_utils.construct_restore_args(abstract_state)
        try:
            return reader.restore(
                path,
                args=ocp.args.PyTreeRestore(
                    abstract_state, restore_args=restore_args, partial_restore=True
                ),
            )
        except Exception as error:  # Orbax and tensorstore raise whatever a damaged file provokes
            raise CheckpointError(f"{path}: {first_line(error)}") from error


def parts(location: Location, tree: str) -> list[str]:
    """Names of the modules saved under a top-level key ("params")."""
    names = [key.split("/") for key in checksums.arrays_of(location)]
    return sorted({name[1] for name in names if name[0] == tree and len(name) > 1})


def describe_arrays(state: Any) -> checksums.Arrays:
    """Name -> (dtype, shape) of every array of a tree."""
    return {
        _key(path): (str(leaf.dtype), tuple(leaf.shape))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _check_same(location: Location, state: Any) -> None:
    """Raises MismatchError for other dtypes or shapes, which Orbax casts and pads silently."""
    saved = checksums.arrays_of(location)
    for key, (dtype, shape) in describe_arrays(state).items():
        if key not in saved:
            raise MismatchError(f"{location.path} has no array {key!r}; it is of another model")
        if saved[key] != (dtype, shape):
            raise MismatchError(
                f"{location.path}: array {key!r} is {saved[key][0]}{list(saved[key][1])}, this "
                f"model wants {dtype}{list(shape)}"
            )


def _key(path: tuple[Any, ...]) -> str:
    """A path's keys as text, whether they are of dicts, tuples or named tuples."""
    return "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)
