"""Workdirs with classifiers and videos, for the tests of predictions."""

import jax
import numpy as np

from surgrec_jax import checkpoint
from surgrec_jax.frozen import architecture
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import Question, find_objective

ENCODER = ViTConfig(32, 1, 2, 64, num_frames=4, image_size=(32, 32), patch=16, position="rope_3d")
CLASSES = ("prep", "cut", "sew")
STORED = {
    "record": {"frames": 8, "fps": 4.0, "short_side": 48, "jpeg_quality": 90},
    "filters": {"crop_borders": False},
}


def save_classifier(
    workdir,
    *,
    frame="last",
    tracks=("phase",),
    classes=CLASSES,
    stored=STORED,
    pretrained=False,
    seed=3,
    scale=0.2,
    encoder=ENCODER,
    head="linear",
):
    """A workdir as a fine-tuning run leaves it, with random weights that tell clips apart.

    With `pretrained` it says nothing of its classifier, as a run that has none.
    """
    options = {"mixing": {}, "head": head}
    question = Question(tuple(tracks), tuple(classes), frame)
    objective = find_objective("classify").from_config(
        encoder, options, Compute(), question=question
    )
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    params = jax.tree.map(lambda x: np.float32(scale * rng.standard_normal(x.shape)), shapes)
    source = {"name": "s", "split": "train", "directory": "gone", "stored": stored}
    meta = {"name": "test", "objective": "classify", "uses_target": False, "sources": [source]}
    meta |= architecture.meta_of(encoder, fps=4.0) | objective.meta()
    if pretrained:
        del meta["classifier"]
    saved = checkpoint.Checkpoints(workdir / "checkpoints", keep=1, keep_best=0)
    saved.save(1, {"step": np.int32(1), "params": params}, meta)
    saved.close()
    return workdir


def pictures(count, seed=0, size=(64, 48)):
    """Colours that drift, so that clips differ: uint8 [H, W, 3] each."""
    rng = np.random.default_rng(seed)
    speeds, places = rng.uniform(0.02, 0.2, 3), rng.uniform(0, 6, 3)
    yy, xx = np.mgrid[: size[1], : size[0]] / 20
    for k in range(count):
        waves = [np.sin(xx + yy + speeds[c] * k + places[c]) for c in range(3)]
        yield np.uint8(127 + 100 * np.stack(waves, -1))
