"""Label maps of a prepared source as tasks take them: chosen frames, read at one size."""

import dataclasses
import functools

import numpy as np

from surgrec_jax.data.loading.clips import spread
from surgrec_jax.data.loading.decode import UndecodableFrameError, decode_map, jpeg_size
from surgrec_jax.data.loading.pipeline import TIMEOUT_S
from surgrec_jax.data.loading.transforms import crop_resize_flip_map
from surgrec_jax.records import storage
from surgrec_jax.records.source import DamagedRecordError, Source


@dataclasses.dataclass(frozen=True)
class Maps:
    """The maps of n frames.

    Attributes:
        values: uint8 [n, M, M] ids of classes or VOID, or uint16 [n, M, M] counts of depth.
        millimetres: float [n], of one count; 0 for classes.
        ends: int [n, 2], (record, stored frame) of each.
        case_id, video_id: text [n].
        time: float [n], seconds.
    """

    values: np.ndarray
    millimetres: np.ndarray
    ends: np.ndarray
    case_id: np.ndarray
    video_id: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)


def read_maps(source: Source, name: str, side: int, most: int = 0) -> Maps:
    """Reads the maps of a source, squeezed into squares by nearest neighbour, as frames are.

    Args:
        name: of the map.
        side: M, in pixels.
        most: maps of a record, evenly spaced over those it has; 0 for all.

    Raises:
        DamagedRecordError: a map cannot be decoded, or is not of its frame's size.
    """
    dtype = np.uint16 if source.maps[name] is None else np.uint8
    rows: list[tuple] = []
    for number in range(len(source)):
        raw = storage.patiently(functools.partial(source.raw, number), TIMEOUT_S)
        stored = source.parse_maps(raw, number)[name]
        if not len(stored.frames):
            continue
        record = source.parse(raw, number)
        for k in spread(len(stored.frames), most or len(stored.frames)):
            frame = int(stored.frames[k])
            values = read_map(source, number, record.frames[frame], stored.images[k], name)
            box = (0, 0, *values.shape)
            small = crop_resize_flip_map(values, box, side)
            ids = record.case_id, record.video_id, record.times[frame]
            rows.append((small, stored.millimetres, (number, frame), *ids))
    columns = list(zip(*rows, strict=True)) or [()] * 6
    values = np.stack(columns[0]) if rows else np.empty((0, side, side), dtype)
    ends = np.array(columns[2], np.int64).reshape(-1, 2)
    return Maps(values, np.array(columns[1]), ends, *map(np.array, columns[3:]))


def read_map(source: Source, number: int, jpeg: bytes, png: bytes, name: str) -> np.ndarray:
    """A map at its stored size, uint8 or uint16 [H, W].

    Args:
        number: of the record, for messages.
        jpeg, png: the frame and its map, as they are stored.

    Raises:
        DamagedRecordError: it cannot be decoded, or is not of its frame's size.
    """
    classes = source.maps[name]
    try:
        values = decode_map(png, f"a map {name!r}", None if classes is None else len(classes))
    except UndecodableFrameError as error:
        raise DamagedRecordError(f"{source.where(number)}: {error}") from error
    if values.shape != jpeg_size(jpeg):
        raise DamagedRecordError(
            f"{source.where(number)}: a map {name!r} of {values.shape[1]} x {values.shape[0]} "
            "pixels is not of its frame's size"
        )
    return values
