"""The metadata of a prepared data set, read by TFDS but not trusted."""

import json
import re
from pathlib import Path

import tensorflow_datasets as tfds

from surgrec_jax.data import storage

MAX_BYTES = 64 * 2**20  # of a metadata file
MAX_RECORDS = 2**40
_TEMPLATE = re.compile(r"(?:[\w.-]|\{[A-Z_]+\})+")
_FILES = ("dataset_info.json", "features.json")
# features.json names Python classes, which TFDS imports: only its own may stand there.
_CLASS = re.compile(r"tensorflow_datasets\.core\.features(\.\w+)*")


def read_info(directory: Path) -> tfds.core.DatasetInfo:
    """The DatasetInfo of a prepared data set.

    Raises:
      FileNotFoundError: a metadata file is missing.
      ValueError: one is damaged, too large, or names classes that are not TFDS's own features.
      StorageError: the file system failed.
    """
    remedy = "restore the file from a copy, or build the data set again"
    for name in _FILES:
        path = directory / name
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"is larger than {MAX_BYTES} bytes")
            values = json.loads(path.read_bytes())
            if not isinstance(values, dict):
                raise ValueError("holds no object")
            for python_class in _classes(values):
                if not _CLASS.fullmatch(python_class):
                    raise ValueError(f"names the class {python_class!r}, which is none of TFDS's")
        except OSError as error:
            raise storage.trouble(path, error) or FileNotFoundError(
                f"{path} is missing; {remedy}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be used: {error}; {remedy}") from error
    try:
        return tfds.builder_from_directory(directory).info
    except Exception as error:  # whatever TFDS stumbles over in a damaged file
        raise ValueError(
            f"{directory} holds metadata that TFDS cannot read ({type(error).__name__}: "
            f"{str(error)[:200]}); {remedy}"
        ) from error


def shards_of(
    info: tfds.core.DatasetInfo, split: str, directory: Path
) -> tuple[tuple[str, int], ...]:
    """(file name in `directory`, records) of every shard of a split.

    Raises:
      ValueError: a pattern of names that is none of TFDS's, or impossible numbers of records.
    """
    found = info.splits[split]
    template, counts = str(found.filename_template.template), found.shard_lengths
    if not _TEMPLATE.fullmatch(template):  # it goes through str.format
        raise ValueError(
            f"{directory} names its shards {template!r}, which is no pattern of TFDS's"
        )
    if any(count < 0 for count in counts) or sum(counts) > MAX_RECORDS:
        raise ValueError(f"{directory} claims shards of {min(counts)} to {max(counts)} records")
    names = [Path(path).name for path in found.filepaths]
    return tuple(zip(names, counts, strict=True))


def _classes(value) -> list[str]:
    """Every Python class that a tree of JSON names."""
    if isinstance(value, dict):
        own = [str(value[k]) for k in ("pythonClassName", "type") if isinstance(value.get(k), str)]
        return own + [name for part in value.values() for name in _classes(part)]
    if isinstance(value, list):
        return [name for part in value for name in _classes(part)]
    return []
