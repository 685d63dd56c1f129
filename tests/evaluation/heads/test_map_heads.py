"""Heads on maps: features that hold a mask give its Dice, shuffled maps give chance; memory."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from surgrec_jax.evaluation.features.maps import Maps
from surgrec_jax.evaluation.heads import dense
from surgrec_jax.evaluation.heads.grid import Grid
from surgrec_jax.evaluation.heads.map_heads import MAP_HEADS
from surgrec_jax.evaluation.heads.run_map_head import constant_map, run_map_head
from surgrec_jax.evaluation.tasks.labelled_maps import label_maps
from surgrec_jax.evaluation.tasks.task import LeakedSplitError, RefusedTaskError, Task
from surgrec_jax.records.maps import VOID

SIDE, CELLS = 32, 8
CLASSES = ("background", "shaft", "tip")
TASK = Task("scene", "drawn", "scene", "dice", "pixel", kind="segmentation")
DEEP = Task("depth", "drawn", "depth", "delta_125", "pixel", kind="depth")
SPLITS = {"train": 60, "val": 6, "test": 8}
SMALL = Grid(lr=(3e-2, 3e-3), weight_decay=(0.01,), batch_size=8)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dense, "GRID", SMALL)
    monkeypatch.setattr(dense, "STEPS", 150)


def disc(rng, y, x):
    middle = (y - SIDE // 2) ** 2 + (x - SIDE // 2) ** 2 < rng.integers(4, 8) ** 2
    return np.roll(middle, rng.integers(0, SIDE, 2), (0, 1))  # no place is likelier than another


def drawn(split, count, depth=False):
    """Maps of two discs, or of a slope, a case every two frames, named by its split."""
    rng = np.random.default_rng(len(split) + 10 * depth)
    y, x = np.mgrid[:SIDE, :SIDE]
    values = np.zeros((count, SIDE, SIDE), np.uint16 if depth else np.uint8)
    for frame in values:
        if depth:
            frame[:] = 300 + 90 * rng.integers(1, 9) + rng.integers(10, 40) * (x + y)
            frame[0] = 0
        else:
            frame[disc(rng, y, x)] = 1
            frame[disc(rng, y, x)] = 2
            frame[0] = VOID
    case = np.array([f"{split}{k // 2}" for k in range(count)])
    ends = np.stack([np.arange(count), np.zeros(count, int)], -1)
    scale = np.full(count, 0.05 if depth else 0.0)
    return Maps(values, scale, ends, case, case, np.zeros(count, np.float32))


def cells(maps, depth=False):
    """What tokens hold that know the map: the share of each class in a cell, or its log depth."""
    count = len(maps)
    if depth:
        values = np.log(np.maximum(maps.values, 300).astype(float))
        shares = values.reshape(count, CELLS, 4, CELLS, 4).mean((2, 4))[..., None]
    else:
        hot = np.eye(3)[np.where(maps.values == VOID, 0, maps.values)]
        shares = hot.reshape(count, CELLS, 4, CELLS, 4, 3).mean((2, 4))
    noise = np.random.default_rng(0).normal(0, 0.05, (*shares.shape[:3], 3))
    return np.concatenate([shares, noise], -1).reshape(count, CELLS * CELLS, -1)


def made(task, depth=False):
    maps = {split: drawn(split, count, depth) for split, count in SPLITS.items()}
    labelled = label_maps(task, {task.track: None if depth else CLASSES}, maps)
    return labelled, {split: cells(m, depth) for split, m in maps.items()}


def shuffled(labelled):
    """The same task with the maps of training in another order."""
    of_train = labelled.maps["train"]
    values = np.roll(of_train.values, 5, 0)[:, :, ::-1]
    train = dataclasses.replace(of_train, values=values)
    return dataclasses.replace(labelled, maps={**labelled.maps, "train": train})


def headline(labelled, answer):
    return labelled.score(labelled.task.metric, labelled.test, answer.scores[0])


def run(labelled, features, head):
    return run_map_head(head, labelled, features, (CELLS, CELLS), seeds=(0,))


@pytest.mark.parametrize("head", MAP_HEADS)
def test_features_that_hold_the_mask_give_its_dice(head, monkeypatch):
    if head != "dense_linear":  # they take longer
        monkeypatch.setattr(dense, "STEPS", 32)
    labelled, features = made(TASK)
    up = dense.enlarging(CELLS, SIDE)
    shares = features["test"].reshape(-1, CELLS, CELLS, 6)[..., :3]
    enlarged = np.einsum("rh,bhwk,cw->brck", up, shares, up).argmax(-1)
    reachable = labelled.score(
        "dice", labelled.test, labelled.parts("test", np.arange(8), enlarged)
    )
    answer = run(labelled, features, head)
    assert headline(labelled, answer) > reachable - 0.1 > 0.75
    units, predicted = answer.shown
    assert len(units) == 6 and predicted.shape == (6, SIDE, SIDE)  # two frames of three cases
    np.testing.assert_array_equal(labelled.parts("test", units, predicted), answer.scores[0][units])
    if head != "dense_linear":
        return
    mixed = run(shuffled(labelled), features, head)
    assert headline(labelled, mixed) < 0.35
    assert headline(labelled, constant_map(labelled)) == 0  # background everywhere


@pytest.mark.parametrize(
    "head", ["dense_linear", pytest.param("dense_conv", marks=pytest.mark.slow)]
)
def test_depths(head, monkeypatch):
    if head == "dense_conv":
        monkeypatch.setattr(dense, "STEPS", 48)
    labelled, features = made(DEEP, depth=True)
    answer = run(labelled, features, head)
    mixed = headline(labelled, run(shuffled(labelled), features, head))
    assert headline(labelled, answer) > 0.9 > 0.8 > mixed
    assert answer.shown[1].dtype == np.float32 and answer.shown[1].min() > 0
    assert 0 < headline(labelled, constant_map(labelled)) < 0.8


def test_one_token_may_tell_how_far_all_is():
    """The corner alone knows how deep a frame is, which is asked of every pixel."""
    labelled, features = made(DEEP, depth=True)
    flat, rng = {}, np.random.default_rng(3)
    for split, maps in labelled.maps.items():
        level = 300 * 2 ** rng.integers(0, 5, (len(maps), 1, 1))
        values = np.broadcast_to(level, maps.values.shape).astype(np.uint16)
        flat[split] = dataclasses.replace(maps, values=values)
        tokens = rng.normal(0, 0.1, features[split].shape)
        tokens[:, 0, 0] = 8 * np.log(level[:, 0, 0])
        features[split] = tokens
    labelled = dataclasses.replace(labelled, maps=flat)
    found = headline(labelled, run(labelled, features, "dense_linear"))
    assert found > 0.9 > headline(labelled, constant_map(labelled)) + 0.1


def test_scores_are_means_over_cases():
    """One case is answered rightly, three have nothing: a quarter, however many pixels each has."""
    labelled, _ = made(TASK)
    truth = labelled.truth("test", np.arange(8))
    right = np.where(truth == VOID, 0, truth)
    right[2:] = 0
    parts = labelled.parts("test", np.arange(8), right)
    assert labelled.score("dice", labelled.test, parts) == pytest.approx(0.25)
    assert labelled.score("pooled_dice", labelled.test, parts) != pytest.approx(0.25, abs=0.05)


def test_frames_without_a_known_pixel_are_left_out_and_counted():
    maps = {split: drawn(split, count) for split, count in SPLITS.items()}
    maps["test"].values[3] = VOID
    labelled = label_maps(TASK, {"scene": CLASSES}, maps)
    assert labelled.test.rows.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert labelled.test.unlabelled_clips == 1
    assert labelled.truth("test", np.array([3])).tolist() == maps["test"].values[[4]].tolist()


def test_tasks_that_cannot_be_scored():
    maps = {split: drawn(split, count) for split, count in SPLITS.items()}
    with pytest.raises(RefusedTaskError, match=r"no segmentation map 'scene'; it has: d \(depth\)"):
        label_maps(TASK, {"d": None}, maps)
    maps["val"] = dataclasses.replace(maps["val"], case_id=maps["test"].case_id[:6])
    with pytest.raises(LeakedSplitError, match="also in"):
        label_maps(TASK, {"scene": CLASSES}, maps)


def test_enlargement_is_bilinear():
    matrix = dense.enlarging(4, 8)
    np.testing.assert_allclose(matrix.sum(1), 1)
    np.testing.assert_allclose(matrix @ np.arange(4), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


_BOUNDED = """
import numpy as np
from surgrec_jax.evaluation.features.extraction import TokenRows
from tests.faults.fuzz import resident_peak
from tests.evaluation.heads import test_map_heads as t

t.dense.GRID, t.dense.STEPS = t.SMALL, 20
rng, n, side = np.random.default_rng(0), 10_000, 112
features, maps = {}, {}
for split, count in {"train": n, "val": 500, "test": n}.items():
    tokens = np.lib.format.open_memmap(f"{split}.npy", "w+", np.float16, (count, 196, 64))
    for part in range(0, count, 500):
        tokens[part : part + 500] = rng.normal(size=(500, 196, 64))
    features[split] = TokenRows([tokens])
    values = rng.integers(0, 3, (count, side, side), np.uint8)
    case = np.array([f"{split}{k // 100}" for k in range(count)])
    ends = np.stack([np.arange(count)] * 2, -1)
    maps[split] = t.Maps(values, np.zeros(count), ends, case, case, np.zeros(count))
labelled = t.label_maps(t.TASK, {"scene": t.CLASSES}, maps)
answer = t.run_map_head("dense_linear", labelled, features, (14, 14), seeds=(0,))
assert answer.scores.shape[:2] == (1, n)
print(resident_peak() / 2**10)
"""


@pytest.mark.slow
def test_ten_thousand_frames_need_less_than_two_gib(tmp_path):
    """Tokens stay on disk (pages of mapped files count here, too), maps are 8 bits a pixel."""
    done = subprocess.run(
        [sys.executable, "-c", _BOUNDED], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": ":".join(p or "." for p in sys.path), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2048, done.stdout
