"""Small models of every family: their keys, shapes and configs, weights and clips from seeds.

Weights are a function of (key, shape), so the golden files hold outputs only.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parent / "golden"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A random tensor by name: norms near one, the rest small, all different."""
    rng = np.random.default_rng([zlib.crc32(key.encode()), *shape])
    values = rng.standard_normal(shape, dtype=np.float32)
    name = key.lower()
    if len(shape) == 1 and "norm" in name and name.endswith("weight"):
        return 1 + 0.2 * values
    if "gamma" in name or "lambda" in name:
        return 0.5 + 0.1 * values
    return values * np.float32(0.5 / max(1, np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1)


def golden(name: str, file: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
    """Compares outputs with the committed ones; SURGREC_JAX_WRITE_GOLDEN=1 writes them.

    A file keeps the shapes of all tensors, the values of those that are not `weight`s, and outputs.
    """
    path = GOLDEN / f"{name}.npz"
    if os.environ.get("SURGREC_JAX_WRITE_GOLDEN") == "1":
        GOLDEN.mkdir(exist_ok=True)
        kept = {f"shape/{k}": np.array(v.shape, np.int32) for k, v in file.items()}
        special = {k: v for k, v in file.items() if not np.array_equal(v, weight(k, v.shape))}
        kept |= {f"value/{k}": v for k, v in special.items()}
        np.savez_compressed(path, **outputs, **kept)
    with np.load(path, allow_pickle=False) as kept:
        for key, value in outputs.items():
            np.testing.assert_allclose(kept[key], value, atol=5e-6)


def read_golden(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The tensors of the file that was converted, and what the original model gave."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as kept:
        shapes = {k.removeprefix("shape/"): kept[k] for k in kept.files if "shape/" in k}
        values = {k.removeprefix("value/"): kept[k] for k in kept.files if "value/" in k}
        outputs = {k: kept[k] for k in kept.files if "shape/" not in k and "value/" not in k}
    return state(shapes) | values, outputs


def state(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """All tensors of a file."""
    return {key: weight(key, tuple(shape)) for key, shape in shapes.items()}


def clips(frames: int, height: int, width: int, batch: int = 2) -> np.ndarray:
    """uint8 [B, T, H, W, 3]."""
    rng = np.random.default_rng([frames, height, width])
    return rng.integers(0, 256, (batch, frames, height, width, 3), dtype=np.uint8)


def pixels(video: np.ndarray) -> np.ndarray:
    """float32 [B, T, 3, H, W], normalised as ImageNet's statistics have it."""
    x = (video.astype(np.float32) / 255 - MEAN.astype(np.float32)) / STD.astype(np.float32)
    return np.ascontiguousarray(x.transpose(0, 1, 4, 2, 3), dtype=np.float32)


def save_folder(folder: Path, tensors: dict[str, np.ndarray], config: dict) -> Path:
    """A folder as transformers saves it."""
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


VIDEOMAE = {
    "model_type": "videomae",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 16,
    "patch_size": 4,
    "num_frames": 4,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 96,
    "use_mean_pooling": False,
    "layer_norm_eps": 1e-6,
}
VJEPA2 = {
    "model_type": "vjepa2",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "mlp_ratio": 2.0,
    "crop_size": 16,
    "patch_size": 4,
    "frames_per_clip": 4,
    "pred_hidden_size": 24,
    "pred_num_hidden_layers": 2,
    "pred_num_attention_heads": 2,
    "pred_num_mask_tokens": 3,
    "num_pooler_layers": 2,
    "num_labels": 5,
}
DINOV3 = {
    "model_type": "dinov3_vit",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 16,
    "patch_size": 4,
    "num_register_tokens": 2,
    "layer_norm_eps": 1e-5,
}
DINOV2 = {
    "model_type": "dinov2_with_registers",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "mlp_ratio": 2,
    "image_size": 16,
    "patch_size": 4,
    "num_register_tokens": 2,
}


def split(tokens: int, batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Sorted ids [B, 3/8 N] that are seen and [B, 5/8 N] that are not, another draw per clip."""
    rng = np.random.default_rng(7)
    order = np.stack([rng.permutation(tokens) for _ in range(batch)])
    seen = 3 * tokens // 8
    return np.sort(order[:, :seen], 1), np.sort(order[:, seen:], 1)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """`split` of the 32 tokens that most cases have."""
    return split(32)


CONFIGS = {
    "hf_videomae": VIDEOMAE,
    "hf_videomae_classifier": VIDEOMAE | {"use_mean_pooling": True},
    "hf_vjepa2": VJEPA2,
    "hf_dinov3": DINOV3,
    "hf_dinov2": DINOV2,
}
