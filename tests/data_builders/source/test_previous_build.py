"""A corpus that grows: its earlier cases stay in their splits."""

import json
import shutil

import pytest

from data_builders.common.commands.cli import main
from data_builders.common.source.splits import split_by_case
from surgrec_jax.records.prepared import choose_prepared, read_videos
from tests.data_builders.fake_video import draw_number, write_video

FRACTIONS = {"train": 0.5, "val": 0.2, "test": 0.3}


def pictures(video):
    """Four pictures that no other video has."""
    return [draw_number(4 * video + k) for k in range(4)]


@pytest.fixture
def corpus(tmp_path):
    """Ten operations; `build` builds what is there, into DATA."""
    for k in range(10):
        write_video(tmp_path / "in" / f"op{k:02}.mp4", pictures(k), fps=8)
    return tmp_path


def build(corpus, *options, name="mine"):
    arguments = ["build", "video_folder", "--manual_dir", str(corpus / "in"), "--name", name]
    arguments += ["--data_dir", str(corpus / "data"), "--split", "0.5,0.2,0.3", "--workers", "1"]
    return main([*arguments, *options])


def splits(corpus, name="mine"):
    (prepared,) = choose_prepared(corpus / "data", [name])
    stored = read_videos(prepared.directory)
    return {v.case_id: split for split, videos in stored.items() for v in videos.values()}


def note(corpus):
    return next((corpus / "data" / "mine").glob("*/*/build.json"))


def grow(corpus, count=14):
    for k in range(count):
        write_video(corpus / "in" / f"new{k:02}.mp4", pictures(100 + k), fps=8)


def test_cases_stay_when_a_corpus_grows(corpus, capsys):
    assert build(corpus) == 0
    before = splits(corpus)
    assert set(before.values()) == {"train", "val", "test"}
    grow(corpus)
    assert build(corpus) == 1  # it is another data set now
    assert build(corpus, "--overwrite") == 0
    said = "splits: 10 cases are in the splits that they had in the build before, 14 are new"
    assert said in capsys.readouterr().out
    after = splits(corpus)
    assert len(after) == 24 and {case: after[case] for case in before} == before
    assert build(corpus) == 0  # nothing to do, and the stored summary says it too
    assert said in capsys.readouterr().out
    # Elsewhere, without the list: a case's name decides.
    shutil.rmtree(corpus / "data")
    assert build(corpus) == 0
    alone = splits(corpus)
    assert sum(alone[case] != split for case, split in before.items()) <= 1
    assert "splits:" not in capsys.readouterr().out


def test_a_data_set_of_an_earlier_version_decides(corpus, capsys):
    """It was dealt by counting, and wrote no list down: its records tell."""
    dealt = split_by_case([f"op{k:02}" for k in range(10)], FRACTIONS, seed=5)
    rows = "".join(f"{case}.mp4,{case},{split}\n" for case, split in dealt.items())
    (corpus / "t.csv").write_text("path,case_id,split\n" + rows)
    arguments = ["build", "video_folder", "--manual_dir", str(corpus / "in"), "--name", "mine"]
    arguments += ["--data_dir", str(corpus / "data"), "--labels", str(corpus / "t.csv")]
    assert main([*arguments, "--workers", "1"]) == 0
    data = json.loads(note(corpus).read_text())
    note(corpus).write_text(json.dumps({k: v for k, v in data.items() if k != "cases"}))
    assert build(corpus, "--seed", "5", "--overwrite") == 0
    assert splits(corpus) == dealt
    assert "10 cases are in the splits that they had" in capsys.readouterr().out


def test_another_way_of_dealing_is_followed(corpus, capsys):
    assert build(corpus) == 0
    assert build(corpus, "--split", "none", "--overwrite") == 0
    assert set(splits(corpus).values()) == {"train"}
    assert build(corpus, "--overwrite") == 0
    assert set(splits(corpus).values()) == {"train", "val", "test"}
    assert "splits:" not in capsys.readouterr().out


def test_a_damaged_data_set_is_replaced_and_told(corpus, capsys):
    assert build(corpus) == 0
    note(corpus).write_text("{")
    for shard in note(corpus).parent.glob("*.array_record*"):
        shard.write_bytes(b"damaged")
    assert build(corpus, "--overwrite") == 0
    assert "splits: dealt anew, for those of the build before cannot be" in capsys.readouterr().out


def test_sources_that_deal_keep_their_cases_too(tmp_path):
    """Half of a download is built, then all of it."""

    def download(lesions):
        for kind in ("Adenoma", "Serrated"):
            for k in lesions:
                folder = tmp_path / "in" / kind / f"{kind.lower()}_{k:02}" / "videos"
                write_video(folder / "NBI.mp4", 4, fps=8)

    def built(*options):
        arguments = ["build", "colonoscopic", "--manual_dir", str(tmp_path / "in"), *options]
        assert main([*arguments, "--data_dir", str(tmp_path / "data"), "--workers", "1"]) == 0
        return splits(tmp_path, "colonoscopic")

    download(range(1, 5))
    before = built()
    download(range(5, 12))
    after = built("--overwrite")
    assert len(after) == 22 and {case: after[case] for case in before} == before
