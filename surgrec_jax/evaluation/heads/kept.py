"""Heads as files: what a probe chose, with its classes, its calibration and what is near to it.

A file is an .npz of plain arrays, with its facts as JSON among them; nothing in it is run. Kept are
the `linear` head, whole, and of a fine-tuned classifier, which its checkpoint has, the calibration.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from surgrec_jax.evaluation.heads import linear
from surgrec_jax.evaluation.metrics.calibration import Neighbourhood, with_temperature
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError

VERSION = 1
SUFFIX = ".head.npz"
LINEAR, CLASSIFIER = "linear", "fine-tuned"
_FACTS = "facts"  # the name of the array with JSON
# Every fact, and the type of its value.
_TYPES = {
    "version": int,
    "kind": str,
    "task": str,
    "source": str,
    "tracks": list,
    "classes": list,
    "multi_label": bool,
    "frame": str,
    "fingerprint": str,
    "clip": list,
    "temperature": float,
    "error": dict,
    "reliability": dict,
    "stored": dict | None,
    "chosen": str,
}


@dataclasses.dataclass(frozen=True, eq=False)
class KeptHead:
    """A head, or the calibration of a classifier.

    Attributes:
        facts: "kind" (LINEAR or CLASSIFIER), "task" and "source" it was trained on, "tracks",
            "classes", "multi_label", "frame" ("centre" or "last"), "fingerprint" of the encoder or
            classifier it stands on, "clip" (frames, side, fps), "temperature", "error" (expected
            calibration error on test cases "before" and "after"), "reliability" (bins after),
            "stored" (how the data set stores pictures), "chosen" (of the grid).
        models: the linear model, a grid of one; None of a classifier.
        taught: bool [C], the classes that had a training example.
        near: what is near to the training features.
    """

    facts: dict[str, Any]
    near: Neighbourhood
    models: linear.LinearModels | None = None
    taught: np.ndarray | None = None

    def probabilities(self, given: np.ndarray) -> np.ndarray:
        """Calibrated probabilities float32 [n, C] of features [n, D], or of a classifier's [n, C].

        Raises:
            DataError: features with NaN or infinity.
        """
        several, scores = self.facts["multi_label"], given
        if self.models is not None:
            scores = np.zeros((len(given), len(self.taught)))
            scores[:, self.taught] = self.models.scores(given, 0)
        return with_temperature(scores, self.facts["temperature"], several).astype(np.float32)


def save(path: Path, head: KeptHead) -> None:
    """Writes a head, whole or not at all. Raises OSError where it cannot be written."""
    arrays = {f"near/{name}": value for name, value in vars(head.near).items()}
    if head.models is not None:
        fields = {name: getattr(head.models, name) for name in ("mean", "std", "kernel", "bias")}
        arrays |= {f"head/{name}": value for name, value in fields.items()}
        arrays["head/taught"] = head.taught
    arrays[_FACTS] = np.frombuffer(json.dumps(head.facts, allow_nan=False).encode(), np.uint8)
    with files.replacing(path) as file:
        np.savez(file, **arrays)


def load(path: Path) -> KeptHead:
    """Reads a head.

    Raises:
        DataError: it is none, is damaged, or of another version.
        OSError: it cannot be read.
    """
    remedy = "; keep it again: python -m surgrec_jax.probe --config.keep_heads"
    arrays = untrusted.read_arrays(path)
    with untrusted.interpreting(path, remedy):
        facts = untrusted.parse_json(arrays[_FACTS].astype(np.uint8).tobytes())
        if facts["version"] != VERSION:
            raise DataError(f"{path} is of version {facts['version']}, not {VERSION}{remedy}")
        for name, kind in _TYPES.items():
            if not isinstance(facts[name], kind):
                raise ValueError(f"{name} is {facts[name]!r}")
        if not 0 < facts["temperature"] < np.inf or facts["frame"] not in ("centre", "last"):
            raise ValueError("a temperature or frame that is not possible")
        near = {name: arrays[f"near/{name}"] for name in ("mean", "std", "known")}
        near |= {name: float(arrays[f"near/{name}"]) for name in ("threshold", "rate")}
        head = KeptHead(facts, Neighbourhood(**near))
        if facts["kind"] == LINEAR:
            part = {name: arrays[f"head/{name}"] for name in ("mean", "std", "kernel", "bias")}
            link = "sigmoid" if facts["multi_label"] else "softmax"
            models = linear.LinearModels(**part, link=link)
            head = dataclasses.replace(
                head, models=models, taught=arrays["head/taught"].astype(bool)
            )
        _check(head)
    return head


def _check(head: KeptHead) -> None:
    """Raises ValueError for arrays that do not fit each other, or are not finite."""
    width, count = len(head.near.mean), len(head.facts["classes"])
    if head.near.std.shape != (width,) or head.near.known.shape[1:] != (width,):
        raise ValueError("neighbours of another width")
    if head.models is not None:
        taught = int(head.taught.sum())
        shapes = {"mean": (width,), "std": (width,), "kernel": (1, width, taught)}
        shapes |= {"bias": (1, taught)}
        if any(getattr(head.models, name).shape != shape for name, shape in shapes.items()):
            raise ValueError("a head of another shape")
        if head.taught.shape != (count,):
            raise ValueError(f"{len(head.taught)} columns for {count} classes")
        if not all(np.isfinite(getattr(head.models, name)).all() for name in shapes):
            raise ValueError("a head that is not finite")
