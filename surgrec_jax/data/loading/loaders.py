"""The makers of a batch: pure functions of its number, run by Grain in threads or processes.

Clips are decoded by a few threads straight into their places in the batch.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from surgrec_jax.data.loading import clips
from surgrec_jax.data.loading.augment import rand_augment
from surgrec_jax.data.loading.clips import ClipSpec, SmallFramesError
from surgrec_jax.data.loading.faults import BadRecord, BadRecordsError
from surgrec_jax.data.loading.threads import Threads
from surgrec_jax.data.loading.transforms import crop_resize_flip, spread_crops
from surgrec_jax.data.sampling.draws import Sampler
from surgrec_jax.records import storage
from surgrec_jax.records.source import DamagedRecordError, Record, Source

ATTEMPTS = 32  # spares per draw; with a tenth of all records bad, 1e-32 of draws need more


@dataclasses.dataclass
class _Draw:
    """A global draw, and the record that is loaded for it: a spare for a bad one."""

    draw: int
    leaf: int
    seed: np.uint64
    source: int
    record: int
    start: int = 0
    label: Sequence[int] = ()
    bad: list[BadRecord] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class TrainLoader:
    """Makes this process's part of a step's training batch; see pipeline.train_batches."""

    sources: tuple[Source, ...]
    sampler: Sampler
    clip: ClipSpec
    draws_per_step: int
    repeats: int
    process_index: int
    process_count: int
    threads: Threads
    skip: bool
    patience_s: float
    tracks: tuple[str, ...] = ()
    label_frame: str = "centre"

    def __call__(self, step: int) -> dict:
        draws = self._draws(int(step))
        video = _empty_video(len(draws) * self.repeats, self.clip)
        views = video.reshape(len(draws), self.repeats, *video.shape[1:])
        self.threads.run(
            lambda i: self._load(draws[i], views[i]),
            len(draws),
            lambda i: self.sources[draws[i].source].where(draws[i].record),
        )
        kinds = {"draw": np.int64, "source": np.int32, "record": np.int64, "start": np.int32}
        kinds |= {"label": np.int32} if self.tracks else {}
        ids = {k: np.array([getattr(d, k) for d in draws], kind) for k, kind in kinds.items()}
        return {
            "video": video,
            **{k: np.repeat(v, self.repeats, 0) for k, v in ids.items()},
            "bad": tuple(entry for d in draws for entry in d.bad),
        }

    def _draws(self, step: int) -> list[_Draw]:
        """The draws of this process in a step."""
        count = self.draws_per_step // self.process_count
        first = step * self.draws_per_step + self.process_index * count
        index = np.arange(first, first + count)
        d = self.sampler.draws(index)
        columns = zip(index, d.leaf, d.seed, d.source, d.record, strict=True)
        return [_Draw(int(i), int(f), seed, int(s), int(r)) for i, f, seed, s, r in columns]

    def _load(self, draw: _Draw, views: np.ndarray) -> None:
        """Fills the views [repeats, T, S, S, 3] of a draw."""
        frames = self._usable(draw)
        for r, view in enumerate(views):
            rng = _generator(draw.seed, 1 + r)
            box, flip = clips.pick_box(rng, *frames[0].shape[:2], self.clip)
            crop_resize_flip(frames, box, view, flip)
            if self.clip.augment:
                rand_augment(rng, view, self.clip.augment)

    def _usable(self, draw: _Draw) -> list[np.ndarray]:
        """Decodes a draw, or the first spare that can be used, which takes its place."""
        while True:
            source = self.sources[draw.source]
            try:
                draw.start, draw.label, frames = self._frames(source, draw.record, draw.seed)
                return frames
            except (DamagedRecordError, SmallFramesError) as error:
                if not self.skip:
                    raise
                why = getattr(error, "fault", str(error))
                draw.bad.append(BadRecord(source.label, draw.record, why))
            if len(draw.bad) > ATTEMPTS:
                raise BadRecordsError(
                    f"draw {draw.draw} and {ATTEMPTS} more in its place hit bad records; the "
                    f"last: {draw.bad[-1].why}"
                )
            spare = self.sampler.spare(draw.draw, draw.leaf, len(draw.bad))
            draw.source, draw.record, draw.seed = spare.source, spare.record, np.uint64(spare.seed)

    def _frames(self, source: Source, number: int, seed: np.uint64) -> tuple[int, list, list]:
        """Reads the start, the label per track, and the decoded frames of a clip.

        With label tracks the start is drawn among those whose frame `label_frame` has a label,
        where there are any.
        """
        record = storage.patiently(lambda: source.record(number), self.patience_s)
        starts, label = np.arange(clips.num_starts(record.times, self.clip)), []
        if self.tracks:
            places = clips.label_frames(record.times, self.clip, self.label_frame)
            known = _labels(record, self.tracks)[places]
            labelled = np.flatnonzero((known >= 0).any(1))
            starts = labelled if len(labelled) else starts
        start = int(starts[_generator(seed, 0).integers(len(starts))])
        if self.tracks:
            label = known[start].tolist()
        frames = clips.decode_clip(source, number, record, start, self.clip)
        clips.check_size(source, number, frames, self.clip)
        return start, label, frames


def _labels(record: Record, tracks: tuple[str, ...]) -> np.ndarray:
    """The ids of label tracks and per-video labels, int [frames, tracks]."""
    count = len(record.times)
    columns = [
        record.labels[t] if t in record.labels else np.full(count, record.video_labels[t])
        for t in tracks
    ]
    return np.stack(columns, 1)


@dataclasses.dataclass(frozen=True)
class EvalLoader:
    """Makes a batch of clips with labels; see pipeline.eval_clips."""

    source: Source
    clip: ClipSpec
    records: np.ndarray
    counts: np.ndarray  # number of clips of each of `records`, at least 1
    batch_size: int
    crops: int
    threads: Threads
    patience_s: float
    starts: tuple[np.ndarray, ...] | None = None  # stored frames that each one's clips begin at

    def __call__(self, batch: int) -> dict:
        ends = np.cumsum(self.counts)
        items = np.arange(batch * self.batch_size, min((batch + 1) * self.batch_size, ends[-1]))
        place = np.searchsorted(ends, items, side="right")
        number = self.records[place]
        view = items - (ends[place] - self.counts[place])
        video = _empty_video(len(items) * self.crops, self.clip)
        video = video.reshape(len(items), self.crops, *video.shape[1:])
        rows: list[dict] = [{} for _ in items]
        # The views of a record are loaded together, so that it is read and parsed once.
        runs = np.split(np.arange(len(items)), np.flatnonzero(np.diff(place)) + 1)

        def load(run: int) -> None:
            index = int(number[runs[run][0]])
            record = storage.patiently(lambda: self.source.record(index), self.patience_s)
            for i in runs[run].tolist():
                start = self._start(record, int(place[i]), int(view[i]))
                rows[i] = self._clip(record, int(number[i]), start, video[i])

        self.threads.run(load, len(runs), lambda i: self.source.where(int(number[runs[i][0]])))
        columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        grouped = {"labels": {}, "last_labels": {}, "video_labels": {}}
        for key in [k for k in columns if isinstance(k, tuple)]:
            grouped[key[0]][key[1]] = columns.pop(key)
        return {
            "video": video if self.crops > 1 else video[:, 0],
            **grouped,
            **columns,
            "record": number,
            "view": view.astype(np.int32),
        }

    def _start(self, record: Record, place: int, view: int) -> int:
        if self.starts is not None:
            return int(self.starts[place][view])
        count = int(self.counts[place])
        return int((view + 0.5) * clips.num_starts(record.times, self.clip) / count)

    def _clip(self, record: Record, number: int, start: int, out: np.ndarray) -> dict:
        frames = clips.decode_clip(self.source, number, record, start, self.clip)
        for view_of, box in zip(out, spread_crops(*frames[0].shape[:2], self.crops), strict=True):
            crop_resize_flip(frames, box, view_of)
        shown = clips.frame_indices(record.times, start, self.clip)
        centre, last = shown[self.clip.frames // 2], shown[-1]
        return {
            "domain": np.int64(record.domain),
            "source": record.source,
            "case_id": record.case_id,
            "video_id": record.video_id,
            "start": np.int32(start),
            "time": record.times[centre],
            **{("labels", t): ids[centre] for t, ids in record.labels.items()},
            **{("last_labels", t): ids[last] for t, ids in record.labels.items()},
            **{("video_labels", v): np.int64(x) for v, x in record.video_labels.items()},
        }


@dataclasses.dataclass(frozen=True)
class EndLoader:
    """Makes a batch of clips that end at chosen frames; see pipeline.clips_up_to."""

    source: Source
    clip: ClipSpec
    ends: np.ndarray  # [n, 2], (record, stored frame)
    batch_size: int
    threads: Threads
    patience_s: float

    def __call__(self, batch: int) -> dict:
        first = batch * self.batch_size
        ends = self.ends[first : first + self.batch_size]
        video = _empty_video(len(ends), self.clip)
        rows: list[dict] = [{} for _ in ends]

        def load(i: int) -> None:
            number, last = ends[i].tolist()
            record = storage.patiently(lambda: self.source.record(number), self.patience_s)
            shown = clips.frames_up_to(record.times, last, self.clip)
            frames = clips.decode_shown(self.source, number, record, shown)
            crop_resize_flip(frames, (0, 0, *frames[0].shape[:2]), video[i])
            rows[i] = {
                "source": record.source,
                "case_id": record.case_id,
                "video_id": record.video_id,
                "time": record.times[last],
            }

        self.threads.run(load, len(ends), lambda i: self.source.where(int(ends[i, 0])))
        columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        numbers = {"record": ends[:, 0], "view": ends[:, 1].astype(np.int32)}
        return {"video": video, "labels": {}, **columns, **numbers}


def _empty_video(count: int, clip: ClipSpec) -> np.ndarray:
    return np.empty((count, clip.frames, clip.size, clip.size, 3), np.uint8)


def _generator(seed: np.uint64, stream: int) -> np.random.Generator:
    """A counter-based generator, which carries no state and shares nothing between draws."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))
