"""The build: same bytes for any number of processes, stopping and going on, and disks that fill."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_builders.common.build import pool
from data_builders.common.build.build import build
from data_builders.common.build.shards import plan_shards
from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig
from surgrec_jax.records.errors import BuildError
from tests.data_builders.contract import read_back
from tests.data_builders.fake_video import write_video

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for k in range(10):
        write_video(root / f"video{k}.avi", 30 + 10 * k, fourcc="MJPG")
    return root


def run(videos, data_dir, **kwargs):
    kwargs = {"num_workers": 1, "progress": False} | kwargs
    return build("video_folder", data_dir=data_dir, manual_dir=videos, **kwargs)


def hashes(directory: Path) -> dict[str, str]:
    """Of everything but the note, which holds the duration."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.name != "build.json"
    }


@pytest.fixture(scope="module")
def reference(videos, tmp_path_factory):
    return run(videos, tmp_path_factory.mktemp("reference"))


def test_summary_and_records(videos, reference):
    splits = read_back(reference.directory)
    assert {name: len(v) for name, v in splits.items()} == {"train": 6, "val": 2, "test": 2}
    for name, counts in reference.splits.items():
        assert counts.videos == len(splits[name])
        assert counts.frames == sum(len(v.times) for v in splits[name].values())
        assert counts.segments == sum(len(v.segment_lengths) for v in splits[name].values())
    text = reference.text()
    assert "30 s of video" in text and str(reference.directory) in text
    assert reference.source_seconds == pytest.approx(sum(30 + 10 * k for k in range(10)) / 25)


def test_same_bytes_with_more_processes(videos, reference, tmp_path):
    summary = run(videos, tmp_path, num_workers=2)
    assert hashes(summary.directory) == hashes(reference.directory)
    assert not (tmp_path / ".building").exists()


def test_again_does_nothing_and_other_settings_are_refused(videos, tmp_path):
    first = run(videos, tmp_path)
    before = hashes(first.directory)
    again = run(videos, tmp_path)
    assert not again.fresh and again.splits == first.splits
    other = VideoFolderConfig(seed=3)
    with pytest.raises(BuildError, match="made from other files or settings; give --overwrite"):
        run(videos, tmp_path, config=other)
    assert hashes(first.directory) == before
    replaced = run(videos, tmp_path, config=other, overwrite=True)
    assert replaced.fresh and hashes(first.directory) != before
    shard = next(first.directory.glob("*train.array_record*"))
    for damage in (lambda: shard.write_bytes(b"damaged"), shard.unlink):
        damage()
        with pytest.raises(BuildError, match=rf"{shard.name} is missing or damaged; .*--overwrite"):
            run(videos, tmp_path, config=other)


def start_build(videos, data_dir, *options):
    return subprocess.Popen(
        [
            "nice",  # on a busy machine too, whoever watches it is in time to stop it
            sys.executable,
            "-m",
            "data_builders",
            "build",
            "video_folder",
            "--manual_dir",
            videos,
            "--data_dir",
            data_dir,
            *options,
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_shards(data_dir, count):
    deadline = time.monotonic() + 60
    while len(list(data_dir.glob(".building/*/*/*/shards/*.part.json"))) < count:
        assert time.monotonic() < deadline, "no shard was finished"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_stopped_and_started_again(videos, reference, tmp_path, how):
    slow = tmp_path / "slow"  # long enough to be stopped in the middle
    slow.mkdir()
    for path in sorted(videos.iterdir()):
        os.link(path, slow / path.name)
    for k in range(10, 60):
        os.link(videos / "video9.avi", slow / f"video{k}.avi")
    process = start_build(slow, tmp_path / "data", "--workers", "2", "--shards", "60")
    wait_for_shards(tmp_path / "data", 2)
    process.send_signal(how)
    output = process.communicate(timeout=60)[0]
    if how != signal.SIGKILL:
        assert process.returncode == 130 and "run the same command again" in output
    assert not (tmp_path / "data" / "video_folder").exists()
    notes = len(list((tmp_path / "data").glob(".building/*/*/*/shards/*.part.json")))
    summary = run(slow, tmp_path / "data", shards=60)
    assert 2 <= summary.resumed == notes < 60
    whole = run(slow, tmp_path / "other", shards=60)
    assert hashes(summary.directory) == hashes(whole.directory)


def test_ctrl_c_waits_until_the_pool_has_let_go_of_its_locks(videos, tmp_path, monkeypatch):
    """KeyboardInterrupt inside `futures.wait` could leave one locked for ever."""
    locked, wait = [], pool.futures.wait

    def interrupted(*args, **kwargs):
        locked.append("begun")
        signal.raise_signal(signal.SIGINT)
        result = wait(*args, **kwargs)
        locked.append("ended")
        return result

    monkeypatch.setattr(pool.futures, "wait", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(videos, tmp_path, num_workers=2)
    assert locked == ["begun", "ended"] and signal.getsignal(signal.SIGINT) is before


def test_shards_of_other_inputs_are_not_taken(videos, tmp_path):
    """Only the shard with the changed file, or with other settings, is made anew."""
    root = tmp_path / "videos"
    root.mkdir()
    for path in videos.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    bad = root / "video3.avi"
    good = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(BuildError, match=r"video3\.avi: is empty .*strict"):
        run(root, tmp_path / "data", strict=True)
    finished = len(list((tmp_path / "data").glob(".building/*/*/*/shards/*.part.json")))
    assert finished >= 1
    bad.write_bytes(good)
    summary = run(root, tmp_path / "data", config=VideoFolderConfig(seed=5))
    assert summary.resumed == 0  # other settings: none
    assert hashes(summary.directory) == hashes(
        run(root, tmp_path / "fresh", config=VideoFolderConfig(seed=5)).directory
    )


def test_a_second_build_of_the_same_is_refused(videos, tmp_path):
    import fcntl

    work = tmp_path / ".building" / "video_folder" / "default" / "1.0.0"
    work.mkdir(parents=True)
    with open(work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another build is writing"):
            run(videos, tmp_path)


def test_number_of_shards_comes_from_the_videos(videos, tmp_path):
    builder = Builder(data_dir=tmp_path, manual_dir=videos, config=VideoFolderConfig())
    items = builder.checked_videos(videos)
    jobs = plan_shards(builder, items, tmp_path, videos)
    assert [(job.split, job.index, job.count) for job in jobs] == [
        *(("train", k, 6) for k in range(6)),
        *(("val", k, 2) for k in range(2)),
        *(("test", k, 2) for k in range(2)),
    ]
    assert [i for job in jobs for i in job.items] == [
        *(i for split in ("train", "val", "test") for i in items if i.split == split)
    ]
    few = plan_shards(builder, items, tmp_path, videos, shards=3)
    assert [len(job.items) for job in few] == [2, 2, 2, 1, 1, 1, 1]


def test_full_disk_ends_with_one_sentence_and_keeps_what_is_done(videos, tmp_path):
    """A file-size limit stands in for a full disk: the larger shards cannot be written."""
    command = [sys.executable, "-m", "data_builders", "build", "video_folder"]
    command += ["--manual_dir", str(videos), "--data_dir", str(tmp_path), "--workers", "1"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, preexec_fn=limit, timeout=60
    )
    assert result.returncode == 1
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("error:")]
    assert "cannot write" in line and "finished shards are kept" in line
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("**/*.tmp")) and not (tmp_path / "video_folder").exists()
    assert run(videos, tmp_path).fresh


def test_a_disk_without_room_stops_before_a_video_is_read(videos, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(BuildError, match="the disk is full; make room"):
        run(videos, tmp_path)


def test_unwritable_data_dir(videos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match=r"cannot write .*Not a directory"):
        run(videos, tmp_path / "file")


def test_bad_arguments(videos, tmp_path):
    with pytest.raises(BuildError, match="workers is 0"):
        run(videos, tmp_path, num_workers=0)
    with pytest.raises(BuildError, match="shards is 0"):
        run(videos, tmp_path, shards=0)
    with pytest.raises(BuildError, match="no configuration 'hughe'; there are default"):
        run(videos, tmp_path, config="hughe")
    assert not list(tmp_path.iterdir())


def test_a_data_set_written_by_something_else_is_left_alone(videos, tmp_path):
    target = tmp_path / "video_folder" / "default" / "1.0.0"
    target.mkdir(parents=True)
    (target / "dataset_info.json").write_text("{}")
    with pytest.raises(BuildError, match="was not written by this build"):
        run(videos, tmp_path)
    assert json.loads((target / "dataset_info.json").read_text()) == {}
