"""Sources of numbered pictures with label maps in files of the same numbers."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from data_builders.common.source.builder import OpenedVideo
from data_builders.common.video.maps import Layers, MapFiles
from surgrec_jax.records.errors import BadInput, check_inside, safe_text


def numbered_files(folder: Path, pattern: str) -> dict[int, Path]:
    """The files of a folder by their number, the first group of `pattern` for the whole name.

    Raises:
        BadInput: the folder is not there, two files are of one number, or one is a link that leads
            out of the folder.
    """
    if not folder.is_dir():
        raise BadInput(folder, "is not there")
    expression, found = re.compile(pattern, re.IGNORECASE), {}
    for path in sorted(folder.iterdir()):
        match = expression.fullmatch(path.name)
        if match is None:
            continue
        check_inside(path, folder)
        number = int(match[1])
        if number in found:
            raise BadInput(path, f"is number {number}, as {safe_text(found[number].name)} is")
        found[number] = path
    return found


def open_paired(
    pictures: Mapping[int, Path],
    scratch_dir: Path,
    image_fps: float,
    *,
    sparse: bool = False,
    **maps: MapFiles | Layers,
) -> OpenedVideo:
    """A video of pictures by number, with label maps whose files are numbered as the pictures are.

    A picture without a map, and a map without a picture, are listed in the build's report; the
    former not where maps are `sparse`.

    Raises:
        BadInput: no picture.
    """
    if not pictures:
        raise BadInput(scratch_dir, "has no picture")
    start, problems = min(pictures), []
    for number, path in pictures.items():
        (scratch_dir / f"{number}{path.suffix}").symlink_to(path.resolve())
    for name, of_name in maps.items():
        lacking = () if sparse else sorted(pictures.keys() - of_name.numbers)
        lonely = sorted(of_name.numbers - pictures.keys())
        problems += [f"{safe_text(pictures[n])}: has no {name} map" for n in lacking]
        problems += [f"{of_name.where(n)}: {name} map without a picture" for n in lonely]
    placed = {name: _placed(of_name, start, pictures) for name, of_name in maps.items()}
    return OpenedVideo(
        scratch_dir, image_fps=image_fps, image_start=start, problems=problems, maps=placed
    )


def _placed(maps: MapFiles | Layers, start: int, pictures: Mapping[int, Path]) -> MapFiles | Layers:
    """Maps whose numbers count from the first picture; those without a picture are left out."""
    if isinstance(maps, Layers):
        layers = [_placed(layer, start, pictures) for layer in maps.layers]
        return dataclasses.replace(maps, layers=layers)
    files = {n - start: path for n, path in maps.files.items() if n in pictures}
    return dataclasses.replace(maps, files=files)
