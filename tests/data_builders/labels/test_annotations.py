"""Annotation files of the usual shapes: every label lands where it was written, or is refused."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_builders.common.labels.annotations import (
    by_name,
    by_number,
    frame_table,
    interval_table,
    read_json,
)
from data_builders.common.video.reading import check_rate
from surgrec_jax.records.errors import BadInput
from tests.data_builders.fake_download import small_video, write_lines

SETTINGS = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(
    gaps=st.lists(st.integers(1, 4), min_size=1, max_size=30),
    first=st.integers(0, 1),
    unit=st.sampled_from([1, 6, 24, 25, 60]),
    tail=st.integers(0, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_row_holds_for_its_step_of_frames(tmp_path, gaps, first, unit, tail, seed):
    numbers = (np.cumsum(gaps) - gaps[0] + first).tolist()
    ids = np.random.default_rng([seed]).integers(0, 5, len(numbers)).tolist()
    rows = [f"{n}\t{k + 1}" for n, k in zip(numbers, ids, strict=True)]
    path = write_lines(tmp_path / "a.txt", ["Frame\tPhase", *rows])
    table = frame_table(path, ("Frame", "Phase"), first=first, unit=unit, hold=unit)
    end = (numbers[-1] - first + 1) * unit
    at = dict(zip(numbers, ids, strict=True))
    frames = np.arange(end + tail)  # a video may go on behind its labels
    wanted = [at.get(frame // unit + first, -1) for frame in frames.tolist()]
    assert table.track("Phase", by_number(5, first=1)).at(frames).tolist() == wanted
    assert (table.extent.end, table.extent.line) == (end, len(numbers) + 1)
    # The same in seconds, whatever the frame rate.
    timed = frame_table(path, ("Frame", "Phase"), first=first, clock="seconds")
    track = timed.track("Phase", by_number(5, first=1))
    assert track.at(frames / unit).tolist() == wanted


@SETTINGS
@given(
    parts=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=20),
    seed=st.integers(0, 2**32 - 1),
)
def test_intervals_include_both_ends(tmp_path, parts, seed):
    rng, lines, wanted = np.random.default_rng([seed]), [], []
    for gap, length in parts:
        value = int(rng.integers(0, 3))
        start = len(wanted) + gap
        lines.append(f"{start} {start + length - 1} G{value} ")
        wanted += [-1] * gap + [value] * length
    order = rng.permutation(len(lines))
    path = write_lines(tmp_path / "a.txt", [lines[k] for k in order])
    track, extent = interval_table(path, by_name(["G0", "G1", "G2"]))
    frames = np.arange(len(wanted) + 5)
    assert track.at(frames).tolist() == wanted + [-1] * 5
    assert extent.end == len(wanted) and extent.line == int(np.argmax(order)) + 1


def test_a_row_per_frame_costs_few_bytes(tmp_path):
    """Hours at 50 frames a second with 22 columns must not fill the memory (HeiChole)."""
    rows, columns = 5_000, ("Frame", *(f"slot {k}" for k in range(21)))
    lines = [",".join([str(k), *"010" * 7]) for k in range(rows)]
    path = write_lines(tmp_path / "a.csv", lines)
    tracemalloc.start()
    try:
        table = frame_table(path, columns, separator=",", header=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25 * rows * len(columns)  # bytes; a dict per row takes 53
    track = table.track("slot 1", by_number(2))
    assert track.values.tolist() == [1] * rows and table.extent.line == rows


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "a.txt: holds no labels"),
        (["Frame Phase"], "holds no labels"),
        (["Frame Step", "0 A"], ":1: the header must be"),
        (["Frame Phase", "0 A", "", "1 A B"], ":4: has 3 cells instead of 2"),
        (["Frame Phase", "0 A", "x A"], ":3: 'Frame' is 'x'"),
        (["Frame Phase", "1 A", "1 A"], ":3: number 1 follows 1"),
        (["Frame Phase", "-1 A"], ":2: 'Frame' is '-1'"),
        (["Frame Phase", "0 C"], ":2: unknown class 'C'"),
    ],
)
def test_tables_that_are_refused(tmp_path, lines, message):
    path = write_lines(tmp_path / "a.txt", lines)
    with pytest.raises(BadInput) as error:
        frame_table(path, ("Frame", "Phase")).track("Phase", by_name(["A", "B"]))
    assert message in str(error.value)


def test_names_are_folded_and_numbers_are_not():
    ids = by_name(["Irrigation/Aspiration", "Sling-In"])
    assert ids == {"irrigation aspiration": 0, "sling in": 1}
    assert by_number(2, first=1, also={"-1": -1}) == {"1": 0, "2": 1, "-1": -1}


def test_json_and_frame_rates(tmp_path):
    with pytest.raises(BadInput, match="a.json:3: is not JSON"):
        read_json(write_lines(tmp_path / "a.json", ["{", '"a": 1,', "2}"]))
    with pytest.raises(BadInput, match="is not JSON that can be read"):
        read_json(write_lines(tmp_path / "b.json", ["[" * 100_000]))
    video = small_video(tmp_path / "a.mp4", 30, 60000 / 1001)
    check_rate(video, 60)
    with pytest.raises(BadInput, match="runs at 59.94 frames a second.*count frames at 50"):
        check_rate(video, 50)
