"""The critical view of safety, from Endoscapes' files to a score of three labels."""

import jax
import numpy as np
from sklearn.metrics import average_precision_score

from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.benchmark.compare import compare
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task_list import select_tasks
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.records.source import open_source
from tests.data_builders.fake_download import built, write_lines
from tests.data_builders.test_endoscapes import HEADER, RATED, make

CRITERIA = ("cystic_plate", "hepatocystic_triangle", "two_structures")
SETTINGS = Settings(
    seeds=1, init_seeds=1, resamples=50, heads=("linear",), train_resample="none",
    clips_per_record=0,  # one frame in five is rated: all clips that meet a rating
)  # fmt: skip


def test_three_labels_are_scored_as_by_scikit_learn(tmp_path):
    rows, videos = [], {"train": (1, 70), "val": (121,), "test": (162, 163, 164)}
    for split, numbers in videos.items():
        for video in numbers:
            rows += make(tmp_path / "in", split, video)
    changed = f"163,{25 * 45},0.5,True,0,1,0.667,x"  # the other videos are rated alike
    rows = [changed if row.startswith(f"163,{25 * 45},") else row for row in rows]
    write_lines(tmp_path / "in/all_metadata.csv", [HEADER, *rows])
    built("endoscapes", tmp_path / "in", tmp_path / "data")
    sources = {
        split: open_source(tmp_path / "data", "endoscapes", "default", split) for split in videos
    }
    (task,) = select_tasks("endoscapes", ["critical_view"])
    config = ViTConfig(16, depth=1, heads=2, mlp_dim=16, num_frames=2, image_size=(32, 32), patch=8)
    encoder = Encoder(config, init_encoder(config, jax.random.key(1)), fps=1.0, name="small")
    measured, cells = compare(
        [Candidate("small", encoder, "nowhere")], {"endoscapes": (task,)},
        {"endoscapes": sources}, SETTINGS, tmp_path / "out",
    )  # fmt: skip
    assert not measured["failed"] and not measured["refused"], measured
    (told,) = measured["tasks"]
    assert told["metric"] == "mean_average_precision" and tuple(told["classes"]) == CRITERIA
    columns = told["heads"]["linear"]
    assert set(columns) == {"majority", "pixels", "random", "small"}
    for cell in cells:
        labels = cell.arrays["labels"]
        assert labels.shape == (3 * (len(RATED) - 1), 3)  # no clip of two ends at the first frame
        assert labels.sum(0).tolist() == [1, 4, 5]
        each = [
            average_precision_score(labels[:, k], cell.arrays["scores/linear"][0, :, k])
            for k in range(3)
        ]
        entry = columns[cell.column]
        if len(cell.arrays["scores/linear"]) == 1:  # one seed, of one encoder
            assert abs(entry["mean"] - np.mean(each)) < 1e-9
            for name, value in zip(CRITERIA, each, strict=True):
                assert abs(entry["per_class"][name]["average_precision"] - value) < 1e-9
    share = labels.mean()  # a constant score finds each label as often as it is there
    assert abs(columns["majority"]["mean"] - share) < 1e-9
