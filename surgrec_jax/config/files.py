"""Config files: those of this project are found from any folder once it is installed."""

import importlib.util
import runpy
from pathlib import Path

from ml_collections import ConfigDict

from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import ConfigError

FOLDER = "configs"


def find(path: str) -> Path:
    """The file of a path such as configs/mae.py: here, or else where the project is installed.

    A path that is found nowhere comes back as it is.
    """
    given = Path(path)
    if given.is_file() or given.parts[:1] != (FOLDER,):
        return given
    spec = importlib.util.find_spec(FOLDER)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (there := Path(root).joinpath(*given.parts[1:])).is_file():
            return there
    return given


def load_file(text: str) -> ConfigDict:
    """The config of `FILE[:VARIANT]`, as `--config` takes it.

    Raises:
        ConfigError: no such file, or one without `get_config`.
    """
    path, _, variant = paths.local(text, "--config").partition(":")
    file = find(path)
    if not file.is_file():
        raise ConfigError(f"--config={path}: there is no such file")
    names = runpy.run_path(str(file))
    if "get_config" not in names:
        raise ConfigError(f"--config={path} has no function get_config; see configs/")
    variants = names.get("VARIANTS")
    if variant and variants and variant not in variants:
        raise ConfigError(f"{path}:{variant} does not exist: choose from {variants}")
    return names["get_config"](variant) if variant else names["get_config"]()
