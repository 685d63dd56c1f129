"""Reading and writing tensor files without ever running code from them.

safetensors files are read by tensor; .pth and .pt files with torch, `weights_only=True` and memory
mapped, so that a file is never held twice. torch is imported only for those.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from surgrec_jax import untrusted
from surgrec_jax.convert.strict import ConvertError, Shape

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Besides tensors, only what holds plain values is let through: training arguments and the numbers
# that NumPy leaves in training states.
PLAIN_TYPES = [
    argparse.Namespace,
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.int64)),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
]
MAX_DEPTH, MAX_ENTRIES = 100, 1_000_000
TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin")


class SafetensorsFile:
    """The tensors of one or several .safetensors files, and the JSON files beside them.

    Args:
        path: a .safetensors file, or a folder as transformers saves it.

    Attributes:
        weights: the file, or in a folder the one that holds all weights where there is only one.

    Raises:
        ConvertError: no such file, or one that is damaged.
    """

    def __init__(self, path: Path):
        self.name, self.weights = str(path), path / WEIGHTS if path.is_dir() else path
        folder = path if path.is_dir() else path.parent
        self.config = _read_json(folder / "config.json")
        self.preprocessor = _read_json(folder / "preprocessor_config.json") or _read_json(
            folder / "video_preprocessor_config.json"
        )
        self.settings: dict[str, Any] = {}
        parts = [path]
        if path.is_dir():
            index = _read_json(path / INDEX)
            names = _indexed(path / INDEX, index) if index else [WEIGHTS]
            parts = [path / name for name in names]
        self._where: dict[str, tuple[Path, Shape, str]] = {}
        for part in parts:
            try:
                with safe_open(part, framework="np") as file:
                    for key in file.keys():  # noqa: SIM118  (no mapping)
                        if key in self._where:
                            raise ConvertError(f"{key} is in {part} and in {self._where[key][0]}")
                        what = file.get_slice(key)
                        self._where[key] = part, tuple(what.get_shape()), str(what.get_dtype())
            except (OSError, SafetensorError) as error:
                raise ConvertError(
                    f"{part} is no readable safetensors file ({error}); download it again"
                ) from error

    def shapes(self) -> Mapping[str, Shape]:
        """See `strict.Tensors`."""
        return {key: shape for key, (_, shape, _) in self._where.items()}

    def dtypes(self) -> set[str]:
        """Names of the dtypes in the file."""
        return {dtype for _, _, dtype in self._where.values()}

    def get(self, key: str) -> np.ndarray:
        """See `strict.Tensors`."""
        # Opened anew each time: an open file keeps all of it that was read mapped into memory.
        with safe_open(self._where[key][0], framework="np") as file:
            return _floats(file.get_tensor(key))


class TorchFile:
    """The tensors of a .pth or .pt file, keys of nested dicts and lists joined by "/".

    Attributes:
        settings: numbers and texts beside the tensors, and the training arguments where the file
            has them.

    Raises:
        ConvertError: no such file, a damaged one, one with objects that only code could restore,
            or no torch.
    """

    def __init__(self, path: Path):
        self.name, self.weights, self.config, self.preprocessor = str(path), path, None, None
        self._tensors: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self._flatten("", _torch_load(path), 0)

    def _flatten(self, prefix: str, value: Any, depth: int) -> None:
        # A pickle may hold a list that holds itself, or the same list a thousand times.
        if depth > MAX_DEPTH or len(self._tensors) + len(self.settings) > MAX_ENTRIES:
            raise ConvertError(
                f"{self.name} nests deeper than {MAX_DEPTH} or has more than {MAX_ENTRIES} entries"
            )
        if hasattr(value, "detach"):
            self._tensors[prefix] = value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self._flatten(f"{prefix}/{key}" if prefix else str(key), item, depth + 1)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                self._flatten(f"{prefix}/{index}", item, depth + 1)
        elif isinstance(value, argparse.Namespace):
            self._flatten(prefix, vars(value), depth + 1)
        else:
            self.settings[prefix] = value

    def shapes(self) -> Mapping[str, Shape]:
        """See `strict.Tensors`."""
        return {key: tuple(tensor.shape) for key, tensor in self._tensors.items()}

    def dtypes(self) -> set[str]:
        """Names of the dtypes in the file."""
        return {str(tensor.dtype).removeprefix("torch.") for tensor in self._tensors.values()}

    def get(self, key: str) -> np.ndarray:
        """See `strict.Tensors`."""
        tensor = self._tensors[key].detach()
        if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none; float32 holds it exactly
            tensor = tensor.float()
        return _floats(tensor.numpy())


SourceFile = SafetensorsFile | TorchFile


def open_file(path: str | Path) -> SourceFile:
    """A tensor file by its name.

    Raises:
        ConvertError: see the two classes.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if not path.exists():
        raise ConvertError(f"{path} does not exist")
    if path.suffix in TORCH_SUFFIXES:
        return TorchFile(path)
    raise ConvertError(
        f"{path}: give a .safetensors file, a folder with {WEIGHTS}, or one of {TORCH_SUFFIXES}"
    )


def _torch_load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConvertError(
            f"{path} is a torch file; install torch (pip install torch), or convert it to "
            "safetensors where torch is"
        ) from error
    try:
        with torch.serialization.safe_globals(PLAIN_TYPES):
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:  # torch raises whatever a damaged or hostile file provokes
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConvertError(
            f"{path} cannot be read as plain tensors ({first[:200]}). If it is truncated, download "
            "it again; if it holds pickled objects, save its state dict alone where you trust it"
        ) from error


def _floats(value: np.ndarray) -> np.ndarray:
    """float32, exactly; integers and booleans as they are."""
    if value.dtype in (np.float16, ml_dtypes.bfloat16):
        return value.astype(np.float32)
    if value.dtype == np.float64:
        raise ConvertError("a float64 tensor would lose digits in float32; convert the file first")
    return value


def _indexed(path: Path, index: dict[str, Any]) -> list[str]:
    """The files an index names; they lie beside it, and nowhere else."""
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(v, str) for v in parts.values()):
        raise ConvertError(f"{path} has no weight_map from tensors to files; download it again")
    for name in parts.values():
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ConvertError(f"{path} names {name!r}, which is no file beside it")
    return sorted(set(parts.values()))


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return untrusted.read_json(path)
    except (OSError, ValueError) as error:
        raise ConvertError(f"{path} is no readable JSON: {error}") from error


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A .safetensors file as transformers reads it."""
    save_file(dict(tensors), path, metadata={"format": "pt"})


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
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    torch.save(convert(nested), path)
