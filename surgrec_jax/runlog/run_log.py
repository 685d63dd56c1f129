"""Writes a run's metrics as they come off the device, one step late, and stops broken runs."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from surgrec_jax.runlog import metrics
from surgrec_jax.runlog.health import Health

# Share of the time waiting for data from which on the line says what to raise.
SLOW_DATA = 0.3


class RunLog:
    """Metrics file, TensorBoard and progress line of one run; quiet on all processes but the first.

    Reading a step's values only when the next step is under way keeps the device busy.

    Args:
        first: the step the run continues from.
        skipped: number of earlier steps that were not finite and so no update.
        total: number of steps of the whole run.
        schedules: functions, by name, of the number of updates so far, logged beside the step's
            values.
        health: judge of every step's values.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        name: str,
        first: int,
        skipped: int,
        total: int,
        batch_size: int,
        every: int,
        schedules: dict[str, Any],
        health: Health,
    ):
        self._workdir, self._every, self._total, self._schedules = workdir, every, total, schedules
        self._health, self._skipped = health, skipped
        self._lead = jax.process_index() == 0
        self._writer = metrics.MetricsWriter(workdir, first) if self._lead else None
        self._line = metrics.ProgressLine(total, name)
        self._pending: tuple[int, dict[str, jax.Array], dict[str, np.ndarray]] | None = None
        self.clock = metrics.Clock(batch_size)

    def add(self, step: int, values: dict[str, jax.Array], ids: dict[str, np.ndarray]) -> None:
        """Takes the values of a step that was just started, and reads those of the one before.

        Args:
            ids: draw, source and record of every clip of this process, for reports of trouble.

        Raises:
            NonFiniteError: the step before broke, and that is one too many.
        """
        self.flush()
        self._pending = step, values, ids
        self.clock.tick()

    def flush(self) -> None:
        """Reads the pending values when their step is done. Raises NonFiniteError."""
        if self._pending is None:
            return
        step, values, ids = self._pending
        self._pending = None
        values = {k: float(v) for k, v in jax.device_get(values).items()}
        finite = bool(values.pop("finite"))
        flags = self._health.look(step, finite, values, ids)
        if flags:
            self.event(step, flags)
        if not finite or (step % self._every and step != self._total):
            return
        updates = step - 1 - self._skipped - self._health.nonfinite
        values |= {k: float(f(updates)) for k, f in self._schedules.items()}
        values |= self.clock.read()
        slow = values["data_wait"] > SLOW_DATA
        self._health.note("wait", "the loader is slow: raise data.num_threads" if slow else "")
        self.event(step, values)
        if self._lead:
            left = self.clock.seconds_left(self._total - step)
            self._line.show(step, values, left, self._health.notes)

    def event(self, step: int, values: dict[str, float]) -> None:
        """Writes a line of the metrics file."""
        if self._writer:
            self._writer.write(step, values)

    def picture(self, step: int, path: Path | None) -> None:
        """Shows a picture of the run in TensorBoard; None on processes that drew none."""
        if self._writer and path is not None:
            self._writer.picture(step, path)

    def say(self, text: str) -> None:
        """Writes a line on the terminal."""
        if self._lead:
            self._line.say(text)

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._writer:
            self._writer.close()
        if self._lead:
            self._line.close()
