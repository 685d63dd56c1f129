"""EndoVis 2017: a folder of masks for each instrument, called in three ways."""

import numpy as np

from data_builders.endovis2017.endovis2017_dataset_builder import Builder
from surgrec_jax.records.maps import VOID
from tests.data_builders.fake_download import assert_reported, built, cases
from tests.data_builders.map_files import HEIGHT, WIDTH, ids_of, photo, stored, write

FOLDERS = {  # folder -> type, and the columns that its mask fills
    "Left_Prograsp_Forceps_labels": ("prograsp_forceps", slice(0, 4)),
    "Large_Needle_Driver_Right_labels": ("large_needle_driver", slice(3, 8)),
    "Right_Vessel_Sealer": ("vessel_sealer", slice(10, 14)),
    "Other_labels": ("other", slice(20, 24)),
}
VALUES = (10, 20, 30, 40)


def mask(folder: str) -> np.ndarray:
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    rows = np.arange(HEIGHT) * len(VALUES) // HEIGHT
    columns = FOLDERS[folder][1]
    drawn[:, columns] = np.array(VALUES if folder != "Other_labels" else (7, 9, 7, 9))[rows][
        :, None
    ]
    return drawn


def make(root, sequence: int) -> None:
    folder = root / f"instrument_5_8_training/instrument_dataset_{sequence}"
    for n in range(3):
        for side in ("left", "right"):
            write(folder / f"{side}_frames/frame{n:03d}.png", photo(n))
        for name in FOLDERS:
            write(folder / f"ground_truth/{name}/frame{n:03d}.png", mask(name))


def test_types_parts_and_splits(tmp_path):
    for sequence in (1, 5, 8):
        make(tmp_path, sequence)
    summary, splits = built("endovis2017", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        split: {f"instrument_dataset_{k}": f"instrument_dataset_{k}"}
        for split, k in (("test", 1), ("val", 5), ("train", 8))
    }
    assert not summary.skipped and not summary.partial
    record = stored(summary, "train")["instrument_dataset_8"]
    types, parts = ids_of(record, "instrument", 2), ids_of(record, "part", 2)
    names = Builder.MAPS["instrument"]
    for name, columns in FOLDERS.values():
        assert (types[:, columns.start + 1 : columns.stop - 1] == names.index(name)).all()
    assert (types[:, 3] == VOID).all()  # two types claim this column
    assert (parts[:, 3] == np.repeat([1, 2, 3, VOID], HEIGHT // 4)).all()  # and agree about parts
    assert (parts[:, 20:24] == VOID).all() and not parts[:, 14:20].any() and not types[:, 24:].any()


def test_faults(tmp_path):
    for sequence in (2, 3, 4, 6, 9):
        make(tmp_path, sequence)
    root = tmp_path / "instrument_5_8_training"
    wrong = root / "instrument_dataset_2/ground_truth/Right_Vessel_Sealer/frame001.png"
    write(wrong, np.full((HEIGHT, WIDTH), 50, np.uint8))
    (wrong.parent / "frame002.png").unlink()
    write(
        root / "instrument_dataset_3/ground_truth/Scalpel_labels/frame000.png", mask("Other_labels")
    )
    truth = root / "instrument_dataset_4/ground_truth"
    for name in FOLDERS:
        for n in range(3):
            (truth / name / f"frame{n:03d}.png").unlink()
        (truth / name).rmdir()
    write(
        root / "instrument_dataset_6/ground_truth/Other_labels/frame001.png",
        mask("Other_labels")[1:],
    )
    (root / "instrument_dataset_6/left_frames/frame000.png").unlink()
    summary, splits = built("endovis2017", tmp_path, tmp_path / "data")
    assert {split: list(videos) for split, videos in splits.items()} == {
        "val": ["instrument_dataset_2"], "train": ["instrument_dataset_6"]}  # fmt: skip
    record = stored(summary, "val")["instrument_dataset_2"]
    assert list(record["maps"]["part"]["frames"]) == [0]
    told = dict(summary.partial)
    for video, faults in {
        "instrument_dataset_2": [f"{wrong}: holds values that are no class: 50", "lacks a layer"],
        "instrument_dataset_6": ["has layers of two sizes", "instrument map without a picture"],
    }.items():
        (reasons,) = (why for where, why in told.items() if video in where)
        assert all(fault in reasons for fault in faults), reasons
    assert_reported(
        summary.skipped,
        [
            ("Scalpel_labels", "is of no known instrument"),
            ("instrument_dataset_4", "has no ground_truth"),
            ("instrument_dataset_9", "is in no split"),
        ],
    )
