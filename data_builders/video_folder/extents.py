"""Labels brought to the clock and the length of their video, before anything is built.

Labels that go beyond their video are an error, for they tell of a wrong table, unit or file:
unless `trim` is asked for. A label may end up to a second after its video, as times of whole
seconds do; one that begins after its end is always beyond.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from data_builders.common.build.lengths import Length, measure
from data_builders.common.labels.entries import Span
from data_builders.common.labels.from_tables import FOREVER
from data_builders.common.labels.instants import show, timecode_frame
from data_builders.video_folder.table import VideoRows
from surgrec_jax.records.errors import BuildError, safe_text

SLACK_SECONDS = 1.0
_NAMED = 8  # places that one message names


def fit(
    videos: Mapping[str, tuple[VideoRows, tuple[Path, ...]]],
    trim: bool,
    measure: Callable[..., list[Length | None]] = measure,
) -> list[str]:
    """Turns timecodes into frame numbers, and checks every label against the length of its video.

    The rows are changed in place. A header is believed where the labels fit into what it says;
    where they do not, or it says nothing, the video is decoded.

    Args:
        videos: id -> its rows and files, for videos with labels in time.
        trim: cut labels at the end of their video instead of refusing them.

    Returns:
        Sentences for the build's summary.

    Raises:
        BuildError: names the videos, rows and both lengths.
    """
    names = list(videos)
    lengths = dict(zip(names, measure([videos[name][1] for name in names]), strict=True))
    for name in names:
        _count_frames(name, videos[name][0], lengths[name])
    doubted = [
        name
        for name in names
        if lengths[name] is None or _beyond(name, videos[name][0], lengths[name])
    ]
    exact = measure([videos[name][1] for name in doubted], decode=True)
    beyond: list[str] = []
    trimmed, of_videos = 0, 0
    for name, length in zip(doubted, exact, strict=True):
        if length is None:  # it cannot be read: the build says why
            continue
        rows = videos[name][0]
        _count_frames(name, rows, length)
        if found := _beyond(name, rows, length):
            beyond += found
            of_videos += 1
            trimmed += _trim(rows, length) if trim else 0
    if beyond and not trim:
        more = f"; and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
        raise BuildError(
            f"labels go beyond their videos: {'; '.join(beyond[:_NAMED])}{more}: correct them (is "
            "their unit seconds?), or give --trim_labels to cut them at the end of the video."
        )
    if trimmed:
        return [f"{trimmed} labels of {of_videos} videos were cut at the video's end or left out"]
    return []


def _beyond(name: str, rows: VideoRows, length: Length) -> list[str]:
    """A sentence for every label that begins after the video, or ends more than the slack after."""
    found = []
    for column, spans in rows.intervals.items():
        clock = rows.clocks[column]
        if "timecode" in clock:
            continue
        end, slack = _end(clock, length)
        for span in spans:
            last = span.start if span.end >= FOREVER else span.end
            if span.start >= end > 0 or (last > end + slack and span.value != "absent"):
                where = f"{safe_text(rows.files[column])}" + (f":{span.line}" if span.line else "")
                until = "" if span.end >= FOREVER else f" to {show(span.end, clock)}"
                found.append(
                    f"{where}: {span.value!r} from {show(span.start, clock)}{until}, but {name} "
                    f"ends at {length.seconds:.1f} s ({length.frames} frames)"
                )
    return found


def _end(clock: str, length: Length) -> tuple[float, float]:
    """The end of a video and the slack, in a track's clock."""
    if clock == "frames":
        return length.frames, SLACK_SECONDS * length.fps
    return length.seconds, SLACK_SECONDS


def _trim(rows: VideoRows, length: Length) -> int:
    """Cuts labels at the end of the video; returns how many were changed or left out."""
    changed = 0
    for column, spans in list(rows.intervals.items()):
        end, _ = _end(rows.clocks[column], length)
        kept = [
            span._replace(end=min(span.end, end)) if span.end < FOREVER else span
            for span in spans
            if span.start < end
        ]
        changed += sum(span.end > end for span in spans if span.end < FOREVER)
        changed += sum(span.start >= end for span in spans if span.end >= FOREVER)
        rows.intervals[column] = kept
        if not kept:
            del rows.intervals[column]
    return changed


def _count_frames(name: str, rows: VideoRows, length: Length | None) -> None:
    """Timecodes as frame numbers, at the video's own rate."""
    if length is None:
        return
    for column, clock in rows.clocks.items():
        if "timecode" not in clock or column not in rows.intervals:
            continue
        dropped, spans = clock == "dropped timecode", []
        for span in rows.intervals[column]:
            try:
                start = timecode_frame(span.start, length.fps, dropped)
                end = span.end
                if end < FOREVER:
                    end = timecode_frame(end, length.fps, dropped)
            except ValueError as error:
                where = f"{safe_text(rows.files[column])}:{span.line}"
                raise BuildError(f"{where}: {name}: {error}.") from None
            spans.append(Span(start, end, span.value, span.line))
        rows.intervals[column], rows.clocks[column] = spans, "frames"
