import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_builders.common.labels.tracks import TOLERANCE
from data_builders.common.video.clock import FrameClock, FramePicker


def pick(times, fps):
    """The frames a reader takes (the order of calls is that of video._read_file)."""
    clock, picker = FrameClock(0.0), FramePicker(fps)
    taken, held = [], None
    for raw in times:
        time, number = clock.tick(raw)
        if picker.passed(time) and held is not None:
            taken.append(held)
            held = None
        if not picker.wanted(time, clock.longest_interval):
            held = None
            continue
        held = number
        if picker.overdue:
            taken.append(held)
            held = None
        picker.retrieved()
    if held is not None and picker.passed(times[held] + clock.typical_interval):
        taken.append(held)
    return taken


def by_definition(times, fps, end):
    """For every k, the frame at or last before k / fps; each once."""
    instants = np.arange(math.ceil(end * fps)) / fps + TOLERANCE + 1e-8
    instants = instants[instants < end]
    return sorted(set(np.searchsorted(times, instants, side="right") - 1))


@pytest.mark.parametrize("native", [1, 5, 7.5, 8, 12, 23.976, 25, 29.97, 30, 50, 59.94, 60, 240])
@pytest.mark.parametrize("fps", [1, 4, 8, 25])
def test_constant_rate(native, fps):
    times = np.arange(200) / native
    assert pick(times, fps) == by_definition(times, fps, 200 / native)
    rounded = np.round(times, 3)
    assert pick(rounded, fps) == by_definition(rounded, fps, 200 / native)


@example(gaps=[20, 20, 21, 21, 45, 20, 20, 31, 31], fps=8)  # frame 1 is long past at 125 ms
@given(
    gaps=st.lists(st.integers(20, 60), min_size=3, max_size=80), fps=st.sampled_from([2, 5, 8, 15])
)
def test_variable_rate(gaps, fps):
    """With frames 20 to 60 ms apart every frame is foreseen or made up for: none too many, and at
    most one native interval from where it should be."""
    times = np.concatenate([[0], np.cumsum(gaps)]) / 1000
    taken, wanted = pick(times, fps), by_definition(times, fps, times[-1])
    assert taken == sorted(set(taken))
    for number in wanted:
        assert number in taken or number + 1 in taken
    assert len(taken) <= len(wanted) + 1


def test_a_pause_is_kept():
    """A frozen stretch: the frame before it stands for it, or, unforeseen, the first after."""
    times = np.concatenate([np.arange(100) / 100, 3 + np.arange(100) / 100])
    taken = pick(times, 8)
    stamps = times[taken]
    assert ((stamps < 1).sum(), (stamps >= 3).sum()) in {(8, 8), (8, 9), (9, 8)}


def test_header_rate_is_used_only_when_it_fits():
    for header, true, expected in (
        (60000 / 1001, 60000 / 1001, 60000 / 1001),  # confirmed: exact
        (60.0, 60000 / 1001, 60000 / 1001),  # refuted over 1024 frames
        (30.0, 25.0, 25.0),
        (0.0, 25.0, 25.0),
    ):
        clock = FrameClock(header)
        for k in range(1100):
            clock.tick(round(k / true, 3))
        assert clock.fps == pytest.approx(expected, rel=1e-4)
    assert FrameClock(60000 / 1001).fps == 60000 / 1001


def test_a_header_of_twice_the_rate_makes_no_gap():
    """H.264 in AVI is written so by FFmpeg: 50 instants a second, 25 frames."""
    clock = FrameClock(50.0)
    assert [clock.tick(k / 25)[1] for k in range(20)] == list(range(20))
    assert clock.gaps == clock.lost == 0 and clock.fps == pytest.approx(25)


def test_bad_stamps_are_repaired():
    clock = FrameClock(25.0)
    raw = [0.0, 0.04, 0.04, math.nan, 0.16, 0.02, 0.24]
    ticks = [clock.tick(stamp) for stamp in raw]
    assert ticks.pop(5) is None and clock.late == 1  # nothing tells where it belongs
    np.testing.assert_allclose([time for time, _ in ticks], [0, 0.04, 0.08, 0.12, 0.16, 0.24])
    assert [number for _, number in ticks] == [0, 1, 2, 3, 4, 6]
    assert clock.repaired == 2


def test_frames_that_come_late_move_nothing():
    """What H.264 decoders give after damage: a frame of later on first, then those before it."""
    clock = FrameClock(25.0)
    order = [0, 1, 2, 11, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]
    ticks = [clock.tick(k / 25) for k in order]
    kept = [tick for tick in ticks if tick is not None]
    np.testing.assert_allclose([t for t, _ in kept], np.array([0, 1, 2, 11, 12, 13]) / 25)
    assert clock.late == 8


@pytest.mark.parametrize("header", [24.0, 25.0, 30.0, 0.0])
def test_stamps_of_few_frames(header):
    """MPEG program streams stamp some frames only; a header that lies costs the first of them."""
    clock, times = FrameClock(header), np.arange(400) / 25
    ticks = [clock.tick(t if k % 12 == 0 else math.nan) for k, t in enumerate(times)]
    assert None not in ticks and [number for _, number in ticks] == list(range(400))
    np.testing.assert_allclose([t for t, _ in ticks[40:]], times[40:], atol=1e-6)
    assert np.abs([t for t, _ in ticks] - times).max() < 0.1 and clock.late == 0


def test_a_clock_that_is_set_anew():
    """Two recordings in one file: times go on; so do jumps of a clock that may be set forward."""
    for second, close in ((0.0, math.inf), (0.0, 10.0), (5000.0, 10.0)):
        clock = FrameClock(25.0, 0.0, 0.0, close)
        raw = [*(np.arange(100) / 25), *(second + np.array([0, 1, 2, 4, 5, 50]) / 25)]
        times = [clock.tick(stamp)[0] for stamp in raw]
        after = 4 + np.array([0, 1, 2, 4, 5, 50]) / 25
        np.testing.assert_allclose(times, [*(np.arange(100) / 25), *after])
        assert clock.restarts == 1
    paused = FrameClock(25.0)  # no such container: a pause is a pause
    assert [paused.tick(t)[0] for t in (0.0, 0.04, 60.0)] == [0.0, 0.04, 60.0]


def test_times_count_from_zero_and_numbers_from_the_first_frame():
    clock = FrameClock(25.0, zero=1.4, start=3.4)
    assert [clock.tick(3.4 + k / 25) for k in range(2)] == [
        (pytest.approx(2.0), 0),
        (pytest.approx(2.04), 1),
    ]
    lost_head = FrameClock(25.0, zero=1.4, start=3.4)
    lost_head.damaged()
    assert lost_head.tick(3.8) == (pytest.approx(2.4), 10)


def test_intervals_beyond_measure():
    """Found by fuzzing: of two intervals none is near their median."""
    clock = FrameClock(0.0)
    assert [clock.tick(t)[0] for t in (0.0, 0.001, 1e9)] == [0.0, 0.001, 1e9]
    assert 0 < clock.fps < 1e-8


def test_numbers_count_frames_or_lost_time():
    clock = FrameClock(10.0)
    assert [clock.tick(t)[1] for t in (0.5, 0.6, 0.9, 1.0)] == [
        0,
        1,
        2,
        3,
    ]  # a pause: no frame lost
    clock.damaged()
    assert [clock.tick(t)[1] for t in (1.4, 1.5)] == [7, 8]  # three lost
    damaged_head = FrameClock(10.0)
    damaged_head.damaged()
    assert damaged_head.tick(2.0) == (2.0, 20)
