"""Mutated annotation files: every parser, and every builder on a made-up download of its source."""

import datetime
import io
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import openpyxl

from data_builders.common.labels import annotations, from_tables, tables, xlsx
from data_builders.common.labels.table_columns import TableOptions
from data_builders.common.source.registry import builder_class
from data_builders.common.video.images import IMAGE_SUFFIXES
from data_builders.video_folder.folder import VIDEO_SUFFIXES
from data_builders.video_folder.table import read_table
from surgrec_jax.records.errors import BadInput, BuildError
from tests.data_builders.label_files import EXPORTS
from tests.faults.fuzz_downloads import collect
from tests.faults.fuzz_mutate import mutate, mutate_text

NAMES = ("preparation", "dissection", "closure")
IDS = annotations.by_name(NAMES)
CSV = "start,end,phase\n" + "".join(f"{k}.5,{k + 1}.25,{NAMES[k % 3]}\n" for k in range(20))
FRAMES = "Frame\tPhase\n" + "".join(f"{25 * k}\t{NAMES[k % 3]}\n" for k in range(40))
SPANS = "".join(f"{100 * k} {100 * k + 99} {NAMES[k % 3]}\n" for k in range(20))
JSON = '{"video1": [{"start": 1.5, "end": 2, "labels": ["a", "b"]}, {"n": [1, 2, 3]}]}\n'
LABELS = "path;case_id;split;phase;start_s;end_s\n" + "".join(
    f"v{k % 4}.mp4;case{k % 4};train;{NAMES[k % 3]};{k};{k + 1}\n" for k in range(40)
)
HOSPITAL = "sep=;\nVideo;Anfang;Ende (s);Phase;Frame;;\n" + "".join(
    f"op1.mp4;00:{k:02}:00,5;{60 * k + 30},25;{NAMES[k % 3]};{k};;\n" for k in range(20)
)


def suite(folder: Path, seed: int):
    """See fuzz.Suite. Parsers and builders take turns; SURGREC_FUZZ_PARSERS leaves builders out."""
    parsers = list(_parsers().items())
    downloads = {} if os.environ.get("SURGREC_FUZZ_PARSERS") else collect(folder / "downloads")
    targets = [(name, path) for name, root in downloads.items() for path in _annotations(root)]

    def case(number: int) -> str:
        rng = np.random.default_rng([seed, number])
        if targets and number % 2:
            name, path = targets[number // 2 % len(targets)]
            _use_builder(name, downloads[name], path, rng)
            return name
        name, (text, read) = parsers[number // (2 if targets else 1) % len(parsers)]
        path = folder / f"case{number}"
        path.write_bytes(
            _damaged(path.with_suffix(".xlsx" if name.startswith("xlsx") else ".txt"), text, rng)
        )
        try:
            read(path)
        finally:
            path.unlink()
        return name

    return case, (BadInput, BuildError)


def _parsers() -> dict:
    """Name -> (a sound file, what reads it)."""

    def rows(path):
        found = tables.read_rows(path, ("start", "end", "phase"))
        spans = [
            (r.number("start"), r.number("end"), annotations.class_id(r, r.text("phase"), IDS), r)
            for r in found
        ]
        for make in (from_tables.interval_track, from_tables.exclusive_track):
            _look(make(spans))
        _look(from_tables.presence_track(span[:2] for span in spans))
        _look(from_tables.starts_track([(s[0], s[2], s[3]) for s in spans], clock="seconds"))
        samples = [(s[0], s[2], s[3]) for s in spans]
        _look(from_tables.sampled_track(samples))

    def frames(path):
        table = annotations.frame_table(path, ("Frame", "Phase"))
        _look(table.track("Phase", IDS))
        assert table.extent.end >= 0

    return {
        "rows": (CSV.encode(), rows),
        "frames": (FRAMES.encode(), frames),
        "intervals": (SPANS.encode(), lambda p: _look(annotations.interval_table(p, IDS)[0])),
        "json": (JSON.encode(), annotations.read_json),
        "video_folder": (LABELS.encode(), lambda p: read_table(p, [f"v{k}.mp4" for k in range(4)])),
        "xlsx": (_workbook(), xlsx.read_sheet),
        "xlsx table": (_workbook(), _read_labels),
        "hospital": (HOSPITAL.encode("utf-16"), _read_labels),
        **{name: (data, _read_labels) for name, (_, data) in EXPORTS.items()},
    }


def _read_labels(path) -> None:
    """Reads labels; every interval is one, of a class that is known."""
    videos = ["op1.mp4", f"{path.stem}.mp4"]  # some name their video, some are named after it
    table = read_table(path, videos, TableOptions(fold_classes=True))
    for rows in table.videos.values():
        for column, spans in rows.intervals.items():
            for start, end, value, _ in spans:
                assert 0 <= start < end and value in table.tracks[column]


def _look(track) -> None:
    ids = track.at(np.linspace(0, 100, 50))
    assert ids.min() >= -1 and ids.max() < len(NAMES)


def _workbook() -> bytes:
    """A table with times as Excel holds them."""
    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["path", "start", "end", "phase"])
    for k in range(20):
        book.active.append(
            [
                "op1.mp4",
                datetime.time(0, k),
                datetime.timedelta(minutes=k, seconds=30),
                NAMES[k % 3],
            ]
        )
    book.save(out)
    return out.getvalue()


def _damaged(path: Path, data: bytes, rng: np.random.Generator) -> bytes:
    """A workbook is damaged as an archive, or in one of the files it holds."""
    if path.suffix != ".xlsx" or rng.random() < 0.3:
        return (mutate if path.suffix == ".xlsx" else mutate_text)(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as copy:
        chosen = int(rng.integers(len(archive.namelist())))
        for k, name in enumerate(archive.namelist()):
            held = archive.read(name)
            copy.writestr(name, mutate_text(held, rng) if k == chosen else held)
    return out.getvalue()


def _annotations(root: Path) -> list[Path]:
    """The files of a download that are neither video nor picture."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix.lower() not in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
    ]


def _use_builder(name: str, root: Path, path: Path, rng: np.random.Generator) -> None:
    """Lists and opens a source with one file damaged, and puts the file back."""
    sound = path.read_bytes()
    path.write_bytes(_damaged(path, sound, rng))
    try:
        with tempfile.TemporaryDirectory() as data_dir:
            builder = builder_class(name)(data_dir=data_dir, manual_dir=root)
            for k, item in enumerate(builder.checked_videos(root)):
                scratch = Path(data_dir, str(k))
                scratch.mkdir()
                opened = builder.opened(item, scratch)
                for track in opened.tracks.values():
                    track.at(np.arange(50.0))
    finally:
        path.write_bytes(sound)
