"""How often videos are called far from the training data: of the trained domain, and of others.

For each domain: neighbours among its training features, a threshold from its cases that are not
among them, then its own test videos and all videos of the other domains (docs/prediction.md).
"""

import argparse
from typing import Any

import numpy as np

from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.evaluation.features.clips import labelled_clips
from surgrec_jax.evaluation.metrics.calibration import neighbourhood
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.records.schema import DOMAINS
from surgrec_jax.records.source import open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("--checkpoint", required=True, help="of the encoder")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--source", default="phantom_surgery/tiny", help="name or name/config")
    parser.add_argument("--clips_per_record", type=int, default=2)
    parser.add_argument("--cases", type=int, default=4, help="validation cases a domain must have")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Videos that are flagged, of how many, by the domain that the threshold is of."""
    encoder, found = load_encoder(args.checkpoint), {}
    clip = clip_of(encoder.clip)
    name, _, config = args.source.partition("/")
    for split in ("train", "val", "test"):
        source = open_source(args.data_dir, name, config=config or None, split=split)
        parts: dict[str, list] = {"features": [], "domain": [], "case_id": [], "video_id": []}
        for batch in labelled_clips(source, clip, args.clips_per_record):
            parts["features"].append(encoder.features(batch["video"]))
            for key in ("domain", "case_id", "video_id"):
                parts[key].append(batch[key])
        found[split] = {key: np.concatenate(values) for key, values in parts.items()}
    figures: dict[str, Any] = {"encoder": encoder.name}
    for number, domain in enumerate(DOMAINS):
        train, val = (_of(found[split], number) for split in ("train", "val"))
        if len(np.unique(val["case_id"])) < args.cases:
            continue
        near = neighbourhood(*(of[key] for of in (train, val) for key in ("features", "case_id")))
        others: dict[str, Any] = {
            "validation cases": near.validation_cases,
            "training cases that helped": near.training_cases,
            "expected of its own, at most %": 100 * near.rate,
            "by validation cases alone, at most %": 100 * near.rate_of_validation,
        }
        for other, title in enumerate(DOMAINS):
            splits = ("test",) if other == number else ("train", "val", "test")
            flags = [
                near.far_off(near.distance(rows))
                for split in splits
                for rows in _videos(_of(found[split], other))
            ]
            if flags:
                title = "its own test videos" if other == number else title
                others[title] = f"{sum(flags)} of {len(flags)} videos"
        figures[f"trained on {domain}"] = others
    return figures


def _of(rows: dict[str, np.ndarray], domain: int) -> dict[str, np.ndarray]:
    here = rows["domain"] == domain
    return {key: values[here] for key, values in rows.items()}


def _videos(rows: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [rows["features"][rows["video_id"] == video] for video in np.unique(rows["video_id"])]
