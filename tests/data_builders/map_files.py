"""Pictures and label maps for tests of sources: drawn, written, and read back from records."""

from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

HEIGHT, WIDTH = 24, 32


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def photo(seed: int) -> np.ndarray:
    """A picture of a few colours, BGR uint8 [24, 32, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)


def stored(summary, split: str) -> dict[str, dict]:
    """Video -> its record of a split, each of one record."""
    source = tfds.builder_from_directory(summary.directory).as_data_source(split)
    return {record["video_id"].decode(): record for record in source}


def ids_of(record: dict, name: str, k: int = 0) -> np.ndarray:
    """Map number `k` of a record, [H, W]."""
    return record["maps"][name]["images"][k][..., 0]
