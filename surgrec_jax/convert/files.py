"""Reading and writing tensor files without ever running code from them.

safetensors files are read tensor by tensor; torch's own are `torch_file`'s.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from surgrec_jax import checkpoint
from surgrec_jax.convert.strict import ConvertError, Shape
from surgrec_jax.convert.tensor_io import floats, read_json
from surgrec_jax.convert.torch_file import SUFFIXES, TorchFile

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


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
        self.config = read_json(folder / "config.json")
        self.preprocessor = read_json(folder / "preprocessor_config.json") or read_json(
            folder / "video_preprocessor_config.json"
        )
        self.settings: dict[str, Any] = {}
        parts = [path]
        if path.is_dir():
            index = read_json(path / INDEX)
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
        # The file is opened anew each time: an open one keeps all that was read mapped into memory.
        part, _, dtype = self._where[key]
        try:
            with safe_open(part, framework="np") as file:
                value = file.get_tensor(key)
        except (SafetensorError, TypeError, AttributeError) as error:  # float8 and the like
            raise ConvertError(
                f"{part}: {key} is {dtype}, which NumPy has no name for; convert the file first"
            ) from error
        return floats(value, f"{part}: {key}")


SourceFile = SafetensorsFile | TorchFile


def open_file(path: str | Path) -> SourceFile:
    """Opens a tensor file or folder by its name.

    Raises:
        ConvertError: the path is none, or the file is damaged (see the two classes).
    """
    path = Path(path)
    if not path.exists():
        raise ConvertError(f"{path} does not exist")
    if path.is_dir() and not any((path / name).exists() for name in (WEIGHTS, INDEX)):
        _refuse_own(path)
        others = sorted(p.name for p in path.iterdir() if p.suffix in (".safetensors", *SUFFIXES))
        hint = f"; give one of its files: {', '.join(others[:8])}" if others else ""
        raise ConvertError(f"{path} has no {WEIGHTS}{hint}")
    if path.is_dir() or path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.suffix in SUFFIXES:
        return TorchFile(path)
    raise ConvertError(
        f"{path}: give a .safetensors file, a folder with {WEIGHTS}, or one of {SUFFIXES}"
    )


def _refuse_own(path: Path) -> None:
    """Raises ConvertError for a workdir or checkpoint of this project, with the ways to use it."""
    try:
        location = checkpoint.find(path)
        meta = checkpoint.read_meta(location)
    except checkpoint.CheckpointError:
        return
    raise ConvertError(
        f"{path} is a checkpoint of this project already ({meta['objective']} {meta['name']}, step "
        f"{location.step}): probe it or name it in --config.init_from as it is, or give it to "
        "others by `python -m surgrec_jax.convert export`"
    )


def _indexed(path: Path, index: dict[str, Any]) -> list[str]:
    """The files that an index names; they lie beside it, and nowhere else."""
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(v, str) for v in parts.values()):
        raise ConvertError(f"{path} has no weight_map from tensors to files; download it again")
    for name in parts.values():
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ConvertError(f"{path} names {name!r}, which is no file beside it")
    return sorted(set(parts.values()))


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """A .safetensors file as transformers reads it."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
