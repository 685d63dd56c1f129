"""Exports of labelling programs are read as they come, and never trusted."""

import pytest

from data_builders.common.labels.table_columns import TableOptions
from data_builders.video_folder.table import read_table
from surgrec_jax.records.errors import BuildError
from tests.data_builders.label_files import (
    ANVIL,
    BORIS_AGGREGATED,
    BORIS_TABULAR,
    CVAT,
    ELAN,
    ELAN_HEADER,
    EXPORTS,
    LABEL_STUDIO,
    elan_row,
)

ANVIL_8 = ANVIL.replace("UTF-16", "UTF-8")
VIDEOS = ("op1.mp4", "sub/op2.mp4")


def read(tmp_path, data, name="a.csv", videos=VIDEOS, **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path, videos, TableOptions(**options))


def spans(table, column, video="op1.mp4"):
    return [(pytest.approx(s), pytest.approx(e), v) for s, e, v, _ in
            table.videos[video].intervals[column]]  # fmt: skip


@pytest.mark.parametrize("program", EXPORTS)
def test_exports(tmp_path, program):
    name, data = EXPORTS[program]
    table = read(tmp_path, data, name)
    column = "tag" if program == "cvat for images" else "phase"
    clock = table.videos["op1.mp4"].clocks[column]
    edges = (0, 20, 40) if clock == "frames" else (0, 0.8, 1.6)
    assert (clock == "frames") == (program.split()[0] in ("label", "cvat"))
    assert spans(table, column) == [(edges[0], edges[1], "prep"), (edges[1], edges[2], "clip")]


def test_what_else_the_exports_say(tmp_path):
    studio = read(tmp_path, LABEL_STUDIO, "a.json")
    assert studio.video_labels == {"skill": ("expert",)}
    assert spans(studio, "box") == [(5, 15, "hook"), (40, 50, "hook")]
    assert spans(read(tmp_path, CVAT, "a.xml"), "object") == [(0, 40, "hook")]
    (note,) = read(tmp_path, BORIS_AGGREGATED).notes
    assert "1 point events" in note
    (note,) = read(tmp_path, ANVIL.encode("utf-16"), "a.anvil").notes
    assert "1 elements have no times" in note


def test_overlapping_behaviors_become_presence_where_asked(tmp_path):
    text = BORIS_AGGREGATED.replace("STATE,0.8,1.6", "STATE,0.4,1.6")
    with pytest.raises(BuildError, match="a.csv:3: 'clip' overlaps 'prep' .*--presence phase"):
        read(tmp_path, text)
    table = read(tmp_path, text, presence=("phase",))
    assert spans(table, "phase_clip")[:2] == [(0, 0.4, "absent"), (0.4, 1.6, "present")]


def test_subjects_have_tracks_of_their_own(tmp_path):
    text = BORIS_AGGREGATED.replace("No focal subject,clip", "Second Surgeon,clip")
    table = read(tmp_path, text)
    assert spans(table, "phase") == [(0, 0.8, "prep")]
    assert spans(table, "second_surgeon_phase") == [(0.8, 1.6, "clip")]


def test_exports_name_videos_by_their_place_elsewhere(tmp_path):
    text = BORIS_AGGREGATED.replace("/home/me/op1.mp4", "C:\\films\\op2.mp4")
    assert list(read(tmp_path, text).videos) == ["sub/op2.mp4"]
    with pytest.raises(BuildError, match="names '/home/me/op1.mp4', which is not among"):
        read(tmp_path, BORIS_AGGREGATED, videos=("x/op1.mp4", "y/op1.mp4"))
    with pytest.raises(BuildError, match="named after its one video"):
        read(tmp_path, ELAN, "op9.txt")


def test_elan_in_other_columns(tmp_path):
    cases = [
        ("phase\t00:00:00.000\t00:00:00.800\tprep\n", "prep"),
        ("phase\t\t00:00:00.000\t00:00:00.800\t00:00:00.800\tprep\n", "prep"),
        ("phase\t\t00:00:00.000\t0\t00:00:00.800\t800\t00:00:00.800\t800\t7\n", "7"),
        ("phase\t\t00:00:00.000\t0.0\t0\t00:00:00.800\t0.8\t800\tprep\t/x/op1.eaf\n", "prep"),
    ]
    for text, value in cases:
        assert spans(read(tmp_path, text, "op1.txt"), "phase") == [(0, 0.8, value)]
    with pytest.raises(BuildError, match="not where it writes them; export it with column names"):
        read(tmp_path, "phase\t\t00:00:01.000\t00:00:00.800\tprep\n", "op1.txt")
    french = (
        "Tier\tTemps de départ - hh:mm:ss.ms\ttemps de fin - hh:mm:ss.ms\tAnnotation\n"
        "phase\t00:00:00.000\t00:00:00.800\tprep\n"
    )
    assert spans(read(tmp_path, french, "op1.txt"), "phase") == [(0, 0.8, "prep")]
    tiers = (
        "Begin Time - hh:mm:ss.ms\tEnd Time - hh:mm:ss.ms\tphase\ttool\n"
        "00:00:00.000\t00:00:00.800\tprep\t\n00:00:00.400\t00:00:01.000\t\thook\n"
    )
    table = read(tmp_path, tiers, "op1.txt")
    assert spans(table, "phase") == [(0, 0.8, "prep")] and spans(table, "tool") == [
        (0.4, 1, "hook")
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", BORIS_TABULAR.replace("clip,phase,STOP", "prep,phase,STOP"), "stops without a"),
        ("a.csv", BORIS_TABULAR.rpartition("o1,")[0], ":4: 'clip' starts and never stops"),
        ("a.csv", BORIS_TABULAR.replace("STOP,1.6", "STOP,0.1"), "before its start"),
        ("a.csv", BORIS_TABULAR.replace("STOP,1.6,/v/op1", "STOP,1.6,/v/op2"), "on one clock"),
        ("a.csv", BORIS_AGGREGATED.replace("0.0,0.8,0.8", "1.0,0.8,0.8"), ":2: the state from 1 s"),
        ("op1.txt", ELAN_HEADER + elan_row("Phase!é→", 0, 1, "x").replace("é", "日"), "no track"),
        ("op1.txt", ELAN_HEADER + "phase\t1\n", ":2: has 2 cells"),
        ("a.json", "[1]", "is not an export of Label Studio"),
        ("a.json", LABEL_STUDIO.replace('"start": 1,', '"start": 0,'), "which count from 1"),
        ("a.json", LABEL_STUDIO.replace('"start": 1,', '"start": "x",'), "'x' is not a number"),
        ("a.json", LABEL_STUDIO.replace('"annotations": [', '"annotations": [{"result": []},'),
         "was annotated 2 times"),
        ("a.json", "{", "is not JSON"),
        ("a.xml", CVAT.replace('frame="3"', 'frame="x"'), "frame 'x': not a number"),
        ("a.xml", CVAT.replace("<meta>", "<meta><source>b.mp4</source>"), "is of 2 videos"),
        ("a.xml", "<annotations><a></annotations>", "is not XML that can be read"),
        ("a.xml", "<TextGrid/>", "XML of another form"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "bb">]><annotations>&b;</annotations>', "document type"),
        ("a.xml", '<?xml version="1.0" encoding="x-none"?><annotations/>', "XML that can be read"),
        ("a.anvil", ANVIL_8.replace('end="1.6"', 'end="0.1"'), "negative"),
        ("a.anvil", ANVIL_8.replace('end="1.6"', 'end="inf"'), "'inf': not"),
    ],
)  # fmt: skip
def test_exports_that_are_refused(tmp_path, name, data, message):
    with pytest.raises(BuildError, match=message):
        read(tmp_path, data, name)


def test_entities_do_not_grow(tmp_path):
    laughs = "".join(
        f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' if k else '<!ENTITY a0 "ha">' for k in range(12)
    )
    text = f"<!DOCTYPE annotations [{laughs}]><annotations>&a11;</annotations>"
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(BuildError, match="document type or entities"):
            read(tmp_path, text.encode(encoding), "a.xml")
