"""What a probe could reach on phantom surgery: scores of the truth and of hand-made features.

    python -m surgrec_jax.bench ceilings --data_dir DATA --source phantom_surgery/trial

Linear probes by the evaluation's rules (its clips, splits, choice of the penalty on validation
cases, intervals over test cases) on

    still     the true tissue and tools at the clip's centre frame
    motion    these, and how the tools really move over the clip
    handmade  colours, edges and optical flow of the clip's pixels
    pixels    principal components of its small frames, the evaluation's baseline
"""

import argparse
from collections.abc import Mapping

import numpy as np

from data_builders.phantom_surgery import oracle
from data_builders.phantom_surgery.corpus import VideoPlan, plan_corpus
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from data_builders.phantom_surgery.render import Scene
from surgrec_jax.data.loading.clips import ClipSpec, clip_of
from surgrec_jax.evaluation.benchmark import results
from surgrec_jax.evaluation.benchmark.columns import project_pixels
from surgrec_jax.evaluation.features import baselines
from surgrec_jax.evaluation.features.clips import class_names, labelled_clips
from surgrec_jax.evaluation.features.extraction import Features, extract
from surgrec_jax.evaluation.heads.rules import parse_clip
from surgrec_jax.evaluation.heads.run_head import run_head
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask, label_task
from surgrec_jax.evaluation.tasks.task_list import select_tasks
from surgrec_jax.records.source import open_source
from surgrec_jax.safety.errors import ConfigError

SPLITS = ("train", "val", "test")
COLUMNS = ("motion", "still", "handmade", "pixels")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench ceilings`."""
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--source", default="phantom_surgery/trial", help="of phantom_surgery")
    parser.add_argument("--tasks", default="phase,action,instruments")
    parser.add_argument("--clip", default="8x64@4", help="FRAMESxSIDE@FPS")
    parser.add_argument("--clips_per_record", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="of the probe")
    parser.add_argument("--resamples", type=int, default=2000)


def run(args: argparse.Namespace) -> dict:
    """Probes; returns task -> what is probed -> score in percent with its interval."""
    name, _, config = args.source.partition("/")
    if name != Builder.name or config not in Builder.builder_configs:
        raise ConfigError(f"--source={args.source}: the truth is known of {Builder.name}/<config>")
    clip = clip_of(parse_clip(args.clip))
    plans = {p.video_id: p for p in plan_corpus(Builder.builder_configs[config].corpus)}
    measured: dict[str, dict[str, Features]] = {}
    for split in SPLITS:
        source = open_source(args.data_dir, name, config=config, split=split)
        seen = {"pixels": baselines.pixels, "handmade": baselines.handmade}
        clips = extract(seen, labelled_clips(source, clip, args.clips_per_record))
        measured[split] = clips | _truths(clips["pixels"], plans, clip)
    project_pixels(measured, "pixels", SPLITS[0])
    table = {}
    for task in select_tasks(args.source, args.tasks.split(",")):
        pixels = {split: measured[split]["pixels"] for split in SPLITS}
        labelled = label_task(task, class_names(source), pixels)
        table[task.name] = {
            column: _score(labelled, {split: measured[split][column] for split in SPLITS}, args)
            for column in COLUMNS
        }
    return table


def _truths(clips: Features, plans: Mapping[str, VideoPlan], clip: ClipSpec) -> dict[str, Features]:
    """The truth about clips as features: of their centre frames, and with the motion."""
    scenes = {video: Scene(plans[video]) for video in np.unique(clips.video_id)}
    moments = list(zip(clips.video_id, clips.time.tolist(), strict=True))
    still = np.stack([oracle.still(scenes[video], t) for video, t in moments])
    steps = (np.arange(clip.frames) - clip.frames // 2) / clip.fps
    motion = np.stack([oracle.motion(scenes[video], t + steps) for video, t in moments])
    both = np.concatenate([still, motion], 1)
    return {"still": clips.with_features(still), "motion": clips.with_features(both)}


def _score(labelled: LabelledTask, of_split: Mapping[str, Features], args) -> str:
    features = {split: clips.features for split, clips in of_split.items()}
    answer = run_head("linear", labelled, features, seeds=range(args.seeds), resample="cases")
    end = results.resample(labelled, answer, args.resamples).interval()
    return f"{100 * end.value:.1f} [{100 * end.low:.1f}, {100 * end.high:.1f}]"
