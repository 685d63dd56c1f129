"""Problems on drawn numbers, for tests of what comes after features."""

import numpy as np

from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.tasks import labelled_task
from surgrec_jax.evaluation.tasks.task import Task

TRACKS = {
    "phase": ("a", "b", "c"),
    "tool_x": ("absent", "present"),
    "tool_y": ("absent", "present"),
    "skill": ("low", "mid", "high"),
}
TASK = Task("phase", "made", "phase", "video_f1", "frame", kind="phase", domain="laparoscopy")


def features(split, seed=0, cases=6, clips=12):
    """Clips in order of time; a case is a video; phases rise along it; features tell of them."""
    rng = np.random.default_rng([seed, len(split)])
    count = cases * clips
    case = np.repeat(np.arange(cases), clips)
    phase = np.tile(np.arange(clips) * 3 // clips, cases)
    tools = rng.integers(0, 2, (2, count))
    labels = {"phase": phase, "phase@last": phase, "tool_x": tools[0], "tool_y": tools[1]}
    labels["skill"] = case % 3
    names = np.char.add(f"{split}-", case.astype(str))
    return Features(
        features=(np.eye(3)[phase] + 0.4 * rng.standard_normal((count, 3))).astype(np.float32),
        labels=labels,
        case_id=names,
        video_id=names,
        source=np.full(count, "made"),
        record=np.arange(count),
        view=np.zeros(count, int),
        time=np.tile(np.arange(clips, dtype=np.float32) * 4, cases),
    )


def splits(**options):
    return {split: features(split, **options) for split in ("train", "val", "test")}


def made_task(task=TASK, **options):
    found = splits(**options)
    return labelled_task.label_task(task, TRACKS, found), found
