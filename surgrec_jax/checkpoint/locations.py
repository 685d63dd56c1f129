"""The places of saved steps, and the errors about them."""

import dataclasses
from pathlib import Path

from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import UserError

# Endings of other projects' weights, which surgrec_jax.convert reads.
FOREIGN = (".safetensors", ".pth", ".pt", ".bin", ".tar")


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be written, read or used; the message has the remedy."""


class DamagedError(CheckpointError):
    """The files are not as they were saved."""


class MismatchError(CheckpointError):
    """The checkpoint is whole, but is not of this model."""


@dataclasses.dataclass(frozen=True)
class Location:
    """One saved step."""

    root: Path
    step: int

    @property
    def path(self) -> Path:
        """The folder of the step."""
        return self.root / str(self.step)


def steps_in(root: Path) -> list[int]:
    """The committed steps of a checkpoints folder, ascending; [] where there is no such folder."""
    names = (path.name for path in (root.iterdir() if root.is_dir() else ()))
    return sorted(int(name) for name in names if name.isdigit() and name == str(int(name)))


def find(path: str | Path, step: int | None = None) -> Location:
    """Locates the saved step of a workdir, of its checkpoints folder or of a step's folder.

    Args:
        step: number of the step; None for the newest.

    Raises:
        CheckpointError: there is no such step, or weights of another project.
    """
    path = Path(paths.local(path, "checkpoint"))
    if path.name.isdigit() and (path / "state").is_dir():
        if step not in (None, int(path.name)):
            raise CheckpointError(f"{path} is one step's folder, and step {step} is asked for")
        return Location(path.parent, int(path.name))
    root = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = steps_in(root)
    if not steps and _is_foreign(path):
        raise CheckpointError(
            f"{path} is not a checkpoint of this project; import it first: "
            f"python -m surgrec_jax.convert import {path} --out WORKDIR"
        )
    if not steps:
        raise CheckpointError(
            f"no checkpoint in {path}{'' if path.exists() else ', which does not exist'}; give the "
            "workdir of a run that has saved one, or the folder of a step"
        )
    if step is not None and step not in steps:
        raise CheckpointError(f"{root} has no step {step}; it has {steps}")
    return Location(root, steps[-1] if step is None else step)


def beside(path: str | Path, name: str) -> Path:
    """The folder for what is made of a checkpoint: in its workdir, never in a saved step.

    Args:
        path: as `find` takes it.
        name: of the folder; a step that is named itself adds its number.

    Raises:
        CheckpointError: as `find`.
    """
    location = find(path)
    workdir = location.root.name == "checkpoints"
    name = name if workdir else f"{location.root.name}-{name}"
    named = Path(path).resolve() == location.path.resolve()
    return location.root.parent / (f"{name}-{location.step}" if named else name)


def _is_foreign(path: Path) -> bool:
    """Whether a path is a file, or a folder with weights as other projects save them."""
    files = path.iterdir() if path.is_dir() else (path,)
    return any(file.is_file() and file.suffix in FOREIGN for file in files) or path.is_file()


def first_line(error: Exception) -> str:
    """The text of an error, short enough for one sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
