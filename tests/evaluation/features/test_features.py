"""Features: one pass for several encoders, the cache, baselines, the online probe."""

from types import SimpleNamespace

import numpy as np
import pytest

from surgrec_jax.data.loading.pipeline import ClipSpec
from surgrec_jax.evaluation.benchmark import columns
from surgrec_jax.evaluation.features import baselines, clips, extraction
from surgrec_jax.evaluation.online import LabelledClips, OnlineProbe
from surgrec_jax.records.source import DamagedRecordError


def batches(count=10, size=4, classes=2, seed=0, cases=5, prefix="case"):
    """Clips whose brightness tells the class."""
    rng = np.random.default_rng([seed])
    for start in range(0, count, size):
        index = np.arange(start, min(start + size, count))
        labels = index % classes
        video = (
            rng.integers(0, 40, (len(index), 2, 6, 6, 3)) + 60 * labels[:, None, None, None, None]
        )
        yield {
            "video": video.astype(np.uint8),
            "labels": {"phase": labels, "skill": np.full(len(index), -1)},
            "case_id": [f"{prefix}{i % cases}" for i in index],
            "video_id": np.array([f"v{i}" for i in index], object),
            "source": ["s"] * len(index),
            "record": index,
            "view": np.zeros(len(index), np.int32),
            "time": index / 2,
        }


def brightness(video):
    return video.mean((1, 2, 3), dtype=np.float32)


def test_extract_decodes_once_for_all_encoders_and_keeps_the_order():
    passes = []

    def counted():
        passes.append(1)
        yield from batches()

    found = extraction.extract({"a": brightness, "b": baselines.pixels}, counted())
    assert len(passes) == 1
    whole = next(iter(batches(size=10)))
    np.testing.assert_array_equal(found["a"].labels["phase"], np.arange(10) % 2)
    np.testing.assert_array_equal(found["a"].case_id, [f"case{i % 5}" for i in range(10)])
    np.testing.assert_allclose(found["a"].time, np.arange(10) / 2)
    assert found["a"].features.shape == (10, 3) and found["b"].features.shape == (10, 2 * 256 * 3)
    assert whole["video"].shape[0] == 10


def test_extract_names_the_encoder_and_record_with_nan():
    def broken(video):
        values = brightness(video)
        values[-1] = np.nan
        return values

    with pytest.raises(
        ValueError, match=r"encoder mae gives NaN .* for 1 of 4 clips, first for record 3"
    ):
        extraction.extract({"mae": broken}, batches())
    with pytest.raises(ValueError, match="empty"):
        extraction.extract({"mae": brightness}, iter(()))


def test_crops_are_averaged_for_features_and_side_by_side_for_tokens():
    video = np.random.default_rng([3]).integers(0, 255, (2, 3, 2, 6, 6, 3)).astype(np.uint8)
    found = extraction.encode_crops(brightness, video)
    np.testing.assert_allclose(found, video.mean((2, 3, 4)).mean(1), rtol=1e-5)

    def tokens(clips):
        return clips.mean((2, 3), dtype=np.float32)  # [B, 2, 3], a token a frame

    found = extraction.encode_crops(tokens, video)
    assert found.shape == (2, 6, 3)
    np.testing.assert_allclose(found[1, 2:4], tokens(video[1])[1], rtol=1e-6)


class Stored:
    """A source of records of 8 frames, 8 a second; the second one is damaged."""

    def __len__(self):
        return 3

    def record(self, index):
        if index == 1:
            raise DamagedRecordError("torn")
        return SimpleNamespace(times=np.arange(8, dtype=np.float32) / 8)


@pytest.mark.parametrize(
    ("frames", "fps", "share"),
    [
        (4, 4.0, 0.0),
        (4, 8.0, 0.0),
        (8, 16.0, 4 / 8),  # frames 0 0 1 1 2 2 3 3, and so on
        (16, 8.0, 8 / 16),  # the last one stands for all that is not there
    ],
)
def test_frames_that_repeat_the_one_before_are_counted(frames, fps, share):
    spec = ClipSpec(frames=frames, fps=fps, size=8)
    assert clips.repeated_share(Stored(), spec) == pytest.approx(share, abs=0.07)


class Cut:
    """A source of videos of so many frames, 8 a second, cut into records of 64."""

    def __init__(self, *lengths):
        self.records = [
            SimpleNamespace(
                video_id=f"v{v}", times=np.arange(at, min(at + 64, n), dtype=np.float32) / 8
            )
            for v, n in enumerate(lengths)
            for at in range(0, n, 64)
        ]

    def __len__(self):
        return len(self.records)

    def record(self, index):
        return self.records[index]


def test_clips_are_spread_over_a_whole_video_however_many_records_it_is():
    spec = ClipSpec(frames=16, fps=4.0, size=8)  # spans 31 stored frames
    source = Cut(10, 64, 80, 64 + 40, 25 * 64)
    records, counts = clips.spread_over_videos(source, spec, 5)
    given = dict(zip(records.tolist(), counts.tolist(), strict=True))
    # Starts of the third video: 0, 12.25, ... 49 of 80 frames: none in the short rest of it.
    # Of the fourth: 0, 18.25, 36.5, 54.75, 73. Of the last: 0, 392.25, ... 1569 of 1600.
    assert given == {0: 5, 1: 5, 2: 5, 4: 4, 5: 1, 6: 1, 12: 1, 18: 1, 24: 1, 30: 1}
    # The short rest is no reason to say that frames are repeated.
    assert clips.repeated_share(Cut(80), spec) > 0.1
    assert clips.repeated_share(Cut(80), spec, of_videos=True) == 0


def test_crops_become_clips_of_their_own():
    video = np.arange(2 * 3 * 4).reshape(2, 3, 4, 1, 1, 1)
    batch = {"video": video, "labels": {"a": np.array([7, 8])}, "case_id": np.array(["x", "y"])}
    found = clips.crops_apart({**batch, "view": np.array([0, 2])})
    np.testing.assert_array_equal(found["video"], video.reshape(6, 4, 1, 1, 1))
    assert found["labels"]["a"].tolist() == [7, 7, 7, 8, 8, 8]
    assert "".join(found["case_id"]) == "xxxyyy"
    assert found["view"].tolist() == [0, 1, 2, 6, 7, 8]


def test_pixels_are_area_means_over_time_and_space():
    video = np.zeros((1, 4, 32, 32, 3), np.uint8)
    video[0, 0, :16, :, 1] = 100
    found = baselines.pixels(video, frames=2, size=2).reshape(2, 2, 2, 3)
    np.testing.assert_allclose(found[0, 0, :, 1], 50 / 255)  # mean of frames 0 and 1
    assert found.sum() == pytest.approx(2 * 50 / 255)


@pytest.mark.parametrize("shape", [(40, 15), (12, 50)])
def test_pca_equals_scikit_learn_up_to_sign(shape):
    from sklearn.decomposition import PCA

    rows = np.random.default_rng([3]).standard_normal(shape) * np.linspace(1, 4, shape[1])
    reference = PCA(6).fit(rows)
    ours = baselines.fit_pca(rows, 6)
    np.testing.assert_allclose(np.abs(ours(rows)), np.abs(reference.transform(rows)), atol=1e-4)
    assert len(baselines.fit_pca(rows[:4], 128).components) == 3


def test_pixels_are_projected_as_the_training_split_says():
    made = {
        split: extraction.extract({"pixels": brightness}, batches(seed=seed))
        for split, seed in (("train", 0), ("test", 1))
    }
    pca = baselines.fit_pca(made["train"]["pixels"].features)
    expected = {split: pca(named["pixels"].features) for split, named in made.items()}
    columns.project_pixels(made, "pixels", "train")
    for split, named in made.items():
        np.testing.assert_array_equal(named["pixels"].features, expected[split])
        tokens = named["pixels" + columns.TOKENS].features
        np.testing.assert_array_equal(tokens[:, 0], expected[split])
    assert abs(made["train"]["pixels"].features.mean()) < 1e-4  # centred there, and there alone
    assert abs(made["test"]["pixels"].features.mean()) > 1e-4


def test_majority_is_the_training_majority_and_the_rates():
    scores = baselines.majority_scores(np.array([2, 1, 2, -1]), 5, 4, False)
    assert scores.shape == (5, 4) and (scores.argmax(1) == 2).all()
    rates = baselines.majority_scores(np.array([[1, 0], [0, -1], [1, 1]]), 2, 2, True)
    np.testing.assert_allclose(rates, [[2 / 3, 1 / 2]] * 2)


def test_online_probe_is_right_deterministic_and_refuses_leaks():
    train = LabelledClips.collect(batches(40, prefix="t"), ["phase"])
    held = LabelledClips.collect(batches(21, seed=1, prefix="v"), ["phase"])
    assert train.video.dtype == np.uint8 and train.video.shape == (40, 2, 6, 6, 3)
    shapes = []

    def encode(video):
        shapes.append(video.shape)
        return brightness(video)

    probe = OnlineProbe("phantom", train, held, {"phase": 2}, batch_size=16)
    scores = probe(encode)
    assert scores == {"probe/phantom/phase/knn": 1.0, "probe/phantom/phase/linear": 1.0}
    assert probe.chance() == {"chance/phantom/phase": 0.5}
    assert set(shapes) == {(16, 2, 6, 6, 3)}  # one shape, so a jitted encoder compiles once

    noise = np.random.default_rng([0]).standard_normal((256, 3)).astype(np.float32)

    def blind(video):  # features that know nothing of the class
        return noise[video.astype(np.int64).sum((1, 2, 3, 4)) % 256]

    guess = probe(blind)
    assert guess == probe(blind)
    assert all(0.15 < value < 0.85 for value in guess.values())
    with pytest.raises(ValueError, match="share cases t0"):
        OnlineProbe("phantom", train, train, {"phase": 2})
    with pytest.raises(ValueError, match=r"track skill has 0 classes"):
        OnlineProbe(
            "phantom",
            LabelledClips.collect(batches(8, prefix="t"), ["phase", "skill"]),
            LabelledClips.collect(batches(8, prefix="v"), ["phase", "skill"]),
            {"skill": 3},
        )
