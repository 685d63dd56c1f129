"""Features on disk, in shards of records: what is there is not computed again.

<folder>/features-<hash of encoder, data, view>/
    meta.json    what the features are of
    00000.npy    features of the first stretch of records, readable by memory-mapping
    00000.npz    labels and ids of its clips; written last, so it stands for a whole shard

An interrupted pass goes on at the first shard that is missing. Pooled features are loaded as
float32; tokens are kept as float16 and stay on disk (`features.TokenRows`), so memory holds one
shard while they are computed and one batch while heads train.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from surgrec_jax.evaluation.features.extraction import (
    NUMBERS,
    TEXT,
    Encode,
    Features,
    concatenate,
    extract,
)
from surgrec_jax.safety import files, untrusted

CACHE_VERSION = 2  # raise when the meaning of a cached array changes
RECORDS_PER_SHARD = 256
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CacheKey:
    """All that cached features depend on.

    Attributes:
        encoder: what identifies it: weights, precision, and whether it gives tokens.
        data: fingerprint of the prepared source.
        view: JSON-able: clip length, rate, size, crops, clips per record, seed.
        dtype: of the stored array.
    """

    encoder: str
    data: str
    view: Mapping[str, object]
    dtype: str = "float32"

    def meta(self) -> dict:
        """The content of meta.json."""
        fields = {**dataclasses.asdict(self), "view": dict(self.view)}
        return {"version": CACHE_VERSION, "records_per_shard": RECORDS_PER_SHARD, **fields}

    def path(self, folder: str | os.PathLike) -> pathlib.Path:
        """Folder of this key; without the version, so that another one is found and refused."""
        text = json.dumps([self.encoder, self.data, dict(self.view), self.dtype], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        return pathlib.Path(folder) / f"features-{name}"


def save_shard(folder: pathlib.Path, shard: int, features: Features) -> None:
    """Writes one stretch of records, without pickle."""
    arrays = {f"labels/{track}": values for track, values in features.labels.items()}
    arrays |= {field: getattr(features, field) for field in (*TEXT, *NUMBERS)}
    with files.replacing(folder / f"{shard:05d}.npy") as file:
        np.save(file, features.features)
    with files.replacing(folder / f"{shard:05d}.npz") as file:
        np.savez(file, **arrays)


def load_shard(folder: pathlib.Path, shard: int) -> Features | None:
    """One stretch of records; None where it is not there, or, with a logged warning, damaged.

    Pooled features are read; tokens are memory-mapped.
    """
    path = folder / f"{shard:05d}.npz"
    if not path.exists():
        return None
    try:
        array = untrusted.read_array(path.with_suffix(".npy"), mmap=True)
        arrays = untrusted.read_arrays(path)
        fields = {field: arrays[field] for field in (*TEXT, *NUMBERS)}
        tracks = [name for name in arrays if name.startswith("labels/")]
        labels = {track.removeprefix("labels/"): arrays[track] for track in tracks}
        if array.ndim not in (2, 3) or len(array) != len(fields["record"]):
            raise ValueError(f"{len(fields['record'])} clips, but features {array.shape}")
        if any(x.shape[:1] != array.shape[:1] for x in arrays.values()):
            raise ValueError(f"columns of other lengths than its {len(array)} clips")
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("unreadable cached features %s (%s); computing them again", path, error)
        return None
    return Features(np.array(array) if array.ndim == 2 else array, labels, **fields)


def open_cache(folder: str | os.PathLike, key: CacheKey) -> pathlib.Path:
    """The folder of `key`, made if missing.

    It is emptied, with a logged warning, if its files are of another version or another key.
    """
    path, expected = key.path(folder), json.loads(json.dumps(key.meta()))
    meta_file = path / "meta.json"
    meta = None
    with contextlib.suppress(OSError, ValueError):
        meta = untrusted.read_json(meta_file)
    if meta == expected:
        return path
    stale = sorted(path.glob("*.np[yz]"))
    if stale:
        stored = meta if isinstance(meta, dict) else {}
        differing = [k for k in expected if stored.get(k) != expected[k]]
        _log.warning(
            "ignoring cached features %s: other %s (%s, expected %s); computing them again",
            path,
            ", ".join(differing),
            [stored.get(k) for k in differing],
            [expected[k] for k in differing],
        )
        for file in stale:
            file.unlink()
    path.mkdir(parents=True, exist_ok=True)
    files.write_text(meta_file, json.dumps(expected))
    return path


def cached_extract(
    encoders: Mapping[str, Encode],
    fingerprints: Mapping[str, str],
    batches: Callable[[range], Iterable[Mapping]],
    *,
    records: int,
    data: str,
    view: Mapping[str, object],
    folder: str | os.PathLike | None,
    tokens: frozenset[str] = frozenset(),
) -> dict[str, Features]:
    """`extract` with a cache: runs only the encoders that a shard lacks, and decodes only for them.

    Args:
        encoders: name -> encoder.
        fingerprints: name -> what identifies the encoder (weights and precision).
        batches: starts a pass over the clips of a range of records.
        records: number of records that give clips.
        data: fingerprint of the prepared source.
        view: JSON-able description of how clips are cut; must hold all that changes the clips.
        folder: of the cache; None = no cache, everything in memory.
        tokens: names of the encoders that give tokens [B, N, D], which are kept as float16.

    Raises:
        ValueError: as `extract`.
    """
    dtypes = {name: "float16" if name in tokens else "float32" for name in encoders}
    if folder is None:
        return extract(encoders, batches(range(records)), dtypes)
    folders = {
        name: open_cache(folder, CacheKey(fingerprints[name], data, view, dtypes[name]))
        for name in encoders
    }
    parts: dict[str, list[Features]] = {name: [] for name in encoders}
    for shard, first in enumerate(range(0, records, RECORDS_PER_SHARD)):
        here = {name: load_shard(path, shard) for name, path in folders.items()}
        missing = {name: encoders[name] for name, features in here.items() if features is None}
        if missing:
            stretch = range(first, min(first + RECORDS_PER_SHARD, records))
            for name, features in extract(missing, batches(stretch), dtypes).items():
                save_shard(folders[name], shard, features)
                # The shard is read back: tokens in memory give way to the file.
                here[name] = load_shard(folders[name], shard)
        for name, features in here.items():
            parts[name].append(features)
    return {name: concatenate(parts[name]) for name in encoders}
