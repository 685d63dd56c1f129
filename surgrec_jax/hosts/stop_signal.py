"""A run asked to stop: its processes save at the same step."""

import signal
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """Lets SIGTERM or Ctrl-C save and stop the run; a second one ends the process at once.

    With several processes JAX watches SIGTERM itself and lets all of them agree on a step; from
    then on a further one ends the process at once.
    """

    def __init__(self):
        self._requested = False
        self._together = jax.process_count() > 1
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if not self._together:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        del frame
        self._requested = True
        signal.signal(number, signal.SIG_DFL)

    def reached(self, step: int) -> bool:
        """Whether to stop after this step; the same answer on every process."""
        if self._together:
            reached = multihost_utils.reached_preemption_sync_point(step)
            if reached:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return reached
        return self._requested
