"""Training a probe's 20-head grid on cached features, beside PyTorch on the same cores.

Both train the same heads from the same initial weights on the same batches with AdamW: here all at
once, in PyTorch one after another per batch, as V-JEPA 2's probing code does. Steps are timed in
turns, by CPU time; a whole training is steps x time per step. Needs PyTorch (requirements-dev.txt).
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from surgrec_jax.evaluation.heads import attentive, grid
from surgrec_jax.evaluation.heads.grid import Grid
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.safety.errors import ConfigError

ROUNDS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=768, help="of pooled features")
    parser.add_argument("--tokens", type=int, default=16, help="per clip, for the attentive head")
    parser.add_argument("--token_width", type=int, default=128)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument(
        "--torch_threads", type=int, default=1, help="more would count waiting threads as work"
    )
    parser.add_argument("--steps", type=int, default=3, help="timed per round, of three")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Figures for a linear and an attentive head.

    Raises:
        ValueError: PyTorch is not installed, or the two disagree.
    """
    try:
        import torch
    except ImportError as error:
        raise ConfigError(
            "PyTorch is not installed: pip install -r requirements-dev.txt"
        ) from error
    torch.set_num_threads(args.torch_threads)
    settings = Grid()
    steps = settings.steps(args.clips)
    shapes = {
        "linear": ((args.width,), HeadConfig("linear", args.classes)),
        "attentive": (
            (args.tokens, args.token_width),
            attentive.attentive_config(args.token_width, args.classes, depth=0),
        ),
    }
    figures: dict[str, Any] = {
        "clips": args.clips,
        "heads": len(settings.points),
        "steps of a whole training": steps,
        "jax": jax.__version__,
        "torch": torch.__version__,
    }
    for name, (shape, head) in shapes.items():
        figures[f"{name}, features {list(shape)}"] = _compare(head, shape, args, settings, steps)
    return figures


def _compare(
    head: HeadConfig, shape: tuple[int, ...], args: argparse.Namespace, settings: Grid, steps: int
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    batch = settings.batch_size
    rows = [rng.standard_normal((batch, *shape)).astype(np.float32) for _ in range(args.steps)]
    labels = [rng.integers(0, args.classes, batch) for _ in rows]
    module = attentive.module(head, shape[-1], False)
    init = jax.device_get(module.init(0))
    ours, theirs = _Jax(module, init, settings, steps), _Torch(head, init, settings, steps)
    batches = list(zip(rows, labels, strict=True))
    # The first pass compiles, and shows that both do the same.
    for one in (ours, theirs):
        one.train(batches)
    difference = float(np.abs(ours.logits(rows[0]) - theirs.logits(rows[0])).max())
    scale = float(np.abs(theirs.logits(rows[0])).max())
    if difference > 0.02 * max(scale, 1):
        raise ValueError(
            f"{head.kind}: logits differ by {difference} of {scale}: not the same work"
        )
    cpu: dict[str, list[float]] = {"jax": [], "torch": []}
    for _ in range(ROUNDS):
        cpu["jax"].append(_cpu(lambda: ours.train(batches)))
        cpu["torch"].append(_cpu(lambda: theirs.train(batches)))
    jax_s, torch_s = (float(np.median(cpu[k])) / len(batches) for k in ("jax", "torch"))
    return {
        "largest difference of logits": difference,
        "jax, CPU s of a whole training": jax_s * steps,
        "torch, CPU s of a whole training": torch_s * steps,
        "torch / jax": torch_s / jax_s,
    }


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class _Jax:
    """`grid.fit`, kept going over several calls."""

    def __init__(self, module: Any, init: Any, settings: Grid, steps: int):
        self.module, self.init, self.settings, self.steps = module, init, settings, steps

    def train(self, batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
        targets = np.eye(self.init["linear"]["bias"].shape[0], dtype=np.float32)
        self.params = jax.block_until_ready(
            grid.fit(
                self.init,
                self.module.loss,
                ((x, targets[y]) for x, y in batches),
                points=self.settings.points,
                steps=self.steps,
                seed=0,
            )
        )

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(jax.vmap(self.module.apply, (0, None))(self.params, x))


class _Torch:
    """A module and an optimizer per point of the grid."""

    def __init__(self, head: HeadConfig, init: Any, settings: Grid, steps: int):
        self.head, self.init, self.settings, self.steps = head, init, settings, steps

    def _modules(self) -> list[tuple[Any, Any]]:
        import torch

        from surgrec_jax.bench.torch_heads import make

        made = []
        for lr, decay in self.settings.points.tolist():
            module = make(self.head, self.init)
            matrices = [p for n, p in module.named_parameters() if n.endswith("weight_t")]
            others = [p for n, p in module.named_parameters() if not n.endswith("weight_t")]
            groups = [{"params": matrices, "weight_decay": decay}, {"params": others}]
            made.append((module, torch.optim.AdamW(groups, lr=lr, weight_decay=0.0)))
        return made

    def train(self, batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
        import torch

        self.modules = self._modules()
        for step, (x, y) in enumerate(batches):
            x, y = torch.from_numpy(x), torch.from_numpy(y)
            share = 0.5 * (1 + np.cos(np.pi * step / self.steps))
            for (module, adamw), (lr, _) in zip(
                self.modules, self.settings.points.tolist(), strict=True
            ):
                for group in adamw.param_groups:
                    group["lr"] = lr * share
                adamw.zero_grad()
                torch.nn.functional.cross_entropy(module(x), y).backward()
                adamw.step()

    def logits(self, x: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return np.stack([m(torch.from_numpy(x)).numpy() for m, _ in self.modules])
