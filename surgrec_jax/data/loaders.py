"""What makes one batch: pure functions of its number, run by Grain in threads or worker processes.

Clips are decoded by a few threads straight into their places in the batch.
"""

import dataclasses

import numpy as np

from surgrec_jax.data import clips
from surgrec_jax.data.clips import ClipSpec
from surgrec_jax.data.permute import hash64
from surgrec_jax.data.records import Record, Source
from surgrec_jax.data.sampling import Sampler
from surgrec_jax.data.threads import Threads
from surgrec_jax.data.transforms import crop_resize_flip

_EVAL_STREAM = 4  # sampling.py uses 1 to 3


@dataclasses.dataclass(frozen=True)
class TrainLoader:
    """Step number -> this process's part of the training batch; see pipeline.train_batches."""

    sources: tuple[Source, ...]
    sampler: Sampler
    clip: ClipSpec
    draws_per_step: int
    repeats: int
    process_index: int
    process_count: int
    threads: Threads

    def __call__(self, step: int) -> dict:
        count = self.draws_per_step // self.process_count
        first = int(step) * self.draws_per_step + self.process_index * count
        index = np.arange(first, first + count)
        draws = self.sampler.draws(index)
        video = _empty_video(count * self.repeats, self.clip)
        start = np.empty(count, np.int32)

        def load(i: int) -> None:
            source, number = self.sources[draws.source[i]], int(draws.record[i])
            record = source.record(number)
            starts = clips.num_starts(record.times, self.clip)
            start[i] = _generator(draws.seed[i], 0).integers(starts)
            frames = clips.decode_clip(source, number, record, start[i], self.clip)
            for r in range(self.repeats):
                rng = _generator(draws.seed[i], 1 + r)
                box, flip = clips.pick_box(rng, *frames[0].shape[:2], self.clip)
                crop_resize_flip(frames, box, video[i * self.repeats + r], flip)

        self.threads.run(load, count)
        ids = {"draw": index, "source": draws.source, "record": draws.record, "start": start}
        return {"video": video, **{k: np.repeat(v, self.repeats) for k, v in ids.items()}}


@dataclasses.dataclass(frozen=True)
class EvalLoader:
    """Batch number -> clips with labels; see pipeline.eval_clips."""

    source: Source
    clip: ClipSpec
    tracks: tuple[str, ...]
    records: np.ndarray
    clips_per_record: int
    batch_size: int
    seed: int | None
    threads: Threads

    def __call__(self, batch: int) -> dict:
        total = len(self.records) * self.clips_per_record
        items = np.arange(batch * self.batch_size, min((batch + 1) * self.batch_size, total))
        place, view = np.divmod(items, self.clips_per_record)
        number = self.records[place]
        video = _empty_video(len(items), self.clip)
        rows: list[dict] = [{} for _ in items]
        # The views of a record are loaded together, so that it is read and parsed once.
        runs = np.split(np.arange(len(items)), np.flatnonzero(np.diff(place)) + 1)

        def load(run: int) -> None:
            record = self.source.record(int(number[runs[run][0]]))
            for i in runs[run].tolist():
                rows[i] = self._clip(record, int(number[i]), int(view[i]), video[i])

        self.threads.run(load, len(runs))
        columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        grouped = {"labels": {}, "video_labels": {}}
        for key in [k for k in columns if isinstance(k, tuple)]:
            grouped[key[0]][key[1]] = columns.pop(key)
        return {
            "video": video,
            **grouped,
            **columns,
            "record": number,
            "view": view.astype(np.int32),
        }

    def _clip(self, record: Record, number: int, view: int, out: np.ndarray) -> dict:
        starts = clips.num_starts(record.times, self.clip)
        if self.seed is None:
            start = int((view + 0.5) * starts / self.clips_per_record)
        else:
            key = hash64(self.seed, _EVAL_STREAM, np.int64(number), np.int64(view))
            start = int(_generator(key, 0).integers(starts))
        frames = clips.decode_clip(self.source, number, record, start, self.clip)
        box, flip = clips.pick_box(None, *frames[0].shape[:2], self.clip)
        crop_resize_flip(frames, box, out, flip)
        centre = clips.frame_indices(record.times, start, self.clip)[self.clip.frames // 2]
        return {
            "domain": np.int64(record.domain),
            "source": record.source,
            "case_id": record.case_id,
            "video_id": record.video_id,
            "start": np.int32(start),
            "time": record.times[centre],
            **{("labels", t): record.labels[t][centre] for t in self.tracks},
            **{("video_labels", v): np.int64(x) for v, x in record.video_labels.items()},
        }


def _empty_video(count: int, clip: ClipSpec) -> np.ndarray:
    return np.empty((count, clip.frames, clip.size, clip.size, 3), np.uint8)


def _generator(seed: np.uint64, stream: int) -> np.random.Generator:
    """A counter-based generator: no state to carry, nothing shared between draws."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))
