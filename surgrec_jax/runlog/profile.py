"""A profiler trace of some steps of a run, for Perfetto or TensorBoard's profile plug-in."""

import re
from pathlib import Path
from typing import Any

import jax

from surgrec_jax.safety.errors import ConfigError


class Profile:
    """Traces steps first <= step < last of a text "first:last"; nothing for "".

    Process 0 writes to `folder`: plugins/profile/<time>/*.trace.json.gz opens in
    https://ui.perfetto.dev, *.xplane.pb in TensorBoard with its profile plug-in.

    Args:
        steps: the text.
        total: steps of the whole run.

    Raises:
        ConfigError: the text has another form, or the run has no such steps.
    """

    def __init__(self, steps: str, folder: Path, total: int):
        match = re.fullmatch(r"(\d{1,12}):(\d{1,12})", steps)
        if steps and not (match and int(match[1]) < int(match[2])):
            raise ConfigError(
                f"profile_steps={steps!r}: give the first step and the one after the last, as in "
                "100:105"
            )
        self._first, self._last = (int(match[1]), int(match[2])) if match else (0, 0)
        if match and not 1 <= self._first < self._last <= total + 1:
            raise ConfigError(
                f"profile_steps={steps}: the run has the steps 1 to {total}; give the first step "
                f"and the one after the last, up to {max(total - 4, 1)}:{total + 1}"
            )
        self._folder, self._running = folder, False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()

    def before(self, step: int, state: Any) -> None:
        """Starts or ends the trace before a step, given the state that the step begins on.

        Both wait for the steps that are under way, so that a trace holds whole steps only.
        """
        if jax.process_index() != 0:
            return
        if not self._running and self._first <= step < self._last:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder)
            self._running = True
        elif self._running and step >= self._last:
            jax.block_until_ready(state)
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            print(f"profiler trace of {self._first}:{self._last} in {self._folder}", flush=True)
