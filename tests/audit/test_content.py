"""Recordings are known again by their pictures: under other names, rates, sizes and cuts; others
of the same kind are not."""

import json

import cv2
import numpy as np
import pytest

from data_builders.common.commands.cli import main
from surgrec_jax.audit.audits import Audits
from surgrec_jax.audit.content import compare
from surgrec_jax.audit.descriptors import DescribedVideo, describe, described_videos
from surgrec_jax.records.prepared import choose_prepared
from surgrec_jax.records.source import open_source
from tests.data_builders.fake_video import write_video

FPS = 25


def operation(seed, seconds, start=0.0):
    """A camera that moves over a site, from `start` seconds on; every seed is another site of the
    same colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (12, 16, 3), dtype=np.uint8)
    site = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    for k in range(round(start * FPS), round((start + seconds) * FPS)):
        x = 240 + 200 * np.sin(k / 160 + seed)  # at most a fifth of the picture a second
        y = 180 + 150 * np.sin(k / 230)
        picture = site[round(y) : round(y) + 120, round(x) : round(x) + 160].copy()
        cv2.circle(picture, (80 + round(50 * np.sin(k / 25)), 60), 12, (230, 230, 230), -1)
        yield picture


def build(folder, data_dir, name, *options):
    arguments = ["build", "video_folder", "--manual_dir", str(folder), "--name", name]
    arguments += ["--data_dir", str(data_dir), "--workers", "1", *options]
    assert main(arguments) == 0


def audited(data_dir, *arguments):
    """The exit code and the findings of an audit."""
    out = data_dir / "audit.json"
    code = main(["audit", "--data_dir", str(data_dir), "--json", str(out), *arguments])
    return code, json.loads(out.read_text())["findings"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """`big` for pretraining, and `clinic` with five test videos, four of them from `big`."""
    root = tmp_path_factory.mktemp("content")
    half = (80, 60)
    small = [cv2.resize(p, half, interpolation=cv2.INTER_AREA) for p in operation(1, 7, 3.3)]
    black = [np.zeros((120, 160, 3), np.uint8)] * 50
    write_video(root / "big" / "one.mp4", operation(1, 14), size=(160, 120))
    write_video(root / "big" / "two.mp4", operation(2, 10), size=(160, 120))
    write_video(root / "big" / "long.mp4", operation(3, 25), size=(160, 120))
    write_video(root / "big" / "dark.mp4", black, size=(160, 120))
    clinic = root / "clinic"
    write_video(clinic / "cut.mp4", small, size=half)
    joined = [*operation(2, 10), *operation(7, 10)]
    write_video(clinic / "joined.mp4", joined, size=(160, 120))
    write_video(clinic / "part2.mp4", operation(3, 9, 14.7), size=(160, 120))
    write_video(clinic / "brighter.avi", (cv2.add(p, 5) for p in operation(1, 14)), size=(160, 120))
    write_video(clinic / "other.mp4", operation(9, 14), size=(160, 120))
    write_video(clinic / "black.mp4", black, size=(160, 120))
    names = sorted(path.name for path in clinic.iterdir())
    rows = "".join(f"{name},p{k},test\n" for k, name in enumerate(names))
    (root / "clinic.csv").write_text("path,case_id,split\n" + rows)
    build(root / "big", root / "data", "big", "--split", "none")
    options = ("--labels", str(root / "clinic.csv"), "--fps", "5", "--short_side", "48")
    build(clinic, root / "data", "clinic", *options, "--jpeg_quality", "60", "--frames", "11")
    return root / "data"


def test_other_names_rates_sizes_and_cuts(data_dir):
    big, clinic = choose_prepared(data_dir, ["big", "clinic"])
    tests = list(described_videos(clinic, ["test"]))
    found = compare(tests, described_videos(big, ["train"]))
    assert set(found.seen) == {"cut.mp4", "joined.mp4", "part2.mp4", "brighter.avi"}
    assert set(found.blank) == {"black.mp4"} and not found.alike
    assert found.seen["joined.mp4"] == "p3"
    # The other way round: what was pretrained on is the part.
    tests = list(described_videos(big, ["train"]))
    found = compare(tests, described_videos(clinic, ["test"]))
    assert set(found.seen) == {"one.mp4", "two.mp4", "long.mp4"}
    # And no video is another one of the same data set.
    for place, video in enumerate(tests):
        found = compare([video], tests[:place] + tests[place + 1 :])
        assert not found.seen and not found.alike


def test_the_audit_tells_which_cases(data_dir, capsys):
    rules = ("--fail_on", "pretraining_on_test,pretraining_unknown")
    code, findings = audited(data_dir, "clinic", "--pretraining", "big@train", *rules)
    assert code == 1
    sure, unknown = (f for f in findings if f["rule"].startswith("pretraining"))
    assert sure["text"] == "4 of 6 test videos were pretrained on, by their pictures"
    assert sure["cases"] == ["p1", "p2", "p3", "p5"] and sure["name"].startswith("big/default@tr")
    assert "1 of 6 test videos show nothing that could be compared" in unknown["text"]
    assert unknown["rule"] == "pretraining_unknown" and unknown["cases"] == ["p0"]
    assert "by their pictures (cases p1, p2, p3, p5)" in capsys.readouterr().out


def test_still_pictures_that_agree_are_no_proof():
    """A camera that never moves shows too little to tell two recordings apart."""
    picture = next(operation(4, 1))
    gradients, colours = describe(picture)

    def still(name, colours):
        times = np.arange(20) / 4
        keys = np.zeros(1, np.int64)
        return DescribedVideo(
            name,
            f"case {name}",
            times,
            np.tile(gradients, (20, 1)),
            np.tile(colours, (20, 1)),
            keys,
        )

    found = compare([still("a", colours)], [still("b", colours)])
    assert found.alike == {"a": "case a"} and not found.seen
    other = (colours.astype(int) + 40).clip(0, 255).astype(np.uint8)
    assert not compare([still("a", colours)], [still("b", other)]).alike
    assert describe(np.full((60, 80, 3), 200, np.uint8)) is None


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The same files prepared for pretraining and, with labels, for evaluation."""
    root = tmp_path_factory.mktemp("twice")
    for case in range(6):
        for k, name in enumerate(("alpha", "beta")):
            pictures = []
            for t in range(100):  # a bar that grows; another case has another blue in it
                picture = np.full((120, 160, 3), 30, np.uint8)
                picture[..., k] = 200
                picture[:30, : t + 1] = (case * 40, 255 - t, t)
                pictures.append(picture)
            path = root / "videos" / name / f"op{case:02}_{name}.mp4"
            write_video(path, pictures, size=(160, 120))
    table = "path,case_id,split\n"
    for case in range(6):
        split = "test" if case >= 4 else "train"
        table += f"alpha/op{case:02}_alpha.mp4,op{case:02},{split}\n"
        table += f"beta/op{case:02}_beta.mp4,op{case:02},{split}\n"
    (root / "ev.csv").write_text(table)
    options = ("--class_from", "subfolder", "--case_from", r"op\d+")
    build(root / "videos", root / "data", "few", *options, "--split", "none")
    build(root / "videos", root / "data", "ev", "--labels", str(root / "ev.csv"), "--fps", "6")
    for path in (root / "videos").glob("*/op0[45]*"):
        path.unlink()
    build(root / "videos", root / "data", "without", *options, "--split", "none")
    return root / "data"


def test_the_same_files_under_two_names(twice, tmp_path):
    source = open_source(twice, "ev", split="test")
    audits = Audits(tmp_path / "audits", twice)

    def overlap(name, moved=None):
        entry = open_source(twice, name).describe() | (moved or {})
        return audits.overlap({"sources": [entry], "config": {}}, source)

    found = overlap("few")
    assert found["status"] == "found"
    assert (
        "4 of 4 test videos were pretrained on, by their pictures (cases op04, op05)"
        in found["text"]
    )
    assert overlap("without") == {
        "status": "none",
        "text": "no test case among those of pretraining: without/default@train",
    }
    # Nothing is known of data that are gone, and no kept answer stands for them.
    gone = {"name": "moved", "directory": str(tmp_path / "gone")}
    found = overlap("without", gone)
    assert found["status"] == "unknown"
    assert "whether it holds test patients cannot be told" in found["text"]


def test_names_of_own_cases_are_told_where_pictures_differ(tmp_path):
    """Two hospitals may both have a case p1; one hospital's other videos of a patient may too."""
    for name, seed in (("north", 11), ("south", 12)):
        write_video(tmp_path / name / "p1.mp4", operation(seed, 6), size=(160, 120))
        write_video(tmp_path / name / f"{name}.mp4", operation(seed + 5, 6), size=(160, 120))
    (tmp_path / "labels.csv").write_text("path,split\np1.mp4,test\nsouth.mp4,test\n")
    data = tmp_path / "data"
    build(tmp_path / "north", data, "north", "--split", "none")
    build(tmp_path / "south", data, "south", "--labels", str(tmp_path / "labels.csv"))
    _, findings = audited(data, "--pretraining", "north@train")
    about = {f["rule"]: f for f in findings if not f["name"].endswith("-> north/default")}
    assert about["overlap"]["text"] == "may share patients: 1 cases have the same name in both"
    name = about["pretraining_on_test"]
    assert (name["cases"], name["sure"]) == (["p1"], False)
    assert name["text"] == (
        "1 of 2 test videos have the case or file name of pretraining videos, whose pictures differ"
    )
