"""Tables with named columns, their complaints by line, and the tracks made of rows."""

from pathlib import Path

import numpy as np
import pytest

from data_builders.common.labels.from_tables import (
    exclusive_track,
    interval_track,
    presence_track,
    sampled_track,
    starts_track,
)
from data_builders.common.labels.tables import Row, fold, read_rows, read_shared, single
from data_builders.common.source.items import VideoItem
from data_builders.common.source.seeded_splits import deal
from surgrec_jax.records.errors import BadInput, BuildError

ROW = Row(Path("a.csv"), 7, {"n": "12", "f": "2.5", "neg": "-1", "nan": "nan", "no": "", "x": "x"})


def write(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_come_in_any_order_with_quotes_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path, '\ufeffb, a ,c\r\n"x, y",1,\r\n\r\n z ,2,"two\nlines"\r\nw,3,4\r\n')
    rows = read_rows(path, ("a", "b"))
    assert [row.cells for row in rows] == [
        {"a": "1", "b": "x, y"},
        {"a": "2", "b": "z"},
        {"a": "3", "b": "w"},
    ]
    assert [row.line for row in rows] == [2, 5, 6]  # a row of two lines is named by its last


@pytest.mark.parametrize("header", ["", "Frame,Phase\n", "frame,phase\n"])
def test_a_header_that_may_be_there(tmp_path, header):
    rows = read_rows(write(tmp_path, header + "0,a\n1,b\n"), ("frame", "phase"), header=None)
    assert [row.cells["phase"] for row in rows] == ["a", "b"]
    assert rows[0].line == 1 + bool(header)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("a,b\n", "holds no rows"),
        ("a,c\n1,2\n", r"t\.csv:1: the header needs one column each of b \(found: a, c\)"),
        ("a,b,b\n1,2,3\n", "one column each of b"),
        ("a,b\n1,2\n1,2,3\n", r"t\.csv:3: has 3 cells where 2 are expected"),
        ("a,b\n1;2\n", r"t\.csv:2: has 1 cells"),
        (b"a,b\n1,2\n3,\xff\n", r"t\.csv:3: is not UTF-8"),
        ("a,b\n" + "x" * 200_000 + ",1\n", r"t\.csv:2: field larger"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        read_rows(write(tmp_path, text), ("a", "b"))


def test_missing_tables(tmp_path):
    with pytest.raises(BadInput, match="missing"):
        read_rows(tmp_path / "no.csv", ("a",))
    with pytest.raises(BuildError, match=r"no\.csv.*all videos need this table"):
        read_shared(tmp_path / "no.csv", ("a",), by="a")
    path = write(tmp_path, "a;b\n1;x\n2;y\n1;z\n")
    groups = read_shared(path, ("a", "b"), by="a", delimiter=";")
    assert {key: [row.cells["b"] for row in rows] for key, rows in groups.items()} == {
        "1": ["x", "z"],
        "2": ["y"],
    }
    assert single(groups["2"], Path("v.mp4"), "t.csv").cells["b"] == "y"
    with pytest.raises(BadInput, match=r"t\.csv:4: is a second row for v\.mp4, after line 2"):
        single(groups["1"], Path("v.mp4"), "t.csv")
    with pytest.raises(BadInput, match=r"v\.mp4: has no row in t\.csv"):
        single([], Path("v.mp4"), "t.csv")


def test_cells_are_parsed_or_refused():
    assert (ROW.integer("n"), ROW.number("f"), ROW.text("x")) == (12, 2.5, "x")
    assert ROW.one_based("n", 12) == 11
    for call in (
        lambda: ROW.integer("f"),
        lambda: ROW.number("neg"),
        lambda: ROW.number("nan"),
        lambda: ROW.number("no"),
        lambda: ROW.text("no"),
        lambda: ROW.one_based("n", 11),
    ):
        with pytest.raises(BadInput, match=r"^a\.csv:7: "):
            call()


def test_fold():
    assert fold(" Irrigation/Aspiration") == fold("irrigation - ASPIRATION ")
    assert fold("Anterior_Chamber Flushing") == "anterior chamber flushing"
    assert fold("Cutting_HF") != fold("Cutting_Cold")


def at(line):
    return Row(Path("t.csv"), line, {})


def test_tracks_refuse_contradictions_by_line():
    with pytest.raises(BadInput, match=r"t\.csv:3: 4 to 6 overlaps 1 to 5 of line 2"):
        interval_track([(1, 5, 0, at(2)), (4, 6, 0, at(3))])
    with pytest.raises(BadInput, match=r"t\.csv:2: .* ends before it begins"):
        interval_track([(5, 1, 0, at(2))])
    with pytest.raises(BadInput, match=r"t\.csv:3: 5 to 6 overlaps"):
        interval_track([(1, 5, 0, at(2)), (5, 6, 0, at(3))], inclusive=True)
    with pytest.raises(BadInput, match=r"t\.csv:9: starts at 4, as line 2 does"):
        starts_track([(4, 0, at(2)), (1, 0, at(3)), (4, 1, at(9))], clock="frames")
    with pytest.raises(BadInput, match=r"t\.csv:3: gives 4 another label than line 2"):
        sampled_track([(4, 0, at(2)), (4, 1, at(3))])
    once = interval_track([(1, 5, 0, at(2)), (1, 5, 0, at(3)), (5, 5, 1, at(4))])
    assert once.at(np.array([0, 1, 4.9, 5])).tolist() == [-1, 0, 0, -1]
    assert interval_track([]).at(np.array([0.0])).tolist() == [-1]


@pytest.mark.parametrize("seed", range(8))
def test_tracks_agree_with_their_definition(seed):
    """Random spans, judged frame by frame with plain loops."""
    rng = np.random.default_rng([seed])
    frames = np.arange(60)
    spans = []
    for k in range(rng.integers(1, 12)):
        start = int(rng.integers(0, 50))
        spans.append((start, start + int(rng.integers(0, 15)), int(rng.integers(0, 3)), at(k)))
    claims = [{v for a, b, v, _ in spans if a <= n < b} for n in frames]
    exclusive = exclusive_track(spans, clock="frames")
    assert exclusive.at(frames).tolist() == [min(c) if len(c) == 1 else -1 for c in claims]
    for value in range(3):
        track = presence_track(((a, b) for a, b, v, _ in spans if v == value), clock="frames")
        assert track.at(frames).tolist() == [int(value in c) for c in claims]
    starts = {a: (a, v, row) for a, _, v, row in spans}
    track = starts_track(starts.values(), clock="frames")
    begun = [[a for a in starts if a <= n] for n in frames]
    assert track.at(frames).tolist() == [starts[max(b)][1] if b else -1 for b in begun]
    track = sampled_track(starts.values())
    assert track.at(frames).tolist() == [starts[n][1] if n in starts else -1 for n in frames]


def test_deal_keeps_cases_together_and_gives_each_group_its_share():
    items = [
        VideoItem(f"{group}{k}{part}", f"{group}{k}", "", extra={"group": group})
        for group in "ab"
        for k in range(10)
        for part in "xy"
    ]
    dealt = deal(items, group=lambda item: item.extra["group"])
    assert [item.video_id for item in dealt] == [item.video_id for item in items]
    split_of = {item.case_id: item.split for item in dealt}
    assert all(split_of[item.case_id] == item.split for item in dealt)
    for group in "ab":
        splits = [split for case, split in split_of.items() if case[0] == group]
        assert {s: splits.count(s) for s in set(splits)} == {"train": 7, "val": 1, "test": 2}
    assert deal(items, seed=1) != deal(items, seed=0) == deal(items[::-1])[::-1]
