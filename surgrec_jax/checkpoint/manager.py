"""The checkpoints of a run: saved in the background, committed at once, kept or dropped.

Orbax writes the arrays into <step>.tmp/state while training goes on. A thread then adds meta and
manifest, waits until all of it is on the disk and renames the folder to <step>. Whatever happens
before the rename leaves a folder that is not a step; whatever happens after, a step that is whole.
"""

import concurrent.futures
import contextlib
import json
import math
import re
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from surgrec_jax.checkpoint import checksums, reading
from surgrec_jax.checkpoint.locations import (
    CheckpointError,
    DamagedError,
    Location,
    first_line,
    steps_in,
)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        root: the folder; made if missing. Folders that saves left behind are removed.
        keep: how many of the newest steps stay.
        keep_best: how many of the steps with the highest score stay besides.
        max_failures: saves in a row that may fail before one raises. With several processes the
            first one raises: they could no longer agree on what is saved.

    Attributes:
        failed: saves that failed so far.
    """

    def __init__(self, root: Path, *, keep: int = 2, keep_best: int = 1, max_failures: int = 0):
        self.root, self._keep, self._keep_best = root, keep, keep_best
        self._max_failures = max_failures if jax.process_count() == 1 else 0
        self._lead = jax.process_index() == 0
        self._writer = _writer()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: tuple[int, concurrent.futures.Future] | None = None
        self.failed = self._in_a_row = 0
        self._last_error: CheckpointError | None = None
        self._scores: dict[int, float] = {}
        if self._lead:
            root.mkdir(parents=True, exist_ok=True)
            for left in root.iterdir():
                if re.fullmatch(r"\d+(\.old)?\.tmp", left.name):
                    shutil.rmtree(left)

    def check_space(self, state: Any, saves: int | None = None) -> None:
        """Raises CheckpointError where the file system cannot hold the checkpoints a run will keep:
        too little space, or no folder that has folders can be renamed, as a save ends.

        Args:
            saves: how many there will be; None for as many as it takes.
        """
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        kept = self._keep + self._keep_best
        # One more than is kept: a save completes before the step it replaces is deleted.
        most = kept + 1 - min(len(steps_in(self.root)), kept)
        needed = size * (most if saves is None else min(most, saves))
        free = shutil.disk_usage(self.root).free
        if free < needed:
            remedy = "use another folder"
            if saves is None:
                remedy = "use another --workdir, or lower checkpoint.keep"
            raise CheckpointError(
                f"{self.root} has {free / 2**30:.2f} GiB free and the checkpoints need "
                f"{needed / 2**30:.2f} GiB ({size / 2**30:.2f} GiB each): free space, {remedy}"
            )
        if self._lead:
            self._check_rename()

    def _check_rename(self) -> None:
        # Names that the next start removes, should they stay. An empty folder proves nothing.
        probe, renamed = self.root / "0.tmp", self.root / "0.old.tmp"
        try:
            (probe / "state").mkdir(parents=True)
            probe.rename(renamed)
        except OSError as error:
            raise CheckpointError(
                f"{self.root} cannot hold checkpoints, no folder can be renamed in it: "
                f"{first_line(error)}; use another --workdir, on Cloud Storage in a bucket with a "
                "hierarchical namespace (docs/scaling.md)"
            ) from error
        finally:
            for left in (probe, renamed):
                shutil.rmtree(left, ignore_errors=True)

    def save(self, step: int, state: Any, meta: dict[str, Any], score: float | None = None) -> None:
        """Starts saving a step; returns when the arrays are copied off the device.

        Args:
            meta: JSON values.
            score: decides which steps are best, higher is better; a step without one ranks below
                all that have one.

        Raises:
            CheckpointError: this or the previous save failed, and more in a row than are allowed.
        """
        self.wait()
        meta = {"format": reading.FORMAT, "step": step, "score": score, **meta}
        folder = self.root / f"{step}.tmp"
        try:
            if self._lead:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            arrays = ocp.args.PyTreeSave(state, ocdbt_target_data_file_size=_DATA_FILE_BYTES)
            self._writer.save((folder / "state").absolute(), args=arrays)
        except Exception as error:  # Orbax and tensorstore raise whatever a file system provokes
            self._fail(step, error)
            return
        arrays = reading.describe_arrays(state)
        self._pending = step, self._thread.submit(self._commit, step, folder, meta, arrays)

    def wait(self) -> None:
        """Returns when the last save is complete on disk, or has failed.

        Raises:
            CheckpointError: it failed, and more in a row than are allowed.
        """
        if self._pending is None:
            return
        step, future = self._pending
        self._pending = None
        try:
            future.result()
        except Exception as error:  # as above
            self._fail(step, error)
        else:
            self._in_a_row, self._last_error = 0, None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Closes; after another error, one of closing is only logged."""
        try:
            self.close()
        except CheckpointError as late:
            if error is None:
                raise
            logging.warning("%s", late)

    def close(self) -> None:
        """Waits, and releases threads. Raises CheckpointError if the last save failed."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            with contextlib.suppress(Exception):  # what it has to say was said by the wait
                self._writer.close()
        if self._last_error is not None:
            raise self._last_error

    def restore(self, abstract_state: Any) -> tuple[Any, dict[str, Any]] | None:
        """State and meta of the newest step that is whole, None where nothing is saved.

        A step whose files are not those that were saved is moved to `<root>-damaged/` and the one
        before is tried. The first process looks and decides for all.

        Args:
            abstract_state: shapes, dtypes and shardings; may differ from the saved shardings.

        Raises:
            CheckpointError: saved arrays of other shapes or dtypes, or all steps are damaged.
        """
        damaged = Path(f"{self.root}-damaged")
        step = _NOTHING
        if self._lead:
            step = self._newest_whole(damaged)
            if step == _NOTHING and damaged.is_dir() and any(damaged.iterdir()):
                step = _ALL_DAMAGED
        if jax.process_count() > 1:
            step = int(multihost_utils.broadcast_one_to_all(np.int64(step)))
        if step == _ALL_DAMAGED:
            raise CheckpointError(
                f"none of the checkpoints of {self.root} is whole; they are in {damaged}. To begin "
                "again from step 0, remove that folder or give another --workdir"
            )
        if step == _NOTHING:
            return None
        location = Location(self.root, step)
        state = reading.restore_state(location, abstract_state, verified=True)
        return state, reading.read_meta(location)

    def _newest_whole(self, damaged: Path) -> int:
        for step in reversed(steps_in(self.root)):
            location = Location(self.root, step)
            try:
                checksums.check(location)
                self._scores = {s: self._score(s) for s in steps_in(self.root)}
                return step
            except DamagedError as error:
                damaged.mkdir(exist_ok=True)
                aside = damaged / f"{step}-{time.time_ns()}"
                location.path.rename(aside)
                logging.warning("%s; moved to %s, trying the step before", error, aside)
        return _NOTHING

    def _score(self, step: int) -> float:
        try:
            score = reading.read_meta(Location(self.root, step)).get("score")
        except CheckpointError as error:
            logging.warning("%s: it will not be kept as one of the best", error)
            score = None
        return -math.inf if score is None else float(score)

    def _commit(
        self, step: int, folder: Path, meta: dict[str, Any], arrays: checksums.Arrays
    ) -> None:
        self._writer.wait_until_finished()
        if not self._lead:
            return
        (folder / reading.META).write_text(json.dumps(meta) + "\n")
        checksums.write(folder, step, arrays)
        folder.rename(self.root / str(step))
        checksums.sync(self.root)
        self._scores[step] = -math.inf if meta["score"] is None else float(meta["score"])
        self._drop()

    def _drop(self) -> None:
        """Removes what is neither among the newest nor among the best."""
        steps = steps_in(self.root)
        scored = [s for s in steps if self._scores.get(s, -math.inf) > -math.inf]
        best = sorted(scored, key=lambda s: (self._scores[s], s))
        kept = {*steps[-self._keep :], *(best[-self._keep_best :] if self._keep_best else ())}
        for step in set(steps) - kept:
            try:
                # Renamed first: half a step must not have a step's name.
                trash = self.root / f"{step}.old.tmp"
                (self.root / str(step)).rename(trash)
                shutil.rmtree(trash)
            except OSError as error:
                logging.warning("could not remove checkpoint %d: %s", step, error)

    def _fail(self, step: int, error: Exception) -> None:
        """Counts a failed save, and raises where it is one too many."""
        self.failed += 1
        self._in_a_row += 1
        # A manager of threads that failed is not asked to do it again.
        with contextlib.suppress(Exception):
            self._writer.close()
        self._writer = _writer()
        shutil.rmtree(self.root / f"{step}.tmp", ignore_errors=True)
        said = (
            f"could not write checkpoint {step} to {self.root}: {first_line(error)}. Earlier "
            "checkpoints are intact"
        )
        self._last_error = CheckpointError(
            f"{said}: free disk space or mend the file system, and the same command continues "
            "from the newest"
        )
        self._last_error.__cause__ = error
        if self._in_a_row > self._max_failures:
            raise self._last_error
        logging.warning(
            "%s; training goes on (failure %d in a row, checkpoint.max_failures is %d)",
            said, self._in_a_row, self._max_failures,
        )  # fmt: skip


# Data files of about this size: tensorstore holds each in memory until it is full, and its own
# choice is 2 GB.
_DATA_FILE_BYTES = 16 << 20
# What the first process tells the others besides a step.
_NOTHING, _ALL_DAMAGED = -1, -2


def _writer() -> ocp.AsyncCheckpointer:
    return ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
