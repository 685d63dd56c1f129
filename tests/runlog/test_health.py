"""Broken steps within and beyond the limit, spikes, collapse, and what the progress line says."""

import io
import json
import time

import numpy as np
import pytest

from surgrec_jax.hosts import workdir_lock
from surgrec_jax.runlog import metrics
from surgrec_jax.runlog.health import Health, NonFiniteError
from surgrec_jax.runlog.run_log import RunLog
from surgrec_jax.runlog.tensorboard import Appender, EventFile

IDS = {"draw": np.arange(4), "record": np.array([7, 1, 2, 3])}
BROKEN = {"loss": float("nan"), "grad_norm": 1.0}


def test_broken_steps_are_skipped_up_to_the_limit_in_a_row(tmp_path):
    health = Health(tmp_path, max_nonfinite=2)
    assert health.look(1, False, BROKEN, IDS) == {"nonfinite": 1.0}
    assert health.look(2, False, BROKEN, IDS) == {"nonfinite": 2.0}
    assert health.look(3, True, {"loss": 1.0}, IDS) == {}
    for step in (4, 5):
        health.look(step, False, BROKEN, IDS)
    assert health.notes == "4 broken step(s) skipped"
    message = r"3 steps in a row broke, the last at step 6.*surgrec_jax.replay.*max_nonfinite"
    with pytest.raises(NonFiniteError, match=message):
        health.look(6, False, BROKEN, IDS)
    report = json.loads((tmp_path / "nonfinite-step2-process0.json").read_text())
    assert report["batch"]["record"] == [7, 1, 2, 3]
    assert report["metrics"] == {"loss": "nan", "grad_norm": 1.0}


def test_spikes_stand_out_of_the_noise_of_the_last_losses(tmp_path):
    health = Health(tmp_path)
    rng = np.random.default_rng(0)
    noisy = 1 + 0.05 * rng.standard_normal(300)
    assert not any(health.look(k, True, {"loss": x}, IDS) for k, x in enumerate(noisy))
    assert health.look(300, True, {"loss": 1.45}, IDS) == {}
    spike = health.look(301, True, {"loss": 2.0}, IDS)
    assert spike["loss_spike"] == pytest.approx(2.0, rel=0.02)
    assert health.notes == "loss spike at 301 (x2.0)"


def test_a_noisy_loss_is_no_row_of_spikes(tmp_path):
    health = Health(tmp_path)
    wild = np.random.default_rng(0).uniform(0.2, 2.0, 500)
    assert not any(health.look(k, True, {"loss": x}, IDS) for k, x in enumerate(wild))


def test_collapse_is_flagged_and_unflagged(tmp_path):
    health = Health(tmp_path)
    same = metrics.collapse_statistics(np.tile(np.arange(1.0, 9), (16, 1)))
    assert health.collapse(10, same)["collapsed"] == 1
    assert health.notes == "COLLAPSED features at 10"
    spread = metrics.collapse_statistics(np.random.default_rng(0).standard_normal((16, 8)))
    assert health.collapse(20, spread)["collapsed"] == 0
    assert health.notes == ""


def test_the_progress_line_says_what_is_wrong():
    stream = io.StringIO()
    line = metrics.ProgressLine(10, "run", stream=stream)
    values = {"loss": 1.0, "clips_per_s": 1.0, "data_wait": 0.0}
    line.show(5, values, 1.0, "2 failed save(s)")
    assert stream.getvalue().rstrip().endswith("1s left  ! 2 failed save(s)")


def run_log(folder):
    return RunLog(
        folder,
        name="run",
        first=10,
        skipped=2,
        total=20,
        batch_size=1,
        every=1,
        schedules={"lr": lambda updates: updates},
        health=Health(folder, max_nonfinite=1),
    )


def test_a_run_that_waits_for_data_says_what_to_raise(tmp_path, capsys):
    log = run_log(tmp_path)
    for step, waited in ((11, 100.0), (20, 0.0)):
        log.clock.waited(waited)
        log.add(step, {"loss": 1.0, "finite": True}, IDS)
        log.flush()
    log.close()
    slow, last = metrics.read_lines(tmp_path / metrics.FILE)
    assert (slow["data_wait"], last["data_wait"]) == (1, 0)
    said, after = capsys.readouterr().err.splitlines()
    assert said.endswith("data wait 100%  0s left  ! the loader is slow: raise data.num_threads")
    assert "!" not in after


def test_schedules_are_logged_where_the_optimizer_stands(tmp_path):
    """Steps that were skipped, before this start and since, are no updates."""
    log = run_log(tmp_path)
    for step, broken in ((11, False), (12, True), (13, False)):
        log.add(step, {**(BROKEN if broken else {"loss": 1.0}), "finite": not broken}, IDS)
    log.flush()
    log.close()
    lines = metrics.read_lines(tmp_path / metrics.FILE)
    assert {x["step"]: x["lr"] for x in lines if "lr" in x} == {11: 8, 13: 9}


def test_what_a_full_disk_refuses_is_written_later(tmp_path, monkeypatch):
    real, full = __import__("os").write, [True]

    def write(file, data):
        if full[0]:
            real(file, data[:3])  # as a disk that becomes full in the middle of a line
            full[0] = None
            return 3
        if full[0] is None:
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr("surgrec_jax.runlog.tensorboard.os.write", write)
    file = Appender(tmp_path / "a")
    file.write(b"first line\n")
    file.write(b"second\n")
    assert (tmp_path / "a").read_bytes() == b"fir"
    full[0] = False
    file.write(b"third\n")
    assert (tmp_path / "a").read_bytes() == b"first line\nsecond\nthird\n"
    full[0] = None
    file.write(b"lost\n")
    with pytest.raises(OSError, match="the last 5 bytes could not be written"):
        file.close()


def test_tensorboard_events_are_what_was_logged(tmp_path):
    """Read back with another's schema and checksums: length, its sum, data, its sum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    file = EventFile(tmp_path, purge_step=3)
    file.write(3, {"loss": 0.5, "lr": 0.25, "large": 1e300})
    file.write(1000, {"x" * 300: -1e-3})
    file.picture(1001, "pictures", b"png", 200, 300)
    file.close()
    (path,) = tmp_path.iterdir()
    data, events = path.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        for part, end in ((data[:8], 8), (data[12 : 12 + size], 12 + size)):
            assert data[end : end + 4] == masked_crc32c(part).to_bytes(4, "little")
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    assert [e.file_version for e in events] == ["brain.Event:2", "", "", "", ""]
    assert events[1].session_log.status == 1 and events[1].step == 3
    assert all(abs(e.wall_time - time.time()) < 60 for e in events)
    values = {v.tag: v.simple_value for v in events[2].summary.value}
    assert values == {"loss": 0.5, "lr": 0.25, "large": float("inf")} and events[2].step == 3
    assert events[3].step == 1000
    assert [(v.tag, v.simple_value) for v in events[3].summary.value] == [
        ("x" * 300, pytest.approx(-1e-3))
    ]
    (shown,) = events[4].summary.value
    image = shown.image
    assert (shown.tag, image.encoded_image_string, events[4].step) == ("pictures", b"png", 1001)
    assert (image.height, image.width, image.colorspace) == (200, 300, 3)


def test_a_workdir_is_one_runs_and_a_dead_one_does_not_hold_it(tmp_path):
    with workdir_lock.held(tmp_path):
        message = r"in use by process \d+ on .*, started .*another --workdir"
        with (
            pytest.raises(workdir_lock.WorkdirInUseError, match=message),
            workdir_lock.held(tmp_path),
        ):
            pass
    (tmp_path / workdir_lock.FILE).write_text("process 1 on a host that is gone\n")
    with workdir_lock.held(tmp_path):
        assert "a host that is gone" not in (tmp_path / workdir_lock.FILE).read_text()
