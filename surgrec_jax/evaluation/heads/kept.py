"""Heads as files: what a probe chose, with its classes, its calibration and what is near to it.

A file is an .npz of plain arrays, with its facts as JSON among them; nothing in it is run. Kept are
linear, attentive and temporal heads, whole, and of a fine-tuned classifier, which its checkpoint
has, the calibration.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from surgrec_jax.evaluation.heads import grid, linear
from surgrec_jax.evaluation.heads.grid import Params
from surgrec_jax.evaluation.heads.registry import HEADS
from surgrec_jax.evaluation.heads.temporal import Follower
from surgrec_jax.evaluation.metrics.calibration import Neighbourhood, with_temperature
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError

VERSION = 3
SUFFIX = ".head.npz"
LINEAR, CLASSIFIER = "linear", "fine-tuned"
TEMPORAL = "temporal"
ATTENTIVE = ("attentive", "attentive_rates", "attentive_1", "attentive_2", "attentive_3")
NETWORKS = (*ATTENTIVE, TEMPORAL)
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
    "interval": float | None,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A head of NETWORKS, alone.

    Attributes:
        kind: its name in the registry.
        classes: that were taught.
        params: of a grid of one, [1, ...].
        mean, std: float64 [D] of the training features, of a temporal head; else empty.
    """

    kind: str
    classes: int
    multi_label: bool
    params: Params
    mean: np.ndarray
    std: np.ndarray

    def begin(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function from the next clips of a video to their probabilities; see `KeptHead`."""
        head = HEADS[self.kind].train
        if self.kind == TEMPORAL:
            network = head.tcn(self.classes, self.multi_label)
            return Follower(network, self.mean, self.std, self.params)

        def scores(tokens: np.ndarray) -> np.ndarray:
            module = head.module(tokens.shape[-1], self.classes, self.multi_label)
            return grid.predict(module.apply, self.params, [tokens], self.multi_label)[0]

        return scores

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        leaves = jax.tree_util.tree_leaves_with_path(self.params)
        named = {_name(path): np.asarray(leaf) for path, leaf in leaves}
        return named | {"mean": self.mean, "std": self.std}

    @classmethod
    def of(
        cls,
        kind: str,
        width: int,
        classes: int,
        multi_label: bool,
        arrays: Mapping[str, np.ndarray],
    ) -> "Network":
        """The network of `arrays`; raises KeyError or ValueError where they do not fit."""
        head = HEADS[kind].train
        if kind == TEMPORAL:
            network = head.tcn(classes, multi_label)
            like = jax.eval_shape(lambda: network.init(width, 0))
        else:
            like = jax.eval_shape(lambda: head.module(width, classes, multi_label).init(0))

        def taken(path, leaf) -> np.ndarray:
            found = arrays[_name(path)]
            if found.shape != (1, *leaf.shape) or found.dtype != leaf.dtype:
                raise ValueError(f"{_name(path)} of another shape")
            return found

        params = jax.tree_util.tree_map_with_path(taken, like)
        mean, std = (arrays[name] for name in ("mean", "std"))
        if mean.shape != std.shape or mean.shape != (width if kind == TEMPORAL else 0,):
            raise ValueError("standardised by another width")
        return cls(kind, classes, multi_label, params, mean, std)


def _name(path: tuple) -> str:
    """The name of a parameter's array."""
    return "/".join(["params", *(str(entry.key) for entry in path)])


@dataclasses.dataclass(frozen=True, eq=False)
class KeptHead:
    """A head, or the calibration of a classifier.

    Attributes:
        facts: "kind" (LINEAR or CLASSIFIER), "task" and "source" it was trained on, "tracks",
            "classes", "multi_label", "frame" ("centre" or "last"), "fingerprint" of the encoder or
            classifier it stands on, "clip" (frames, side, fps), "temperature", "error" (expected
            calibration error on test cases "before" and "after"), "reliability" (bins after),
            "stored" (how the data set stores pictures), "chosen" (of the grid), "interval" (seconds
            between the clips of a video that a temporal head learnt from; None of others).
        models: the linear model, a grid of one, or a network; None of a classifier.
        taught: bool [C], the classes that had a training example.
        near: what is near to the training features.
    """

    facts: dict[str, Any]
    near: Neighbourhood
    models: linear.LinearModels | Network | None = None
    taught: np.ndarray | None = None

    @property
    def tokens(self) -> bool:
        """Whether it takes tokens instead of pooled features."""
        return isinstance(self.models, Network) and HEADS[self.models.kind].tokens

    def probabilities(self, given: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of the clips of a video, from its first on; see `begin`."""
        return self.begin()(given)

    def begin(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function of the next clips of a video, called for them in order of time.

        It takes features [n, D], tokens [n, N, D], or a classifier's probabilities [n, C], and
        gives calibrated probabilities float32 [n, C]. Only a temporal head remembers clips. It
        raises DataError for features with NaN or infinity.
        """
        several, models = self.facts["multi_label"], self.models
        if models is None:
            function = None
        elif isinstance(models, Network):
            function = models.begin()
        else:
            function = lambda features: models.scores(features, 0)  # noqa: E731

        def probabilities(given: np.ndarray) -> np.ndarray:
            scores = given
            if function is not None:
                scores = np.zeros((len(given), len(self.taught)))
                scores[:, self.taught] = function(given)
            return with_temperature(scores, self.facts["temperature"], several).astype(np.float32)

        return probabilities


def rounded(tokens: np.ndarray) -> np.ndarray:
    """Tokens as a probe keeps them on disk: to the precision of float16, float32."""
    return tokens.astype(np.float16).astype(np.float32)


def save(path: Path, head: KeptHead) -> None:
    """Writes a head, whole or not at all. Raises OSError where it cannot be written."""
    arrays = {f"near/{name}": value for name, value in vars(head.near).items()}
    if head.models is not None:
        arrays |= {f"head/{name}": value for name, value in head.models.arrays().items()}
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
        cases = ("validation_cases", "training_cases")
        near |= {name: int(arrays[f"near/{name}"]) for name in cases}
        head = KeptHead(facts, Neighbourhood(**near))
        several = facts["multi_label"]
        if facts["kind"] in (LINEAR, *NETWORKS):
            taught = arrays["head/taught"].astype(bool)
            if facts["kind"] == LINEAR:
                part = {name: arrays[f"head/{name}"] for name in ("mean", "std", "kernel", "bias")}
                link = "sigmoid" if several else "softmax"
                models = linear.LinearModels(**part, link=link)
            else:
                own = {
                    name.removeprefix("head/"): value
                    for name, value in arrays.items()
                    if name.startswith("head/")
                }
                width, count = len(near["mean"]), int(taught.sum())
                models = Network.of(facts["kind"], width, count, several, own)
            head = dataclasses.replace(head, models=models, taught=taught)
        _check(head)
    return head


def _check(head: KeptHead) -> None:
    """Raises ValueError for arrays that do not fit each other, or are not finite."""
    width, count = len(head.near.mean), len(head.facts["classes"])
    if head.near.std.shape != (width,) or head.near.known.shape[1:] != (width,):
        raise ValueError("neighbours of another width")
    if head.models is None:
        return
    taught = int(head.taught.sum())
    if head.taught.shape != (count,):
        raise ValueError(f"{len(head.taught)} columns for {count} classes")
    parts = head.models.arrays()
    if isinstance(head.models, linear.LinearModels):
        shapes = {"mean": (width,), "std": (width,), "kernel": (1, width, taught)}
        shapes |= {"bias": (1, taught)}
        if any(parts[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("a head of another shape")
    if not all(np.isfinite(part).all() for part in parts.values()):
        raise ValueError("a head that is not finite")
