"""A prepared data set of noise-textured frames, to time the loader without other data."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from surgrec_jax.records.schema import record_features


def frame(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Makes a picture with detail at all scales, whose JPEG is about as large as that of tissue."""
    image = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64, 128):
        noise = rng.normal(0, 60 / cells**0.45, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 110, 0, 255).astype(np.uint8)


def drifting_frames(seconds: float, height: int, fps: float, seed: int = 0) -> Iterator[np.ndarray]:
    """Makes 16:9 frames [height, width, 3] of such a picture under a camera that drifts."""
    width = round(height * 16 / 9 / 2) * 2
    margin = height // 8
    picture = frame(np.random.default_rng(seed), height + 2 * margin, width + 2 * margin)
    for k in range(round(seconds * fps)):
        angle = 2 * np.pi * k / (8 * fps)  # once around in 8 seconds
        y, x = (round(margin * (1 + f(angle))) for f in (np.sin, np.cos))
        yield np.ascontiguousarray(picture[y : y + height, x : x + width])


def write_synthetic(
    data_dir: Path, *, records: int, frames: int = 64, short_side: int = 256
) -> str:
    """Writes `records` records of 16:9 JPEG frames (quality 90); returns the data set's name."""
    name, fps, schema = "synthetic", 8.0, record_features({}, {})
    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    height, width = short_side, round(short_side * 16 / 9)
    path = folder / f"{name}-train.array_record-00000-of-00001"
    writer, size = ArrayRecordWriter(str(path), "group_size:1"), 0
    for r in range(records):
        picture = frame(rng, height, width)
        shots = [np.roll(picture, 2 * k, axis=1) for k in range(frames)]
        encoded = [cv2.imencode(".jpg", s, [cv2.IMWRITE_JPEG_QUALITY, 90])[1] for s in shots]
        example = {
            "frames": [jpeg.tobytes() for jpeg in encoded],
            "times": (np.arange(frames) / fps).astype(np.float32),
            "source": name,
            "domain": 0,
            "case_id": str(r),
            "video_id": str(r),
            "segment": 0,
            "native_fps": fps,
            "native_height": height,
            "native_width": width,
        }
        raw = schema.serialize_example(schema.encode_example(example))
        writer.write(raw)
        size += len(raw)
    writer.close()
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name=name,
        split="train",
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    split = tfds.core.SplitInfo(
        name="train", shard_lengths=[records], num_bytes=size, filename_template=template
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=schema,
        split_infos=[split],
        filename_template=template,
        check_data=False,
    )
    return name
