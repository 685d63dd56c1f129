"""Files that others may have written: sizes are bounded before memory is taken, nothing runs.

What is wrong with a file is a DataError that begins with its path; an OSError stays what it is.
"""

import contextlib
import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from surgrec_jax.safety.errors import DataError, MissingError

MAX_JSON_BYTES = 256 * 2**20
# A value takes up to some 60 bytes of memory and three of a file.
MAX_JSON_VALUES = 20_000_000
# All arrays of an .npz may take this much, and this many times what the file has: deflate packs
# zeros a thousand to one.
UNPACKED_BYTES, UNPACKED_TIMES = 256 * 2**20, 20


_TFDS_PATTERN = re.compile(r"(?:[\w.-]|\{[A-Z_]+\})*")
_TFDS_CLASS = re.compile(r"tensorflow_datasets\.core\.features(\.\w+)*")


def parse_json(text: str | bytes) -> Any:
    """`json.loads`; ValueError also for what nests too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def read_json(path: Path, kind: type = dict) -> Any:
    """The JSON value of a file, a dict or list as `kind` says.

    Raises:
        DataError: too large, not JSON, or of another kind. OSError: it cannot be read.
    """
    path = Path(path)
    data = read_bytes(path, MAX_JSON_BYTES)
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise DataError(f"{path} has more than {MAX_JSON_VALUES} values")
    try:
        value = parse_json(data)
    except ValueError as error:  # UnicodeDecodeError among them
        raise DataError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, kind):
        raise DataError(f"{path} holds no {'object' if kind is dict else 'list'}")
    return value


def read_made_json(path: Path, remedy: str) -> dict:
    """The JSON object of a file that a command makes.

    Args:
        remedy: what to do where it is missing or damaged, as the end of a sentence.

    Raises:
        MissingError, DataError: with the file and the remedy. OSError: it cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"{path} does not exist; {remedy}")
    try:
        return read_json(path)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """A file's bytes, never more than the limit, whatever a folder of devices or links puts there.

    Raises:
        DataError: too large, or no regular file. OSError: it cannot be read.
    """
    _check_regular(path)
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{path} is larger than {limit} bytes")
    return data


def check_metadata(directory: Path) -> None:
    """To be asked before TFDS reads a prepared data set: features.json names Python classes, which
    TFDS imports, and dataset_info.json patterns of file names, which go through str.format.

    Raises:
        DataError: a metadata file that is no JSON, or names a class or has a pattern that is none
            of TFDS's. OSError: a file cannot be read.
    """
    for name in ("dataset_info.json", "features.json"):
        path = directory / name
        values = read_json(path)
        for python_class in _classes(values):
            if not _TFDS_CLASS.fullmatch(python_class):
                raise DataError(f"{path} names the class {python_class!r}, which is none of TFDS's")
        with interpreting(path):
            patterns = [split.get("filepathTemplate") or "" for split in values.get("splits", [])]
            wrong = [pattern for pattern in patterns if not _TFDS_PATTERN.fullmatch(pattern)]
        if wrong:
            raise DataError(f"{path} names shards {wrong[0]!r}, which is no pattern of TFDS's")


def _classes(value: Any) -> Iterator[str]:
    """Every Python class that a tree of JSON names."""
    if isinstance(value, dict):
        yield from (str(value[k]) for k in ("pythonClassName", "type") if type(value.get(k)) is str)
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from _classes(part)


def read_array(path: Path, *, mmap: bool = False) -> np.ndarray:
    """The array of a .npy file, mapped into memory where `mmap`; never one of objects.

    Raises:
        DataError: not an array, or shorter than its header says. OSError: it cannot be read.
    """
    path = Path(path)
    with _whatever(path, "is damaged or shorter than its header says"):
        # Mapped first in any case: a header that claims more than the file holds is found out.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive")
        return array if mmap else np.array(array)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; never objects.

    Raises:
        DataError: not such an archive, a damaged one, or one that unpacks to more than the limits
            above. OSError: it cannot be read.
    """
    path = Path(path)
    with _whatever(path, "is damaged or no archive of arrays"), open(path, "rb") as file:
        with zipfile.ZipFile(file) as archive:
            # zipfile unpacks no more than is said here.
            size = sum(entry.file_size for entry in archive.infolist())
            for entry in archive.infolist():
                with archive.open(entry) as part:
                    _check_claim(part, entry.file_size)
        limit = UNPACKED_BYTES + UNPACKED_TIMES * path.stat().st_size
        if size > limit:
            raise ValueError(f"it unpacks to {size} bytes, more than {limit}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _array(arrays[name], name) for name in arrays.files}


def plain_name(name: Any) -> str:
    """The name of a file beside another one. Raises DataError for a path that leads elsewhere."""
    if not isinstance(name, str) or Path(name).name != name or name in (".", "..", ""):
        raise DataError(f"{name!r} is no name of a file beside it")
    return name


_SENSELESS = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError)


@contextlib.contextmanager
def interpreting(
    path: Path | str, remedy: str = "", error_type: type[Exception] = DataError
) -> Iterator[None]:
    """For the block that makes sense of a file's values: what it stumbles over becomes an
    `error_type` that names the file."""
    try:
        yield
    except error_type:
        raise
    except _SENSELESS as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise error_type(f"{path} has values that make no sense ({what}){remedy}") from error


def _check_claim(file: IO[bytes], size: int) -> None:
    """Raises ValueError for an array that claims more than its `size` bytes hold."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    readers[2, 0] = np.lib.format.read_array_header_2_0
    shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"an array of {size} bytes claims to be {dtype} {list(shape)}")


def _array(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name!r} is no array")
    return value


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no regular file")


@contextlib.contextmanager
def _whatever(path: Path, what: str) -> Iterator[None]:
    """NumPy and zipfile raise whatever a damaged or hostile file provokes."""
    _check_regular(path)
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} {what} ({said})") from error
