"""Collapse monitors by hand, the metrics file over crashes, the clock, pictures."""

import io
import json
import time

import cv2
import numpy as np
import pytest

from surgrec_jax.runlog import images, metrics


def test_collapsed_features_are_seen_as_such():
    got = metrics.collapse_statistics(np.tile(np.arange(1.0, 9), (16, 1)))
    assert got["feature_std"] == pytest.approx(0, abs=1e-9)
    assert got["mean_cosine"] == pytest.approx(1)
    assert got["effective_rank"] == 0


def test_orthogonal_features_have_full_rank():
    got = metrics.collapse_statistics(np.concatenate([np.eye(8), -np.eye(8)]))
    assert got["effective_rank"] == pytest.approx(8)
    # Cosine -1 to the opposite of each, 0 to all others.
    assert got["mean_cosine"] == pytest.approx(-1 / 15)
    assert got["feature_std"] == pytest.approx(1, rel=1e-6)


def test_effective_rank_is_the_exponential_of_the_entropy():
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((32, 3)) - 0.0)
    left = left - left.mean(0)
    features = left * np.array([4.0, 2.0, 1.0])
    singular = np.linalg.svd(features, compute_uv=False)
    share = singular / singular.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    assert metrics.collapse_statistics(features)["effective_rank"] == pytest.approx(expected)


def test_lines_beyond_the_restored_step_are_written_again(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    for step in range(1, 6):
        writer.write(step, {"loss": 1 / step})
    writer.close()
    with (tmp_path / metrics.FILE).open("a") as file:
        file.write('{"step": 6, "lo')  # a crash in mid-line
    writer = metrics.MetricsWriter(tmp_path, step=3)
    writer.write(4, {"loss": 0.25})
    writer.close()
    lines = metrics.read_lines(tmp_path / metrics.FILE)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] == 0.25


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / metrics.FILE).write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        metrics.read_lines(tmp_path / metrics.FILE)


def test_values_that_json_cannot_carry_are_null(tmp_path):
    writer = metrics.MetricsWriter(tmp_path)
    writer.write(1, {"loss": float("nan"), "lr": 0.5})
    writer.close()
    assert json.loads((tmp_path / metrics.FILE).read_text()) == {"step": 1, "loss": None, "lr": 0.5}


def test_clock():
    clock = metrics.Clock(batch_size=10)
    time.sleep(0.02)
    clock.waited(0.01)
    clock.tick()
    clock.tick()
    values = clock.read()
    assert values["step_ms"] >= 10
    assert values["clips_per_s"] == pytest.approx(10_000 / values["step_ms"])
    assert values["data_wait"] == pytest.approx(10 / (2 * values["step_ms"]))
    assert clock.read()["data_wait"] == 0


def test_progress_line_on_a_terminal_and_in_a_file():
    values = {"loss": 0.5, "clips_per_s": 12.34, "data_wait": 0.031}

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    line = metrics.ProgressLine(200, "mae-tiny", stream=Terminal())
    line.show(100, values, 125)
    text = line._stream.getvalue()
    assert "mae-tiny 100/200  loss 0.5000  12.3 clips/s  data wait 3%  2m 05s left" in text
    assert text.startswith("\r") and "\n" not in text
    line = metrics.ProgressLine(200, "mae-tiny", stream=io.StringIO())
    for step in (1, 2, 200):
        line.show(step, values, 9)
    assert [t.split()[1] for t in line._stream.getvalue().splitlines()] == ["1/200", "200/200"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.6, "1m 00s"), (3599, "59m 59s"), (7260, "2h 01m")]
)
def test_durations(seconds, text):
    assert metrics.duration(seconds) == text


def test_contact_sheet_lays_time_from_left_to_right(tmp_path):
    rows = np.zeros((2, 3, 16, 4, 6, 3), np.uint8)
    rows += np.arange(16, dtype=np.uint8)[:, None, None, None] * 10
    rows[1, 2, 15] = (255, 0, 1)
    sheet = images.contact_sheet(rows)
    gap = images.GAP
    assert sheet.shape == (2 * (3 * (96 + gap) + 3 * gap), 8 * (144 + gap) + gap, 3)
    shown = [sheet[gap + 1, gap + k * (144 + gap), 0] for k in range(8)]
    assert shown == [0, 20, 40, 60, 90, 110, 130, 150]
    images.write_png(tmp_path / "a" / "sheet.png", sheet)
    back = cv2.cvtColor(cv2.imread(str(tmp_path / "a" / "sheet.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(back, sheet)
    assert (back == (255, 0, 1)).all(-1).sum() == 96 * 144


def test_rows_of_a_contact_sheet_carry_what_they_show():
    rows = np.full((2, 2, 3, 96, 96, 3), 9, np.uint8)
    bare, sheet = (images.contact_sheet(rows, names) for names in ((), ("the clip", "its mask")))
    margin = sheet.shape[1] - bare.shape[1]
    np.testing.assert_array_equal(sheet[:, margin:], bare)
    for top in range(0, sheet.shape[0] - 96, 100):
        ink = (sheet[top : top + 98, :margin] < 128).any(-1)
        assert ink.any() and not ink[:, margin - 4 :].any()  # written, and within the margin


def test_tensorboard_has_sections_and_pictures(tmp_path, monkeypatch):
    tags = {"lr": "optimizer/lr", "data_wait": "speed/data_wait", "loss": "objective/loss"}
    tags |= {"collapsed": "health/collapsed", "probe/own/phase/knn": "probe/own/phase/knn"}
    assert {key: metrics.board_tag(key) for key in tags} == tags
    images.write_png(tmp_path / "5.png", np.zeros((4, 6, 3), np.uint8))
    writer, shown = metrics.MetricsWriter(tmp_path), []
    monkeypatch.setattr(writer._board, "picture", lambda *what: shown.append(what))
    writer.picture(5, tmp_path / "5.png")
    writer.close()
    assert shown == [(5, "pictures", (tmp_path / "5.png").read_bytes(), 4, 6)]
