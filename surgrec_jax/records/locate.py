"""Where prepared data sets lie: TFDS's folders, `data_dir/name[/config]/version`."""

import difflib
import importlib.util
import os
from pathlib import Path

from surgrec_jax.safety.errors import ConfigError, MissingError


def find_version(data_dir: Path, name: str, config: str | None, version: str | None) -> Path:
    """The folder `data_dir/name[/config]/version`; the newest version where none is asked for.

    A name without config is the data set without one, else its config "default", else its only one.

    Raises:
      FileNotFoundError: it is not prepared. ValueError: several configs, none of them "default",
        and none chosen.
    """
    root = data_dir / name / config if config else data_dir / name
    build = build_command(name, data_dir, config)
    if not config and not versions(root):
        configs = sorted(p.name for p in root.glob("*") if p.is_dir() and versions(p))
        if "default" in configs:
            configs = ["default"]
        if len(configs) > 1:
            raise ConfigError(f"{root} has several configs; choose one of {', '.join(configs)}")
        root = root / configs[0] if configs else root
    found = versions(root)
    if version is not None:
        found = [v for v in found if v == version]
    if not found:
        wanted = f"version {version} of {name}" if version else name
        gone = "" if data_dir.is_dir() else f" (there is no folder {data_dir})"
        known = {*sources(), *(p.name for p in data_dir.glob("*") if p.is_dir())}
        near = [] if name in known else difflib.get_close_matches(name, known)
        hint = f"did you mean {' or '.join(near)}? Or " if near else ""
        raise MissingError(f"{wanted} is not prepared in {root}{gone}; {hint}build it with {build}")
    return root / found[-1]


def versions(folder: Path) -> list[str]:
    """Versions prepared in a folder, oldest first."""
    found = [p.parent.name for p in folder.glob("*/dataset_info.json")]
    found = [v for v in found if all(part.isdigit() for part in v.split("."))]
    return sorted(found, key=lambda v: [int(part) for part in v.split(".")])


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

    One that is not called like a source can only be made from a folder of videos.
    """
    if name not in sources():
        videos = f"video_folder --name {name} --manual_dir YOUR_VIDEOS"
        return f"`python -m data_builders build {videos} --data_dir {data_dir}`"
    chosen = f" --config {config}" if config else ""
    if name != "phantom_surgery":  # which is drawn
        chosen += " --manual_dir YOUR_DOWNLOAD"
    if config == "surgrec_v1":
        chosen += " --splits_dir PUBLISHED_SPLIT_FILES"
    return f"`python -m data_builders build {name} --data_dir {data_dir}{chosen}`"
