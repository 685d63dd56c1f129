"""Mutated videos, read as a build reads them: in a process of their own."""

from pathlib import Path

import cv2
import numpy as np

from data_builders.common.build.decode_process import read_apart
from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.source.items import VideoItem
from data_builders.common.video.frames import ReadReport
from data_builders.video_folder.video_folder_dataset_builder import Builder
from surgrec_jax.records.errors import BadInput
from tests.faults.fuzz_mutate import mutate

# Sample videos beside the checkout, if there are any.
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"
LARGEST = 2**20  # bytes of a sample that is used
KINDS = (("mp4v", "mp4"), ("MJPG", "avi"), ("mp4v", "mkv"), ("VP80", "webm"), ("FFV1", "avi"))


def suite(folder: Path, seed: int):
    """See fuzz.Suite. Small videos of five kinds, and the sample videos."""
    sound = []
    for fourcc, suffix in KINDS:
        path = folder / f"{fourcc}.{suffix}"
        code = cv2.VideoWriter_fourcc(*fourcc)
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 25.0, (128, 96))
        rng = np.random.default_rng(0)
        for k in range(40):
            picture = np.full((96, 128, 3), 5 * k, np.uint8)
            picture[20:60, 2 * k : 2 * k + 30] = rng.integers(256, size=3)
            writer.write(picture)
        writer.release()
        if path.is_file() and path.stat().st_size:
            sound.append(path)
    sound += [p for p in sorted(SAMPLES.glob("*.m[op]*")) if p.stat().st_size <= LARGEST]
    builder = Builder(data_dir=folder / "data", manual_dir=folder)
    builder.info.features.get_serialized_info()

    def case(number: int) -> str:
        rng = np.random.default_rng([seed, number])
        whole = sound[number % len(sound)]
        path = folder / f"case{number}{whole.suffix}"
        path.write_bytes(mutate(whole.read_bytes(), rng))
        report = ReadReport()
        try:
            with one_thread_and_quiet():
                records = list(
                    read_apart(
                        builder,
                        VideoItem(
                            "v", "v", "train", path=path, extra={"labels": {}, "intervals": {}}
                        ),
                        report,
                        folder,
                    )
                )
            assert records
            return "damaged in part" if report.problems else "without a complaint"
        except BadInput as error:
            why = " ".join(error.reason.split()[:4])
            error.fuzz_detail = f"refused: {why} ..."
            raise
        finally:
            path.unlink()

    return case, (BadInput,)
