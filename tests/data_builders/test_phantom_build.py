"""A whole small phantom corpus through the parallel build, read back by TFDS itself."""

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.common.build.build import build
from data_builders.common.video.frame_labels import nearest
from data_builders.phantom_surgery import corpus
from data_builders.phantom_surgery.editions import INSTRUMENTS
from data_builders.phantom_surgery.maps import draw_depth, draw_layers
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder, DenseConfig
from data_builders.phantom_surgery.render import Scene, frame_times
from data_builders.phantom_surgery.script import SKILLS, label_at
from surgrec_jax.records.schema import DOMAINS, RecordSpec

MAPS = ("layers", "depth")
SPEC = corpus.CorpusSpec(
    seed=7,
    patients=(6, 6, 6, 6),
    minutes=5.0,
    videos_per_patient=(1, 1, 1, 1),
    short_sides=(40, 48),
    rates=(4.0, 5.0),
)
CONFIG = DenseConfig(
    name="small",
    version="2.0.0",
    description="for tests",
    record=RecordSpec(frames=32, fps=4.0, short_side=40, jpeg_quality=95),
    corpus=SPEC,
    map_every=8,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    summary = build("phantom_surgery", data_dir=data_dir, config=CONFIG, num_workers=1)
    return data_dir, summary


def _records(data_dir):
    builder = tfds.builder_from_directory(data_dir / "phantom_surgery" / "small" / "2.0.0")
    assert set(builder.info.splits) == set(corpus.SPLITS)
    return [
        (split, dict(example))
        for split in corpus.SPLITS
        for example in builder.as_data_source(split)
    ]


def test_records_hold_the_whole_corpus(built):
    data_dir, summary = built
    assert not summary.skipped
    plans = {p.video_id: p for p in corpus.plan_corpus(SPEC)}
    records = _records(data_dir)
    kept, cases = dict.fromkeys(plans, 0), {}
    for split, example in records:
        plan = plans[example["video_id"].decode()]
        assert split == plan.split
        assert cases.setdefault(example["case_id"].decode(), split) == split
        assert DOMAINS[example["domain"]] == plan.domain
        assert corpus.DOMAINS[example["video_labels"]["domain"]] == plan.domain
        assert SKILLS[example["video_labels"]["skill"]] == plan.skill
        assert example["native_fps"] == pytest.approx(plan.fps, rel=1e-3)
        assert (example["native_height"], example["native_width"]) == (plan.height, plan.width)
        assert min(example["frames"][0].shape[:2]) == 40
        kept[plan.video_id] += len(example["times"])
    for video_id, plan in plans.items():
        # Stored at 4 fps at most: all frames of a 4 fps video, four of five of a 5 fps video.
        assert kept[video_id] == pytest.approx(4.0 * plan.seconds, abs=2)
    footage = [
        sum(kept[p.video_id] for p in plans.values() if p.domain == d) for d in corpus.DOMAINS
    ]
    assert footage == sorted(footage, reverse=True)
    assert footage[0] > 2 * footage[1] > 2 * footage[2]


def test_stored_labels_and_pictures_are_the_truth(built):
    """Labels and pictures of stored frames against a fresh drawing at their times."""
    data_dir, _ = built
    plans = {p.video_id: p for p in corpus.plan_corpus(SPEC)}
    for _, example in _records(data_dir)[::5]:
        plan = plans[example["video_id"].decode()]
        scene = Scene(plan)
        for k in (0, len(example["times"]) // 2, len(example["times"]) - 1):
            # Containers round time stamps: go back to the frame's own instant.
            t = round(float(example["times"][k]) * plan.fps) / plan.fps
            frame, labels = scene.frame(t), {n: int(v[k]) for n, v in example["labels"].items()}
            assert labels["out_of_body"] == frame.out_of_body
            phase, action = (
                int(label_at(i, np.array([t]))[0])
                for i in (scene.script.phases, scene.script.actions)
            )
            assert labels["phase"] == (-1 if frame.out_of_body else phase)
            tool = scene.script.edition.tool_of.get(scene.script.edition.actions[action])
            seen = not frame.out_of_body and (tool is None or tool in frame.present)
            assert labels["action"] == (action if seen else -1)
            for tool in INSTRUMENTS:
                assert labels[f"instrument_{tool}"] == (tool in frame.present)
            stored = example["frames"][k]
            drawn = cv2.resize(frame.image, stored.shape[1::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(stored.astype(int) - drawn).mean() < 14.0


def test_stored_maps_are_a_fresh_drawing_of_their_frames(built):
    data_dir, summary = built
    assert not summary.noted and not summary.partial
    plans = {p.video_id: p for p in corpus.plan_corpus(SPEC)}
    scenes = {name: Scene(plan) for name, plan in list(plans.items())[::5]}
    maps = 0
    for _, example in _records(data_dir):
        if example["video_id"].decode() not in scenes:
            continue
        plan, stored, deep = plans[example["video_id"].decode()], *map(example["maps"].get, MAPS)
        scene, size = scenes[plan.video_id], example["frames"][0].shape[1::-1]
        maps += len(stored["frames"])
        assert deep["millimetres"] == np.float32(0.01)
        for k, image, depth in zip(stored["frames"], stored["images"], deep["images"], strict=True):
            number = round(float(example["times"][k]) * plan.fps)
            assert number % 8 == 7
            drawn = nearest(draw_layers(scene, number / plan.fps), size)
            np.testing.assert_array_equal(image[..., 0], drawn)
            millimetres = nearest(draw_depth(scene, number / plan.fps), size)
            np.testing.assert_allclose(0.01 * depth[..., 0], millimetres, atol=0.0051)
        np.testing.assert_array_equal(deep["frames"], stored["frames"])
    assert maps == sum(len(frame_times(plans[name])) // 8 for name in scenes)


def test_configurations_are_listed():
    second, first = {}, {}
    for name, config in Builder.builder_configs.items():
        edition = first if name.startswith("first_") else second
        edition[name.removeprefix("first_")] = config
    assert list(second) == ["tiny", "trial", "default", "imbalanced", "balanced", "dense"]
    assert list(first) == ["tiny", "default", "imbalanced", "balanced"]
    assert {str(c.version) for c in second.values()} == {"2.0.0", "2.1.0"}
    assert {str(c.version) for c in first.values()} == {"1.0.0"}
    dense = [name for name, c in Builder.builder_configs.items() if isinstance(c, DenseConfig)]
    assert dense == ["dense"] and str(second["dense"].version) == "2.1.0"
    tiny, default = second["tiny"], second["default"]
    assert default.corpus.minutes >= 5 * tiny.corpus.minutes
    assert default.record.short_side == 256
