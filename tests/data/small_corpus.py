"""Small data sets whose pictures say which frame they are."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

PHASES = ("preparation", "dissection", "closure")
HEIGHT, WIDTH, CELL, CELLS = 48, 64, 8, 6  # a centre crop of 48 shows a grid of 6 x 6 cells
FIELDS = (4, 12, 8)  # bits of source, record, frame


def picture(source: int, record: int, frame: int) -> np.ndarray:
    """[48, 64, 3]: a grid of black and white cells that spells the three numbers in bits."""
    bits = "".join(f"{v:0{n}b}" for v, n in zip((source, record, frame), FIELDS, strict=True))
    cells = np.zeros(CELLS * CELLS, np.uint8)
    cells[: len(bits)] = [255 * int(b) for b in bits]
    image = np.full((HEIGHT, WIDTH), 128, np.uint8)
    left = (WIDTH - HEIGHT) // 2
    grid = cells.reshape(CELLS, CELLS).repeat(CELL, 0).repeat(CELL, 1)
    image[:, left : left + HEIGHT] = grid
    return np.stack([image] * 3, -1)


def read_picture(image: np.ndarray) -> tuple[int, int, int]:
    """(source, record, frame) from an unscaled centre crop [48, 48, 3]."""
    cells = image.reshape(CELLS, CELL, CELLS, CELL, 3).mean((1, 3, 4)).ravel() > 127
    bits = "".join(str(int(c)) for c in cells)
    numbers, at = [], 0
    for n in FIELDS:
        numbers.append(int(bits[at : at + n], 2))
        at += n
    return tuple(numbers)


def features() -> tfds.features.FeaturesDict:
    f = tfds.features
    return f.FeaturesDict(
        {
            "frames": f.Sequence(f.Image(shape=(None, None, 3), encoding_format="jpeg")),
            "times": f.Sequence(np.float32),
            "source": f.Text(),
            "domain": f.ClassLabel(names=["laparoscopy", "endoscopy"]),
            "case_id": f.Text(),
            "video_id": f.Text(),
            "segment": np.int32,
            "native_fps": np.float32,
            "native_height": np.int32,
            "native_width": np.int32,
            "labels": {"phase": f.Sequence(f.ClassLabel(names=list(PHASES)))},
            "video_labels": {"skill": f.ClassLabel(names=["novice", "expert"])},
        }
    )


def example(name: str, number: int, record: int, frames: int, fps: float, start: float) -> dict:
    def jpeg(k):
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        return cv2.imencode(".jpg", picture(number, record, k), quality)[1].tobytes()

    return {
        "frames": [jpeg(k) for k in range(frames)],
        "times": (start + np.arange(frames) / fps).astype(np.float32),
        "source": name,
        "domain": number % 2,
        "case_id": f"{name}-case{record // 4}",
        "video_id": f"{name}-video{record // 2}",
        "segment": record % 2,
        "native_fps": 25.0,
        "native_height": HEIGHT,
        "native_width": WIDTH,
        "labels": {"phase": [(record + k) % 4 - 1 for k in range(frames)]},
        "video_labels": {"skill": record % 3 - 1},
    }


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Sources of a test: name -> (records, frames per record, fps)."""

    data_dir: Path
    spec: dict[str, tuple[int, int, float]]


def write_source(
    data_dir: Path,
    name: str,
    examples: list[dict | bytes] | dict[str, list[dict | bytes]],
    *,
    shards: int = 2,
    split: str = "train",
    version: str = "1.0.0",
    config: str = "",
) -> Path:
    """Writes a data set as the builders do, without TensorFlow; returns its version folder.

    Examples are of `split`, or of several: split -> examples. Those that are bytes are written as
    they are.
    """
    folder = data_dir / name / config / version
    folder.mkdir(parents=True)
    schema, splits = features(), []
    parts = examples if isinstance(examples, dict) else {split: examples}
    for split, part in parts.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder,
            dataset_name=name,
            split=split,
            filetype_suffix="array_record",
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        )
        lengths, size = [], 0
        for shard, rows in enumerate(np.array_split(np.arange(len(part)), shards)):
            path = folder / f"{name}-{split}.array_record-{shard:05d}-of-{shards:05d}"
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for i in rows:
                raw = part[i]
                if not isinstance(raw, bytes):
                    raw = schema.serialize_example(schema.encode_example(raw))
                writer.write(raw)
                size += len(raw)
            writer.close()
            lengths.append(len(rows))
        splits.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=size, filename_template=template
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=schema,
        split_infos=splits,
        filename_template=template,
        check_data=False,
    )
    return folder
