"""Keyed pseudonyms for files and cases, and blanked parts, for what would give patients away."""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from surgrec_jax.records.errors import BuildError, safe_text

KEY_BYTES = 32
_LENGTH = 16  # hexadecimal digits of a pseudonym: a clash among a million names has odds of 3e-8


def read_key(path: Path) -> bytes:
    """The secret in a key file, which is made (readable by its owner only) where there is none.

    A hash without a secret could be undone by hashing every likely name.

    Raises:
        BuildError: it cannot be read or written, or is too short to be a secret.
    """
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
        with path.open("rb") as file:
            key = file.read(4096).strip()
    except OSError as error:
        raise BuildError(f"--pseudonyms {safe_text(path)}: {error.strerror}.") from error
    if len(key) < KEY_BYTES:
        raise BuildError(
            f"--pseudonyms {safe_text(path)} holds {len(key)} bytes, which is too short for a "
            f"secret; give a file of {KEY_BYTES} or more, or the name of a new one."
        )
    return key


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """`kind` and 16 digits: the same for the same name and key, and without the key no way back."""
    digest = hmac.new(key, f"{kind}\0{name}".encode("utf-8", "backslashreplace"), hashlib.sha256)
    return f"{kind}-{digest.hexdigest()[:_LENGTH]}"


def read_boxes(text: str | None) -> tuple[tuple[float, float, float, float], ...]:
    """Boxes of "left,top,right,bottom;...", fractions of width and height.

    Raises:
        BuildError: not of this form, or empty.
    """
    boxes = []
    for part in filter(None, (text or "").split(";")):
        numbers = re.findall(r"[\d.]+", part)
        try:
            left, top, right, bottom = (float(number) for number in part.split(","))
        except ValueError:
            numbers = []
        if len(numbers) != 4 or not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise BuildError(
                f"--blank {part!r}: give left,top,right,bottom as fractions from 0 to 1, such as "
                "0,0,1,0.08 for the top 8 percent; several parted by semicolons."
            )
        boxes.append((left, top, right, bottom))
    return tuple(boxes)
