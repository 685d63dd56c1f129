"""Phantom surgery: a seeded procedural corpus of surgical video, drawn when it is built.

It needs no download and shows no patients.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

import cv2
import tensorflow_datasets as tfds

from data_builders.common.labels.tracks import Sampled, presence_classes
from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.phantom_surgery.corpus import DOMAINS, CorpusSpec, VideoPlan, plan_corpus
from data_builders.phantom_surgery.render import DRAWING, Truth, render_video
from data_builders.phantom_surgery.script import ACTIONS, INSTRUMENTS, PHASES, SKILLS
from surgrec_jax.records.schema import RecordSpec


@dataclasses.dataclass(eq=False, kw_only=True)
class PhantomConfig(VideoConfig):
    """A TFDS configuration with the size, seed and look of the corpus."""

    corpus: CorpusSpec = dataclasses.field(default_factory=CorpusSpec)


# Some 22,600 stored frames of 60 patients; builds in well under a minute on two cores.
TINY = CorpusSpec()
# Some 290,000 stored frames of 180 patients at short side 256.
DEFAULT = CorpusSpec(
    patients=(90, 45, 27, 18),
    minutes=600.0,
    videos_per_patient=(2, 2, 2, 2),
    short_sides=(256, 288, 320),
    rates=(8.0, 10.0, 12.5, 15.0),
)
# What balanced sampling is measured on (docs/curation.md): pretraining footage of 90, 7, 2 and 1 %,
# and other patients, as many of each domain, to probe.
IMBALANCED = CorpusSpec(
    seed=1,
    patients=(60, 10, 6, 6),
    minutes=200.0,
    shares=(0.90, 0.07, 0.02, 0.01),
)
BALANCED = CorpusSpec(
    seed=2,
    patients=(40, 40, 40, 40),
    minutes=80.0,
    shares=(0.25, 0.25, 0.25, 0.25),
    videos_per_patient=(1, 1, 1, 1),
)
SMALL_RECORDS = RecordSpec(frames=64, fps=8.0, short_side=80, jpeg_quality=90)


class Builder(VideoDatasetBuilder):
    """Renders each video into an encoded file and reads it back like anyone's video."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar[list[PhantomConfig]] = [
        PhantomConfig(
            name="tiny",
            description="75 minutes at short side 80, for a quickstart on two laptop cores.",
            record=SMALL_RECORDS,
            corpus=TINY,
        ),
        PhantomConfig(
            name="default",
            description="Ten hours at short side 256, for a workstation.",
            record=RecordSpec(frames=64, fps=8.0, short_side=256, jpeg_quality=90),
            corpus=DEFAULT,
        ),
        PhantomConfig(
            name="imbalanced",
            description="200 minutes at short side 80, of 90, 7, 2 and 1 % per domain.",
            record=SMALL_RECORDS,
            corpus=IMBALANCED,
        ),
        PhantomConfig(
            name="balanced",
            description="80 minutes at short side 80, as much of every domain.",
            record=SMALL_RECORDS,
            corpus=BALANCED,
        ),
    ]
    TRACKS: ClassVar[dict[str, tuple[str, ...]]] = {
        "phase": PHASES,
        "action": ACTIONS,
        "out_of_body": ("inside", "outside"),
        **presence_classes("instrument", INSTRUMENTS),
    }
    # The domain stands here too, so that a probe can be asked for it like for any other label.
    VIDEO_LABELS: ClassVar[dict[str, tuple[str, ...]]] = {"skill": SKILLS, "domain": DOMAINS}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        del manual_dir  # nothing is downloaded
        return [
            VideoItem(
                video_id=plan.video_id,
                case_id=plan.case_id,
                split=plan.split,
                domain=plan.domain,
                extra={"plan": _plain(plan), "drawing": DRAWING},
            )
            for plan in plan_corpus(self.builder_config.corpus)
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        """Renders the video into `scratch_dir`. Raises OSError when it cannot be written."""
        cv2.setNumThreads(1)
        stored = dict(item.extra["plan"])
        plan = VideoPlan(**{**stored, "patient_seed": tuple(stored["patient_seed"])})
        path = scratch_dir / f"{plan.video_id}{plan.container}"
        truth = render_video(plan, path)
        return OpenedVideo(
            path=path,
            tracks=truth_tracks(truth),
            video_labels={"skill": SKILLS.index(plan.skill), "domain": DOMAINS.index(plan.domain)},
        )


def truth_tracks(truth: Truth) -> dict[str, Sampled]:
    """The renderer's labels by frame number."""
    numbers = list(range(len(truth.times)))
    return {
        name: Sampled(numbers, values, max_hold=1.0, clock="frames")
        for name, values in truth.tracks.items()
    }


def _plain(plan: VideoPlan) -> dict:
    return {**dataclasses.asdict(plan), "patient_seed": list(plan.patient_seed)}
