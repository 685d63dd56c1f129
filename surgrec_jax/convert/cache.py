"""Workdirs of public checkpoints, each imported once, where a checkpoint is named hf://OWNER/NAME."""

import os
import re
from pathlib import Path

from surgrec_jax import checkpoint
from surgrec_jax.convert import hub
from surgrec_jax.convert.importer import import_file
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.safety import paths

VARIABLE = "SURGREC_CACHE"


def folder() -> Path:
    """The folder of the workdirs: $SURGREC_CACHE, or ~/.cache/surgrec_jax."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "surgrec_jax")


def workdir_of(text: str, name: str = "checkpoint") -> str:
    """The workdir that a text names: a path as it is, a name of the hub as its imported copy.

    The copy lies in `folder()` under the repository's name and commit, so that a branch that moves
    on is imported anew and a commit is asked of the hub once. It is imported without options.

    Args:
        text: a path, or a name as `hub.fetch` takes it.
        name: of the flag or config value, for the error.

    Raises:
        ConfigError: an address of another kind.
        ConvertError: it cannot be fetched, or its import needs options.
        WorkdirInUseError: another process imports it.
    """
    if not text.startswith(hub.SCHEME):
        return paths.local(text, name)
    repository, revision, file = hub.parse(text)
    if re.fullmatch(hub.COMMIT, revision) and _imported(out := _place(repository, revision, file)):
        return str(out)
    _, about = hub.fetch(text)
    out = _place(repository, about["commit"], file)
    if not _imported(out):
        exact = f"{hub.SCHEME}{repository}@{about['commit']}" + (f":{file}" if file else "")
        try:
            import_file(exact, out)
        except ConvertError as error:
            raise ConvertError(
                f"{name}={text} cannot be imported without being asked: {error}. Import it first: "
                f"python -m surgrec_jax.convert import {text} --out WORKDIR"
            ) from error
        print(f"{text} was imported into {out}")
    return str(out)


def _place(repository: str, commit: str, file: str | None) -> Path:
    """The workdir of a file at a commit: one folder below `folder()`."""
    parts = f"{repository}@{commit}" + (f"/{file}" if file else "")
    return folder() / parts.replace("/", "--")


def _imported(out: Path) -> bool:
    """Whether an import was finished; a stopped one leaves no step."""
    return bool(checkpoint.steps_in(out / "checkpoints"))
