"""Colour must not give the labels away, nor a single frame the action.

Probes on a frame's mean colour stay near chance.
"""

import cv2
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_builders.phantom_surgery import corpus, oracle
from data_builders.phantom_surgery.render import Scene
from data_builders.phantom_surgery.script import inside, label_at

# Chance is 1/6 for phase and 1/11 for action.
SPEC = corpus.CorpusSpec(
    patients=(24, 14, 10, 8), minutes=26.0, short_sides=(48,), videos_per_patient=(1, 1, 1, 1)
)


@pytest.fixture(scope="module")
def frames():
    """Per frame: colours, small pixels, the true state, the true motion, phase, action, split."""
    rows = []
    for plan in corpus.plan_corpus(SPEC):
        scene = Scene(plan)
        times = np.arange(0.7, plan.seconds, 1.2)
        phases, actions = (label_at(i, times) for i in (scene.script.phases, scene.script.actions))
        out = inside(scene.script.out_of_body, times)
        for t, phase, action in zip(times[~out], phases[~out], actions[~out], strict=True):
            image = scene.frame(float(t)).image
            pixels = image.reshape(-1, 3) / 255.0
            colour = np.concatenate([pixels.mean(0), pixels.std(0)])
            middle = (image.shape[1] - image.shape[0]) // 2
            square = image[:, middle : middle + image.shape[0]]
            small = cv2.resize(square, (16, 16), interpolation=cv2.INTER_AREA).ravel() / 255.0
            state = oracle.still(scene, t)
            motion = np.append(state, oracle.motion(scene, t + 0.25 * np.arange(-4, 4)))
            rows.append((colour, small, state, motion, phase, action, plan.split))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    names = ("colour", "pixels", "state", "motion", "phase", "action", "split")
    return dict(zip(names, columns, strict=True))


def _best(frames, x, label):
    """Best balanced accuracy on test patients of a linear, a neighbour and a forest probe."""
    train, test = frames["split"] == "train", frames["split"] == "test"
    scores = []
    for model in (
        LogisticRegression(max_iter=500, class_weight="balanced"),
        KNeighborsClassifier(5),
        RandomForestClassifier(60, class_weight="balanced", random_state=0),
    ):
        probe = make_pipeline(StandardScaler(), model).fit(x[train], frames[label][train])
        guess = probe.predict(x[test])
        scores.append(balanced_accuracy_score(frames[label][test], guess))
    return max(scores)


@pytest.mark.parametrize(
    ("label", "mean_bound", "spread_bound"), [("phase", 0.33, 0.38), ("action", 0.28, 0.30)]
)
def test_colour_says_little(frames, label, mean_bound, spread_bound):
    assert len(frames["phase"]) > 900
    mean, spread = (_best(frames, frames["colour"][:, :k], label) for k in (3, 6))
    truth = _best(frames, frames["motion"], label)
    print(f"{label}: mean colour {mean:.3f}, mean and spread {spread:.3f}, truth {truth:.3f}")
    assert mean < mean_bound
    assert spread < spread_bound
    assert truth > 0.7


def test_a_single_frame_does_not_tell_the_action(frames):
    """Small pixels say little; the true tools and tissue half; the true motion most."""
    train = frames["split"] == "train"
    pca = PCA(64, random_state=0).fit(frames["pixels"][train])
    pixels = _best(frames, pca.transform(frames["pixels"]), "action")
    state, motion = (_best(frames, frames[name], "action") for name in ("state", "motion"))
    print(f"action: pixels {pixels:.3f}, state {state:.3f}, motion {motion:.3f}")
    assert pixels < 0.3
    assert state < 0.7
    assert motion > state + 0.1
