"""Batches of records through Grain: training batches as a function of the step, probing clips.

A batch is one element of a Grain dataset over step numbers. Its clips are decoded by a few threads
of this process straight into their places in the batch, so nothing is stacked or copied, and their
order cannot depend on timing. Worker processes, if any, take whole batches.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import grain
import numpy as np
from absl import flags, logging

from surgrec_jax.data.loading import clips
from surgrec_jax.data.loading.batches import Batches
from surgrec_jax.data.loading.clips import ClipSpec
from surgrec_jax.data.loading.faults import BadRecords
from surgrec_jax.data.loading.loaders import EndLoader, EvalLoader, TrainLoader
from surgrec_jax.data.loading.threads import Threads, start_worker
from surgrec_jax.data.sampling import mixture
from surgrec_jax.data.sampling.draws import MAX_DRAW, Sampler
from surgrec_jax.data.sampling.leaves import Leaves
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import ConfigError, DataError

TIMEOUT_S = 600.0
PREFETCH = 2  # number of batches made ahead, per process

__all__ = ["Batches", "ClipSpec", "eval_clips", "source_sampler", "train_batches"]


def source_sampler(
    sources: Sequence[Source], weights: Sequence[float] | Sequence[tuple] | None, *, seed: int
) -> Sampler:
    """The sampler whose leaves are the sources, by default in proportion to their records."""
    sizes = [len(s) for s in sources]
    leaves = Leaves.from_sizes(sizes, [f"{s.name}/{s.split}" for s in sources])
    if weights is None:
        weights = mixture.temperature_shares(sizes, 1.0)
    return Sampler(leaves, weights, seed=seed)


def train_batches(
    sources: Sequence[Source],
    weights: Sequence[float] | Sequence[tuple[int, Sequence[float]]] | None,
    clip: ClipSpec,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_steps: int | None = None,
    sampler: Sampler | None = None,
    repeats: int = 1,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    num_threads: int = 2,
    prefetch: int = PREFETCH,
    bad: BadRecords | None = None,
    timeout_s: float = TIMEOUT_S,
    labels: Sequence[str] = (),
    label_frame: str = "centre",
) -> Batches:
    """Opens this process's part of the batches of steps start_step to num_steps - 1 of a run.

    Batch k holds global draws [k D, (k + 1) D), D = batch_size / repeats; process p of P takes the
    p-th part of them. Every batch is a pure function of (seed, k, p, P), and the concatenation over
    p of (seed, k): never of num_workers, num_threads or prefetch. Resume by start_step.

    Args:
        weights: one per source, or a curriculum of (from_draw, weights), see Sampler; None for the
            proportions of the records.
        batch_size: number of clips over all processes, B.
        num_steps: steps of the whole run, not of this call; None for a run without end.
        sampler: a sampler over leaves of these sources, in place of weights, with its own seed.
        repeats: number of crops of the same decoded frames per draw, R, side by side in the batch
            (VideoMAE v2's repeated augmentation).
        num_workers: number of worker processes. Threads alone are faster up to about 8 cores
            (OpenCV releases the GIL) and use less memory.
        num_threads: number of decoding threads in each process; with 0 the caller's own decodes.
        prefetch: number of batches made ahead, per process.
        bad: list of records that cannot be used; each is replaced by a spare of the same leaf, a
            function of (seed, draw) and the bad records. With None the first one is an error.
        timeout_s: seconds for which storage that fails is tried again, and in which a clip must be
            finished, or the loader counts as stalled.
        labels: label tracks and per-video labels to return, which every source must have. Clips
            then start where the frame `label_frame` has one of them, in records that have any.
        label_frame: frame of a clip whose labels are returned, "centre" (T // 2) or "last".

    Returns:
        A closable iterator of dicts:
            video   uint8 [B/P, T, S, S, 3]
            draw    int64 [B/P], global draw number     source  int32 [B/P], position in `sources`
            record  int64 [B/P]                         start   int32 [B/P], first stored frame
            label   int32 [B/P, labels], ids at `label_frame`, -1 = unlabelled; only with `labels`
        The arrays belong to the caller. Its `next` raises DamagedRecordError for a record that
        cannot be used, or BadRecordsError for too many, and StorageError, StalledError or
        WorkerDiedError.

    Raises:
        ValueError: no sources, wrong weights, sizes that do not divide, or a clip larger than the
            stored frames (of a sample of records; the others are checked when they are drawn).
    """
    if not sources:
        raise ConfigError("no sources given; training needs at least one")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} of {process_count} does not exist")
    if repeats < 1 or batch_size < 1 or batch_size % (process_count * repeats):
        raise ConfigError(
            f"batch_size {batch_size} must be a positive multiple of {process_count} processes x"
            f" {repeats} repeats"
        )
    if label_frame not in clips.LABEL_FRAMES:
        raise ConfigError(f"label_frame={label_frame!r}: choose from {clips.LABEL_FRAMES}")
    if sampler is None:
        sampler = source_sampler(sources, weights, seed=seed)
    elif weights is not None:
        raise ValueError("give weights or a sampler, not both; a sampler has its own weights")
    _check_sampler(sampler, sources)
    for source in sources:
        unknown = [x for x in labels if x not in source.tracks and x not in source.video_labels]
        if unknown:
            raise ConfigError(f"source {source.name} has no label {', '.join(unknown)}")
        clips.check_sizes(source, clip, skip=bad is not None, patience_s=timeout_s)
    draws_per_step = batch_size // repeats
    last = MAX_DRAW // draws_per_step
    num_steps = last if num_steps is None else num_steps
    if not 0 <= start_step <= num_steps <= last:
        raise ConfigError(f"steps {start_step} to {num_steps} are not within 0 to {last}")
    load = TrainLoader(
        tuple(sources), sampler, clip, draws_per_step, repeats, process_index, process_count,
        Threads(num_threads, timeout_s), bad is not None, timeout_s, tuple(labels), label_frame,
    )  # fmt: skip
    return _iterate(load, range(start_step, num_steps), num_workers, prefetch, bad)


def eval_clips(
    source: Source,
    clip: ClipSpec,
    clips_per_record: int | Sequence[int] = 1,
    *,
    crops: int = 1,
    batch_size: int = 32,
    records: Sequence[int] | None = None,
    starts: Sequence[np.ndarray] | None = None,
    num_threads: int = 2,
) -> Batches:
    """Opens clips of every record in order, with labels, for probing.

    The crops are squares of the short side without flips, whatever `clip` says: the centre, or
    `crops` evenly spaced ones along the long side. Frames smaller than the clip are enlarged, and
    that is logged: a frozen encoder has its size, and a data set its own. The clips of a record
    start at evenly spaced frames.

    Args:
        starts: instead of evenly spaced ones, the stored frames that the clips of each record begin
            at; as many as its `clips_per_record`.
        clips_per_record: number of clips of every record, or of each of `records`.
        records: numbers of the records, e.g. a process's part; None for all.
        num_threads: number of decoding threads; with 0 the caller's own decodes.

    Returns:
        A closable iterator of dicts; the last batch may be short:
            video           uint8 [b, T, S, S, 3], with several crops [b, crops, T, S, S, 3]
            labels          track -> int64 [b] at the clip's frame T // 2, -1 = unlabelled
            last_labels     the same at its last frame     video_labels  name -> int64 [b]
            domain          int64 [b]                      source, case_id, video_id  text [b]
            record          int64 [b]                      view  int32 [b], clip of the record
            start           int32 [b], first stored frame
            time            float32 [b], seconds from the start of the video to frame T // 2
        Its `next` raises DamagedRecordError for a record that cannot be used: a score never leaves
        one out; StorageError, StalledError and WorkerDiedError as in `train_batches`.

    Raises:
        ConfigError: no clips, crops or batch size.
        IndexError: a record that does not exist.
    """
    if min(np.min(clips_per_record, initial=1), crops, batch_size) < 1:
        raise ConfigError(
            f"clips_per_record {clips_per_record}, crops {crops} and batch_size {batch_size} must "
            "be at least 1"
        )
    records = np.arange(len(source)) if records is None else np.asarray(records, np.int64)
    if records.size and (records.min() < 0 or records.max() >= len(source)):
        bad = records[(records < 0) | (records >= len(source))][0]
        raise IndexError(
            f"{source.name}/{source.split} has records 0 to {len(source) - 1}, not {bad}"
        )
    counts = np.broadcast_to(clips_per_record, records.shape)
    clip = dataclasses.replace(clip, crop="center", flip=False)
    try:
        clips.check_sizes(source, clip, patience_s=TIMEOUT_S)
    except clips.SmallFramesError:
        size = clip.size
        logging.warning("%s: frames smaller than clips of %d pixels are enlarged", source, size)
    threads = Threads(num_threads, TIMEOUT_S)
    load = EvalLoader(source, clip, records, counts, batch_size, crops, threads, TIMEOUT_S,
                      None if starts is None else tuple(starts))  # fmt: skip
    batches = range(-(-int(counts.sum()) // batch_size))
    return _iterate(load, batches, num_workers=0, prefetch=PREFETCH, bad=None)


def clips_up_to(
    source: Source, clip: ClipSpec, ends: np.ndarray, *, batch_size: int = 32, num_threads: int = 2
) -> Batches:
    """Opens the clips that end at chosen frames, for tasks that ask something of every pixel.

    The whole frame is squeezed into the square of the clip, so that nothing of it is left out.

    Args:
        ends: int [n, 2], (record, stored frame) of each.

    Returns:
        A closable iterator of dicts as `eval_clips` gives, without labels; "view" is the stored
        frame, "time" that of it.
    """
    threads = Threads(num_threads, TIMEOUT_S)
    load = EndLoader(source, clip, np.asarray(ends), batch_size, threads, TIMEOUT_S)
    batches = range(-(-len(ends) // batch_size))
    return _iterate(load, batches, num_workers=0, prefetch=PREFETCH, bad=None)


def _iterate(
    load: TrainLoader | EvalLoader | EndLoader,
    steps: range,
    num_workers: int,
    prefetch: int,
    bad: BadRecords | None,
) -> Batches:
    num_threads = load.threads.num_threads
    if min(num_threads, num_workers, prefetch) < 0:
        raise ConfigError(
            f"num_threads {num_threads}, num_workers {num_workers} and prefetch {prefetch} must be"
            " at least 0"
        )
    ahead = prefetch if num_threads else 0
    # Two batches under way keep the decoding threads busy where one ends and the next begins; by
    # default Grain would keep 500.
    options = grain.ReadOptions(num_threads=min(2, ahead), prefetch_buffer_size=ahead)
    numbers = grain.MapDataset.range(steps.start, steps.stop)
    dataset = numbers.map(load).to_iter_dataset(options)
    watched = bool(num_workers and len(steps))
    if watched:
        if not flags.FLAGS.is_parsed():  # Grain reads absl flags; programs without absl have none
            flags.FLAGS.mark_as_parsed()
        workers = grain.MultiprocessingOptions(
            num_workers=num_workers, per_worker_buffer_size=max(1, prefetch)
        )
        dataset = dataset.mp_prefetch(workers, worker_init_fn=start_worker)
    cv2.setNumThreads(1)  # threads decode whole clips; OpenCV's own would only get in their way
    return Batches(dataset, load.threads, bad, watched)


def _check_sampler(sampler: Sampler, sources: Sequence[Source]) -> None:
    sizes = np.diff(sampler.leaves.offsets)
    if len(sizes) != len(sources):
        raise DataError(f"the sampler is for {len(sizes)} sources, {len(sources)} were given")
    for source, size in zip(sources, sizes, strict=True):
        if len(source) != size:
            raise DataError(
                f"the sampler expects {size} records of {source.name}/{source.split}, which holds"
                f" {len(source)}: was it rebuilt? Make the sampler (or its manifest) again"
            )
