"""Phantom surgery: a seeded procedural corpus of surgical video, drawn when it is built.

It needs no download and shows no patients.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data_builders.common.labels.tracks import Sampled, presence_classes
from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.video.maps import MapFiles, by_value, depths
from data_builders.phantom_surgery.corpus import DOMAINS, CorpusSpec, VideoPlan, plan_corpus
from data_builders.phantom_surgery.editions import EDITIONS, INSTRUMENTS, SECOND, Edition
from data_builders.phantom_surgery.maps import LAYERS, MILLIMETRES, draw_depth, draw_layers
from data_builders.phantom_surgery.render import (
    DRAWING,
    Scene,
    Truth,
    frame_times,
    render_video,
)
from data_builders.phantom_surgery.script import SKILLS
from surgrec_jax.records.maps import Kind
from surgrec_jax.records.schema import RecordSpec


@dataclasses.dataclass(eq=False, kw_only=True)
class PhantomConfig(VideoConfig):
    """A TFDS configuration with the size, seed and look of the corpus."""

    corpus: CorpusSpec = dataclasses.field(default_factory=CorpusSpec)


@dataclasses.dataclass(eq=False, kw_only=True)
class DenseConfig(PhantomConfig):
    """A configuration with maps of layers and depths: every `map_every`-th frame has one."""

    map_every: int = 32  # two in a record of 64 frames


_SINGLE = {"videos_per_patient": (1, 1, 1, 1)}
# 120 patients of half a minute, 24 of them for the test.
TINY = CorpusSpec(
    patients=(50, 32, 24, 14), minutes=60.0, shares=(0.42, 0.27, 0.20, 0.11), **_SINGLE
)
# 200 patients of 30 s: 120 to train and probe, 40 to test.
TRIAL = CorpusSpec(
    seed=3, patients=(80, 50, 40, 30), minutes=100.0, shares=(0.4, 0.25, 0.2, 0.15), **_SINGLE
)
DEFAULT = CorpusSpec(
    patients=(90, 45, 27, 18),
    minutes=600.0,
    videos_per_patient=(2, 2, 2, 2),
    short_sides=(256, 288, 320),
    rates=(8.0, 10.0, 12.5, 15.0),
)
# What balanced sampling is measured on (docs/curation.md): pretraining footage of 90, 7, 2 and 1 %
# whose rare things are rare in every domain, and other patients to probe, as many of each domain,
# half of them with each rare thing.
IMBALANCED = CorpusSpec(
    seed=1,
    patients=(216, 17, 6, 6),
    minutes=200.0,
    shares=(0.90, 0.07, 0.02, 0.01),
    rare=0.05,
    **_SINGLE,
)
BALANCED = CorpusSpec(
    seed=2, patients=(40, 40, 40, 40), minutes=80.0, shares=(0.25,) * 4, rare=0.5, **_SINGLE
)
# 80 patients of a quarter of a minute whose frames have label maps, 16 of them for the test.
DENSE = CorpusSpec(
    seed=4, patients=(25, 20, 20, 15), minutes=20.0, shares=(0.31, 0.25, 0.25, 0.19), **_SINGLE
)
_ONE = {"edition": 1, "rates": (4.0, 5.0, 6.0)}
FIRST = {
    "tiny": CorpusSpec(**_ONE),
    "default": dataclasses.replace(DEFAULT, edition=1),
    "imbalanced": CorpusSpec(
        seed=1, patients=(60, 10, 6, 6), minutes=200.0, shares=(0.90, 0.07, 0.02, 0.01), **_ONE
    ),
    "balanced": dataclasses.replace(BALANCED, **_ONE),
}


def _configs() -> list[PhantomConfig]:
    """The second edition's configurations, then the first one's as first_<name>."""
    about = {
        "tiny": (TINY, "an hour of 120 patients at short side 80, for the quickstart"),
        "trial": (TRIAL, "100 minutes of 200 patients at short side 80, to compare recipes"),
        "default": (DEFAULT, "ten hours at short side 256, for a workstation"),
        "imbalanced": (IMBALANCED, "200 minutes at short side 80, 90, 7, 2 and 1 % per domain"),
        "balanced": (BALANCED, "80 minutes at short side 80, as much of every domain"),
        "dense": (DENSE, "20 minutes of 80 patients at short side 80, with label maps"),
    }
    made = [
        (name, corpus, f"Second edition: {text}.") for name, (corpus, text) in about.items()
    ] + [(f"first_{name}", corpus, f"First edition: {name}.") for name, corpus in FIRST.items()]
    return [
        (DenseConfig if corpus is DENSE else PhantomConfig)(
            name=name,
            version="2.1.0" if corpus is DENSE else f"{corpus.edition}.0.0",
            description=text,
            record=RecordSpec(short_side=256 if name.endswith("default") else 80),
            corpus=corpus,
        )
        for name, corpus, text in made
    ]


def _tracks(edition: Edition) -> dict[str, tuple[str, ...]]:
    return {
        "phase": edition.phases,
        "action": edition.actions,
        "out_of_body": ("inside", "outside"),
        **presence_classes("instrument", INSTRUMENTS),
    }


class Builder(VideoDatasetBuilder):
    """Renders each video into an encoded file and reads it back like anyone's video."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "First edition.",
        "2.0.0": "Second edition: actions that differ by motion alone, rare phases and tools.",
        "2.1.0": "Second edition, configuration dense: depths beside the layers.",
    }
    BUILDER_CONFIGS: ClassVar[list[PhantomConfig]] = _configs()
    TRACKS: ClassVar[dict[str, tuple[str, ...]]] = _tracks(SECOND)
    MAPS: ClassVar[dict[str, Kind]] = {"layers": LAYERS, "depth": None}
    # The domain stands here too, so that a probe can be asked for it like for any other label.
    VIDEO_LABELS: ClassVar[dict[str, tuple[str, ...]]] = {"skill": SKILLS, "domain": DOMAINS}

    def tracks(self) -> dict[str, tuple[str, ...]]:
        return _tracks(EDITIONS[self.builder_config.corpus.edition])

    def maps(self) -> dict[str, Kind]:
        return self.MAPS if isinstance(self.builder_config, DenseConfig) else {}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        del manual_dir  # nothing is downloaded
        return [
            VideoItem(
                video_id=plan.video_id,
                case_id=plan.case_id,
                split=plan.split,
                domain=plan.domain,
                extra={"plan": plan, "drawing": DRAWING},
            )
            for plan in plan_corpus(self.builder_config.corpus)
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        """Renders the video into `scratch_dir`. Raises OSError when it cannot be written."""
        cv2.setNumThreads(1)
        plan: VideoPlan = item.extra["plan"]
        path = scratch_dir / f"{plan.video_id}{plan.container}"
        truth = render_video(plan, path)
        return OpenedVideo(
            path=path,
            tracks=truth_tracks(truth),
            video_labels={"skill": SKILLS.index(plan.skill), "domain": DOMAINS.index(plan.domain)},
            maps=self._draw_maps(plan, scratch_dir) if self.maps() else {},
        )

    def _draw_maps(self, plan: VideoPlan, scratch_dir: Path) -> dict[str, MapFiles]:
        """Draws the maps of the last of every `map_every` frames into `scratch_dir`."""
        layers, depth, scene = {}, {}, Scene(plan)
        every = self.builder_config.map_every
        for number, t in list(enumerate(frame_times(plan)))[every - 1 :: every]:
            ids, deep = draw_layers(scene, float(t)), draw_depth(scene, float(t))
            if ids is None:
                continue
            counts = np.round(deep / MILLIMETRES).astype(np.uint16)
            for name, files, values in (("layers", layers, ids), ("depth", depth, counts)):
                files[number] = scratch_dir / f"{plan.video_id}_{number}_{name}.png"
                files[number].write_bytes(cv2.imencode(".png", values)[1].tobytes())
        return {
            "layers": MapFiles(layers, by_value({k: k for k in range(len(LAYERS))})),
            "depth": MapFiles(depth, depths, MILLIMETRES),
        }


def truth_tracks(truth: Truth) -> dict[str, Sampled]:
    """The renderer's labels by frame number."""
    numbers = list(range(len(truth.times)))
    return {
        name: Sampled(numbers, values, max_hold=1.0, clock="frames")
        for name, values in truth.tracks.items()
    }
