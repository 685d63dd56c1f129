"""Mutated records: protos, JPEG frames in them, shard files and metadata files."""

import shutil
from pathlib import Path

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.data.loading.clips import ClipSpec, decode_clip
from surgrec_jax.records.prepared import decoded_frames
from surgrec_jax.records.source import open_source
from surgrec_jax.safety.errors import UserError
from tests.data.small_corpus import example, write_source
from tests.faults.fuzz_mutate import mutate, mutate_text

CLIP = ClipSpec(frames=4, fps=4.0, size=32)
RECORDS = 8


def suite(folder: Path, seed: int):
    """See fuzz.Suite. Of ten cases four damage a proto, three a frame, two a shard, one more."""
    write_source(folder, "sound", [example("sound", 0, r, 8, 8.0, 0.0) for r in range(RECORDS)])
    source = open_source(folder, "sound")

    def use(opened, index: int, raw: bytes | None = None) -> None:
        record = opened.record(index) if raw is None else opened.parse(raw, index)
        decode_clip(opened, index, record, 0, CLIP)

    def case(number: int) -> str:
        rng = np.random.default_rng([seed, number])
        index, how = int(rng.integers(RECORDS)), number % 10
        if how < 4:
            use(source, index, mutate(source.raw(index), rng))
            return "protos"
        if how < 7:
            proto = tf_example_pb2.Example.FromString(source.raw(index))
            frames = proto.features.feature["frames"].bytes_list.value
            frames[0] = mutate(frames[0], rng)
            use(source, index, proto.SerializeToString())
            return "frames"
        copy = folder / f"copy{number}"
        shutil.copytree(source.directory, copy / "sound" / "1.0.0")
        try:
            pattern, change = ("*array_record*", mutate) if how < 9 else ("*.json", mutate_text)
            files = sorted((copy / "sound" / "1.0.0").glob(pattern))
            path = files[int(rng.integers(len(files)))]
            path.write_bytes(change(path.read_bytes(), rng))
            if number % 4 == 0:
                list(decoded_frames(path.parent, lambda *_: True))  # as the audit reads them
                return "audited"
            opened = open_source(copy, "sound")
            for r in range(len(opened)):
                use(opened, r)
            return "shards" if how < 9 else "metadata"
        finally:
            shutil.rmtree(copy)

    return case, (UserError,)
