import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from surgrec_jax.data.loading.clips import frame_indices, num_starts
from surgrec_jax.data.loading.pipeline import ClipSpec, eval_clips, source_sampler, train_batches
from surgrec_jax.data.sampling.draws import Sampler
from surgrec_jax.data.sampling.leaves import Leaves
from surgrec_jax.records.source import DamagedRecordError, open_source
from tests.data.small_corpus import example, read_picture, write_source

WEIGHTS = (0.5, 0.3, 0.2)
CROPPED = ClipSpec(frames=4, fps=4.0, size=32, flip=True)
WHOLE = ClipSpec(frames=4, fps=4.0, size=48, crop="center")


def train(sources, clip=CROPPED, weights=WEIGHTS, **kwargs):
    options = {"batch_size": 8, "seed": 3, "num_steps": 6} | kwargs
    with train_batches(sources, weights, clip, **options) as batches:
        return list(batches)


def equal(a, b):
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture(scope="module")
def reference(sources):
    return train(sources, num_threads=0)


def test_batches_have_the_shapes_and_types_of_the_contract(reference):
    assert len(reference) == 6
    types = {"video": np.uint8, "draw": np.int64, "source": np.int32, "record": np.int64,
             "start": np.int32}  # fmt: skip
    for k, batch in enumerate(reference):
        assert {key: v.dtype for key, v in batch.items()} == types
        assert batch["video"].shape == (8, 4, 32, 32, 3)
        assert batch["draw"].tolist() == list(range(8 * k, 8 * k + 8))


def test_ids_are_those_of_the_sampler(sources, reference):
    draws = source_sampler(sources, WEIGHTS, seed=3).draws(np.arange(48))
    for key in ("source", "record"):
        np.testing.assert_array_equal(
            np.concatenate([b[key] for b in reference]), getattr(draws, key)
        )


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_threads_and_prefetch_change_nothing(sources, reference, threads, prefetch):
    assert equal(train(sources, num_threads=threads, prefetch=prefetch), reference)


def test_worker_processes_change_nothing_and_are_gone_after_closing(sources, reference):
    options = {"batch_size": 8, "seed": 3, "num_workers": 2, "num_threads": 1}
    batches = train_batches(sources, WEIGHTS, CROPPED, num_steps=None, **options)
    got = [next(batches) for _ in range(6)]
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()
    assert equal(got, reference)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_hold_consecutive_parts_of_the_same_batches(sources, reference, processes):
    parts = [train(sources, process_index=p, process_count=processes) for p in range(processes)]
    joined = [
        {k: np.concatenate([b[k] for b in bs]) for k in bs[0]} for bs in zip(*parts, strict=True)
    ]
    assert equal(joined, reference)


@pytest.mark.parametrize("start", [1, 5, 6])
def test_resuming_goes_on_with_the_same_batches(sources, reference, start):
    assert equal(train(sources, start_step=start), reference[start:])


def test_another_seed_gives_other_batches(sources, reference):
    other = train(sources, seed=4)
    assert not np.array_equal(other[0]["video"], reference[0]["video"])
    assert [b["record"].tolist() for b in other] != [b["record"].tolist() for b in reference]


def test_clips_contain_exactly_the_requested_frames(sources):
    starts = set()
    for batch in train(sources, WHOLE, num_steps=12):
        for video, s, r, start in zip(
            *(batch[k] for k in ("video", "source", "record", "start")), strict=True
        ):
            times = sources[s].record(int(r)).times
            assert 0 <= start < num_starts(times, WHOLE)
            wanted = [(s, r, i) for i in frame_indices(times, start, WHOLE)]
            assert [read_picture(frame) for frame in video] == wanted
            starts.add((int(s), int(start)))
    assert {start for s, start in starts if s == 0} >= {0, 8, 17}  # 24 frames, span 6: 0 to 17


def test_half_of_the_clips_are_mirrored(sources):
    clip = ClipSpec(frames=1, fps=4.0, size=48, crop="center", flip=True)
    mirrored = []
    for batch in train(sources, clip, batch_size=64):
        for video, s, r, start in zip(
            *(batch[k] for k in ("video", "source", "record", "start")), strict=True
        ):
            upright = read_picture(video[0]) == (s, r, start)
            assert upright or read_picture(video[0][:, ::-1]) == (s, r, start)
            mirrored.append(not upright)
    assert abs(np.mean(mirrored) - 0.5) < 5 * 0.5 / np.sqrt(len(mirrored))


def test_one_crop_per_clip(sources):
    """Between frames of a clip of one repeated picture nothing may change."""
    clip = ClipSpec(frames=4, fps=1000.0, size=32, flip=True)
    for batch in train(sources, clip):
        assert (batch["video"] == batch["video"][:, :1]).all()
        assert len(np.unique(batch["video"][:, 0].reshape(8, -1), axis=0)) == 8


def test_repeats_are_different_crops_of_the_same_frames(sources):
    once, twice = train(sources, num_steps=3), train(sources, repeats=2, num_steps=6)
    draws = np.concatenate([b["draw"] for b in twice])
    assert draws.tolist() == np.repeat(np.arange(24), 2).tolist()
    video = np.concatenate([b["video"] for b in twice])
    # The first crop of a draw is the one it has without repeats, the second is another one.
    np.testing.assert_array_equal(video[::2], np.concatenate([b["video"] for b in once]))
    assert (video[::2] != video[1::2]).reshape(24, -1).any(1).all()
    for key in ("source", "record", "start"):
        ids = np.concatenate([b[key] for b in twice])
        np.testing.assert_array_equal(ids[::2], ids[1::2])
    parts = [train(sources, repeats=2, process_index=p, process_count=2) for p in (0, 1)]
    np.testing.assert_array_equal(
        np.concatenate([b["video"] for b in zip(*parts, strict=True) for b in b]), video
    )


def test_a_sampler_and_a_curriculum_are_taken(sources):
    stages = [(0, (1, 0, 0)), (1000, (0, 0, 1))]
    batches = train(sources, weights=stages, start_step=124, num_steps=126)
    assert [b["source"].tolist() for b in batches] == [[0] * 8, [2] * 8]
    sampler = Sampler(Leaves.from_sizes([20, 6, 3]), (0, 1, 0), seed=9)
    assert (train(sources, weights=None, sampler=sampler)[0]["source"] == 1).all()
    stale = Sampler(Leaves.from_sizes([20, 7, 3]), (0, 1, 0), seed=9)
    with pytest.raises(ValueError, match="expects 7 records of beta/train, which holds 6"):
        train(sources, weights=None, sampler=stale)


def test_without_weights_sources_are_drawn_in_proportion(sources):
    counts = source_sampler(sources, None, seed=0).counts(29_000)
    assert np.abs(counts - [20_000, 6000, 3000]).max() <= 1 + np.log2(29) / 3  # of 29 blocks


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"batch_size": 9, "process_count": 2}, "9 must be a positive multiple of 2 processes x 1"),
        ({"batch_size": 8, "repeats": 3}, "multiple of 1 processes x 3 repeats"),
        ({"weights": (1, 2)}, "one weight for each of 3 leaves"),
        ({"weights": (1, -2, 3)}, r"entry 1 \(beta/train\) is negative"),
        ({"clip": ClipSpec(frames=4, fps=4.0, size=64)}, "clips of 64 pixels are larger"),
        ({"process_index": 1}, "process 1 of 1"),
        ({"start_step": 7}, "steps 7 to 6"),
        ({"num_threads": -1}, "at least 0"),
    ],
)
def test_bad_arguments_are_refused_before_work_starts(sources, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        train(sources, **change)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_record_stops_the_run_by_name(tmp_path, workers):
    records = [example("odd", 0, r, 8, 8.0, 0.0) for r in range(40)]
    for r in range(1, 39):  # the start-up check samples the first and the last record among others
        records[r]["frames"][3:] = [b"damaged"] * 5
    write_source(tmp_path, "odd", records, shards=1)
    clip = ClipSpec(frames=4, fps=8.0, size=32)
    others = set(threading.enumerate())
    with pytest.raises(
        DamagedRecordError, match=r"odd/train: record \d+ .*frame [3-7] \(7 bytes\)"
    ):
        train([open_source(tmp_path, "odd")], clip, None, num_workers=workers, num_steps=20)
    assert not multiprocessing.active_children()
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if thread.name.startswith("clips")]


def test_eval_clips_are_evenly_spaced_and_labelled_at_their_centre(sources):
    clip = ClipSpec(frames=4, fps=4.0, size=48)  # crop and flip do not count here
    with eval_clips(sources[0], clip, clips_per_record=3, batch_size=16) as batches:
        got = list(batches)
    assert [len(b["video"]) for b in got] == [16, 16, 16, 12]
    keys = ("record", "view", "start", "time", "case_id", "video_id", "source", "domain")
    flat = {k: np.concatenate([b[k] for b in got]) for k in keys}
    assert flat["record"].tolist() == np.repeat(np.arange(20), 3).tolist()
    assert flat["view"].tolist() == [0, 1, 2] * 20
    phase = np.concatenate([b["labels"]["phase"] for b in got])
    skill = np.concatenate([b["video_labels"]["skill"] for b in got])
    video = np.concatenate([b["video"] for b in got])
    for i, (r, v) in enumerate(zip(flat["record"], flat["view"], strict=True)):
        record = sources[0].record(int(r))
        start = [3, 9, 15][v] if r != 5 else 0  # 18 starts in three thirds; record 5 is short
        indices = np.minimum(start + 2 * np.arange(4), len(record.frames) - 1)
        assert flat["start"][i] == start
        assert [read_picture(f) for f in video[i]] == [(0, r, k) for k in indices]
        assert phase[i] == (r + indices[2]) % 4 - 1
        assert skill[i] == r % 3 - 1
        assert flat["time"][i] == np.float32(3.0 * r + indices[2] / 8)
        assert flat["case_id"][i] == f"alpha-case{r // 4}"
        assert flat["video_id"][i] == f"alpha-video{r // 2}"
    assert set(flat["source"]) == {"alpha"} and set(flat["domain"]) == {0}


def test_eval_clips_do_not_depend_on_batches_or_threads(sources):
    def views(batch_size, **kwargs):
        clip = ClipSpec(frames=4, fps=4.0, size=32)
        with eval_clips(sources[0], clip, clips_per_record=2, batch_size=batch_size, **kwargs) as b:
            got = list(b)
        return np.concatenate([x["video"] for x in got]), np.concatenate([x["start"] for x in got])

    video, start = views(40)
    for num_threads in (0, 3):
        again, starts = views(7, num_threads=num_threads)
        np.testing.assert_array_equal(again, video)
        np.testing.assert_array_equal(starts, start)
    part, _ = views(5, records=[4, 9])
    np.testing.assert_array_equal(part, video[[8, 9, 18, 19]])


def test_eval_clips_refuse_what_is_not_there(sources):
    with pytest.raises(IndexError, match="records 0 to 5, not 6"):
        eval_clips(sources[1], WHOLE, records=[0, 6])
    with pytest.raises(ValueError, match="must be at least 1"):
        eval_clips(sources[1], WHOLE, clips_per_record=[1, 0], records=[0, 1])
    with eval_clips(sources[1], WHOLE, records=[]) as batches:
        assert list(batches) == []


LEFT_OPEN = """
import os, sys
from surgrec_jax.data.loading.pipeline import ClipSpec, train_batches
from surgrec_jax.records.source import open_source
if __name__ == "__main__":
    source, clip = open_source(sys.argv[1], "alpha"), ClipSpec(frames=4, fps=4.0, size=32)
    batches = train_batches([source], None, clip, batch_size=4, seed=0, num_workers=1)
    next(batches)
    import multiprocessing
    print(multiprocessing.active_children()[0].pid, flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("how", "code"), [("kill", -9), ("end", 0)])
def test_workers_end_with_a_run_that_did_not_close_them(corpus, tmp_path, how, code):
    script = tmp_path / "left_open.py"
    script.write_text(LEFT_OPEN)
    done = subprocess.run(
        [sys.executable, script, corpus.data_dir, how],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    worker, waited = int(done.stdout), time.monotonic()
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < waited + 10, f"worker {worker} is still there"
        time.sleep(0.05)
    assert "Traceback" not in done.stderr
