"""Files that others may have written: sizes are bounded before memory is taken, nothing runs.

What is wrong with a file is a ValueError that begins with its path; an OSError stays what it is.
"""

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MAX_JSON_BYTES = 256 * 2**20
# A value takes up to some 60 bytes of memory and three of a file.
MAX_JSON_VALUES = 20_000_000
# All arrays of an .npz may take this much, and this many times what the file has: deflate packs
# zeros a thousand to one.
UNPACKED_BYTES, UNPACKED_TIMES = 256 * 2**20, 20


def parse_json(text: str | bytes) -> Any:
    """`json.loads`; ValueError also for what nests too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def read_json(path: Path, kind: type = dict) -> Any:
    """The JSON value of a file, a dict or list as `kind` says.

    Raises:
        ValueError: too large, not JSON, or of another kind. OSError: it cannot be read.
    """
    path = Path(path)
    data = _read(path, MAX_JSON_BYTES)
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise ValueError(f"{path} has more than {MAX_JSON_VALUES} values")
    try:
        value = parse_json(data)
    except ValueError as error:  # UnicodeDecodeError among them
        raise ValueError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path} holds no {'object' if kind is dict else 'list'}")
    return value


def read_array(path: Path, *, mmap: bool = False) -> np.ndarray:
    """The array of a .npy file, mapped into memory where `mmap`; never one of objects.

    Raises:
        ValueError: not an array, or shorter than its header says. OSError: it cannot be read.
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
        ValueError: not such an archive, a damaged one, or one that unpacks to more than the limits
            above. OSError: it cannot be read.
    """
    path = Path(path)
    with _whatever(path, "is damaged or no archive of arrays"), open(path, "rb") as file:
        with zipfile.ZipFile(file) as archive:
            # zipfile unpacks no more than is said here.
            size = sum(entry.file_size for entry in archive.infolist())
        limit = UNPACKED_BYTES + UNPACKED_TIMES * path.stat().st_size
        if size > limit:
            raise ValueError(f"it unpacks to {size} bytes, more than {limit}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: _array(arrays[name], name) for name in arrays.files}


def plain_name(name: Any) -> str:
    """The name of a file beside another one. Raises ValueError for a path that leads elsewhere."""
    if not isinstance(name, str) or Path(name).name != name or name in (".", "..", ""):
        raise ValueError(f"{name!r} is no name of a file beside it")
    return name


@contextlib.contextmanager
def interpreting(
    path: Path | str, remedy: str = "", error_type: type[Exception] = ValueError
) -> Iterator[None]:
    """For the block that makes sense of a file's values: what it stumbles over becomes an
    `error_type` that names the file."""
    try:
        yield
    except error_type:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise error_type(f"{path} has values that make no sense ({what}){remedy}") from error


def _array(value: Any, name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name!r} is no array")
    return value


def _read(path: Path, limit: int) -> bytes:
    """Never more than the limit, whatever a folder of devices or links puts there."""
    _check_regular(path)
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return data


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file")


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
        raise ValueError(f"{path} {what} ({said})") from error
