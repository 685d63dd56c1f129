"""Checkpoints with Orbax: asynchronous saves, strict restores, and reading parts of them.

<workdir>/checkpoints/<step>/state   the training state, an OCDBT array store
<workdir>/checkpoints/<step>/meta    JSON: what the arrays are (architecture, clip, data, config)
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

# Raised when the meaning of `meta` changes.
FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, read or used, with what to do about it."""


@dataclasses.dataclass(frozen=True)
class Location:
    """One saved step."""

    root: Path
    step: int

    @property
    def path(self) -> Path:
        """The step's folder."""
        return self.root / str(self.step)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        root: the folder; made if missing.
        keep: how many of the newest steps stay.
        keep_best: how many of the steps with the highest score stay besides.
    """

    def __init__(self, root: Path, *, keep: int = 2, keep_best: int = 1):
        policies: list[Any] = [preservation.LatestN(keep)]
        if keep_best:
            policies.append(
                preservation.BestN(get_metric_fn=lambda metrics: metrics["score"], n=keep_best)
            )
        self.root, self._keep, self._scored = root, keep + keep_best, keep_best > 0
        self._manager = ocp.CheckpointManager(
            root.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation.AnyPreservationPolicy(policies),
                best_fn=(lambda metrics: metrics["score"]) if self._scored else None,
                cleanup_tmp_directories=True,
            ),
        )

    def check_space(self, state: Any) -> None:
        """Raises CheckpointError where the disk cannot hold the checkpoints a run will keep."""
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        # One more than is kept: a save completes before the step it replaces is deleted.
        needed = size * (self._keep + 1 - min(len(self._manager.all_steps()), self._keep))
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise CheckpointError(
                f"{self.root} has {free / 2**30:.2f} GiB free and this run's checkpoints need "
                f"{needed / 2**30:.2f} GiB ({size / 2**30:.2f} GiB each); free space, use another "
                "--workdir, or lower checkpoint.keep"
            )

    def save(self, step: int, state: Any, meta: dict[str, Any], score: float | None = None) -> None:
        """Starts saving a step; returns when the arrays are copied off the device.

        Args:
            meta: JSON values.
            score: decides which steps are best, higher is better.

        Raises:
            CheckpointError: this or the previous save could not be written.
        """
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            meta=ocp.args.JsonSave({"format": FORMAT, "step": step, **meta}),
        )
        # A step without a score ranks below all that have one.
        metrics = {"score": -math.inf if score is None else float(score)} if self._scored else None
        with _writing(self.root, step):
            self._manager.save(step, args=items, metrics=metrics, force=True)

    def wait(self) -> None:
        """Returns when the last save is complete on disk; raises CheckpointError if it failed."""
        with _writing(self.root, None):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases the manager's threads."""
        self.wait()
        self._manager.close()

    def restore(self, abstract_state: Any) -> tuple[Any, dict[str, Any]] | None:
        """State and meta of the newest step that can be read, None where nothing is saved.

        A step that cannot be read is moved to `<root>-damaged/` and the one before is tried.

        Args:
            abstract_state: shapes, dtypes and shardings; may differ from the saved shardings.

        Raises:
            CheckpointError: saved arrays of other shapes or dtypes, or no step that can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            location = Location(self.root, step)
            try:
                return restore_state(location, abstract_state), read_meta(location)
            except CheckpointError as error:
                if isinstance(error, MismatchError) or jax.process_count() > 1:
                    raise
                aside = self._move_aside(location)
                logging.warning("%s; moved to %s, trying the step before", error, aside)
        if steps:
            raise CheckpointError(
                f"none of the {len(steps)} checkpoints in {self.root} can be read; they are in "
                f"{self.root}-damaged. Start again with another --workdir"
            )
        return None

    def _move_aside(self, location: Location) -> Path:
        aside = Path(f"{self.root}-damaged") / f"{location.step}-{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        location.path.rename(aside)
        self._manager.reload()
        return aside


class MismatchError(CheckpointError):
    """The checkpoint is whole, but is not of this model."""


@contextlib.contextmanager
def _writing(root: Path, step: int | None) -> Iterator[None]:
    """Turns whatever a failed save raises into one sentence that says what is safe."""
    try:
        yield
    except Exception as error:  # Orbax and tensorstore raise whatever a file system provokes
        what = "a checkpoint" if step is None else f"checkpoint {step}"
        raise CheckpointError(
            f"could not write {what} to {root}: {_first_line(error)}. Earlier "
            "checkpoints are intact: free disk space or mend the file system, and the same "
            "command continues from the newest"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def find(path: str | Path, step: int | None = None) -> Location:
    """The saved step meant by a workdir, its checkpoints folder or a step's folder.

    Args:
        step: of a workdir or checkpoints folder; None for the newest.

    Raises:
        CheckpointError: nothing is saved there.
    """
    path = Path(path)
    if path.name.isdigit() and (path / "state").is_dir():
        return Location(path.parent, int(path.name))
    root = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = sorted(
        int(p.name) for p in (root.iterdir() if root.is_dir() else ()) if p.name.isdigit()
    )
    if not steps:
        raise CheckpointError(
            f"no checkpoint in {path}; give a --workdir that has trained, or a step folder in it"
        )
    if step is not None and step not in steps:
        raise CheckpointError(f"{root} has no step {step}; it has {steps}")
    return Location(root, steps[-1] if step is None else step)


def read_meta(location: Location) -> dict[str, Any]:
    """The JSON part of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or is of another format.
    """
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            meta = reader.restore((location.path / "meta").absolute())
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{location.path}/meta: {_first_line(error)}") from error
    if meta.get("format") != FORMAT:
        raise MismatchError(
            f"{location.path} has format {meta.get('format')!r}, this version reads {FORMAT}"
        )
    return meta


def restore_state(location: Location, abstract_state: Any) -> Any:
    """The arrays of a checkpoint, or of the subtree that `abstract_state` names.

    Raises:
        MismatchError: an array is missing or has another shape or dtype than asked for.
        CheckpointError: the files cannot be read.
    """
    path = (location.path / "state").absolute()
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
        try:
            saved = reader.metadata(path).tree
        except Exception as error:  # Orbax and tensorstore raise whatever a damaged file provokes
            raise CheckpointError(f"{path}: {_first_line(error)}") from error
        _check_same(location, saved, abstract_state)
        restore_args = ocp.checkpoint_utils.construct_restore_args(abstract_state)
        try:
            return reader.restore(
                path,
                args=ocp.args.PyTreeRestore(
                    abstract_state, restore_args=restore_args, partial_restore=True
                ),
            )
        except Exception as error:  # as above
            raise CheckpointError(f"{path}: {_first_line(error)}") from error


def _check_same(location: Location, saved: Any, wanted: Any) -> None:
    """Orbax casts dtypes and pads shapes without a word; here a difference is an error."""
    have = {_key(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(saved)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
        key = _key(path)
        if key not in have:
            raise MismatchError(f"{location.path} has no array {key!r}; it is of another model")
        shape, dtype = tuple(have[key].shape), have[key].dtype
        if shape != tuple(leaf.shape) or dtype != leaf.dtype:
            raise MismatchError(
                f"{location.path}: array {key!r} is {dtype}{list(shape)}, this model wants "
                f"{leaf.dtype}{list(leaf.shape)}"
            )


def _key(path: tuple[Any, ...]) -> str:
    """A path's keys as text, whether they are of dicts, tuples or named tuples."""
    return "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)
