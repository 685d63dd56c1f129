"""Features from a converted checkpoint, here and in torch: clips per second on the same machine.

    python -m surgrec_jax.bench convert --size=B,L --clips=4

Random weights of VideoMAE encoders are written in transformers' format, imported, and run by both
in turn (torch only where it and transformers are installed), in the same precision. Each side gets
the same uint8 clips, does its own normalisation, and returns the mean of the tokens.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.convert import import_file
from surgrec_jax.convert.files import WEIGHTS, write_safetensors
from surgrec_jax.convert.hf_write import videomae_config
from surgrec_jax.convert.huggingface import videomae_rules
from surgrec_jax.convert.import_plan import flatten
from surgrec_jax.convert.strict import to_source
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.models.presets import Compute, ViTConfig, preset
from surgrec_jax.models.vit import init_encoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench convert`."""
    parser.add_argument("--size", default="B,L", help="of Ti, S, B, L, H, g; several with commas")
    parser.add_argument("--num_frames", type=int, default=16)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--clips", type=int, default=4, help="clips timed, after one batch to warm up"
    )


def run(args: argparse.Namespace) -> dict:
    """Measures, and returns {"machine", "<size>": {"import_s", "clips_per_s", ...}, ...}."""
    cpu = platform.processor() or platform.machine()
    result: dict = {"machine": {"cpu": cpu, "backend": jax.devices()[0].device_kind}}
    for size in args.size.split(","):
        result[size] = measure_size(size, args)
    return result


def measure_size(size: str, args: argparse.Namespace) -> dict:
    """The figures of one encoder."""
    side = args.image_size
    config = preset(size, num_frames=args.num_frames, image_size=(side, side), qkv_bias="qv")
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (args.batch_size, args.num_frames, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="bench_convert_") as temporary:
        folder = Path(temporary)
        write_model(folder / "model", config)
        began = time.perf_counter()
        import_file(folder / "model", folder / "run")
        result: dict = {"import_s": time.perf_counter() - began}
        encoder = load_encoder(folder / "run", compute=Compute(dtype=jnp.dtype(args.dtype)))
        encoder.batch_size = args.batch_size
        sides = {"surgrec_jax": encoder.features}
        theirs = torch_features(folder / "model", config, args.dtype)
        if theirs is not None:
            sides["torch"] = theirs
        outputs = {name: features(video) for name, features in sides.items()}  # compiles
        seconds = in_turn(sides, video, -(-args.clips // args.batch_size))
    for name, times in seconds.items():
        wall, cpu = (float(np.median(t)) / args.batch_size for t in zip(*times, strict=True))
        result |= {name: {"clips_per_s": 1 / wall, "cpu_s_per_clip": cpu}}
        print(f"ViT-{size} {name:>12}  {1 / wall:8.3f} clips/s  {cpu:8.3f} CPU seconds a clip")
    if "torch" in outputs:
        difference = np.abs(outputs["torch"] - outputs["surgrec_jax"]).max()
        result["largest_difference"] = float(difference)
    else:
        print("torch and transformers are not installed: nothing to compare with")
    return result


def write_model(folder: Path, config: ViTConfig) -> None:
    """Random weights as transformers would save them."""
    params = jax.tree.map(np.asarray, init_encoder(config, jax.random.key(0)))
    flat = {f"params/encoder/{path}": value for path, value in flatten(params).items()}
    folder.mkdir()
    write_safetensors(folder / WEIGHTS, to_source(flat, videomae_rules("", config, "v4")))
    (folder / "config.json").write_text(json.dumps(videomae_config(config, None)))


def torch_features(folder: Path, config: ViTConfig, dtype: str) -> Callable | None:
    """The same function by transformers on its best device, None without it."""
    try:
        import torch
        from transformers import AutoModel
    except ImportError:
        return None
    device, precision = "cuda" if torch.cuda.is_available() else "cpu", getattr(torch, dtype)
    model = AutoModel.from_pretrained(folder).eval().to(device, precision)
    mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (config.mean, config.std))

    def features(video: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(video).to(device).permute(0, 1, 4, 2, 3).float() / 255
            tokens = model(((x - mean) / std).to(precision)).last_hidden_state
            return tokens.float().mean(1).cpu().numpy()

    return features


def in_turn(
    sides: dict[str, Callable], video: np.ndarray, batches: int
) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of every batch, one side after the other so that both meet any load."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(max(1, batches)):
        for name, features in sides.items():
            began, work = time.perf_counter(), time.process_time()
            features(video)
            spent = time.perf_counter() - began, time.process_time() - work
            seconds[name].append(spent)
    return seconds
