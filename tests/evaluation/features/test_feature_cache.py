"""The cache of features: shards, resuming, tokens on disk, other versions, damage."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from surgrec_jax.evaluation.features import baselines, cache, extraction

DATA, VIEW = "data-fingerprint", {"frames": 2, "fps": 4.0}
RECORDS, VIEWS = 10, 2


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(cache, "RECORDS_PER_SHARD", 4)


def batches(records):
    """Two random clips of every record, in batches of 3; a clip depends on its record alone."""
    for start in range(0, len(records), 3):
        index = np.repeat(np.asarray(records)[start : start + 3], VIEWS)
        video = [np.random.default_rng([i]).integers(0, 256, (2, 6, 6, 3)) for i in index]
        yield {
            "video": np.stack(video).astype(np.uint8),
            "labels": {"phase": index % 3, "skill": np.full(len(index), -1)},
            "case_id": [f"case{i % 5}" for i in index],
            "video_id": np.array([f"v{i}" for i in index], object),
            "source": ["s"] * len(index),
            "record": index,
            "view": np.arange(len(index)) % VIEWS,
            "time": index / 2,
        }


def brightness(video):
    return video.mean((1, 2, 3), dtype=np.float32)


def frame_tokens(video):
    return video.mean((2, 3), dtype=np.float32)  # [B, 2, 3]


def cached(folder, data=DATA, tokens=(), stop_after=None, **encoders):
    """Features through the cache, and the ranges of records that were decoded."""
    ranges = []

    def watched(records):
        if stop_after is not None and len(ranges) == stop_after:
            raise KeyboardInterrupt
        ranges.append((records.start, records.stop))
        return batches(records)

    marks = {name: f"weights of {name}" for name in encoders}
    found = cache.cached_extract(
        encoders, marks, watched, records=RECORDS, data=data, view=VIEW, folder=folder,
        tokens=frozenset(tokens),
    )  # fmt: skip
    return found, ranges


def test_cache_returns_the_same_and_runs_only_what_is_missing(tmp_path):
    first, ranges = cached(tmp_path, a=brightness)
    assert ranges == [(0, 4), (4, 8), (8, 10)]
    plain = extraction.extract({"a": brightness}, batches(range(RECORDS)))
    again, ranges = cached(tmp_path, a=None)  # None cannot be called: it must come from the cache
    assert ranges == []
    for field in ("features", "case_id", "video_id", "record", "view", "time", "source"):
        np.testing.assert_array_equal(getattr(first["a"], field), getattr(again["a"], field))
        np.testing.assert_array_equal(getattr(plain["a"], field), getattr(again["a"], field))
    assert again["a"].labels.keys() == {"phase", "skill"}
    both, ranges = cached(tmp_path, a=None, b=baselines.pixels)
    assert len(ranges) == 3 and list(both) == ["a", "b"]
    _, ranges = cached(tmp_path, data="other data", a=brightness)
    assert len(ranges) == 3


def test_every_part_of_the_key_has_a_folder_of_its_own(tmp_path):
    one = cache.CacheKey("weights", DATA, VIEW)
    others = {"encoder": "w", "data": "d", "view": {**VIEW, "frames": 3}, "dtype": "float16"}
    keys = [dataclasses.replace(one, **{field: value}) for field, value in others.items()]
    assert len({key.path(tmp_path) for key in (one, *keys)}) == 5


def test_an_interrupted_pass_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, a=brightness, stop_after=2)
    found, ranges = cached(tmp_path, a=brightness)
    assert ranges == [(8, 10)]
    plain = extraction.extract({"a": brightness}, batches(range(RECORDS)))
    np.testing.assert_array_equal(found["a"].features, plain["a"].features)


def test_tokens_stay_on_disk_as_float16_and_are_read_by_row(tmp_path):
    found, _ = cached(tmp_path, tokens=["t"], t=frame_tokens, a=brightness)
    tokens, pooled = found["t"].features, found["a"].features
    assert isinstance(tokens, extraction.TokenRows) and tokens.shape == (20, 2, 3)
    assert pooled.dtype == np.float32 and isinstance(pooled, np.ndarray)
    arrays = [np.load(path, mmap_mode="r") for path in sorted(tmp_path.glob("*/*.npy"))]
    assert sum(a.dtype == np.float16 for a in arrays) == 3
    expected = np.concatenate([frame_tokens(b["video"]) for b in batches(range(RECORDS))])
    np.testing.assert_allclose(tokens.read(), expected, rtol=1e-3)
    rows = np.array([19, 0, 8, 7, 8])  # across shards, out of order, twice
    np.testing.assert_array_equal(tokens[rows].read(), tokens.read()[rows])
    np.testing.assert_array_equal(tokens[rows].read([2, 1]), tokens.read()[[8, 0]])
    joined = tokens[rows].joined(tokens[:3])
    np.testing.assert_array_equal(joined.read(), tokens.read()[[*rows, 0, 1, 2]])


def test_tokens_beyond_float16_are_refused_with_the_record(tmp_path):
    def huge(video):
        return 1e5 * frame_tokens(video)

    with pytest.raises(ValueError, match=r"encoder t .* first for record 0; they do not fit float"):
        cached(tmp_path, tokens=["t"], t=huge)


def test_cache_of_another_version_is_ignored_with_a_message(tmp_path, monkeypatch, caplog):
    cached(tmp_path, a=brightness)
    monkeypatch.setattr(cache, "CACHE_VERSION", 99)
    with caplog.at_level(logging.WARNING):
        found, ranges = cached(tmp_path, a=brightness)
    assert len(ranges) == 3 and len(found["a"]) == 20
    assert "other version ([2], expected [99])" in caplog.text


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_damaged_shard_alone_is_computed_again(tmp_path, caplog, suffix):
    first, _ = cached(tmp_path, a=brightness)
    (path,) = tmp_path.glob(f"*/00001{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        found, ranges = cached(tmp_path, a=brightness)
    assert ranges == [(4, 8)] and "unreadable cached features" in caplog.text
    np.testing.assert_array_equal(found["a"].features, first["a"].features)


def test_pickled_cache_is_not_loaded(tmp_path):
    cached(tmp_path, a=brightness)
    (path,) = tmp_path.glob("*/00000.npy")
    np.save(path, np.array([{"not": "an array"}], object), allow_pickle=True)
    assert cache.load_shard(path.parent, 0) is None
    meta = json.loads((path.parent / "meta.json").read_text())
    assert meta["encoder"] == "weights of a" and meta["view"] == VIEW
