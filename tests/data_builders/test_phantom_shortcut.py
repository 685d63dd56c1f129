"""Colour must not give the labels away: probes on a frame's mean colour stay near chance."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_builders.phantom_surgery import corpus
from data_builders.phantom_surgery.render import Scene
from data_builders.phantom_surgery.script import INSTRUMENTS, inside, label_at

# Chance is 1/5 for phase and 1/7 for action.
SPEC = corpus.CorpusSpec(patients=(20, 10, 8, 6), minutes=22.0, short_sides=(48,))


def _state(scene, t):
    """What a perfect eye would measure: cover, wound, stitches, bleeding; how each tool is used."""
    script = scene.script
    tools = {u.tool: u.mode for u in script.uses if u.start <= t < u.stop}
    modes = ("work", "hold", "park")
    return [
        4 * np.interp(t, *script.unveil.T),
        4 * np.interp(t, *script.cut.T),
        4 * float(any(m.time <= t for m in script.stitches)),
        2 * sum(m.time < t < m.until for m in script.bleeds),
        *[2.0 * (tools.get(tool) == mode) for tool in INSTRUMENTS for mode in modes],
    ]


@pytest.fixture(scope="module")
def frames():
    """Per frame: mean colour, mean and spread, the true state, phase, action, split."""
    rows = []
    for plan in corpus.plan_corpus(SPEC):
        scene = Scene(plan)
        times = np.arange(0.7, plan.seconds, 1.2)
        phases, actions = (label_at(i, times) for i in (scene.script.phases, scene.script.actions))
        out = inside(scene.script.out_of_body, times)
        for t, phase, action in zip(times[~out], phases[~out], actions[~out], strict=True):
            pixels = scene.frame(float(t)).image.reshape(-1, 3) / 255.0
            colour = np.concatenate([pixels.mean(0), pixels.std(0)])
            rows.append((colour, _state(scene, t), phase, action, plan.split))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return dict(zip(("colour", "state", "phase", "action", "split"), columns, strict=True))


def _best(frames, x, label):
    """Best balanced accuracy on test patients of a linear and a neighbour probe."""
    train, test = frames["split"] == "train", frames["split"] == "test"
    scores = []
    for model in (
        LogisticRegression(max_iter=500, class_weight="balanced"),
        KNeighborsClassifier(5),
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
    truth = _best(frames, frames["state"], label)
    print(f"{label}: mean colour {mean:.3f}, mean and spread {spread:.3f}, true state {truth:.3f}")
    assert mean < mean_bound
    assert spread < spread_bound
    assert truth > 0.9
