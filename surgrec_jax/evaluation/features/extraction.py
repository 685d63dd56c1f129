"""Features of frozen encoders over the clips of a prepared source, in memory.

Decoding video costs more than a small encoder, so one pass over the clips serves every encoder that
sees the same clip. `feature_cache` keeps them on disk.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from surgrec_jax.safety.errors import DataError

TEXT = ("case_id", "video_id", "source")
NUMBERS = {"record": np.int64, "view": np.int64, "time": np.float32}

# uint8 [B, T, H, W, 3] -> float [B, D], or tokens [B, N, D]
Encode = Callable[[np.ndarray], np.ndarray]


class TokenRows:
    """Tokens [n, N, D] of clips that stay on disk: indexing chooses rows, `read` reads them.

    Args:
        parts: float [m, N, D] arrays, usually memory-mapped, one after another.
        rows: int [n], positions in the parts taken together; None = all in order.
    """

    def __init__(self, parts: Sequence[np.ndarray], rows: np.ndarray | None = None):
        shapes = {part.shape[1:] for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"tokens of one encoder must have one shape, got {sorted(shapes)}")
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        self._rows = np.arange(self._ends[-1]) if rows is None else np.asarray(rows, np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, N, D)."""
        return len(self._rows), *self._parts[0].shape[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: np.ndarray | slice) -> "TokenRows":
        """Chosen rows, not read yet."""
        return TokenRows(self._parts, self._rows[index])

    def joined(self, other: "TokenRows") -> "TokenRows":
        """These rows, then those of `other`."""
        return TokenRows(
            [*self._parts, *other._parts],
            np.concatenate([self._rows, other._rows + self._ends[-1]]),
        )

    def read(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The tokens of chosen rows, float32 [b, N, D]."""
        rows = self._rows[index]
        part = np.searchsorted(self._ends, rows, side="right")
        out = np.empty((len(rows), *self.shape[1:]), np.float32)
        for p in np.unique(part):
            here = part == p
            # Records are read in the order of the file, which a disk likes better.
            order = np.argsort(rows[here], kind="stable")
            first = self._ends[p] - len(self._parts[p])
            values = self._parts[p][rows[here][order] - first]
            out[np.flatnonzero(here)[order]] = values
        return out


@dataclasses.dataclass(frozen=True)
class Features:
    """Features and labels of M clips.

    Attributes:
        features: float32 [M, D], or tokens: float [M, N, D] or TokenRows.
        labels: name -> int64 [M], -1 = unlabelled: label tracks at the clip's centre frame, and
            per-video labels.
        case_id, video_id, source: text [M].
        record: int64 [M], index of the stored record.
        view: int64 [M], which of the record's clips.
        time: float32 [M], seconds from the start of the video to the clip's centre frame.
    """

    features: np.ndarray | TokenRows
    labels: dict[str, np.ndarray]
    case_id: np.ndarray
    video_id: np.ndarray
    source: np.ndarray
    record: np.ndarray
    view: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.case_id)

    def with_features(self, features: np.ndarray) -> "Features":
        """The same clips, described by other features."""
        return dataclasses.replace(self, features=features)


def encode_crops(encode: Encode, video: np.ndarray) -> np.ndarray:
    """Features of clips, or of several crops of each.

    Args:
        encode: of single crops.
        video: uint8 [B, T, H, W, 3], or [B, C, T, H, W, 3] with C crops of every clip.

    Returns:
        [B, D]: the mean over crops; tokens of all crops, [B, C N, D], for an attentive head to look
        across.
    """
    if video.ndim == 5:
        return np.asarray(encode(video))
    count, crops = video.shape[:2]
    rows = np.asarray(encode(video.reshape(count * crops, *video.shape[2:])))
    rows = rows.reshape(count, crops, *rows.shape[1:])
    return rows.mean(1) if rows.ndim == 3 else rows.reshape(count, -1, rows.shape[-1])


def extract(
    encoders: Mapping[str, Encode],
    batches: Iterable[Mapping],
    dtypes: Mapping[str, np.dtype] | None = None,
) -> dict[str, Features]:
    """Runs every encoder over the same batches of clips, decoding once.

    Args:
        encoders: name -> function from video uint8 [B, T, H, W, 3] to features [B, D] or tokens
            [B, N, D].
        batches: dicts with "video" (uint8 [B, T, H, W, 3], or [B, C, T, H, W, 3]: see
            `encode_crops`), "labels" (track -> int [B]), and "case_id", "video_id", "source",
            "record", "view", "time" (each [B]). The last batch may be smaller.
        dtypes: name -> dtype of the array that is kept; float32 where nothing is said.

    Returns:
        name -> Features.

    Raises:
        ValueError: no clip, or an encoder returned NaN, infinity (also: a value beyond the dtype
            that is kept) or the wrong number of rows (names the encoder and the record).
    """
    columns: dict[str, list] = {key: [] for key in (*TEXT, *NUMBERS)}
    labels: dict[str, list] = {}
    features: dict[str, list] = {name: [] for name in encoders}
    for batch in batches:
        video = np.asarray(batch["video"])
        for name, encode in encoders.items():
            values = encode_crops(encode, video)
            dtype = (dtypes or {}).get(name, np.float32)
            features[name].append(_checked(name, values, dtype, np.asarray(batch["record"])))
        for key in columns:
            columns[key].append(np.asarray(batch[key]))
        for track, values in batch["labels"].items():
            labels.setdefault(track, []).append(np.asarray(values, np.int64))
    if not columns["record"]:
        raise DataError("no clip to encode: the source is empty")
    types = dict.fromkeys(TEXT, str) | NUMBERS
    facts = {key: np.concatenate(parts).astype(types[key]) for key, parts in columns.items()}
    tracks = {track: np.concatenate(parts) for track, parts in labels.items()}
    short = [t for t, values in tracks.items() if len(values) != len(facts["record"])]
    if short:
        raise ValueError(f"label tracks {', '.join(short)} are missing in some batches")
    return {
        name: Features(np.concatenate(parts), tracks, **facts) for name, parts in features.items()
    }


def _checked(name: str, values: np.ndarray, dtype: np.dtype, records: np.ndarray) -> np.ndarray:
    """Features of a batch in the dtype that is kept, all finite."""
    count = len(records)
    if values.ndim not in (2, 3) or len(values) != count:
        raise ValueError(f"encoder {name} returned {values.shape} for {count} clips")
    with np.errstate(over="ignore"):  # values that do not fit are found below
        stored = values.astype(dtype)
    bad = ~np.isfinite(stored).reshape(count, -1).all(1)
    if bad.any():
        why = "was its training run stopped as non-finite?"
        if np.isfinite(values).all():
            why = f"they do not fit {np.dtype(dtype)}"
        raise DataError(
            f"encoder {name} gives NaN or infinite features for {bad.sum()} of {count} clips, "
            f"first for record {records[np.argmax(bad)]}; {why}"
        )
    return stored


def concatenate(parts: Sequence[Features]) -> Features:
    """Consecutive stretches of clips as one; tokens stay where they are."""
    arrays = [part.features for part in parts]
    fields = {
        key: np.concatenate([getattr(part, key) for part in parts]) for key in (*TEXT, *NUMBERS)
    }
    labels = {t: np.concatenate([part.labels[t] for part in parts]) for t in parts[0].labels}
    tokens = isinstance(arrays[0], np.ndarray) and arrays[0].ndim == 3
    return Features(TokenRows(arrays) if tokens else joined(arrays), labels, **fields)


def joined(parts: Sequence[np.ndarray | TokenRows]) -> np.ndarray | TokenRows:
    """The rows of all parts, one part after another; those on disk are not read."""
    if isinstance(parts[0], TokenRows):
        return functools.reduce(TokenRows.joined, parts)
    return np.concatenate(parts)
