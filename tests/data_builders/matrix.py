"""What becomes of every kind of video in every container: made, built, and read back.

`python -m tests.data_builders.matrix` prints the table of docs/data.md.
"""

import dataclasses
import re
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from data_builders.common.build.build import build
from data_builders.common.video.container import DecodeSpec
from data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from surgrec_jax.records.schema import RecordSpec
from tests.data_builders.contract import read_back
from tests.data_builders.encoded import FPS, cut_by_edit_list, encode
from tests.data_builders.fake_video import _box, damage, read_number

FRAMES = 30
KEY = 10  # frames from one key frame to the next
ONE = 1 << 16
ROTATED = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
MIRRORED = (-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
ASPECT = Fraction(4, 3)
LATE = 1.0
CONDITIONS = (
    *("progressive", "interlaced tff", "interlaced bff", "variable rate", "rotated", "mirrored"),
    *("aspect 4:3", "edit list", "late start", "damaged", "size change"),
)
RIGHT, FITTED, PART, EARLY, ONE_LOST = "right", "fitted", "part", "part, early", "fitted, one lost"
CANNOT = "–"
UNSTAMPED = ("avi", "h264", "h265", "m2v")


@dataclasses.dataclass(frozen=True)
class Row:
    """A container with a codec, and which conditions FFmpeg can write into it."""

    name: str
    ending: str
    codec: str
    can: frozenset[str]
    container: str | None = None
    sound: str | None = None
    size: tuple[int, int] = (128, 96)
    bframes: bool = False
    muxer: tuple[tuple[str, str], ...] = ()


def _can(letters: str) -> frozenset[str]:
    """p, t, b, v, r, m, a, e, l, d, s: the conditions in order."""
    return frozenset(c for c, key in zip(CONDITIONS, "ptbvrmaelds", strict=True) if key in letters)


SHORT = (("cluster_time_limit", "100"),)  # in ms: damage costs a cluster
ROWS = (
    Row("mp4, H.264", "mp4", "libx264", _can("ptbvrmaeld"), sound="aac"),
    Row("mp4, HEVC", "mp4", "libx265", _can("pvrmaeld"), sound="aac"),
    Row("mp4, MPEG-4", "mp4", "mpeg4", _can("ptbvrmaeld"), sound="aac"),
    Row("mp4, AV1", "mp4", "libsvtav1", _can("pvrmeld"), sound="aac", size=(256, 192)),
    Row("mov, Motion JPEG", "mov", "mjpeg", _can("pvrmaeld"), sound="aac"),
    Row("mkv, H.264", "mkv", "libx264", _can("ptbvrmald"), sound="aac", muxer=SHORT),
    Row("mkv, FFV1", "mkv", "ffv1", _can("pvrmld"), sound="aac", muxer=SHORT),
    Row("webm, VP9", "webm", "libvpx-vp9", _can("pvrmld"), sound="libopus", muxer=SHORT),
    Row("webm, VP8", "webm", "libvpx", _can("pvrmld"), sound="libopus", muxer=SHORT),
    Row("avi, Motion JPEG", "avi", "mjpeg", _can("pvad"), sound="mp2"),
    Row("avi, MPEG-4", "avi", "mpeg4", _can("ptbvad"), sound="mp2"),
    Row("ts, H.264", "ts", "libx264", _can("ptbvalds"), container="mpegts", sound="mp2"),
    Row(
        "mts (AVCHD), H.264",
        "mts",
        "libx264",
        _can("ptbvalds"),
        container="mpegts",
        sound="ac3",
        muxer=(("mpegts_m2ts_mode", "1"),),
    ),
    Row("ts, HEVC", "ts", "libx265", _can("pvalds"), container="mpegts", sound="mp2"),
    Row(
        "mpg (DVD), MPEG-2",
        "mpg",
        "mpeg2video",
        _can("ptbalds"),
        container="vob",
        sound="mp2",
        bframes=True,
    ),
    Row("mxf, MPEG-2", "mxf", "mpeg2video", _can("ptbad"), sound="pcm_s16le"),
    Row("asf, WMV 2", "asf", "wmv2", _can("pvald"), sound="wmav2"),
    Row("flv, H.264", "flv", "libx264", _can("ptbvald"), sound="aac"),
    Row("rm, RealVideo 2", "rm", "rv20", _can("pd"), sound="ac3"),
    Row("dv, DV", "dv", "dvvideo", _can("b"), size=(720, 576)),
    Row("bare H.264", "h264", "libx264", _can("ptbads"), container="h264"),
    Row("bare HEVC", "h265", "libx265", _can("pads"), container="hevc"),
    Row("bare MPEG-2", "m2v", "mpeg2video", _can("ptbads"), container="mpeg2video"),
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """Numbers and seconds of the frames, and the stored shape [height, width]."""

    numbers: list[int]
    times: np.ndarray
    shape: tuple[int, int]


def write(row: Row, condition: str, path: Path) -> Expected:
    """Makes one file."""
    options = {"codec": row.codec, "container": row.container, "size": row.size}
    options["muxer"] = dict(row.muxer)
    options["options"] = {"g": str(KEY)}
    if row.bframes:
        options["options"]["bf"] = "2"
    if row.codec == "libsvtav1":
        options["options"] |= {"svtav1-params": "lp=1", "preset": "8"}
    width, height = row.size
    numbers, times = list(range(FRAMES)), np.arange(FRAMES) / FPS
    if condition == "size change":
        bigger = (2 * height, 2 * height)
        encode(path.with_suffix(".1"), numbers=numbers[:15], **options)
        encode(path.with_suffix(".2"), numbers=numbers[15:], **options | {"size": bigger})
        parts = [path.with_suffix(".1"), path.with_suffix(".2")]
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()
    elif condition.startswith("interlaced"):
        encode(path, fields=condition.split()[1], **options)
    elif condition == "variable rate":
        times = np.cumsum([0, *([1, 3, 1, 2, 6, 1] * FRAMES)][:FRAMES]) / FPS
        encode(path, stamps=list(times), **options)
    elif condition in ("rotated", "mirrored"):
        encode(path, matrix=ROTATED if condition == "rotated" else MIRRORED, **options)
        if condition == "rotated":
            width, height = height, width
    elif condition == "aspect 4:3":
        encode(path, aspect=ASPECT, **options)
        width = round(width * ASPECT)
    elif condition == "edit list":
        cut_by_edit_list(encode(path, **options), 12)
        numbers, times = numbers[12:], times[:-12]
    elif condition == "late start":
        times = times + LATE
        encode(path, stamps=list(times), sound=row.sound, **options)
    else:
        encode(path, **options)
        if condition == "damaged":
            _damage(path)
    if row.codec == "dvvideo":
        width = 768  # its own aspect is 16:15
    return Expected(numbers, times, (height, width))


def _damage(path: Path) -> None:
    """Overwrites a tenth of the pictures' bytes with noise."""
    data, begin, end = path.read_bytes(), 0, path.stat().st_size
    if path.suffix in (".mp4", ".mov"):
        begin, end = _box(data, ["mdat"])
    size = len(data)
    damage(path, (begin + 0.4 * (end - begin)) / size, (begin + 0.5 * (end - begin)) / size)


def upright(picture: np.ndarray, condition: str) -> np.ndarray:
    """Turns a stored picture back to how its number was drawn."""
    if condition == "rotated":
        return cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE)
    if condition == "mirrored":
        return cv2.flip(picture, 1)
    if condition == "size change":  # a square is fitted into the middle
        bright = np.flatnonzero(picture.max(axis=(0, 2)) > 20)
        return picture[:, bright[0] : bright[-1] + 1]
    return picture


def outcomes(rows: tuple[Row, ...], folder: Path) -> Iterator[tuple[str, str, str]]:
    """Builds all files of some rows at once; yields (row, condition, what became of it).

    Raises:
      AssertionError: a stored frame shows another number than it should, stands at another time, or
        is missing without being listed.
    """
    expected = {}
    for row in rows:
        for condition in CONDITIONS:
            if condition in row.can:
                name = re.sub(r"\W+", "_", f"{row.name} {condition}") + f".{row.ending}"
                expected[name] = write(row, condition, folder / "in" / name), row, condition
            else:
                yield row.name, condition, CANNOT
    config = VideoFolderConfig(
        split=(1.0, 0.0, 0.0), record=RecordSpec(fps=1000, short_side=576), decode=DecodeSpec()
    )
    summary = build(
        "video_folder",
        data_dir=folder / "out",
        manual_dir=folder / "in",
        config=config,
        num_workers=1,
        progress=False,
    )
    assert not summary.skipped, summary.skipped
    listed = {Path(path).name: why for path, why in (*summary.partial, *summary.noted)}
    faults = {Path(path).name for path, _ in summary.partial}
    stored = read_back(summary.directory)["train"]
    assert stored.keys() == expected.keys()
    for name, (right, row, condition) in expected.items():
        told = listed.get(name)
        try:
            if condition == "damaged":
                result = _check_damaged(stored[name], right, row)
            else:
                result = _check(stored[name], right, row, condition)
            assert told if condition == "damaged" else (name in faults) == (result != RIGHT)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}; listed: {told}") from error
        yield row.name, condition, f"{result}, noted" if result == RIGHT and told else result


def _check(video, right: Expected, row: Row, condition: str) -> str:
    shown = [read_number(upright(picture, condition)) for picture in video.pictures]
    close, result = 2e-3, FITTED if condition == "size change" else RIGHT
    if condition == "late start":
        close = 0.05  # the sound's encoder begins its first block up to 43 ms early
    if condition == "size change" and row.codec == "mpeg2video":
        # FFmpeg's decoder drops the picture it holds; without stamps the rest moves up.
        right = Expected(right.numbers[:14] + right.numbers[15:], right.times[:-1], right.shape)
        result = ONE_LOST
    assert shown == right.numbers, shown
    assert {picture.shape[:2] for picture in video.pictures} == {right.shape}
    np.testing.assert_allclose(video.times, right.times, atol=close)
    return result


def _check_damaged(video, right: Expected, row: Row) -> str:
    """Every legible picture stands at the time of the frame it shows; where the container has no
    time stamps, it may stand before it. Up to the next key frame FFmpeg may show what was before.
    """
    right_ones = early = stale = 0
    for picture, time in zip(video.pictures, video.times, strict=True):
        try:
            number = read_number(picture)
        except AssertionError:
            continue
        late = time - right.times[number]
        early, stale = early + (late < -0.05), stale + (late > 0.05)
        right_ones += abs(late) <= 0.05
    assert right_ones + early >= 8 and stale < KEY
    assert not early or row.ending in UNSTAMPED
    return EARLY if row.ending in UNSTAMPED else PART


def table(rows: tuple[Row, ...], cells: dict[tuple[str, str], str]) -> str:
    """The cells in Markdown."""
    lines = ["| | " + " | ".join(CONDITIONS) + " |", "|---" * (len(CONDITIONS) + 1) + "|"]
    for row in rows:
        lines.append(
            "| " + " | ".join([row.name, *(cells[row.name, c] for c in CONDITIONS)]) + " |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(table(ROWS, {(row, c): what for row, c, what in outcomes(ROWS, Path(name))}))
