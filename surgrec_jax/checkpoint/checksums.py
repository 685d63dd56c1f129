"""Checksums of a checkpoint's files, to tell whether they are still as they were saved.

Orbax restores a flipped bit without a word. A manifest beside the arrays holds the size of every
file and a CRC-32 of each of its blocks, and shape and dtype of every array; it is the last file
written before a step's folder gets its name, so a step without one was never committed by this
program. CRC-32 finds every burst of up to 32 bits and misses other damage once in 2^32: it guards
against faults, not against someone who means to deceive.
"""

import concurrent.futures
import errno
import json
import operator
import os
import zlib
from pathlib import Path
from typing import Any

from surgrec_jax.checkpoint.locations import CheckpointError, DamagedError, Location, MismatchError
from surgrec_jax.safety import untrusted

FILE = "manifest.json"
FORMAT = 1
# Bytes under one checksum, so that several threads read a large file and damage is located.
BLOCK = 16 * 2**20
THREADS = 8
# A manifest of a ViT-g state is some 100 KB; nothing larger is read.
MAX_BYTES = 64 * 2**20

Arrays = dict[str, tuple[str, tuple[int, ...]]]


def write(folder: Path, step: int, arrays: Arrays) -> None:
    """Writes the manifest of the files in `folder`, and waits until all of them are on the disk.

    Args:
        arrays: name -> (dtype, shape).

    Raises:
        OSError: a file cannot be read back or flushed.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    sums = _block_sums(folder, sizes)
    files = {name: {"size": size, "crc32": sums[name]} for name, size in sizes.items()}
    body = {"format": FORMAT, "step": step, "block": BLOCK, "files": files, "arrays": arrays}
    text = json.dumps(body, sort_keys=True)
    path = folder / FILE
    path.write_text(json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": text}) + "\n")
    # A file system may commit a rename before the data: after a power cut the step would be empty.
    for place in (*paths, path, *{path.parent for path in paths}, folder):
        sync(place)


def sync(path: Path) -> None:
    """Returns when a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(location: Location) -> dict[str, Any]:
    """Reads the manifest of a step.

    Raises:
        DamagedError: there is none, or it is not as it was written.
        MismatchError: it is of another format.
    """
    path = location.path / FILE
    try:
        if path.is_symlink():
            raise DamagedError(f"{path} is a link")
        outer = json.loads(untrusted.read_bytes(path, MAX_BYTES))
        text = outer["manifest"]
        if zlib.crc32(text.encode()) != outer["crc32"]:
            raise DamagedError(f"{path} does not have its own checksum")
        body = json.loads(text)
    except FileNotFoundError:
        raise DamagedError(f"{location.path} has no {FILE}: it was never committed") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise DamagedError(f"{path} holds no object")
    if body.get("format") != FORMAT:
        saved_format = body.get("format")
        raise MismatchError(f"{path} has format {saved_format!r}, this version reads {FORMAT}")
    with untrusted.interpreting(path, error_type=DamagedError):
        _check_body(body)
    if body["step"] != location.step:
        raise DamagedError(f"{location.path} holds step {body['step']}: it was renamed or swapped")
    return body


def _check_body(body: dict[str, Any]) -> None:
    """Raises any error for a manifest that `write` did not write."""
    for name, entry in body["files"].items():
        size, sums = operator.index(entry["size"]), [operator.index(x) for x in entry["crc32"]]
        if size < 0 or len(sums) != -(-size // BLOCK) or len(name) > 1000 or "\0" in name:
            raise ValueError(f"an entry for {name[:100]!r} that cannot be")
    if not body["files"]:
        raise ValueError("no file")
    for dtype, shape in body["arrays"].values():
        if not isinstance(dtype, str) or min(map(operator.index, shape), default=0) < 0:
            raise ValueError(f"an array {dtype!r} {shape!r}")
    operator.index(body["step"])


def verify(location: Location, names: tuple[str, ...] | None = None) -> list[str]:
    """Finds the faults of a step's files, [] for whole ones; reads every byte, in parallel.

    Args:
        names: files to check besides the manifest; None for all.

    Raises:
        CheckpointError: the file system does not let them be read, which says nothing about them,
            or the manifest is of another format.
    """
    try:
        body = read(location)
        files = {n: f for n, f in body["files"].items() if names is None or n in names}
        problems = [text for name, f in files.items() if (text := _outside(location, name, f))]
        if problems:
            return problems
        sums = _block_sums(location.path, {name: f["size"] for name, f in files.items()})
    except DamagedError as error:
        return [str(error)]
    except OSError as error:
        return [str(_unreadable(location.path, error))]
    for name, crcs in sums.items():
        pairs = zip(crcs, files[name]["crc32"], strict=True)
        wrong = [k for k, (now, saved) in enumerate(pairs) if now != saved]
        if wrong:
            first = wrong[0] * BLOCK
            last = min((wrong[-1] + 1) * BLOCK, files[name]["size"])
            problems.append(f"{name} is not as it was saved (between bytes {first} and {last})")
    return problems


def check(location: Location, names: tuple[str, ...] | None = None) -> None:
    """Raises DamagedError where `verify` finds faults."""
    problems = verify(location, names)
    if problems:
        more = f" and {len(problems) - 2} more" if len(problems) > 2 else ""
        raise DamagedError(
            f"checkpoint {location.path} is damaged: {'; '.join(problems[:2])}{more}"
        )


def arrays_of(location: Location) -> Arrays:
    """The dtype and shape of every saved array; raises as `read`."""
    arrays = read(location)["arrays"]
    return {name: (dtype, tuple(shape)) for name, (dtype, shape) in arrays.items()}


def _unreadable(path: Path, error: OSError) -> DamagedError:
    """Makes an error a DamagedError; raises CheckpointError where it says nothing of the file."""
    if error.errno in (errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
        return DamagedError(f"{path} cannot be read: {error}")
    # Too many open files, no permission or a server that is away are no damage.
    raise CheckpointError(
        f"{path} cannot be read now: {error}. Nothing was changed; mend that and try again"
    ) from error


def _outside(location: Location, name: str, entry: dict[str, Any]) -> str | None:
    """The reason not to read a listed file; None where its size is right."""
    path = location.path / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        return f"{name!r} lies outside the checkpoint"
    if any(place.is_symlink() for place in (path, *path.parents[: len(Path(name).parts) - 1])):
        return f"{name} is a link"
    if not path.is_file():
        return f"{name} is missing"
    size = path.stat().st_size
    if size != entry["size"]:
        return f"{name} has {size} bytes, {entry['size']} were saved"
    return None


def _block_sums(folder: Path, sizes: dict[str, int]) -> dict[str, list[int]]:
    """The CRC-32 of every block of every file; zlib and reads let other threads run."""
    blocks = [(n, at) for n, size in sizes.items() for at in range(0, size, BLOCK)]

    def one(block: tuple[str, int]) -> int:
        name, at = block
        # The file is buffered, as a raw read may give fewer bytes (FUSE, NFS).
        with open(folder / name, "rb") as file:
            file.seek(at)
            return zlib.crc32(file.read(BLOCK))

    with concurrent.futures.ThreadPoolExecutor(min(THREADS, len(blocks) or 1)) as pool:
        sums = list(pool.map(one, blocks))
    result: dict[str, list[int]] = {name: [] for name in sizes}
    for (name, _), crc in zip(blocks, sums, strict=True):
        result[name].append(crc)
    return result
