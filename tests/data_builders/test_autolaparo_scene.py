"""AutoLaparo, task 3: pictures of all clips in one folder, numbers count from 1."""

import numpy as np

from data_builders.autolaparo.scene import CLASSES, STEP
from data_builders.common.build.build import build
from surgrec_jax.audit.patients import patient_key
from tests.data_builders.contract import read_back
from tests.data_builders.fake_download import assert_reported, cases
from tests.data_builders.map_files import HEIGHT, WIDTH, ids_of, photo, stored, write

FRAMES = (1, 25, 50, 75, 100, 125)
IDS = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % len(CLASSES)


def test_pictures_maps_and_splits(tmp_path):
    root = tmp_path / "AutoLaparo/Task 3 Instrument and key anatomy segmentation"
    for clip in (1, 170, 171, 300):
        for frame in FRAMES:
            write(root / f"imgs/{clip:03d}{frame:03d}.jpg", photo(frame))
            mask = np.stack([np.roll(IDS, frame) * np.uint8(STEP)] * 3, -1)
            write(root / f"masks/{clip:03d}{frame:03d}.png", mask)
    write(root / "imgs/301001.jpg", photo(1))
    write(root / "masks/300050.png", IDS)  # ids instead of grey values
    (root / "masks/300075.png").unlink()
    (root / "imgs/300100.jpg").unlink()
    summary = build(
        "autolaparo",
        data_dir=tmp_path / "data",
        manual_dir=tmp_path / "AutoLaparo",
        config="scene",
        num_workers=1,
        progress=False,
    )
    assert cases(read_back(summary.directory)) == {
        "train": {"clip_001": "clip_001", "clip_170": "clip_170"},
        "val": {"clip_171": "clip_171"},
        "test": {"clip_300": "clip_300"},
    }
    record = stored(summary, "train")["clip_170"]
    np.testing.assert_allclose(record["times"], [(k - 1) / 25 for k in FRAMES], atol=1e-3)
    for k, frame in enumerate(FRAMES):
        np.testing.assert_array_equal(ids_of(record, "scene", k), np.roll(IDS, frame))
    assert list(stored(summary, "test")["clip_300"]["maps"]["scene"]["frames"]) == [0, 1, 4]
    assert_reported(summary.skipped, [("imgs", "case 301 is in no split of autolaparo")])
    ((_, told),) = summary.partial
    for fault in (
        "300050.png: holds values that are no class: 1, 2, 3, 4, ...",
        "300075.jpg: has no scene map",
        "300100.png: scene map without a picture",
    ):
        assert fault in told
    assert_reported(summary.partial, [("imgs", "300050.png")])


def test_a_clip_is_not_the_patient_of_its_number():
    assert patient_key("autolaparo", "clip_011") != patient_key("autolaparo", "11")
