import concurrent.futures
import dataclasses
import pickle
import shutil
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from surgrec_jax.data.loading.clips import ClipSpec, decode_clip
from surgrec_jax.records import open_shards
from surgrec_jax.records import source as records
from surgrec_jax.records.open_shards import OpenShards
from surgrec_jax.records.schema import record_features
from surgrec_jax.records.source import DamagedRecordError, open_source
from tests.data.small_corpus import PHASES, example, features, picture, write_source


def shard_of(source, shard):
    return sorted(source.directory.glob("*array_record*"))[shard]


def copy_of(corpus, tmp_path, name="gamma"):
    shutil.copytree(corpus.data_dir / name, tmp_path / name)
    return open_source(tmp_path, name)


def test_a_record_holds_what_was_written(corpus, sources):
    beta = sources[1]
    assert len(beta) == 6
    assert beta.tracks == {"phase": PHASES}
    assert beta.video_labels == {"skill": ("novice", "expert")}
    for r in (0, 3, 5):  # of both shards
        record, wrote = beta.record(r), example("beta", 1, r, 24, 8.0, 3.0 * r)
        got = dataclasses.asdict(record)
        for key in ("source", "domain", "case_id", "video_id", "segment", "frames"):
            assert got[key] == wrote[key], key
        np.testing.assert_array_equal(record.times, wrote["times"])
        np.testing.assert_array_equal(record.labels["phase"], wrote["labels"]["phase"])
        assert record.video_labels == wrote["video_labels"]


def test_tfds_reads_the_same_bytes(corpus, sources):
    theirs = tfds.builder_from_directory(sources[0].directory).as_data_source("train")
    ours = sources[0].record(7)
    np.testing.assert_array_equal(
        theirs[7]["frames"][2], cv2.imdecode(np.frombuffer(ours.frames[2], np.uint8), 1)[..., ::-1]
    )
    np.testing.assert_array_equal(theirs[7]["times"], ours.times)


def test_a_shard_that_opens_slowly_holds_up_no_other(corpus, monkeypatch):
    beta = open_source(corpus.data_dir, "beta")
    slow, fast = shard_of(beta, 0), shard_of(beta, 1)
    counts = tfds.builder_from_directory(beta.directory).info.splits["train"].shard_lengths
    opening, go_on = threading.Event(), threading.Event()

    def open_shard(path, count):
        if path == slow:
            opening.set()
            assert go_on.wait(10)
        return real(path, count)

    real = open_shards.open_shard
    monkeypatch.setattr(open_shards, "open_shard", open_shard)
    few = OpenShards(4)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(few.reader, slow, counts[0])
        assert opening.wait(10)
        other = pool.submit(few.reader, fast, counts[1])
        try:
            assert other.result(timeout=10).num_records() == counts[1]
        finally:
            go_on.set()
        assert first.result(timeout=10) is few.reader(slow, counts[0])


def test_a_pickled_source_reads_again(sources):
    sources[0].record(1)
    again = pickle.loads(pickle.dumps(sources[0]))
    assert again.record(13).frames == sources[0].record(13).frames


def test_few_shards_stay_open(corpus, monkeypatch):
    few = OpenShards(1)
    monkeypatch.setattr(records, "OPEN", few)
    beta = open_source(corpus.data_dir, "beta")
    count = tfds.builder_from_directory(beta.directory).info.splits["train"].shard_lengths[0]
    first = few.reader(shard_of(beta, 0), count)
    for r in (0, 5, 1, 4):  # of two shards in turn
        assert beta.record(r).case_id == example("beta", 1, r, 24, 8.0, 3.0 * r)["case_id"]
        assert len(few) == 1
    assert few.reader(shard_of(beta, 0), count) is not first
    first.read([0])  # a read under way holds its own


@pytest.mark.parametrize("index", [-1, 6])
def test_no_record_beyond_the_ends(sources, index):
    with pytest.raises(IndexError, match=rf"beta/train has records 0 to 5, not {index}"):
        sources[1].record(index)


def test_the_config_and_the_newest_version_are_found(tmp_path):
    def write(name, **kwargs):
        records = [example(name, 0, r, 2, 8.0, 0.0) for r in range(3)]
        return write_source(tmp_path, name, records, shards=1, **kwargs)

    write("one", config="small", version="1.9.0")
    newest = write("one", config="small", version="1.10.0")
    assert open_source(tmp_path, "one").directory == newest
    write("one", config="large")
    with pytest.raises(ValueError, match="several configs; choose one of large, small"):
        open_source(tmp_path, "one")
    assert open_source(tmp_path, "one", config="large").directory.parent.name == "large"
    usual = write("one", config="default")
    assert open_source(tmp_path, "one").directory == usual
    with pytest.raises(ValueError, match="no split 'test', only train"):
        open_source(tmp_path, "one", config="large", split="test")


def test_missing_data_names_the_folder_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError) as e:
        open_source(tmp_path, "cholec80")
    assert str(tmp_path / "cholec80") in str(e.value)
    assert f"python -m data_builders build cholec80 --data_dir {tmp_path}" in str(e.value)


def test_the_fingerprint_follows_the_data(corpus, sources, tmp_path):
    same = copy_of(corpus, tmp_path)
    assert same.fingerprint == sources[2].fingerprint
    assert sources[0].fingerprint != sources[1].fingerprint
    notes = same.directory / "dataset_info.json"
    notes.write_text(notes.read_text().replace("1.0.0", "1.0.1"))
    assert open_source(tmp_path, "gamma").fingerprint != same.fingerprint


def test_a_missing_shard_is_named(corpus, tmp_path):
    shard = shard_of(copy_of(corpus, tmp_path), 1)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"shard {shard} is missing"):
        open_source(tmp_path, "gamma")


def test_a_shard_of_another_length_is_named(corpus, tmp_path):
    source = copy_of(corpus, tmp_path)
    shutil.copy(shard_of(source, 0), shard_of(source, 1))
    with pytest.raises(DamagedRecordError, match=r"00001-of-00002 holds 2 records, .* says 1"):
        open_source(tmp_path, "gamma")


def test_a_truncated_shard_is_named(corpus, tmp_path):
    shard = shard_of(copy_of(corpus, tmp_path), 0)
    shard.write_bytes(shard.read_bytes()[:300])
    with pytest.raises(DamagedRecordError, match="00000-of-00002"):
        open_source(tmp_path, "gamma")


def test_flipped_bytes_in_a_shard_are_noticed(corpus, tmp_path):
    source = copy_of(corpus, tmp_path)
    shard = shard_of(source, 1)
    raw = bytearray(shard.read_bytes())
    raw[1000] ^= 0xFF  # within the one record of the shard
    shard.write_bytes(raw)
    with pytest.raises(DamagedRecordError, match=r"gamma/train: record 2 \(number 0 of .*00001"):
        open_source(tmp_path, "gamma").record(2)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"times": np.zeros(4, np.float32)}, "holds 5 frames but 4 times"),
        ({"labels": {"phase": [0] * 6}}, "holds 5 frames but 6 labels/phase"),
        ({"times": np.float32([0, 1, 2, 1, 3])}, "times that do not rise"),
        ({"frames": [], "times": np.float32([]), "labels": {"phase": []}}, "holds no frame"),
    ],
)
def test_records_that_contradict_themselves(tmp_path, change, complaint):
    records = [example("odd", 0, 0, 5, 8.0, 0.0) | change]
    write_source(tmp_path, "odd", records, shards=1)
    with pytest.raises(DamagedRecordError, match=f"odd/train: record 0 .*{complaint}"):
        open_source(tmp_path, "odd").record(0)


def test_bytes_that_are_no_record(tmp_path):
    folder = write_source(tmp_path, "odd", [example("odd", 0, 0, 2, 8.0, 0.0)], shards=1)
    (shard,) = folder.glob("*array_record*")
    for raw, complaint in ((b"\xff\xff\xff", "is not a record"), (b"", "has no 'frames'")):
        writer = ArrayRecordWriter(str(shard), "group_size:1")
        writer.write(raw)
        writer.close()
        with pytest.raises(DamagedRecordError, match=f"record 0 .*{complaint}"):
            open_source(tmp_path, "odd").record(0)


def test_an_undecodable_frame_is_named(tmp_path):
    records = [example("odd", 0, r, 4, 8.0, 0.0) for r in range(2)]
    records[1]["frames"][2] = b"not a picture"
    records[0]["frames"][1] = cv2.imencode(".jpg", picture(0, 0, 1)[:40])[1].tobytes()
    write_source(tmp_path, "odd", records, shards=1)
    source, clip = open_source(tmp_path, "odd"), ClipSpec(frames=4, fps=8.0, size=32)
    for r, complaint in (
        (1, r"frame 2 \(13 bytes\) is not a readable"),
        (0, "frame 1 measures 64x40"),
    ):
        with pytest.raises(DamagedRecordError, match=f"record {r} .*{complaint}"):
            decode_clip(source, r, source.record(r), 0, clip)


def test_tensorflow_and_torch_are_not_needed():
    code = (
        "import surgrec_jax.data.loading.pipeline, sys;"
        "print([m for m in ('tensorflow', 'torch', 'data_builders') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_features_of_the_test_corpus_are_those_of_the_builders():
    theirs = record_features({"phase": PHASES}, {"skill": ("novice", "expert")})
    assert set(theirs) == set(features())
    assert {k: theirs[k].np_dtype for k in theirs} == {k: features()[k].np_dtype for k in theirs}
