"""The metadata of a prepared data set, read by TFDS but not trusted."""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from surgrec_jax.records import storage
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import DataError, MissingError

MAX_RECORDS = 2**40
NOTE = "build.json"  # beside dataset_info.json: how videos were stored, what was skipped, counts


def read_info(directory: Path) -> tfds.core.DatasetInfo:
    """Reads the DatasetInfo of a prepared data set.

    Raises:
        FileNotFoundError: a metadata file is missing.
        DataError: one is damaged, too large, or names classes that are not TFDS's own features.
        StorageError: the file system failed.
    """
    remedy = "restore the file from a copy, or build the data set again"
    try:
        untrusted.check_metadata(directory)
    except OSError as error:
        path = Path(error.filename or directory)
        raise storage.trouble(path, error) or MissingError(
            f"{path} is missing; {remedy}"
        ) from error
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    try:
        info = tfds.builder_from_directory(directory).info
        for split in info.splits.values():
            _ = split.filepaths  # made from patterns in the metadata
        return info
    except Exception as error:  # TFDS may raise anything of a damaged file
        raise DataError(
            f"{directory} holds metadata that TFDS cannot read ({type(error).__name__}: "
            f"{str(error)[:200]}); {remedy}"
        ) from error


def shards_of(
    info: tfds.core.DatasetInfo, split: str, directory: Path
) -> tuple[tuple[str, int], ...]:
    """Lists (file name in `directory`, number of records) of every shard of a split.

    Raises:
        DataError: numbers of records that are not possible.
    """
    split_info = info.splits[split]
    counts = split_info.shard_lengths
    if any(count < 0 for count in counts) or sum(counts) > MAX_RECORDS:
        raise DataError(f"{directory} claims shards of {min(counts)} to {max(counts)} records")
    names = [Path(path).name for path in split_info.filepaths]
    return tuple(zip(names, counts, strict=True))


def stored_as(directory: Path) -> dict[str, Any] | None:
    """How the builder stored the videos of a data set; None where the folder does not say.

    Returns:
        "record", the fields of a `RecordSpec`, and "filters", name -> whether it was on.
    """
    try:
        with untrusted.interpreting(directory / NOTE):
            note = untrusted.read_json(directory / NOTE)
            return {key: dict(note[key]) for key in ("record", "filters")}
    except (OSError, DataError):  # another tool made it, or it is gone
        return None
