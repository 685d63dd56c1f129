"""What a run was trained on, as it wrote it down, found again among the prepared data sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_builders.common.prepared import Prepared, choose_prepared, prepared_at


def title(entry: Mapping[str, Any]) -> str:
    """`name` or `name/config` of a source that a run describes (`Source.describe`)."""
    config = entry.get("config")
    return f"{entry['name']}/{config}" if config else entry["name"]


def find(entry: Mapping[str, Any], data_dir: Path | None) -> Prepared | None:
    """The data set that a run read: where it was, else under its name and config in `data_dir`.

    None where neither holds one, and no `data_dir` is given.

    Raises:
      BuildError: it is not in `data_dir` either.
    """
    directory = Path(str(entry.get("directory") or ""))
    if (directory / "dataset_info.json").is_file():
        return prepared_at(directory)
    return choose_prepared(data_dir, [title(entry)])[0] if data_dir is not None else None
