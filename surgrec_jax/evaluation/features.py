"""Features of frozen encoders over a prepared source, cached on disk.

Decoding video costs more than a small encoder, so one pass over the clips serves every encoder that
sees the same clip.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Mapping

import numpy as np

CACHE_VERSION = 1  # raise when the meaning of a cached array changes
_TEXT = ("case_id", "video_id", "source")
_NUMBERS = {"record": np.int64, "view": np.int64, "time": np.float32}
_log = logging.getLogger(__name__)

Encode = Callable[[np.ndarray], np.ndarray]  # uint8 [B, T, H, W, 3] -> float32 [B, D]


@dataclasses.dataclass(frozen=True)
class Features:
    """Features and labels of M clips.

    Attributes:
      features: float32 [M, D].
      labels: name -> int64 [M], -1 = unlabelled: label tracks at the clip's centre frame, and
        per-video labels.
      case_id, video_id, source: text [M].
      record: int64 [M], index of the stored record; view: int64 [M], which of the record's clips;
        time: float32 [M], seconds from the start of the video to the clip's centre frame.
    """

    features: np.ndarray
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


def extract(encoders: Mapping[str, Encode], batches: Iterable[Mapping]) -> dict[str, Features]:
    """Runs every encoder over the same batches of clips, decoding once.

    Args:
      encoders: name -> function from video uint8 [B, T, H, W, 3] to features [B, D].
      batches: dicts with "video" (uint8 [B, T, H, W, 3]), "labels" (track -> int [B]), and
        "case_id", "video_id", "source", "record", "view", "time" (each [B]). The last batch may be
        smaller.

    Returns:
      name -> Features.

    Raises:
      ValueError: no clip, or an encoder returned NaN, infinity or the wrong number of rows (names
        the encoder and the record).
    """
    columns: dict[str, list] = {key: [] for key in (*_TEXT, *_NUMBERS)}
    labels: dict[str, list] = {}
    found: dict[str, list] = {name: [] for name in encoders}
    for batch in batches:
        video = np.asarray(batch["video"])
        count = len(video)
        for name, encode in encoders.items():
            values = np.asarray(encode(video), np.float32)
            if values.ndim != 2 or len(values) != count:
                raise ValueError(f"encoder {name} returned {values.shape} for {count} clips")
            bad = ~np.isfinite(values).all(1)
            if bad.any():
                raise ValueError(
                    f"encoder {name} gives NaN or infinite features for {bad.sum()} of {count} "
                    "clips, first for record "
                    f"{np.asarray(batch['record'])[np.argmax(bad)]}; was its training run stopped "
                    "as non-finite?"
                )
            found[name].append(values)
        for key in columns:
            columns[key].append(np.asarray(batch[key]))
        for track, values in batch["labels"].items():
            labels.setdefault(track, []).append(np.asarray(values, np.int64))
    if not columns["record"]:
        raise ValueError("no clip to encode: the source is empty")
    joined = {key: np.concatenate(parts) for key, parts in columns.items()}
    for key, dtype in _NUMBERS.items():
        joined[key] = joined[key].astype(dtype)
    for key in _TEXT:
        joined[key] = joined[key].astype(str)
    tracks = {track: np.concatenate(parts) for track, parts in labels.items()}
    short = [t for t, values in tracks.items() if len(values) != len(joined["record"])]
    if short:
        raise ValueError(f"label tracks {', '.join(short)} are missing in some batches")
    return {
        name: Features(np.concatenate(parts), tracks, **joined) for name, parts in found.items()
    }


@dataclasses.dataclass(frozen=True)
class CacheKey:
    """What cached features depend on: encoder, data, and view (clip length, rate, size, crop, clips
    per record, seed)."""

    encoder: str
    data: str
    view: Mapping[str, object]

    def meta(self) -> dict:
        return {
            "version": CACHE_VERSION,
            "encoder": self.encoder,
            "data": self.data,
            "view": dict(self.view),
        }

    def path(self, folder: str | os.PathLike) -> pathlib.Path:
        """File of this key; the name leaves the version out so that files of another version are
        found and refused."""
        text = json.dumps([self.encoder, self.data, dict(self.view)], sort_keys=True)
        return (
            pathlib.Path(folder) / f"features-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        )


def save_features(folder: str | os.PathLike, key: CacheKey, found: Features) -> pathlib.Path:
    """Writes features for `key` as .npz without pickle; the file appears whole or not at all."""
    path = key.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"labels/{track}": values for track, values in found.labels.items()}
    for field in ("features", *_TEXT, *_NUMBERS):
        arrays[field] = getattr(found, field)
    arrays["meta"] = np.array(json.dumps(key.meta(), sort_keys=True))
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            np.savez(file, **arrays)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
    return path


def load_features(folder: str | os.PathLike, key: CacheKey) -> Features | None:
    """Cached features for `key`; None, with a logged warning, if the file is of another version,
    key or damaged."""
    path = key.path(folder)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            expected = json.loads(json.dumps(key.meta()))
            differing = [k for k in expected if meta.get(k) != expected[k]]
            if differing:
                _log.warning(
                    "ignoring cached features %s: other %s (%s, expected %s); computing them again",
                    path,
                    ", ".join(differing),
                    [meta.get(k) for k in differing],
                    [expected[k] for k in differing],
                )
                return None
            labels = {
                n.removeprefix("labels/"): file[n] for n in file.files if n.startswith("labels/")
            }
            fields = {field: file[field] for field in ("features", *_TEXT, *_NUMBERS)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning(
            "ignoring unreadable cached features %s (%s); computing them again", path, error
        )
        return None
    return Features(labels=labels, **fields)


def cached_extract(
    encoders: Mapping[str, Encode],
    fingerprints: Mapping[str, str],
    batches: Callable[[], Iterable[Mapping]],
    *,
    data: str,
    view: Mapping[str, object],
    folder: str | os.PathLike | None,
) -> dict[str, Features]:
    """`extract` with a cache: only the encoders without a cached file are run; nothing is decoded
    if there is none.

    Args:
      encoders: name -> encoder.
      fingerprints: name -> what identifies the encoder (weights and precision).
      batches: starts a pass over the clips.
      data: fingerprint of the prepared source.
      view: JSON-able description of how clips are cut; must hold all that changes the clips.
      folder: of the cache; None = no cache.
    """
    if folder is None:
        return extract(encoders, batches())
    keys = {name: CacheKey(fingerprints[name], data, view) for name in encoders}
    found = {name: load_features(folder, key) for name, key in keys.items()}
    missing = {name: encoders[name] for name, features in found.items() if features is None}
    if missing:
        for name, features in extract(missing, batches()).items():
            save_features(folder, keys[name], features)
            found[name] = features
    return {name: found[name] for name in encoders}
