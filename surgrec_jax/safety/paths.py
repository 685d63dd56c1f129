"""Paths of this machine's file system; addresses of remote storage are refused by one function.

So is ~, which shells leave as it is after a =, and which would become a folder of that name.
"""

import os
import re
from collections.abc import Mapping

from surgrec_jax.safety.errors import ConfigError

# At the beginning, or after the = or the comma of NAME=RUN,NAME=RUN; of the two slashes of an
# address pathlib makes one.
_HOME = re.compile(r"(?:^|[=,\s])~(?=/|$)")
_ADDRESS = re.compile(r"(?:^|[=,\s])([A-Za-z][A-Za-z0-9+.-]+):/")


def local(path: str | os.PathLike, name: str = "path") -> str:
    """The text of a path, or of several with commas, none of which is an address or begins with ~.

    A name such as gs://bucket would be taken for a folder called "gs:". Locks, renames and partial
    writes hold on file systems, so remote storage is used through a mount (docs/scaling.md).

    Args:
        name: the flag or config value that it was given by, for the error.

    Raises:
        ConfigError: it is an address, or begins with ~.
    """
    text = os.fspath(path)
    if _HOME.search(text):
        raise ConfigError(
            f"{name}={text}: shells do not expand ~ after =, and nor does Python: write "
            f"{_HOME.sub(lambda found: found[0][:-1] + '$HOME', text)} (in Python the whole path)"
        )
    if found := _ADDRESS.search(text):
        if found[1] == "hf":
            public = text[found.start(1) + 3 :].split(",")[0].lstrip("/")
            raise ConfigError(
                f"{name}={text}: a public checkpoint is imported first: python -m "
                f"surgrec_jax.convert import hf://{public} --out WORKDIR"
            )
        raise ConfigError(
            f"{name}={text}: {found[1]}:// is not a folder of this machine; mount the storage (for "
            "buckets gcsfuse, mount-s3 or rclone mount, see docs/scaling.md) and give the folder "
            "where it is mounted"
        )
    return text


def check_local(values: Mapping[str, object], allowed: tuple[str, ...] = ()) -> None:
    """Refuses addresses and ~ among named values; what is no text or path is passed over.

    Args:
        allowed: names whose values may be addresses.

    Raises:
        ConfigError: as `local`.
    """
    for name, value in values.items():
        if isinstance(value, str | os.PathLike) and name not in allowed:
            local(value, name)
        elif isinstance(value, list | tuple):
            for part in value:
                check_local({name: part}, allowed)


def check_arguments(arguments: Mapping[str, object], allowed: tuple[str, ...] = ()) -> None:
    """`check_local` of the arguments of a command line, by name without dashes."""
    check_local({f"--{k}": v for k, v in arguments.items()}, tuple(f"--{k}" for k in allowed))
