"""Label maps of a video's frames, read from files.

A map is uint8 [H, W], ids of classes or VOID, or uint16 [H, W], counts of depth, 0 = not measured.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from data_builders.common.video.images import MAX_BYTES, check_exact
from surgrec_jax.records.errors import BadInput, safe_text
from surgrec_jax.records.maps import VOID

Decode = Callable[[np.ndarray], np.ndarray]  # a picture as it is stored -> a map
MOST_NAMED = 4  # unknown values that a sentence names


class LabelMaps(Protocol):
    """The maps of one name along a video.

    Attributes:
        millimetres: of one count of depths; 0 for classes.
        numbers: of the frames that have one.
    """

    millimetres: float

    @property
    def numbers(self) -> Collection[int]: ...

    def at(self, number: int) -> np.ndarray | None:
        """The map of a frame, None where it has none; raises BadInput for one that is no map."""

    def where(self, number: int) -> str:
        """Where the map of a frame lies, printable."""


@dataclasses.dataclass(frozen=True)
class MapFiles:
    """Maps in files, a frame each.

    Attributes:
        files: frame number -> file. In a folder of pictures a frame's number is that of its picture
            minus the video's `image_start`.
        decode: one of `by_value`, `by_colour`, `Above`, `depths`. All but `Above` take only files
            that hold values as they were written (`check_exact`).
        millimetres: of one count of depths; 0 for classes.
    """

    files: Mapping[int, Path]
    decode: Decode
    millimetres: float = 0.0

    @property
    def numbers(self) -> Collection[int]:
        return self.files.keys()

    def at(self, number: int) -> np.ndarray | None:
        path = self.files.get(number)
        if path is None:
            return None
        if not path.is_file() or not 0 < path.stat().st_size <= MAX_BYTES:
            raise BadInput(path, "is no file of a readable size")
        data = np.fromfile(path, np.uint8)
        try:
            stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        except cv2.error:
            stored = None
        if stored is None:
            raise BadInput(path, "is no readable picture")
        try:
            if not isinstance(self.decode, Above):
                check_exact(data[:32].tobytes())
            return self.decode(stored)
        except ValueError as error:
            raise BadInput(path, str(error)) from error

    def where(self, number: int) -> str:
        return safe_text(self.files[number])


@dataclasses.dataclass(frozen=True)
class Layers:
    """Maps of several files a frame, each with one kind of thing; background is 0 in all.

    What two layers claim for two classes is unlabelled.
    """

    layers: Sequence[MapFiles]
    millimetres: float = 0.0

    @property
    def numbers(self) -> Collection[int]:
        return frozenset().union(*(layer.numbers for layer in self.layers))

    def at(self, number: int) -> np.ndarray | None:
        if number not in self.numbers:
            return None
        whole = None
        for layer in self.layers:
            values = layer.at(number)
            if values is None or (whole is not None and values.shape != whole.shape):
                lacking = "lacks a layer" if values is None else "has layers of two sizes"
                raise BadInput(self.where(number), lacking)
            whole = values if whole is None else whole
            clash = (whole > 0) & (values > 0) & (whole != values)
            whole = np.where(clash, np.uint8(VOID), np.maximum(whole, values))
        return whole

    def where(self, number: int) -> str:
        return next(layer.where(number) for layer in self.layers if number in layer.numbers)


def by_value(ids: Mapping[int, int]) -> Decode:
    """Maps from grey pictures: value -> id of a class, or VOID. Of colours all channels are equal.

    The fourth channel (alpha) of a picture is not looked at.
    """
    table = np.full(256, -1)
    table[list(ids)] = list(ids.values())

    def decode(stored: np.ndarray) -> np.ndarray:
        grey = _one_channel(stored, np.uint8)
        found = table[grey]
        _refuse(np.unique(grey[found < 0]).tolist())
        return found.astype(np.uint8)

    return decode


def by_colour(ids: Mapping[tuple[int, int, int], int]) -> Decode:
    """Maps from coloured pictures: (red, green, blue) -> id of a class, or VOID."""
    known = {(r << 16) + (g << 8) + b: k for (r, g, b), k in ids.items()}
    keys = np.array(sorted(known))
    values = np.array([known[key] for key in keys.tolist()], np.uint8)

    def decode(stored: np.ndarray) -> np.ndarray:
        if stored.dtype != np.uint8 or stored.ndim != 3:
            raise ValueError("is no coloured picture of 8 bits a channel")
        b, g, r = np.moveaxis(stored[..., :3].astype(np.int64), -1, 0)
        packed = (r << 16) + (g << 8) + b
        place = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
        strange = np.unique(packed[keys[place] != packed])
        _refuse(
            [(int(v) >> 16, int(v) >> 8 & 255, int(v) & 255) for v in strange[: MOST_NAMED + 1]]
        )
        return values[place]

    return decode


def _refuse(strange: Sequence) -> None:
    if strange:
        some = ", ".join(map(str, strange[:MOST_NAMED])) + (", ..." if strange[MOST_NAMED:] else "")
        raise ValueError(f"holds values that are no class: {some}")


@dataclasses.dataclass(frozen=True)
class Above:
    """Maps of 0 and `value`, this from `least` on, from pictures that may be blurred."""

    least: int
    value: int = 1

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        if stored.dtype != np.uint8:
            raise ValueError("is no picture of 8 bits")
        grey = stored if stored.ndim == 2 else stored[..., :3].max(-1)
        return (grey >= self.least).astype(np.uint8) * np.uint8(self.value)


def depths(stored: np.ndarray) -> np.ndarray:
    """Maps of depths: one channel of 16 bits, or three that are equal."""
    return _one_channel(stored, np.uint16)


def _one_channel(stored: np.ndarray, dtype: type) -> np.ndarray:
    first = stored if stored.ndim == 2 else stored[..., 0]
    alike = stored.ndim == 2 or (stored[..., :3] == first[..., None]).all()
    if stored.dtype != dtype or not alike:
        raise ValueError(f"is no grey picture of {8 * np.dtype(dtype).itemsize} bits")
    return np.ascontiguousarray(first)
