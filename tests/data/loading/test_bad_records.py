"""Damaged data is skipped the same way everywhere, counted, and bounded; workers are watched."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.data.loading.batches import WorkerDiedError
from surgrec_jax.data.loading.clips import ClipSpec
from surgrec_jax.data.loading.faults import FILE, BadRecord, BadRecords, BadRecordsError
from surgrec_jax.data.loading.pipeline import eval_clips, train_batches
from surgrec_jax.data.loading.threads import StalledError, Threads
from surgrec_jax.data.sampling.draws import Sampler
from surgrec_jax.data.sampling.leaves import Leaves
from surgrec_jax.records import open_shards, storage
from surgrec_jax.records.source import DamagedRecordError, open_source
from surgrec_jax.records.storage import StorageError
from tests.data.small_corpus import example, features, write_source

CLIP = ClipSpec(frames=4, fps=4.0, size=32, flip=True)
BAD = {2: "frame", 5: "times", 7: "label"}  # of 12 records


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Two sources; three records of the first are damaged, each in a way of its own."""
    data_dir = tmp_path_factory.mktemp("damaged")
    examples = [example("odd", 0, r, 24, 8.0, 0.0) for r in range(12)]
    examples[2]["frames"] = [b"\xff\xd8 no picture"] * 24
    examples[5]["times"] = np.zeros(7, np.float32)
    parsed = tf_example_pb2.Example.FromString(
        features().serialize_example(features().encode_example(examples[7]))
    )
    parsed.features.feature["labels/phase"].int64_list.value[23] = 3  # there are three classes
    examples[7] = parsed.SerializeToString()
    write_source(data_dir, "odd", examples)
    write_source(data_dir, "even", [example("even", 1, r, 24, 8.0, 0.0) for r in range(4)])
    return data_dir


def opened(data_dir):
    return [open_source(data_dir, name) for name in ("odd", "even")]


def ledger(sources, share=0.5, path=None):
    return BadRecords({s.label: len(s) for s in sources}, share, path)


def train(sources, bad, **kwargs):
    options = {"batch_size": 8, "seed": 3, "num_steps": 6, "bad": bad} | kwargs
    with train_batches(sources, (0.7, 0.3), CLIP, **options) as batches:
        return list(batches)


def test_bad_records_are_replaced_alike_everywhere(damaged, tmp_path):
    sources = opened(damaged)
    bad = ledger(sources, path=tmp_path / FILE)
    reference = train(sources, bad, num_threads=0)
    ids = np.concatenate([b["record"][b["source"] == 0] for b in reference])
    assert not set(ids) & set(BAD) and len(bad) == 3
    listed = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert {entry["record"] for entry in listed} == set(BAD)
    assert {entry["source"] for entry in listed} == {"odd/train"}
    why = {entry["record"]: entry["why"] for entry in listed}
    assert "frame 0" in why[2] or "is not a readable image" in why[2]
    assert "24 frames but 7 times" in why[5] and "labels/phase 3" in why[7]
    # What is not replaced is what it would be without damage, shares of sources included.
    draws = Sampler(Leaves.from_sizes([12, 4]), (0.7, 0.3), seed=3).draws(np.arange(48))
    sound = ~((draws.source == 0) & np.isin(draws.record, list(BAD)))
    assert 4 < (~sound).sum() < 20
    for key, wanted in (("source", draws.source), ("record", draws.record)):
        got = np.concatenate([b[key] for b in reference])
        np.testing.assert_array_equal(got[sound], wanted[sound])
        assert key == "record" or (got == wanted).all()
    for options in (
        {"num_threads": 4, "prefetch": 3},
        {"num_workers": 2, "num_threads": 1},
        {"start_step": 3},
    ):
        again = ledger(sources)
        got = train(sources, again, **options)
        assert len(again) == 3
        for a, b in zip(got, reference[options.get("start_step", 0) :], strict=True):
            assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    parts = [train(sources, ledger(sources), process_index=p, process_count=2) for p in (0, 1)]
    joined = np.concatenate([b["video"] for pair in zip(*parts, strict=True) for b in pair])
    np.testing.assert_array_equal(joined, np.concatenate([b["video"] for b in reference]))


def test_too_many_bad_records_stop_the_run_with_the_list(damaged, tmp_path):
    sources, path = opened(damaged), tmp_path / FILE
    with pytest.raises(BadRecordsError) as stopped:
        train(sources, ledger(sources, 0.1, path))  # 0.1 of 12, rounded up: 2
    message = str(stopped.value)
    assert "3 of 12 records of odd/train are bad, 2 are allowed" in message
    assert str(path) in message and message.count("source odd/train: record") == 3
    again = ledger(sources, 0.1, path)
    assert len(again) == 3  # a restart knows them, says nothing twice, and goes no further
    size = path.stat().st_size
    again.add([BadRecord("odd/train", 5, "known")])
    assert path.stat().st_size == size
    with pytest.raises(BadRecordsError, match="4 of 12"):
        again.add([BadRecord("odd/train", 6, "new")])


def test_the_share_is_rounded_up_as_written():
    bad = BadRecords({"a": 100}, 0.07)
    bad.add(BadRecord("a", r, "") for r in range(7))
    with pytest.raises(BadRecordsError, match="8 of 100 .* 7 are allowed"):
        bad.add([BadRecord("a", 7, "")])
    with pytest.raises(BadRecordsError, match="1 of 100"):
        BadRecords({"a": 100}, 0.0).add([BadRecord("a", 7, "why")])


def test_a_list_cut_short_by_a_crash_is_read(tmp_path):
    path = tmp_path / FILE
    path.write_text('{"source": "a/train", "record": 1, "why": "x"}\n{"source": "a/tr')
    assert len(BadRecords({"a/train": 9}, 0.5, path)) == 1


def test_a_leaf_without_one_usable_record_does_not_stop_the_run(tmp_path):
    examples = [example("odd", 0, r, 8, 8.0, 0.0) for r in range(6)]
    for r in (4, 5):
        examples[r]["frames"] = [b"damaged"] * 8
    write_source(tmp_path, "odd", examples, shards=1)
    np.save(tmp_path / "order.npy", np.array([0, 1, 2, 3, 4, 5], np.uint32))
    leaves = Leaves.from_order(tmp_path / "order.npy", [0, 4, 6], [6])  # the second is all bad
    sources = [open_source(tmp_path, "odd")]
    bad = ledger(sources)
    options = {"batch_size": 4, "seed": 0, "num_steps": 6, "bad": bad}
    sampler = Sampler(leaves, (0.5, 0.5), seed=1)
    with train_batches(sources, None, CLIP, sampler=sampler, **options) as batches:
        assert set(np.concatenate([b["record"] for b in batches])) <= {0, 1, 2, 3}
    assert len(bad) == 2


def test_a_source_that_is_all_bad_ends_the_run(tmp_path):
    examples = [example("odd", 0, r, 8, 8.0, 0.0) for r in range(8)]
    for entry in examples[1:]:
        entry["frames"] = [b"damaged"] * 8
    write_source(tmp_path, "odd", examples, shards=1)
    with pytest.raises(BadRecordsError, match="of 8 records of odd/train are bad, 4 are allowed"):
        train_one = [open_source(tmp_path, "odd")]
        bad = ledger(train_one)
        with train_batches(train_one, None, CLIP, batch_size=4, seed=0, bad=bad) as batches:
            for _ in range(50):
                next(batches)


def test_a_missing_or_truncated_shard_costs_only_its_records(damaged, tmp_path):
    shutil.copytree(damaged / "odd", tmp_path / "odd")
    whole = open_source(tmp_path, "odd")
    first, second = sorted(whole.directory.glob("*array_record*"))
    os.truncate(second, 1000)
    with pytest.raises(DamagedRecordError, match="00001-of-00002"):
        open_source(tmp_path, "odd")
    for damage in (lambda: None, second.unlink):
        damage()
        source = open_source(tmp_path, "odd", skip_damaged=True)
        assert len(source) == 12 and source.fingerprint != whole.fingerprint
        with pytest.raises(DamagedRecordError, match=r"record 11 .*00001-of-00002"):
            source.record(11)
        assert source.record(0).frames
        assert source.record(1).case_id == "odd-case0"
    bad = ledger([source], 0.9)
    with train_batches([source], None, CLIP, batch_size=8, seed=0, num_steps=4, bad=bad) as batches:
        assert max(max(b["record"]) for b in batches) < 7
    first.unlink()
    shutil.rmtree(source.directory)
    open_shards.OPEN.forget(first)
    with pytest.raises(StorageError, match="No such file"):  # the folder is gone: not a bad shard
        source.record(0)


def test_evaluation_never_leaves_a_record_out(damaged):
    source = open_source(damaged, "odd")
    with (
        pytest.raises(DamagedRecordError, match="odd/train: record 2 "),
        eval_clips(source, CLIP, batch_size=4) as batches,
    ):
        list(batches)


class Flaky:
    """A reader that fails as a file system does, for a while."""

    def __init__(self, reader, failures, error):
        self.reader, self.failures, self.error = reader, failures, error

    def read(self, places):
        if self.failures[0] > 0:
            self.failures[0] -= 1
            raise self.error
        return self.reader.read(places)


EIO = RuntimeError("pread() failed: Input/output error; reading x; at byte 0")


@pytest.mark.parametrize("error", [EIO, OSError(errno.ESTALE, "Stale file handle")])
def test_storage_that_fails_for_a_while_is_tried_again(damaged, monkeypatch, error):
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.01)
    failures, real = [3], open_shards.open_shard
    source = opened(damaged)[1]
    monkeypatch.setattr(open_shards, "open_shard", lambda p, c: Flaky(real(p, c), failures, error))
    began = time.monotonic()
    got = storage.patiently(lambda: source.record(1), 5.0)
    assert got.case_id == "even-case0" and failures == [0]
    assert time.monotonic() - began >= 0.01 + 0.02 + 0.04
    failures[0] = 10**6
    with pytest.raises(StorageError, match=r"tried again for .* s\). Bring the storage back"):
        storage.patiently(lambda: source.record(2), 0.1)


def test_storage_trouble_is_told_from_damage(tmp_path):
    path = tmp_path / "shard"
    assert storage.trouble(path, RuntimeError("Corrupted Riegeli/records file: hash")) is None
    assert storage.trouble(path, FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert (
        storage.trouble(path, RuntimeError("open() failed: No such file or directory; x")) is None
    )
    assert storage.trouble(path, OSError(errno.EIO, "Input/output error"))
    assert storage.trouble(tmp_path / "gone" / "s", FileNotFoundError(errno.ENOENT, "No such"))


def test_a_hanging_read_is_named(damaged):
    sources, release = opened(damaged), threading.Event()
    real, hung = type(sources[1]).record, threading.Event()

    def hang(source, index):
        if source.name == "even" and hung.is_set():
            release.wait(20)
        return real(source, index)

    for source in sources:
        source.record = lambda index, source=source: hang(source, index)
    options = {"batch_size": 8, "seed": 3, "bad": ledger(sources), "timeout_s": 0.4}
    batches = train_batches(sources, (0.7, 0.3), CLIP, num_threads=2, prefetch=1, **options)
    hung.set()
    began = time.monotonic()
    with pytest.raises(StalledError, match=r"no clip was finished .*source even/train: record \d"):
        for _ in range(20):
            next(batches)
    assert time.monotonic() - began < 10
    release.set()


def test_progress_is_not_a_stall():
    threads = Threads(1, timeout_s=0.2)
    threads.run(lambda i: time.sleep(0.05), 12)
    with pytest.raises(StalledError, match=r"under way: call 3"):
        threads.run(lambda i: time.sleep(0.0 if i < 3 else 1.0), 5)
    threads.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_stops_is_noticed(damaged, how, monkeypatch):
    monkeypatch.setattr("surgrec_jax.data.loading.batches._GRACE_S", 2.0)
    source = open_source(damaged, "even")
    options = {"batch_size": 4, "seed": 0, "num_workers": 2, "num_threads": 1, "timeout_s": 2.0}
    batches = train_batches([source], None, CLIP, **options)
    next(batches)
    worker = multiprocessing.active_children()[0]
    os.kill(worker.pid, how)
    error, words = (
        (WorkerDiedError, "exit code -9")
        if how == signal.SIGKILL
        else (StalledError, f"{worker.pid} is stopped")
    )
    began = time.monotonic()
    with pytest.raises(error, match=words):
        for _ in range(1000):
            next(batches)
    assert time.monotonic() - began < 40
    assert not multiprocessing.active_children()
