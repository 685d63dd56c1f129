"""Times in cells, and the names of columns that hold them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_builders.common.labels.headers import doubt, time_name
from data_builders.common.labels.instants import looks_like_time, read_instant, timecode_frame


@pytest.mark.parametrize(
    ("cell", "unit", "value", "clock"),
    [
        ("12", None, 12, "seconds"),
        ("12,5", None, 12.5, "seconds"),
        (".5", "s", 0.5, "seconds"),
        ("1e1", None, 10, "seconds"),
        ("1500", "ms", 1.5, "seconds"),
        ("1.5", "min", 90, "seconds"),
        ("250 ms", None, 0.25, "seconds"),
        ("12.5s", "s", 12.5, "seconds"),
        ("24", "frames", 24, "frames"),
        ("24.0", "frames", 24, "frames"),
        ("01:02", None, 62, "seconds"),  # minutes and seconds, never hours and minutes
        ("75:30", None, 4530, "seconds"),
        ("1:02:03", "clock", 3723, "seconds"),
        ("00:01:02.250", "s", 62.25, "seconds"),
        ("00:01:02,250", None, 62.25, "seconds"),
        ("00:01:02:12", None, 62012, "timecode"),
        ("00:01:02;12", None, 62012, "dropped timecode"),
    ],
)
def test_times(cell, unit, value, clock):
    found = read_instant(cell, unit)
    assert (found.value, found.clock) == (pytest.approx(value), clock)


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        *(("-1", None), ("inf", None), ("1,234.5", None), ("1.234,5", None), ("x", None)),
        *(("1:2:3:4:5", None), ("00:61", None), ("00:60:00", None), ("1.5", "frames")),
        *(("00:00:01", "ms"), ("00:00:01", "frames"), ("12", "clock"), ("5 ms", "s")),
        *(("2024-03-05 09:15:00", None), ("9:15 pm", None), ("1h02", None), ("²", None)),
        ("01:02:00 shown without seconds", None),
    ],
)
def test_cells_that_are_no_time(cell, unit):
    with pytest.raises(ValueError, match=r"is|has|counts"):
        read_instant(cell, unit)


@given(st.integers(0, 359_999_999))
def test_a_clock_time_is_its_milliseconds(ms):
    seconds, rest = divmod(ms, 1000)
    cell = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
    assert read_instant(cell).value == pytest.approx(ms / 1000)
    assert read_instant(str(ms), "ms").value == pytest.approx(ms / 1000)
    assert looks_like_time(cell)


@given(st.text(max_size=12))
def test_any_cell_is_a_time_or_refused(cell):
    try:
        assert read_instant(cell).value >= 0
    except ValueError as error:
        assert str(error)


@given(st.integers(0, 24 * 3600 * 25 - 1))
def test_timecodes_at_a_whole_rate_count_every_frame(number):
    seconds, frames = divmod(number, 25)
    assert timecode_frame(seconds * 1000 + frames, 25.0, False) == number


def test_drop_frame_timecodes_keep_the_time_of_day():
    """An hour of 29.97 frames a second has 107,892 frames; ;00 and ;01 of a minute are left out."""
    assert timecode_frame(3600 * 1000, 29.97, True) == 107_892
    assert timecode_frame(60_000 + 2, 29.97, True) == timecode_frame(59_000 + 29, 29.97, True) + 1
    assert timecode_frame(600_000, 59.94, True) == 35_964
    with pytest.raises(ValueError, match="frame 25 of a second"):
        timecode_frame(25, 25.0, False)
    with pytest.raises(ValueError, match="drop-frame"):
        timecode_frame(0, 25.0, True)


@pytest.mark.parametrize(
    ("name", "role", "unit"),
    [
        *(("start", "start", None), ("Start (s)", "start", "s"), ("start_ms", "start", "ms")),
        *(("begin", "start", None), ("Begin Time", "start", None), ("from", "start", None)),
        *(("onset", "start", None), ("startFrame", "start", "frames"), ("von", "start", None)),
        *(("Anfangszeit", "start", None), ("Beginn (ms)", "start", "ms"), ("début", "start", None)),
        *(
            ("end", "end", None),
            ("to", "end", None),
            ("Stop (s)", "end", "s"),
            ("bis", "end", None),
        ),
        *(("Ende", "end", None), ("fin", "end", None), ("end_frame", "end", "frames")),
        *(
            ("time", "instant", None),
            ("timestamp", "instant", None),
            ("Frame", "instant", "frames"),
        ),
        *(("frame number", "instant", "frames"), ("Zeit (s)", "instant", "s")),
        *(("Duration (s)", "duration", "s"), ("Dauer", "duration", None)),
        ("Begin Time - hh:mm:ss.ms", "start", "clock"),
        ("Begin Time - ss.msec", "start", "s"),
        ("End Time - msec", "end", "ms"),
        ("Temps de départ - hh:mm:ss.ms", "start", "clock"),
    ],
)
def test_names_of_time_columns(name, role, unit):
    found = time_name(name)
    assert (found.role, found.unit) == (role, unit)


@pytest.mark.parametrize(
    "name",
    ["phase", "step", "skill", "tool_hook", "state", "stage", "OP-Phase", "bleeding", "grasper"],
)
def test_names_of_labels(name):
    assert time_name(name) is None and doubt(name) is None


@pytest.mark.parametrize(
    "name",
    ["phase_start", "time_of_day", "strat", "strt_s", "frames_per_second", "seconds_later",
     "age", "comment", "patient", "rater", "case", "splitt"],
)  # fmt: skip
def test_names_that_are_doubted(name):
    assert time_name(name) is None and doubt(name) is not None
