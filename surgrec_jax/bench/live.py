"""Live answers of a video: latency, dropped pictures, memory, and streaming beside the window.

    python -m surgrec_jax.bench live --checkpoint RUN --video FILE --ways window stream

Every way answers the video from its beginning, one after another. Latency is from an instant of
the video to its answer (at --speed 0, where no clock runs, there is none). Memory is the resident
memory of the process as /proc tells it.
"""

import argparse
import array
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.video.frames import ReadReport
from surgrec_jax.bench.timing import memory
from surgrec_jax.prediction import live
from surgrec_jax.prediction.frames import pictures_of
from surgrec_jax.prediction.model import Model, open_model

WAYS = ("window", "stream")
SETTLED = 256  # answers after which memory should grow no more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is answered, and how."""
    parser.add_argument("--checkpoint", required=True, help="of a classifier")
    parser.add_argument("--head", type=Path, help="a kept head, of an encoder")
    parser.add_argument("--video", type=Path, required=True, help="a file")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["window"])
    parser.add_argument("--speed", type=float, default=1.0, help="of the video; 0: no clock")
    parser.add_argument("--rate", type=float, help="answers per second (default: 1)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Figures of every way, and how far the answers of two ways lie apart.

    Raises:
        UserError: a checkpoint or video that cannot be used, or one that cannot stream.
    """
    model, said = open_model(args.checkpoint, args.head), {}
    rate = model.rate(args.rate)
    figures: dict[str, Any] = {"model": model.name, "answers a second": rate}
    ways = dict.fromkeys(args.ways)
    for way in ways:
        said[way] = {} if len(ways) == 2 else None
        stream = way == "stream"
        figures[way] = _measure(model, args.video, rate, args.speed, stream, said[way])
    if len(ways) == 2:
        figures["stream beside window"] = _apart(*(said[way] for way in WAYS))
    return figures


def _measure(
    model: Model,
    video: Path,
    rate: float,
    speed: float,
    stream: bool,
    scores: dict[float, np.ndarray] | None,
) -> dict[str, Any]:
    """Figures of one way; `scores` gets its scores by time, if given."""
    one = live.ready(model, rate, stream)
    spent, resident = array.array("d"), array.array("d")  # small, as memory is what is measured

    def rows(clip: np.ndarray) -> np.ndarray:
        began = time.process_time()
        found = one.rows(clip)
        spent.append(time.process_time() - began)
        return found

    def say(line: dict[str, Any]) -> None:
        if scores is not None:
            scores[line["time"]] = np.array(list(line["probabilities"].values()))
        resident.append(memory("VmRSS"))

    stored = pictures_of(video, one.clip.size, one.storing, ReadReport())
    feed, began = live.Feed(stored, speed, stall=600.0), time.monotonic()
    end = live.answer(dataclasses.replace(one, rows=rows), feed, rate, say)
    if feed.error is not None:
        raise feed.error
    figures = {key: end[key] for key in ("answers", "dropped")}
    figures["seconds"] = time.monotonic() - began
    figures["latency, ms"] = {key: float(value) for key, value in end["latency_ms"].items()}
    figures["CPU ms of a new clip, median"] = 1e3 * float(np.median(spent))
    settled = resident[SETTLED - 1 :] or resident[-1:]
    figures["resident memory, MB"] = {
        f"after {min(SETTLED, len(resident))} answers": round(settled[0] / 1e6, 1),
        "at the end": round(resident[-1] / 1e6, 1),
        "most between": round(max(settled) / 1e6, 1),
    }
    return figures


def _apart(one: dict[float, np.ndarray], other: dict[float, np.ndarray]) -> dict[str, float]:
    """How two ways agree at the times that both answered."""
    both = sorted(one.keys() & other.keys())
    a, b = (np.stack([scores[at] for at in both]) for scores in (one, other))
    return {
        "answers of both": len(both),
        "of the same class, %": 100 * float((a.argmax(1) == b.argmax(1)).mean()),
        "mean difference of a probability": float(np.abs(a - b).mean()),
        "largest": float(np.abs(a - b).max()),
    }
