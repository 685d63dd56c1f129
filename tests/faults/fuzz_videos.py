"""Mutated videos, read as a build reads them: in a process of their own."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from pydicom import uid

from data_builders.common.build.decode_process import read_apart
from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.source.items import VideoItem
from data_builders.common.video.frames import ReadReport
from data_builders.video_folder.video_folder_dataset_builder import Builder
from surgrec_jax.records.errors import BadInput
from tests.faults.fuzz_mutate import mutate

sys.path.append(str(Path(__file__).resolve().parents[1] / "data_builders"))  # as pytest does
from tests.data_builders.encoded import encode
from tests.data_builders.write_dicom import write_dicom

# Sample videos beside the checkout, if there are any.
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"
MIRRORED = (-(1 << 16), 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
LARGEST = 2**20  # bytes of a sample that is used
# codec, ending, container, and whether interlaced
KINDS = (
    *(("mpeg4", "mp4", None, 0), ("mjpeg", "avi", None, 0), ("mpeg4", "mkv", None, 0)),
    *(("libvpx", "webm", None, 0), ("ffv1", "avi", None, 0), ("libx264", "mts", "mpegts", 1)),
    *(("mpeg2video", "vob", "vob", 1), ("libx265", "mp4", None, 0), ("libsvtav1", "mkv", None, 0)),
    *(("libx264", "h264", "h264", 0), ("wmv2", "asf", None, 0), ("libx264", "flv", None, 1)),
    *(("mpeg2video", "mxf", None, 1), ("rv20", "rm", None, 0), ("libx264", "mov", None, 0)),
)


def suite(folder: Path, seed: int):
    """See fuzz.Suite. Small videos of many kinds, a DICOM file, and the sample videos."""
    sound = []
    for k, (codec, ending, container, interlaced) in enumerate(KINDS):
        path = folder / f"{k}.{ending}"
        fields, matrix = ("tff", None) if interlaced else (None, MIRRORED)
        if ending not in ("mp4", "mov"):
            matrix = None
        aspect = Fraction(4, 3) if ending in ("mp4", "mts") else None
        sound.append(
            encode(path, codec=codec, container=container, fields=fields, aspect=aspect,
                   matrix=matrix)
        )  # fmt: skip
    coded = (folder / "9.h264").read_bytes()
    sound.append(write_dicom(folder / "a.dcm", [coded[: len(coded) // 2 * 2]], uid.MPEG4HP41))
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
