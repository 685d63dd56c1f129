"""Runs a step of a workdir again, and shows where its numbers break.

    python -m surgrec_jax.replay runs/mine              # the last step that broke
    python -m surgrec_jax.replay runs/mine --step=812   # any step

The replay starts from the nearest checkpoint before the step (or from initialisation), takes the
steps between as the run took them, and prints the step's loss, its statistics per clip, and per
module those of parameters and gradients. Nothing in the workdir changes. Exit codes: 0 the step is
finite; 3 it breaks again; 1 an error, described in one sentence.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from surgrec_jax import checkpoint, inputs, sharding, train_state
from surgrec_jax.config.values import check_numbers, tuples
from surgrec_jax.config.workdir import FILE, read_config
from surgrec_jax.objectives import Question
from surgrec_jax.objectives.base import WholeBatchObjective
from surgrec_jax.safety import paths, untrusted
from surgrec_jax.safety.errors import ConfigError, UserError, run_command
from surgrec_jax.safety.terminal import command_parser, run_escaped
from surgrec_jax.setup import Setup, build_setup, make_mesh

BROKEN = 3
Tree = dict[str, Any]


def replay(workdir: Path, step: int | None = None, data_dir: str | None = None) -> dict[str, Any]:
    """Runs a step again and returns its numbers as JSON values.

    Args:
        step: the number in the metrics file, from 1; None for the newest nonfinite-step*.json.
        data_dir: folder of the data, if they have moved since the run.

    Raises:
        ConfigError: no such workdir, or no step that broke.
        CheckpointError: the checkpoint before the step cannot be read.
    """
    config = _load_config(workdir)
    # Any file may be a config.json: keys may be missing or odd.
    with untrusted.interpreting(workdir / FILE, error_type=ConfigError):
        check_numbers(config)
        config.model = ConfigDict(tuples(config.model))
        if data_dir:
            config.data.data_dir = data_dir
        step = _broken_step(workdir) if step is None else step
        if not 1 <= step <= config.steps:
            raise ConfigError(f"--step={step} is not a step of {workdir}, which has {config.steps}")
        if jax.device_count() == 1:
            config.mesh.fsdp = 1
        mesh, question = make_mesh(config), inputs.open_question(config)
        setup = build_setup(config, mesh, question)
    with jax.set_mesh(mesh):
        return _replay(setup, workdir, step, question)


def _replay(setup: Setup, workdir: Path, step: int, question: Question | None) -> Tree:
    config, mesh = setup.config, setup.mesh
    earlier = [s for s in checkpoint.steps_in(workdir / "checkpoints") if s < step]
    if earlier:
        location = checkpoint.Location(workdir / "checkpoints", earlier[-1])
        saved = checkpoint.restore_state(location, train_state.saved(setup.abstract))
        state = setup.with_teacher(saved)
    elif config.init_from:
        raise checkpoint.CheckpointError(
            f"{workdir} has no checkpoint before step {step}, and began from {config.init_from}: "
            "lower checkpoint.every or raise checkpoint.keep in a run that is to be replayed"
        )
    else:
        state = setup.init()
    first = int(state["step"])
    sources = inputs.open_sources(config)
    mixture = inputs.open_manifest(config, sources)
    loader = inputs.training_batches(config, sources, first, step, mixture, question=question)
    with loader as batches:
        for _ in range(first, step - 1):
            batch = sharding.put_batch(inputs.take_shown(next(batches)), mesh)
            state, _ = setup.step(state, batch)
        ids = next(batches)
    shown = inputs.take_shown(ids)
    video, batch = shown["video"], sharding.put_batch(shown, mesh)
    modules, per_clip = _look(setup.objective, state, batch, config.seed)
    _, metrics = setup.step(state, batch)
    names = {k: np.asarray(v) for k, v in ids.items()}
    pixels = [{"mean": float(clip.mean()), "std": float(clip.std())} for clip in video]
    clips = [
        {**{k: v[i].tolist() for k, v in names.items()}, "loss": loss, **pixels[i]}
        for i, loss in enumerate(per_clip)
    ]
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    return {
        "step": step,
        "from_step": first,
        "finite": bool(values.pop("finite")),
        "metrics": values,
        "sources": [source.name for source in sources],
        "clips": clips,
        "modules": modules,
    }


def _look(objective, state: Tree, batch: dict[str, jax.Array], seed: int) -> tuple[Tree, list]:
    """Statistics of parameters and gradients by module, and the loss of every clip.

    Where a loss compares clips, no clip has one: NaN where its embedding is not finite, else None.
    """
    params, target = state["params"], train_state.target_of_loss(state)
    keys = train_state.clip_keys(seed, state["step"], len(batch["video"]))
    batch = jax.jit(objective.prepare)(batch, keys, state["step"])

    @jax.jit
    def gradient(params, clip, keys):
        return jax.value_and_grad(lambda p: objective.loss(p, clip, keys, target)[0])(params)

    if isinstance(objective, WholeBatchObjective):
        embeddings = np.asarray(jax.jit(objective.embed)(params, batch, keys))
        whole = np.isfinite(embeddings).reshape(len(keys), -1).all(1)
        grads = jax.tree.map(np.asarray, gradient(params, batch, keys)[1])
        return _by_module(params, grads), [None if fine else math.nan for fine in whole]
    per_clip, total = [], None
    devices = jax.sharding.get_mesh().size
    for i in range(len(keys)):
        # A batch must divide over the devices, so each of them gets the same clip.
        clip = {k: jnp.repeat(v[i : i + 1], devices, axis=0) for k, v in batch.items()}
        loss, grads = gradient(params, clip, jnp.repeat(keys[i : i + 1], devices, axis=0))
        per_clip.append(float(loss))
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
    grads = jax.tree.map(lambda g: np.asarray(g) / len(keys), total)
    return _by_module(params, grads), per_clip


def _by_module(params: Tree, grads: Tree) -> Tree:
    """`_numbers` of parameters and gradients, module by module."""
    params = jax.tree.map(np.asarray, params)
    modules: Tree = {}
    for kind, tree in (("parameters", params), ("gradients", grads)):
        groups: dict[str, list[np.ndarray]] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = "/".join(str(getattr(k, "key", k)) for k in path[:2])
            groups.setdefault(name, []).append(leaf.ravel())
        for name, leaves in groups.items():
            modules.setdefault(name, {})[kind] = _numbers(np.concatenate(leaves))
    return modules


def _numbers(x: np.ndarray) -> dict[str, float]:
    finite = np.isfinite(x)
    values = np.where(finite, x, 0).astype(np.float64)
    return {
        "norm": float(np.sqrt((values**2).sum())),
        "largest": float(np.abs(values).max(initial=0.0)),
        "not_finite": int((~finite).sum()),
        "size": int(x.size),
    }


def _load_config(workdir: Path) -> ConfigDict:
    path = workdir / FILE
    try:
        return ConfigDict(read_config(path))
    except (OSError, UserError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}; give a workdir that has trained"
        ) from error


def _broken_step(workdir: Path) -> int:
    steps = [
        int(match[1])
        for path in workdir.glob("nonfinite-step*.json")
        if (match := re.match(r"nonfinite-step(\d+)-", path.name))
    ]
    if not steps:
        raise ConfigError(f"no step of {workdir} broke; say which to run with --step")
    return max(steps)


def show(result: dict[str, Any]) -> None:
    """Prints a result as tables."""
    values = "  ".join(f"{k} {v:.6g}" for k, v in result["metrics"].items())
    print(f"step {result['step']}, replayed from {result['from_step']}: {values}")
    print(f"\n{'clip':>4} {'source':<20} {'record':>8} {'draw':>10} {'loss':>12}", end="")
    print(f" {'mean':>6} {'std':>6}")
    for i, c in enumerate(result["clips"]):
        source = result["sources"][c["source"]]
        loss = "-" if c["loss"] is None else f"{c['loss']:.6g}"
        print(
            f"{i:>4} {source:<20} {c['record']:>8} {c['draw']:>10} {loss:>12} "
            f"{c['mean']:>6.1f} {c['std']:>6.1f}"
        )
    print(f"\n{'module':<32} {'parameters: norm':>16} {'largest':>10} {'not finite':>10}", end="")
    print(f" {'gradients: norm':>16} {'largest':>10} {'not finite':>10}")
    for name, kinds in result["modules"].items():
        cells = "".join(
            f" {k['norm']:>16.6g} {k['largest']:>10.4g} {k['not_finite']:>10}"
            for k in (kinds["parameters"], kinds["gradients"])
        )
        print(f"{name:<32}{cells}")
    print(
        "\nthe step is finite"
        if result["finite"]
        else "\nthe step BREAKS: loss or gradient is not finite"
    )


def main(argv: list[str] | None = None) -> int:
    """Replays a step and prints its numbers; --json writes the same values."""
    parser = command_parser("surgrec_jax.replay", __doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument(
        "--step", type=int, help="as in metrics.jsonl; default: the last that broke"
    )
    parser.add_argument("--data_dir", help="where the data are, if they have moved")
    parser.add_argument("--json", type=Path, help="also write what is printed to this file")
    args = parser.parse_args(argv)

    def work() -> int:
        paths.check_arguments(vars(args))
        result = replay(args.workdir, args.step, args.data_dir)
        show(result)
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n")
        return 0 if result["finite"] else BROKEN

    return run_command("surgrec_jax.replay", work)


if __name__ == "__main__":
    run_escaped(main)
