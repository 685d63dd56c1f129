"""Tensors that hold two parameters one after the other, read as two."""

import re

import numpy as np

from surgrec_jax.convert.strict import ConvertError, Shape, Tensors


class SplitTensors:
    """A source whose tensors of certain keys are read as two, `key/0` and `key/1`.

    Args:
        pattern: a regular expression for whole keys; these tensors are cut along their first axis.

    Raises:
        ConvertError: such a tensor has an odd number of rows.
    """

    def __init__(self, source: Tensors, pattern: str):
        self.name, self._source = source.name, source
        self._shapes: dict[str, Shape] = {}
        for key, shape in source.shapes().items():
            if not re.fullmatch(pattern, key):
                self._shapes[key] = shape
                continue
            if not shape or shape[0] % 2:
                raise ConvertError(f"{source.name}: {key} is {list(shape)}, not two of a kind")
            for half in (0, 1):
                self._shapes[f"{key}/{half}"] = (shape[0] // 2, *shape[1:])

    def shapes(self) -> dict[str, Shape]:
        """See `strict.Tensors`."""
        return self._shapes

    def get(self, key: str) -> np.ndarray:
        """See `strict.Tensors`."""
        if key in self._source.shapes():
            return self._source.get(key)
        whole, half = key.rsplit("/", 1)
        return np.split(self._source.get(whole), 2)[int(half)]
