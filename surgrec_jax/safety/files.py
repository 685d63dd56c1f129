"""Files that appear whole or not at all: written beside their place, then renamed into it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends.

    The folder is made where it is missing. A block that fails leaves `path` as it was.

    Raises:
        OSError: the file could not be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all. Raises OSError where it cannot be written."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file whole or not at all.

    Raises:
        ValueError: a number that is not finite, which JSON cannot hold.
        OSError: see `replacing`.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
