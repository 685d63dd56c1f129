"""Features from a converted checkpoint, here and in torch: clips per second on the same machine.

    python -m surgrec_jax.bench convert --size=B --clips=4

Random weights of a VideoMAE encoder are written in transformers' format, imported, and run by both
(torch only where it and transformers are installed). Each side gets the same uint8 clips, does its
own normalisation, and returns the mean of the tokens.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from surgrec_jax.convert import import_file
from surgrec_jax.convert.files import WEIGHTS, write_safetensors
from surgrec_jax.convert.hf_write import videomae_config
from surgrec_jax.convert.huggingface import videomae_rules
from surgrec_jax.convert.plan import flatten
from surgrec_jax.convert.strict import to_source
from surgrec_jax.encoder import load_encoder
from surgrec_jax.models.presets import ViTConfig, preset
from surgrec_jax.models.vit import init_encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench convert`."""
    parser.add_argument("--size", default="B", help="Ti, S, B, L, H")
    parser.add_argument("--num_frames", type=int, default=16)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument(
        "--clips", type=int, default=4, help="clips timed, after one batch to warm up"
    )


def run(args: argparse.Namespace) -> dict:
    """Measures, and returns {"machine", "import_s", "clips_per_s", ...}."""
    side = args.image_size
    config = preset(args.size, num_frames=args.num_frames, image_size=(side, side), qkv_bias="qv")
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (args.batch_size, args.num_frames, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="bench_convert_") as temporary:
        folder = Path(temporary)
        write_model(folder / "model", config)
        began = time.perf_counter()
        import_file(folder / "model", folder / "run")
        imported = time.perf_counter() - began
        encoder = load_encoder(folder / "run")
        encoder.batch_size = args.batch_size
        sides = {"surgrec_jax": encoder.features}
        theirs = torch_features(folder / "model", config)
        if theirs is not None:
            sides["torch"] = theirs
        outputs, speeds, work = {}, {}, {}
        for name, features in sides.items():
            outputs[name], speeds[name], work[name] = measure(features, video, args.clips)
    result = {
        "machine": {"cpu": platform.processor() or platform.machine(), "backend": backend()},
        "model": {"size": args.size, "frames": args.num_frames, "side": side},
        "import_s": imported,
        "clips_per_s": speeds,
        "cpu_s_per_clip": work,
    }
    if "torch" in outputs:
        difference = np.abs(outputs["torch"] - outputs["surgrec_jax"]).max()
        result["largest_difference"] = float(difference)
    for name, speed in speeds.items():
        print(f"{name:>12}  {speed:8.3f} clips/s  {work[name]:8.3f} CPU seconds a clip")
    if "torch" not in speeds:
        print("torch and transformers are not installed: nothing to compare with")
    return result


def backend() -> str:
    """What JAX runs on."""
    return jax.devices()[0].device_kind


def write_model(folder: Path, config: ViTConfig) -> None:
    """Random weights as transformers would save them."""
    params = jax.tree.map(np.asarray, init_encoder(config, jax.random.key(0)))
    flat = {f"params/encoder/{path}": value for path, value in flatten(params).items()}
    folder.mkdir()
    write_safetensors(folder / WEIGHTS, to_source(flat, videomae_rules("", config, "v4")))
    (folder / "config.json").write_text(json.dumps(videomae_config(config, None)))


def torch_features(folder: Path, config: ViTConfig) -> Callable | None:
    """The same function by transformers in float32 on its best device, None without it."""
    try:
        import torch
        from transformers import AutoModel
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModel.from_pretrained(folder).eval().to(device)
    mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (config.mean, config.std))

    def features(video: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(video).to(device).permute(0, 1, 4, 2, 3).float() / 255
            return model((x - mean) / std).last_hidden_state.mean(1).cpu().numpy()

    return features


def measure(features: Callable, video: np.ndarray, clips: int) -> tuple[np.ndarray, float, float]:
    """The features of one batch; clips per second and CPU seconds a clip over at least `clips`."""
    out = features(video)  # compiles
    batches = max(1, -(-clips // len(video)))
    began, work = time.perf_counter(), time.process_time()
    for _ in range(batches):
        features(video)
    count = batches * len(video)
    return out, count / (time.perf_counter() - began), (time.process_time() - work) / count
