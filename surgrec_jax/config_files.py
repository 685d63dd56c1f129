"""Config files: those of this project are found from any folder once it is installed."""

import importlib.util
from pathlib import Path

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
