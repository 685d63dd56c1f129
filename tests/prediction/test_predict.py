"""From files to answers by the command: tables, page, annotations, resuming, refusals."""

import csv
import itertools
import json

import cv2
import numpy as np
import pytest

from surgrec_jax.prediction.command import main
from tests.data_builders.fake_video import write_video
from tests.prediction.workdirs import CLASSES, pictures, save_classifier


def predict(run, out, *more):
    return main([f"--config.checkpoint={run}", "--out", str(out), *map(str, more)])


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_video_becomes_tables_and_a_page(run, videos, tmp_path, capsys):
    assert predict(run, tmp_path, videos / "one.mp4") == 0
    rows = rows_of(tmp_path / "one/predictions.csv")
    assert [float(row["time"]) for row in rows] == list(range(20))
    scores = np.array([[float(row[name]) for name in CLASSES] for row in rows])
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert [row["class"] for row in rows] == [CLASSES[k] for k in scores.argmax(1)]
    assert len({row["class"] for row in rows}) > 1  # else the test says little
    segments = rows_of(tmp_path / "one/segments.csv")
    assert float(segments[0]["start"]) == 0 and float(segments[-1]["end"]) == pytest.approx(
        20, 0.01
    )
    for before, after in itertools.pairwise(segments):
        assert before["end"] == after["start"] and before["class"] != after["class"]
    page = (tmp_path / "one/index.html").read_text()
    assert 'class="ribbons"' in page and page.count("data:image/jpeg") >= 3
    assert "nothing of the future is seen" in page and "mean of the probabilities" in page
    assert "<script" not in page and "annotated" not in page

    # Again: nothing is computed. Without smoothing: anew, and segments are those of the rows.
    told = (tmp_path / "one/prediction.json").stat().st_mtime_ns
    capsys.readouterr()
    assert predict(run, tmp_path, videos / "one.mp4") == 0
    assert "kept" in capsys.readouterr().out
    assert (tmp_path / "one/prediction.json").stat().st_mtime_ns == told
    assert predict(run, tmp_path, videos / "one.mp4", "--smoothing=none") == 0
    changes = sum(a["class"] != b["class"] for a, b in itertools.pairwise(rows))
    assert len(rows_of(tmp_path / "one/segments.csv")) == changes + 1


def test_annotations_add_a_ribbon_and_the_metrics(run, videos, tmp_path):
    table = tmp_path / "labels.csv"
    lines = ["path,start,end,phase", "one.mp4,0,10,prep", "one.mp4,10,18,cut", "two.mp4,0,20,sew"]
    table.write_text("\n".join(lines) + "\n")
    assert predict(run, tmp_path / "out", videos / "one.mp4", "--labels", table) == 0
    rows = rows_of(tmp_path / "out/one/predictions.csv")
    assert [r["annotated"] for r in rows] == ["prep"] * 10 + ["cut"] * 8 + [""] * 2
    done = json.loads((tmp_path / "out/one/prediction.json").read_text())
    right = np.mean([r["annotated"] == r["class"] for r in rows[:18]])
    assert done["metrics"]["top1"][0] == pytest.approx(right)
    assert {"video_f1", "edit_score", "balanced_accuracy"} <= set(done["metrics"])
    page = (tmp_path / "out/one/index.html").read_text()
    assert ">annotated<" in page and "Beside the annotation" in page


@pytest.mark.parametrize(
    "line, said",
    [
        ("one.mp4,0,10,fly", "'fly' is no class of the model, which knows prep, cut, sew"),
        ("one.mp4,0,99,cut", "labels go beyond their videos"),
        ("three.mp4,0,9,cut", "which is not among the videos"),
    ],
)
def test_annotations_that_cannot_be_used_stop_before_anything(
    run, videos, tmp_path, capsys, line, said
):
    (tmp_path / "labels.csv").write_text(f"path,start,end,phase\n{line}\n")
    command = [videos / "one.mp4", "--labels", tmp_path / "labels.csv"]
    assert predict(run, tmp_path / "out", *command) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_bad_video_costs_itself_alone(run, videos, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    write_video(tmp_path / "two_frames.mp4", pictures(2), fps=8.0, size=(64, 48))
    given = [tmp_path / "bad.mp4", tmp_path / "two_frames.mp4", tmp_path / "gone.mp4"]
    assert predict(run, tmp_path / "out", *given, videos / "two.mp4") == 1
    told = capsys.readouterr()
    assert "bad.mp4: not a video" in told.err and "gone.mp4: cannot be read" in told.err
    assert "Traceback" not in told.err and "2 of 4 videos have not all that was asked" in told.err
    assert "shorter than the model's clip" in told.out
    assert len(rows_of(tmp_path / "out/two_frames/predictions.csv")) == 1
    assert len(rows_of(tmp_path / "out/two/predictions.csv")) == 20
    assert not (tmp_path / "out/bad").exists()


def test_a_folder_of_pictures_is_a_video_and_needs_its_rate(run, tmp_path, capsys):
    for k, picture in enumerate(pictures(40)):
        cv2.imwrite(str(tmp_path / f"{k:03d}.png"), picture)
    assert predict(run, tmp_path / "out", tmp_path) == 1
    assert "give their number per second with --native_fps" in capsys.readouterr().err
    (tmp_path / "out").mkdir(exist_ok=True)
    assert predict(run, tmp_path / "out", tmp_path, "--native_fps=8") == 0
    assert len(rows_of(tmp_path / "out" / tmp_path.name / "predictions.csv")) == 5


def test_a_broken_model_says_nothing(run, videos, tmp_path, capsys):
    broken = save_classifier(tmp_path / "broken", scale=np.nan)
    assert predict(broken, tmp_path / "out", videos / "one.mp4") == 1
    assert "gives NaN or infinite probabilities" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_several_labels_at_a_time(videos, tmp_path):
    run = save_classifier(
        tmp_path / "run",
        tracks=("tool_hook", "tool_clip"),
        classes=("hook", "clip"),
        frame="centre",
    )
    (tmp_path / "labels.csv").write_text(
        "path,start,end,tool_hook,tool_clip\none.mp4,0,5,present,absent\n"
        "one.mp4,5,20,absent,present\n"
    )
    given = videos / "one.mp4", "--labels", tmp_path / "labels.csv"
    assert predict(run, tmp_path / "out", *given) == 0
    rows = rows_of(tmp_path / "out/one/predictions.csv")
    assert [r["annotated"] for r in rows] == ["hook"] * 5 + ["clip"] * 15
    for row in rows:
        there = [name for name in ("hook", "clip") if float(row[name]) >= 0.5]
        assert row["class"] == "; ".join(there)
    assert "looking ahead" in (tmp_path / "out/one/index.html").read_text()


def test_wrong_values_end_in_a_sentence(run, videos, tmp_path, capsys):
    for change, said in (
        ("--smoothing=median:5", "give none, or mean:SECONDS"),
        ("--rate=0", "give 0.001 to 1000 answers"),
        (f"--checkpoint={tmp_path}", "no checkpoint in"),
        ("--native_fps=0", "--native_fps is 0.0"),
        ("--stored_fps=0", "--stored_fps=0: "),
        (f"--out={videos / 'one.mp4'}", "is no folder that can be written to"),
    ):
        assert predict(run, tmp_path / "out", videos / "one.mp4", change) == 1
        assert said in capsys.readouterr().err
