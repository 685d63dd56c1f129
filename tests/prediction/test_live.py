"""Answers while a source runs: those of the file, dropped pictures, stalls and broken frames."""

import io
import itertools
import json
import math
import time

import numpy as np
import pytest

from data_builders.common.video.frames import Frame, ReadReport
from surgrec_jax.prediction import live
from surgrec_jax.prediction.answers import answer_video
from surgrec_jax.prediction.command import main
from surgrec_jax.prediction.frames import pictures_of, pictures_of_frames
from surgrec_jax.prediction.live import Feed, RawFrames
from surgrec_jax.prediction.model import open_model
from surgrec_jax.safety.errors import ConfigError
from tests.prediction.workdirs import pictures


@pytest.fixture(scope="module")
def model(run):
    return open_model(run)


def fed(model, frames, **options):
    """The answers to frames (time, picture), and the figures at the end."""
    numbered = (Frame(at, k, picture) for k, (at, picture) in enumerate(frames))
    stored = pictures_of_frames(numbered, model.clip.size, model.storing, ReadReport())
    said = []
    feed = Feed(stored, **{"speed": math.inf, "stall": 5.0} | options)
    return live.answer(model, feed, 1.0, said.append), said


def test_live_is_the_file(model, run, videos, capsys):
    whole = answer_video(videos / "one.mp4", model, 1.0, ReadReport())
    command = [f"--checkpoint={run}", str(videos / "one.mp4"), "--live", "--speed=0"]
    assert main(command) == 0
    *lines, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["time"] for line in lines] == whole.times.tolist()
    found = [list(line["probabilities"].values()) for line in lines]
    np.testing.assert_allclose(found, whole.scores, atol=1e-4)
    assert [line["class"] for line in lines] == [model.classes[k] for k in whole.scores.argmax(1)]
    assert (end["answers"], end["dropped"], end["ended"]) == (20, 0, "the source ended")


def test_a_file_keeps_its_own_speed(model, videos):
    stored = pictures_of(videos / "one.mp4", model.clip.size, model.storing, ReadReport())
    said, began = [], time.monotonic()
    end = live.answer(model, Feed(stored, speed=20.0, stall=5.0), 1.0, said.append)
    assert time.monotonic() - began >= 19 / 20 and len(said) + end["dropped"] >= 20
    # An answer comes when the next picture shows that the instant is over, 0.25 s / 20 later.
    assert 0 < end["latency_ms"]["median"] <= end["latency_ms"]["95 %"]


def test_frames_of_a_pipe_are_answered_until_one_is_cut_off(model):
    raw, told = RawFrames.parse("64x48@8"), []
    data = b"".join(picture.tobytes() for picture in pictures(80))
    frames = raw.read(io.BytesIO(data[:-100]), told)
    end, said = fed(model, ((f.time, f.picture) for f in frames), speed=0)
    assert [answer["time"] for answer in said] == list(range(10)) and end["answers"] == 10
    assert "ended within frame 79 (9116 of 9216 bytes)" in told[0]
    for wrong in ("64x48", "0x48@8", "64x48@0", "999999x999999@8"):
        with pytest.raises(ConfigError, match="--raw"):
            RawFrames.parse(wrong)


def test_a_source_that_stalls_or_breaks_keeps_what_was_answered(model):
    def stalls():
        for k, picture in enumerate(pictures(40)):
            yield k / 8, picture
        time.sleep(3)

    end, said = fed(model, stalls(), stall=0.5)
    assert "stalled: no picture for 0.5 s" in end["ended"] and len(said) >= 4

    def breaks():
        yield from ((k / 8, picture) for k, picture in enumerate(pictures(40)))
        raise OSError(5, "Input/output error", "/dev/video0")

    end, said = fed(model, breaks(), speed=0)
    assert end["ended"] == "/dev/video0: Input/output error" and len(said) >= 4

    def bug():
        yield 0.0, next(pictures(1))
        raise KeyError("ours")

    with pytest.raises(KeyError):
        fed(model, bug())


def test_a_slow_model_drops_pictures_and_holds_few(model):
    slow = model.rows
    patient = type(model)(**{**vars(model), "rows": lambda v: (time.sleep(0.05), slow(v))[1]})
    endless = itertools.islice(((k / 4, p) for k, p in enumerate(pictures(400))), 400)
    end, said = fed(patient, endless)
    assert end["dropped"] > 100 and 0 < len(said) <= 100
    times = [answer["time"] for answer in said]
    assert times == sorted(times)


def test_what_live_needs_is_told(run, videos, capfd):
    for more, said in (
        (["-"], "need their form: --raw"),
        (["97"], "camera 97 cannot be opened"),
        ([str(videos / "gone.mp4")], "cannot be read"),
        (["a.mp4", "b.mp4"], "one source"),
    ):
        assert main([f"--checkpoint={run}", *more, "--live"]) == 1
        told = capfd.readouterr().err
        assert said in told and "VIDEOIO" not in told  # a sentence, not OpenCV's log
