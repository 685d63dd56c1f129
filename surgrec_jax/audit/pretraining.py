"""What a run was trained on, as it wrote it down, found again among the prepared data sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgrec_jax.records.prepared import Prepared, choose_prepared, prepared_at


def title(entry: Mapping[str, Any]) -> str:
    """`name` or `name/config` of a source that a run describes (`Source.describe`)."""
    config = entry.get("config")
    return f"{entry['name']}/{config}" if config else entry["name"]


def find(entry: Mapping[str, Any], data_dir: Path | None) -> Prepared | None:
    """The data set that a run read: where it was, else under its name and config in `data_dir`;
    None where it is in neither.

    Raises:
      BuildError: it is there, and is damaged.
    """
    directory = Path(str(entry.get("directory") or ""))
    if (directory / "dataset_info.json").is_file():
        return prepared_at(directory)
    if data_dir is None or not data_dir.is_dir():
        return None
    wanted, here = title(entry), choose_prepared(data_dir, [])
    return next((one for one in here if wanted in (one.name, one.title)), None)
