"""Answers of vision-language models in a folder: one JSON line per unit and phrasing.

    <folder>/<source>--<task>.jsonl      {"unit": "video07@12.50", "phrasing": 0, "answer": "3"}

A unit is a video ("video07"), or a clip of it by the seconds of its centre frame. The folder can be
written by an endpoint's run, or by any program; `units.jsonl` lists what is asked. An endpoint's
run first says whom it asks about what, so that no other run takes its answers for its own:

    {"about": {"model": "some/model", "frames": 4, "side": 336, "clip": [16, 4.0]}}
"""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping

from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import DataError

MAX_BYTES = 256 << 20


def path_of(folder: pathlib.Path, source: str, task: str, suffix: str = "") -> pathlib.Path:
    """The file of a task's answers."""
    return folder / (re.sub(r"[^A-Za-z0-9._-]+", "_", f"{source}--{task}") + f"{suffix}.jsonl")


def read(path: pathlib.Path) -> tuple[dict[tuple[str, int], str], dict]:
    """(unit, phrasing) -> answer, and what the first line says that the answers are about.

    A later line wins. Both are empty where there is no file.

    Raises:
        DataError: a file that is too large, or a line that is no answer (a half last line of a run
            that was killed is left out).
    """
    if not path.exists():
        return {}, {}
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES} bytes: not an answers file")
    answers, about = {}, {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = untrusted.parse_json(line)
            if number == 1 and "about" in row:
                about = dict(row["about"])
                continue
            unit, phrasing, answer = row["unit"], row["phrasing"], row["answer"]
            if not (isinstance(unit, str) and type(phrasing) is int and isinstance(answer, str)):
                raise TypeError("unit and answer must be text, phrasing a number")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue  # no line break after it: cut off while it was written
            raise DataError(
                f'{path}:{number} is not {{"unit", "phrasing", "answer"}}: {error}'
            ) from error
        answers[unit, phrasing] = answer
    return answers, about


def append(
    path: pathlib.Path, unit: str, phrasing: int, answer: str, about: Mapping | None = None
) -> None:
    """Adds an answer; a killed run's half line is cut off first, and `about` begins a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                # The half line has no meaning: cut it off.
                file.seek(0)
                whole = file.read().rfind(b"\n") + 1
                file.truncate(whole)
        row = {"unit": unit, "phrasing": phrasing, "answer": answer}
        if about and not file.seek(0, 2):
            file.write((json.dumps({"about": about}) + "\n").encode())
        file.write((json.dumps(row) + "\n").encode())


def write_units(path: pathlib.Path, rows: Iterable[dict]) -> None:
    """Lists what a task asks, for programs that answer by themselves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
