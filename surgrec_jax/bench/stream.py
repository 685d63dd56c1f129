"""A new tubelet of a stream, beside encoding its whole window again.

Random weights and pixels: times depend on neither. Both are timed in turn, with a full window.
"""

import argparse
from typing import Any

import jax
import numpy as np

from surgrec_jax.bench.timing import timed
from surgrec_jax.frozen.encoder import Encoder, default_compute
from surgrec_jax.models.presets import preset
from surgrec_jax.models.vit import init_encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--presets", nargs="+", default=["S", "B"], help="model sizes")
    parser.add_argument("--frames", type=int, default=16, help="of a clip, which is the window")
    parser.add_argument("--side", type=int, default=224, help="of the frames, pixels")
    parser.add_argument("--tubelet", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10, help="timed, of each")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a tubelet and of a window, and how many times cheaper a tubelet is.

    Raises:
        ConfigError: sizes that are not possible.
    """
    device = jax.devices()[0].device_kind
    figures: dict[str, Any] = {
        "device": device,
        "window": f"{args.frames} x {args.side}, tubelets of {args.tubelet}",
    }
    return figures | {name: _measure(name, args) for name in args.presets}


def _measure(name: str, args: argparse.Namespace) -> dict[str, float]:
    config = preset(
        name,
        num_frames=args.frames,
        image_size=(args.side, args.side),
        tubelet=args.tubelet,
        position="rope_3d",
        attention="block_causal",
    )
    params = jax.jit(lambda: init_encoder(config, jax.random.key(0)))()
    encoder = Encoder(config, params, fps=4.0, name=name, compute=default_compute(), batch_size=1)
    shape = (1, args.frames, args.side, args.side, 3)
    clip = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    stream, last = encoder.stream(), clip[:, -args.tubelet :]
    for start in range(0, args.frames, args.tubelet):
        tokens, _ = stream.push(clip[:, start : start + args.tubelet])
    difference = float(np.abs(tokens - encoder.tokens(clip)[:, -tokens.shape[1] :]).max())
    encoder.features(clip)  # compiles
    times = [
        (timed(lambda: stream.push(last))[1], timed(lambda: encoder.features(clip))[1])
        for _ in range(args.repeats)
    ]
    tubelet, window = np.median(times, 0)
    ratios = np.divide(*np.array(times).T[::-1])
    return {
        "ms per tubelet": 1e3 * float(tubelet),
        "ms per window": 1e3 * float(window),
        "window / tubelet": float(np.median(ratios)),
        "window / tubelet, 5 to 95 %": [float(q) for q in np.quantile(ratios, (0.05, 0.95))],
        "largest difference of tokens": difference,
    }
