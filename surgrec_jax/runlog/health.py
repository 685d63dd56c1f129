"""What goes wrong with a run's numbers: broken steps, spikes of the loss, collapse."""

import collections
import json
from pathlib import Path

import jax
import numpy as np

from surgrec_jax.safety.errors import UserError

# A spike is a loss more than half above the median of the last losses and more than ten robust
# deviations away from it (1.4826 times the median distance estimates a normal deviation); before
# this many losses are known nothing is called a spike.
WINDOW, FEWEST, HALF_ABOVE, DEVIATIONS = 200, 50, 1.5, 10 * 1.4826
# Features of healthy encoders of this project, random ones included, had a deviation of at least
# 0.07 and an effective rank of at least 4.6.
COLLAPSED_STD, COLLAPSED_RANK = 0.01, 1.5


class NonFiniteError(UserError, RuntimeError):
    """The loss or a gradient was not finite."""


class Health:
    """Looks at what every step returns. All processes see the same values and decide alike.

    Args:
        workdir: where reports of broken steps go.
        max_nonfinite: steps in a row that may break; the step itself has left the state as it was.

    Attributes:
        nonfinite: broken steps since the start of this process.
    """

    def __init__(self, workdir: Path, *, max_nonfinite: int = 0):
        self._workdir, self._max = workdir, max_nonfinite
        self.nonfinite = self._in_a_row = 0
        self._losses: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._notes: dict[str, str] = {}

    def look(
        self, step: int, finite: bool, values: dict[str, float], ids: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """What to log of a step besides its values: {} of a healthy one.

        Returns:
            nonfinite: broken steps so far, of a step that broke and was skipped;
            loss_spike: the loss over the median of the last ones, of a spike.

        Raises:
            NonFiniteError: more broken steps in a row than are allowed.
        """
        if not finite:
            return self._skip(step, values, ids)
        self._in_a_row = 0
        return self._spike(step, values["loss"])

    def collapse(self, step: int, statistics: dict[str, float]) -> dict[str, float]:
        """`metrics.collapse_statistics` with a flag: collapsed, 1 or 0."""
        collapsed = (
            statistics["feature_std"] < COLLAPSED_STD
            or statistics["effective_rank"] < COLLAPSED_RANK
        )
        self.note("collapsed", f"COLLAPSED features at {step}" if collapsed else "")
        return {**statistics, "collapsed": float(collapsed)}

    def note(self, about: str, text: str) -> None:
        """Puts a note into the progress line, in place of the last one about the same; "" takes
        it out."""
        self._notes[about] = text

    @property
    def notes(self) -> str:
        """What the progress line says of troubles so far."""
        return ", ".join(text for text in self._notes.values() if text)

    def _spike(self, step: int, loss: float) -> dict[str, float]:
        spike = {}
        if len(self._losses) >= FEWEST:
            median = float(np.median(self._losses))
            spread = float(np.median(np.abs(np.array(self._losses) - median)))
            if loss > HALF_ABOVE * abs(median) and loss - median > DEVIATIONS * spread:
                spike = {"loss_spike": loss / median}
                self.note("spike", f"loss spike at {step} (x{loss / median:.1f})")
        self._losses.append(loss)
        return spike

    def _skip(
        self, step: int, values: dict[str, float], ids: dict[str, np.ndarray]
    ) -> dict[str, float]:
        self.nonfinite += 1
        self._in_a_row += 1
        path = self._report(step, values, ids)
        if self._in_a_row > self._max:
            row = f"{self._in_a_row} steps in a row broke, the last at " * (self._in_a_row > 1)
            raise NonFiniteError(
                f"{row}step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}; "
                f"the update was not applied, the batch's ids are in {path}. See where it breaks "
                f"with `python -m surgrec_jax.replay {self._workdir}`. Allow more with "
                "--config.max_nonfinite; or lower optim.lr or set optim.clip_norm, in another "
                "--workdir"
            )
        self.note("nonfinite", f"{self.nonfinite} broken step(s) skipped")
        return {"nonfinite": float(self.nonfinite)}

    def _report(self, step: int, values: dict[str, float], ids: dict[str, np.ndarray]) -> Path:
        path = self._workdir / f"nonfinite-step{step}-process{jax.process_index()}.json"
        report = {
            "step": step,
            "metrics": {k: v if np.isfinite(v) else str(v) for k, v in values.items()},
            "batch": {k: np.asarray(v).tolist() for k, v in ids.items()},
        }
        path.write_text(json.dumps(report, indent=1) + "\n")
        return path
