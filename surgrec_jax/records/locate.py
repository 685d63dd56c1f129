"""The folders of prepared data sets, TFDS's `data_dir/name[/config]/version`."""

import difflib
import importlib.util
import os
from pathlib import Path

from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import ConfigError, MissingError


def find_version(data_dir: Path, name: str, config: str | None) -> Path:
    """The folder `data_dir/name[/config]/version` of the newest version.

    A name without config is the data set without one, else its config "default", else its only one.

    Raises:
        FileNotFoundError: it is not prepared.
        ValueError: several configs, none of them "default", and none chosen.
    """
    paths.local(data_dir, "data_dir")
    root = data_dir / name / config if config else data_dir / name
    build = build_command(name, data_dir, config)
    if not config and not versions(root):
        configs = sorted(p.name for p in root.glob("*") if p.is_dir() and versions(p))
        if "default" in configs:
            configs = ["default"]
        if len(configs) > 1:
            raise ConfigError(f"{root} has several configs; choose one of {', '.join(configs)}")
        root = root / configs[0] if configs else root
    prepared = versions(root)
    if not prepared:
        gone = "" if data_dir.is_dir() else f" (there is no folder {data_dir})"
        known = {*sources(), *(p.name for p in data_dir.glob("*") if p.is_dir())}
        near = [] if name in known else difflib.get_close_matches(name, known)
        hint = f"did you mean {' or '.join(near)}? Or " if near else ""
        raise MissingError(f"{name} is not prepared in {root}{gone}; {hint}build it with {build}")
    return root / prepared[-1]


def versions(folder: Path) -> list[str]:
    """The versions that are prepared in a folder, oldest first."""
    names = [p.parent.name for p in folder.glob("*/dataset_info.json")]
    names = [v for v in names if all(part.isdigit() for part in v.split("."))]
    return sorted(names, key=lambda v: [int(part) for part in v.split(".")])


def sources() -> list[str]:
    """Names of the folders of `data_builders` that build a data set, sorted; imports none."""
    spec = importlib.util.find_spec("data_builders")
    roots = map(Path, spec.submodule_search_locations if spec else ())
    return sorted(
        path.parent.name
        for root in roots
        for path in root.glob("*/*_dataset_builder.py")
        if path.name == f"{path.parent.name}_dataset_builder.py"
    )


def build_command(name: str, data_dir: str | os.PathLike, config: str | None = None) -> str:
    """The command that prepares a data set, for error messages.

    A data set that is not called like a source can only be made from a folder of videos.
    """
    if name not in sources():
        videos = f"video_folder --name {name} --manual_dir YOUR_VIDEOS"
        return f"`python -m data_builders build {videos} --data_dir {data_dir}`"
    options = f" --config {config}" if config else ""
    if name != "phantom_surgery":  # it is rendered, not downloaded
        options += " --manual_dir YOUR_DOWNLOAD"
    if config == "surgrec_v1":
        options += " --splits_dir PUBLISHED_SPLIT_FILES"
    return f"`python -m data_builders build {name} --data_dir {data_dir}{options}`"
