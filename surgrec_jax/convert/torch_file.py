""".pth, .pt and .bin files, read and written by torch without ever running code from them.

`weights_only=True` lets no object through but tensors and plain values; files are memory mapped, so
that they are never held twice. torch is imported only here.
"""

import argparse
import functools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surgrec_jax.convert.strict import ConvertError, Shape
from surgrec_jax.convert.tensor_io import floats, read_json
from surgrec_jax.safety import untrusted

# The types that are let through besides tensors hold plain values only: training arguments, and the
# numbers that NumPy leaves in training states.
PLAIN_TYPES = [
    argparse.Namespace,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.int64)),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
]
SUFFIXES = (".pth", ".pt", ".tar", ".bin")
# Training states nest a handful of levels; a file may hold a list that holds itself, or the same
# list a thousand million times in a few bytes.
MAX_DEPTH, MAX_ENTRIES = 32, 1_000_000


class TorchFile:
    """The tensors of a torch file, keys of nested dicts and lists joined by "/".

    Attributes:
        settings: numbers and texts beside the tensors, and the training arguments where the file
            has them.
        preprocessor: None; such files state no normalisation.

    Raises:
        ConvertError: no such file, a damaged one, one with objects that only code could restore,
            or no torch.
    """

    def __init__(self, path: Path):
        self.name, self.weights, self.preprocessor = str(path), path, None
        self._tensors: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self._seen = self._claimed = 0
        self._most = untrusted.UNPACKED_BYTES + untrusted.UNPACKED_TIMES * path.stat().st_size
        self._flatten("", _load(path), 0)

    @functools.cached_property
    def config(self) -> dict[str, Any] | None:
        """The config.json beside a file of transformers' older releases (pytorch_model.bin)."""
        return read_json(self.weights.parent / "config.json")

    def _flatten(self, prefix: str, value: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ConvertError(f"{self.name} nests more than {MAX_DEPTH} levels: {prefix[:80]}...")
        self._seen += 1
        if self._seen > MAX_ENTRIES:
            raise ConvertError(f"{self.name} has more than {MAX_ENTRIES} entries")
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._flatten(f"{prefix}/{key}" if prefix else str(key), item, depth + 1)
            return
        entries = self.settings
        if hasattr(value, "detach"):
            entries = self._tensors
            # Tensors may repeat and share what is stored.
            self._claimed += value.numel() * value.element_size()
            if self._claimed > self._most:
                raise ConvertError(
                    f"{self.name} unpacks to more than {self._most} bytes at {prefix}"
                )
        if prefix in entries:
            raise ConvertError(f"{self.name} has two entries that read {prefix}")
        entries[prefix] = value

    def shapes(self) -> Mapping[str, Shape]:
        """See `strict.Tensors`."""
        return {key: tuple(tensor.shape) for key, tensor in self._tensors.items()}

    def dtypes(self) -> set[str]:
        """Names of the dtypes in the file."""
        return {str(tensor.dtype).removeprefix("torch.") for tensor in self._tensors.values()}

    def get(self, key: str) -> np.ndarray:
        """See `strict.Tensors`."""
        tensor, where = self._tensors[key].detach(), f"{self.name}: {key}"
        if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none; float32 holds it exactly
            tensor = tensor.float()
        try:
            value = tensor.numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised, float8, without data
            raise ConvertError(f"{where} is no plain dense tensor: {_line(str(error))}") from error
        return floats(value, where)


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConvertError(
            f"{path} is a torch file; install torch (pip install torch), or convert it to "
            "safetensors where torch is"
        ) from error
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _check_sums(path)
        with torch.serialization.safe_globals(PLAIN_TYPES):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch raises whatever a damaged or hostile file provokes
        # torch's own text tells how to load the file unsafely.
        global_name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if global_name:
            raise ConvertError(
                f"{path} holds {global_name[1]}, and restoring such objects runs code of the file; "
                "where you trust it, save its state dict alone"
            ) from error
        what = re.sub(r"In PyTorch 2\.6.*", "", _line(str(error))) or type(error).__name__
        raise ConvertError(
            f"{path} cannot be read as plain tensors ({what.strip()}); if it is truncated or "
            "damaged, download it again"
        ) from error


def _check_sums(path: Path) -> None:
    """Compares every record with its CRC-32, which torch does not do when it maps a file."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"record {damaged} is not what was saved")


def _line(text: str) -> str:
    """The first line of an error."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:200]


def write_torch(path: Path, nested: Mapping[str, Any]) -> None:
    """A torch file of nested dicts whose leaves are arrays, numbers or texts.

    Raises:
        ConvertError: no torch.
    """
    try:
        import torch
    except ImportError as error:
        raise ConvertError(
            f"writing {path} needs torch (pip install torch); --format=transformers does not"
        ) from error

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: convert(v) for k, v in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        return torch.from_numpy(value if value.flags.writeable else value.copy())

    torch.save(convert(nested), path)
