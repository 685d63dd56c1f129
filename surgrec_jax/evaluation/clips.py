"""Labelled clips of a prepared source, as the rest of this package takes them."""

from collections.abc import Iterator, Sequence

from surgrec_jax.data.pipeline import ClipSpec, eval_clips
from surgrec_jax.data.records import Source


def class_names(source: Source) -> dict[str, tuple[str, ...]]:
    """Label name -> class names of a source: tracks and per-video labels in one dict."""
    return {**source.tracks, **source.video_labels}


def labelled_clips(
    source: Source,
    clip: ClipSpec,
    clips_per_record: int = 1,
    *,
    batch_size: int = 32,
    records: Sequence[int] | None = None,
) -> Iterator[dict]:
    """Batches of `eval_clips` whose "labels" hold the label tracks and the per-video labels.

    Args:
      source, clip, clips_per_record, batch_size, records: as for `eval_clips`: centre crop, evenly
        spaced clips, all records by default.
    """
    batches = eval_clips(
        source, clip, clips_per_record=clips_per_record, batch_size=batch_size, records=records
    )
    try:
        for batch in batches:
            yield {**batch, "labels": {**batch["labels"], **batch["video_labels"]}}
    finally:
        batches.close()
