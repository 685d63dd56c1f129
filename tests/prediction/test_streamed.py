"""Live answers of a block-causal encoder, each tubelet computed once, beside those of the file."""

import argparse
import dataclasses
import json

import numpy as np
import pytest

from data_builders.common.video.frames import ReadReport
from surgrec_jax.bench import live as bench
from surgrec_jax.prediction import live
from surgrec_jax.prediction.answers import answer_video
from surgrec_jax.prediction.command import main
from surgrec_jax.prediction.frames import pictures_of
from surgrec_jax.prediction.live import Feed
from surgrec_jax.prediction.model import open_model
from surgrec_jax.prediction.streamed import StreamedRows, streamed
from surgrec_jax.safety.errors import ConfigError
from tests.prediction.workdirs import ENCODER, save_classifier

CAUSAL = dataclasses.replace(ENCODER, depth=2, num_frames=8, attention="block_causal")
RATE = 2.0  # an answer every two of its four frames a second: one tubelet
FULL = 5  # answers until a clip of 1.75 s is full


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("causal"), encoder=CAUSAL)


def test_live_streams_the_answers_of_the_file(causal, videos, capsys):
    path, model = videos / "one.mp4", open_model(causal)
    whole = answer_video(path, model, RATE, ReadReport()).scores
    one, clips, rows = streamed(model, RATE), [], []

    def heard(video):
        clips.append(video)
        found = one.rows(video)
        rows.append(found[0, :-1])
        return found

    stored = pictures_of(path, model.clip.size, model.storing, ReadReport())
    feed = Feed(stored, speed=0, stall=5.0)
    live.answer(dataclasses.replace(one, rows=heard), feed, RATE, lambda said: None)
    # Up to the first full clip they are those of the file; then they are near to them.
    np.testing.assert_allclose(rows[:FULL], whole[:FULL], atol=1e-5)
    apart = np.abs(rows[FULL:] - whole[FULL:]).max()
    assert 1e-5 < apart < np.ptp(whole, 0).max() / 2
    # From there on they are those of a stream that each frame enters once.
    stream, wanted = model.encoder.stream(), []
    for start in range(0, 8, 2):
        _, features = stream.push(clips[FULL - 1][:, start : start + 2])
    for clip in clips[FULL:]:
        _, features = stream.push(clip[:, -2:])
        wanted.append(model.of_features(features)[0, :-1])
    np.testing.assert_allclose(rows[FULL:], wanted, atol=1e-6)
    assert one.rows.stream.count == stream.count == len(rows) - FULL + 4
    # The command says the same.
    command = [f"--checkpoint={causal}", str(path), "--live", "--speed=0", "--rate=2", "--stream"]
    assert main(command) == 0
    *lines, end = map(json.loads, capsys.readouterr().out.splitlines())
    found = [list(line["probabilities"].values()) for line in lines]
    np.testing.assert_allclose(found, rows, atol=1e-4)
    assert end["answers"] == len(rows) and end["ended"] == "the source ended"
    # And so does the bench, beside the window.
    asked = {"checkpoint": causal, "head": None, "video": path, "ways": ["stream", "window"]}
    figures = bench.run(argparse.Namespace(**asked, rate=RATE, speed=0))
    assert figures["window"]["answers"] == figures["stream"]["answers"] == len(rows)
    both = figures["stream beside window"]
    assert both["largest"] == pytest.approx(apart, abs=2e-4)
    held = figures["window"]["resident memory, MB"]
    assert 0 < held["at the end"] <= held["most between"]


def test_pictures_that_are_missing_begin_a_clip_anew(causal):
    model = open_model(causal)
    rows = StreamedRows(model)
    video = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    for start, count in ((0, 4), (2, 5), (2, 5), (6, 7), (12, 10), (5, 4), (6, 4)):
        # 12 goes on by six frames; 5 goes back and 6 on by no whole tubelet, so both begin anew.
        found = rows(video[None, start : start + 8])
        assert rows.stream.count == count
        if count == 4:
            np.testing.assert_allclose(found, model.rows(video[None, start : start + 8]), atol=1e-5)


def test_rows_of_features_are_those_of_their_clips(causal):
    model = open_model(causal)
    video = np.random.default_rng(1).integers(0, 256, (2, 8, 32, 32, 3), np.uint8)
    rows = model.of_features(model.encoder.features(video))
    np.testing.assert_allclose(rows, model.rows(video), atol=1e-6)


def test_what_a_stream_needs_is_told(run, causal, tmp_path, videos, capsys):
    attentive = save_classifier(tmp_path / "attentive", encoder=CAUSAL, head="attentive")
    fixed = dataclasses.replace(CAUSAL, position="sincos_3d")
    sincos = save_classifier(tmp_path / "sincos", encoder=fixed)
    for workdir, more, said in (
        (run, ["--live"], "attention is full"),
        (attentive, ["--live"], "takes the tokens of a whole clip"),
        (sincos, ["--live"], "positions sincos_3d end with a clip of 8 frames"),
        (causal, ["--live", "--rate=4"], "1 frames of 4 a second apart"),
        (causal, ["--out=unused"], "--stream is of --live"),
    ):
        path = str(videos / "one.mp4")
        assert main([f"--checkpoint={workdir}", path, "--stream", *more]) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(ConfigError, match="give --rate=2, or that divided"):
        streamed(open_model(causal), 3.0)
