"""The logs that a training run left in its workdir; a missing part is a note, not an error."""

import base64
import dataclasses
import math
import os
import pathlib
import re
import struct
import sys

import cv2
import numpy as np

from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import MissingError, UserError

MAX_IMAGE_BYTES, MAX_PIXELS = 32 << 20, 64 << 20
SHOWN, WIDTH, QUALITY = 4, 1000, 88  # pictures of a kind, and how they are embedded
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image to embed: name ("" if its file name is only a step), step (-1: none), data URI."""

    name: str
    step: int
    uri: str


@dataclasses.dataclass(frozen=True)
class RunLog:
    """One run for the report; its curves are key -> ([steps], [values]).

    Config and environment are None if absent.
    """

    name: str
    folder: pathlib.Path
    curves: dict[str, tuple[list[float], list[float]]]
    config: dict | None
    environment: list | None
    pictures: list[Picture]
    notes: list[str]


def _read_json(path: pathlib.Path, kind: type, notes: list[str]):
    """The JSON value of a file if it is a `kind` (dict or list), else None and a note."""
    if not path.exists():
        notes.append(f"{path.name} is missing")
        return None
    try:
        return untrusted.read_json(path, kind)
    except (OSError, UserError) as error:
        notes.append(str(error).replace(str(path), path.name))
        return None


def read_curves(path: pathlib.Path, notes: list[str]) -> dict[str, tuple[list[float], list[float]]]:
    """Curves of a metrics.jsonl: key -> (steps, values). Lines may lack keys.

    A resumed run writes some steps twice; the later line wins. Lines that are no JSON object with a
    step, and non-finite values, are left out and counted in `notes`.
    """
    if not path.exists():
        notes.append(f"{path.name} is missing")
        return {}
    points: dict[str, dict[float, float]] = {}
    broken = infinite = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            row = untrusted.parse_json(line)
            step = float(row["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            broken += 1
            continue
        for key, value in row.items():
            if key == "step" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if abs(value) < math.inf and abs(value) <= sys.float_info.max:  # integers have no end
                points.setdefault(key, {})[step] = float(value)
            else:
                infinite += 1
    if broken:
        notes.append(f"{broken} unreadable lines in {path.name} left out")
    if infinite:
        notes.append(f"{infinite} non-finite values in {path.name} left out")
    return {
        key: (sorted(curve), [curve[s] for s in sorted(curve)]) for key, curve in points.items()
    }


def read_pictures(folder: pathlib.Path, notes: list[str]) -> list[Picture]:
    """Pictures of a folder, ready to embed: SHOWN of many steps, from the first to the last."""
    groups: dict[str, list[tuple[int, pathlib.Path]]] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix.lower() in (".png", ".jpg", ".jpeg") and path.is_file():
            digits = re.findall(r"\d+", path.stem)
            kind = re.sub(r"[\W_]*\d+", "", path.stem)
            groups.setdefault(kind, []).append((int(digits[-1]) if digits else -1, path))
    pictures = []
    for kind, files in sorted(groups.items()):
        files.sort()
        last = len(files) - 1
        for step, path in (
            files[i] for i in sorted({last * k // (SHOWN - 1) for k in range(SHOWN)})
        ):
            if path.stat().st_size > MAX_IMAGE_BYTES:
                notes.append(f"image {path.name} left out: larger than {MAX_IMAGE_BYTES >> 20} MiB")
                continue
            data = path.read_bytes()
            mime = next((m for magic, m in _SIGNATURES.items() if data.startswith(magic)), None)
            if mime is None:
                notes.append(f"image {path.name} left out: neither PNG nor JPEG inside")
                continue
            if mime == "image/png" and (small := _smaller(data)):
                mime, data = "image/jpeg", small
            uri = f"data:{mime};base64,{base64.b64encode(data).decode()}"
            pictures.append(Picture(kind.replace("_", " "), step, uri))
    return pictures


def _smaller(png: bytes) -> bytes | None:
    """A PNG as a JPEG at most WIDTH wide; None for one that is too large or cannot be decoded."""
    width, height = struct.unpack(">II", png[16:24].ljust(8, b"\0"))  # of its first chunk, IHDR
    if not 0 < width * height <= MAX_PIXELS:
        return None
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    if width > WIDTH:
        size = WIDTH, max(1, height * WIDTH // width)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def read_run(folder: str | os.PathLike) -> RunLog:
    """Reads a workdir.

    Raises:
        MissingError: the folder does not exist, or no run has begun in it.
    """
    folder = pathlib.Path(folder)
    if not any((folder / name).exists() for name in ("config.json", "metrics.jsonl")):
        raise MissingError(f"no run at {folder}: give the --workdir of a training run")
    notes: list[str] = []
    return RunLog(
        name=folder.resolve().name,
        folder=folder,
        curves=read_curves(folder / "metrics.jsonl", notes),
        config=_read_json(folder / "config.json", dict, notes),
        environment=_read_json(folder / "environment.json", list, notes),
        pictures=read_pictures(folder / "images", notes),
        notes=notes,
    )
