"""The same training step in PyTorch, for `bench step`.

Masks, views, sizes, optimizer and batch are those of the objective; weights are PyTorch's own
random ones. On a CPU it runs eagerly in float32; on a GPU as one graph of `torch.compile`, with
bfloat16 autocast, PyTorch's fused attention and fused AdamW.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from surgrec_jax.bench import torch_levjepa, torch_transformers
from surgrec_jax.objectives import Objective
from surgrec_jax.objectives.jepa import JEPA
from surgrec_jax.objectives.levjepa import LeVJEPA
from surgrec_jax.objectives.mae import MAE
from surgrec_jax.safety.errors import ConfigError

# With this learning rate every step does all of its work.
LR = 1e-4
# Objective -> its loss, as `make_loss`.
LOSSES = {
    MAE: torch_transformers.mae,
    JEPA: torch_transformers.jepa,
    LeVJEPA: torch_levjepa.levjepa,
}


def pick_device(platform: str, count: int) -> str:
    """The name in torch of the device on which jax's step runs.

    Args:
        platform, count: `jax.default_backend()`, and the number of its devices.

    Raises:
        ConfigError: torch or transformers is not installed, torch cannot run on such a device, or
            it would run on one GPU and jax on several.
    """
    # Waiting threads shall sleep, as spinning would count as work; torch reads this when it loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--compare=torch needs torch and transformers: {error}; "
            "pip install -r requirements-dev.txt"
        ) from error
    if platform == "cpu":
        return "cpu"
    if platform == "gpu" and count > 1:
        raise ConfigError(
            f"--compare=torch: jax takes all {count} GPUs and torch one; show both one "
            "(CUDA_VISIBLE_DEVICES=0)"
        )
    if platform != "gpu" or not torch.cuda.is_available():
        raise ConfigError(
            f"--compare=torch: jax runs on a {platform} and torch {torch.__version__} has none; "
            "install a torch that has, or compare CPUs (JAX_PLATFORMS=cpu)"
        )
    return "cuda"


def make_step(
    objective: Objective, video: np.ndarray, *, device: str, threads: int
) -> tuple[Callable[[], None], dict[str, Any]]:
    """Makes a function that takes a training step, and figures: device, millions of parameters.

    Every call is a step on the same uint8 clips [B, T, H, W, 3], with fresh masks or views.

    Args:
        device: device of `pick_device`.
        threads: number of torch's threads, on a CPU.

    Raises:
        ConfigError: there is no such model in PyTorch.
    """
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    loss_fn, trained, after = make_loss(objective, device)
    if device == "cuda":
        loss_fn = torch.compile(loss_fn, fullgraph=True)
    groups = [
        {"params": [p for p in trained.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    clips = torch.from_numpy(video).to(device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_fn(clips)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        loss.item()  # waits for the device

    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {threads} threads"
    parameters = sum(p.numel() for p in trained.parameters())
    return step, {"device": name, "parameters_m": parameters / 1e6}


def make_loss(objective: Objective, device: str) -> tuple[Callable, Any, Callable[[], None]]:
    """Makes the loss of uint8 clips [B, T, H, W, 3], its model, and the end of a step.

    Raises:
        ConfigError: there is no such model in PyTorch.
    """
    if type(objective) not in LOSSES:
        raise ConfigError(f"--compare=torch has no counterpart of objective {objective.name!r}")
    return LOSSES[type(objective)](objective, device)
