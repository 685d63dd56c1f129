import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_builders.common.labels.tracks import Constant, Intervals, Sampled, presence_classes

rates = st.sampled_from([1.0, 8.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0])


def test_half_open_and_inclusive_ends():
    half_open = Intervals([0, 2], [2, 3.5], [4, 7])
    np.testing.assert_array_equal(
        half_open.at(np.array([-1, 0, 1.9, 2, 3.4, 3.5, 9])), [-1, 4, 4, 7, 7, -1, -1]
    )
    inclusive = Intervals([70, 179], [178, 301], [1, 2], inclusive=True, clock="frames")
    np.testing.assert_array_equal(
        inclusive.at(np.array([69, 70, 178, 179, 301, 302])), [-1, 1, 1, 2, 2, -1]
    )


def test_interval_of_one_frame():
    one = Intervals([5], [5], [3], inclusive=True, clock="frames")
    np.testing.assert_array_equal(one.at(np.array([4, 5, 6])), [-1, 3, -1])


def test_sampled_holds_until_the_next_one():
    times, values = [0, 1, 2], [5, 6, 7]
    asked = np.array([-0.1, 0.0, 0.4, 0.6, 1.0, 2.9, 3.0, 3.1])
    track = Sampled(times, values, max_hold=1.0)
    np.testing.assert_array_equal(track.at(asked), [-1, 5, 5, 5, 6, 7, -1, -1])


def test_constant_and_presence():
    np.testing.assert_array_equal(Constant(3).at(np.zeros(4)), [3, 3, 3, 3])
    assert presence_classes("instrument", ["Specimen Bag"]) == {
        "instrument_specimen_bag": ("absent", "present")
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Intervals([0, 1], [2, 3], [0, 1]), "overlap"),
        (lambda: Intervals([0, 2], [2, 3], [0, 1], inclusive=True), "overlap"),
        (lambda: Intervals([1], [1], [0]), "empty"),
        (lambda: Intervals([0], [np.nan], [0]), "finite"),
        (lambda: Intervals([0, 1], [1], [0]), "length"),
        (lambda: Intervals([0], [1], [0.5]), "integers"),
        (lambda: Sampled([0, 0], [1, 2], max_hold=1), "two samples"),
        (lambda: Sampled([0], [1], max_hold=0), "max_hold"),
    ],
)
def test_bad_tracks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_labels_at_all():
    assert Intervals([], [], []).at(np.arange(3)).tolist() == [-1, -1, -1]
    assert Sampled([], [], max_hold=1).at(np.arange(3)).tolist() == [-1, -1, -1]


@given(
    cuts=st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True).map(sorted),
    keep=st.lists(st.booleans(), min_size=11, max_size=11),
    fps=rates,
    jitter=st.integers(0, 2**31),
)
def test_intervals_from_frames_sit_on_their_frames(cuts, keep, fps, jitter):
    """Frame intervals, turned to seconds or not, label the frames they name, whatever the container
    does to the time stamps (rounded to ms)."""
    spans = [
        (a, b, k)
        for k, (a, b, kept) in enumerate(zip(cuts[:-1], cuts[1:], keep, strict=False))
        if kept
    ]
    starts, ends, values = map(list, zip(*spans, strict=True)) if spans else ([], [], [])
    numbers = np.arange(420)
    expected = np.full(420, -1)
    for start, end, value in spans:
        expected[start:end] = value
    shift = np.random.default_rng(jitter).uniform(-0.5e-3, 0.5e-3, 420)
    times = np.maximum(numbers / fps + shift, 0)
    by_seconds = Intervals(np.array(starts) / fps, np.array(ends) / fps, np.array(values, int))
    np.testing.assert_array_equal(by_seconds.at(times), expected)
    by_frames = Intervals(
        starts, [e - 1 for e in ends], np.array(values, int), inclusive=True, clock="frames"
    )
    np.testing.assert_array_equal(by_frames.at(numbers), expected)
    shuffled = np.random.default_rng(jitter).permutation(420)
    np.testing.assert_array_equal(by_frames.at(numbers[shuffled]), expected[shuffled])


@given(fps=rates, step=st.integers(1, 60), count=st.integers(1, 20), tail=st.integers(0, 120))
def test_labels_every_nth_frame(fps, step, count, tail):
    """A label of every n-th frame holds until the next one, and n frames beyond the last."""
    numbers = np.arange(count * step + tail)
    expected = np.where(numbers < count * step, numbers // step, -1)
    values = np.arange(count)
    by_frames = Sampled(values * step, values, max_hold=step, clock="frames")
    np.testing.assert_array_equal(by_frames.at(numbers), expected)
    by_seconds = Sampled(values * step / fps, values, max_hold=step / fps)
    np.testing.assert_array_equal(by_seconds.at(np.round(numbers / fps, 3)), expected)


@given(
    times=st.lists(st.integers(0, 500), min_size=1, max_size=20, unique=True),
    asked=st.lists(st.integers(-10, 600), min_size=1, max_size=30),
    max_hold=st.integers(1, 400),
)
def test_sampled_against_a_plain_loop(times, asked, max_hold):
    """Stamps at multiples of 10 ms, asked 4 ms beside them: no ties, nothing near a limit."""
    stamps, values, limit = np.array(times) / 100, np.arange(len(times)), max_hold / 100
    asked = np.array(asked) / 100 + 0.004
    got = Sampled(stamps, values, max_hold=limit).at(asked)
    for t, value in zip(asked, got, strict=True):
        distance = np.where(t < stamps, np.inf, t - stamps)
        best = int(np.argmin(distance))
        assert value == (values[best] if distance[best] < limit else -1)
