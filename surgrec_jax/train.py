"""Set-up and loop of a training run, to be read from top to bottom."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from surgrec_jax import (
    checkpoint,
    encoder,
    environment,
    finetune,
    inputs,
    lineage,
    lock,
    optim,
    rendezvous,
    sharding,
    train_state,
)
from surgrec_jax import config as cfg
from surgrec_jax.data import faults
from surgrec_jax.health import Health
from surgrec_jax.profile import Profile
from surgrec_jax.run_log import RunLog
from surgrec_jax.watch import Watch

State = dict[str, Any]


def train(config: ConfigDict, workdir: Path) -> bool:
    """Runs `config`, or continues it from the newest checkpoint in `workdir`.

    Everything that can be refused is refused before the first step is compiled.

    Returns:
        True when all steps are done, False when stopped by a signal or `config.stop_after`.

    Raises:
        ConfigError, CheckpointError, WorkdirInUseError, ValueError, OSError: one sentence each,
            with the remedy.
        NonFiniteError: the run's numbers broke; the ids of the batch are saved in the workdir.
    """
    cfg.check_numbers(config)
    config = finetune.complete(config, workdir)
    # The mesh, and whether the batch fits it.
    mesh = sharding.make_mesh(config.mesh.fsdp)
    sharding.check_batch_size(config.batch_size, mesh, config.accum_steps)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cfg.ConfigError(
            f"--workdir={workdir} cannot be made a folder: {error.strerror}; give another path"
        ) from error
    alone = lock.held(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
    with alone, jax.set_mesh(mesh):
        return _train(config, workdir, mesh)


def _train(config: ConfigDict, workdir: Path, mesh: Mesh) -> bool:
    # What is learned, and how.
    question = inputs.open_question(config)
    objective = cfg.build_objective(config, question=question)
    adamw = cfg.build_optimizer(config, objective.decayed)
    tx, momentum = adamw.build(), cfg.build_momentum(config)
    profile = Profile(config.profile_steps, workdir / "profile")
    name = f"{config.objective}-{config.name}"

    # From what, and where it is kept.
    lead = jax.process_index() == 0
    if lead and not cfg.begun(workdir):
        _forget(workdir)
    cfg.check_workdir(config, workdir, write=lead)
    sources = inputs.open_sources(config)
    rendezvous.check_same("data", [[s.name, s.split, s.fingerprint] for s in sources])
    mixture = inputs.open_manifest(config, sources)
    if mixture is not None:
        mixture.keep_copy(workdir, write=lead, begun=cfg.begun(workdir))
    probes = inputs.open_probes(config, question) if config.probe.every else []
    kept = config.checkpoint
    saved = checkpoint.Checkpoints(
        workdir / "checkpoints",
        keep=kept.keep,
        keep_best=kept.keep_best if probes else 0,
        max_failures=kept.max_failures,
    )

    # The state, made or restored in its shards.
    init = train_state.make_init(objective, tx, config.seed)
    abstract, init = train_state.shard_state(init, mesh)
    saved.check_space(abstract)
    state, earlier = _start(config, saved, abstract, init)
    first = int(state["step"])
    last = max(first, min(config.steps, config.stop_after or config.steps))
    step_fn = train_state.make_train_step(
        objective, tx, seed=config.seed, momentum=momentum, accum_steps=config.accum_steps
    )
    step_fn = train_state.jit_train_step(step_fn, abstract, mesh)

    # What is written down.
    described = [source.describe() for source in sources]
    if lead:
        environment.write(workdir, described + earlier)
    meta = {
        "name": name,
        "objective": config.objective,
        "uses_target": objective.uses_target,
        "sources": described + earlier,
        "manifest": mixture.describe() if mixture else None,
        "config": json.loads(json.dumps(config.to_dict())),
        **encoder.meta_of(objective.encoder, fps=config.data.fps),
        **objective.meta(),
    }
    watch = Watch(
        objective, mesh, seed=config.seed, clips=config.images.clips, folder=workdir / "images"
    )
    health = Health(workdir, max_nonfinite=config.max_nonfinite)
    log = RunLog(
        workdir,
        name=name,
        first=first,
        skipped=first - optim.updates(state["opt_state"]),
        total=config.steps,
        batch_size=config.batch_size,
        every=config.log_every,
        schedules={"lr": adamw.lr, "weight_decay": adamw.weight_decay},
        health=health,
    )
    log.say(
        f"{name}: steps {first} to {last} of {config.steps}, "
        f"{sum(x.size for x in jax.tree.leaves(abstract['params'])) / 1e6:.1f} M parameters, "
        f"{mesh.size} {jax.devices()[0].platform} device(s), workdir {workdir}"
    )

    score = None
    loader = inputs.training_batches(config, sources, first, last, mixture, workdir, question)
    bad_records = 0
    with StopSignal() as stop, saved, profile, loader as batches:
        for step in range(first + 1, last + 1):
            profile.before(step, state)
            began = time.perf_counter()
            ids = next(batches)
            log.clock.waited(time.perf_counter() - began)
            shown = {key: ids.pop(key) for key in ("video", "label") if key in ids}
            batch = sharding.put_batch(shown, mesh)
            state, values = step_fn(state, batch)
            log.add(step, values, ids)
            if len(batches.bad) > bad_records:
                bad_records = len(batches.bad)
                log.event(step, {"bad_records": float(bad_records)})
                health.note("data", f"{bad_records} bad record(s)")

            stopping = stop.reached(step)
            probing = probes and _due(step, config.probe.every, config.steps)
            drawing = config.images.every and _due(step, config.images.every, config.steps)
            saving = stopping or _due(step, kept.every, last)
            if not (probing or drawing or saving):
                continue
            log.flush()  # nothing below may see a state that broke
            began = time.perf_counter()
            if probing:
                scores = watch.probe(state, probes)
                score = float(np.mean(list(scores.values())))
                log.event(step, scores)
            if drawing:
                log.event(step, health.collapse(step, watch.collapse(state, batch)))
                try:
                    watch.draw(state, batch, step)
                except OSError as error:  # a picture is not worth a run
                    logging.warning("no picture of step %d: %s", step, error)
            if saving:
                saved.save(step, state, meta, score if probing else None)
                if saved.failed:
                    log.event(step, {"failed_saves": float(saved.failed)})
                    health.note("saves", f"{saved.failed} failed save(s)")
            log.clock.pause(time.perf_counter() - began)
            if stopping:
                break
    log.flush()
    done = int(state["step"])
    if done < config.steps:
        log.say(f"stopped and saved at step {done} of {config.steps}; the same command continues")
    log.close()
    return done >= config.steps


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _forget(workdir: Path) -> None:
    """Removes what an attempt that saved nothing said of its data and steps: it would count as this
    run's. The other processes read their lists of bad records later, after `check_same`."""
    for pattern in (environment.FILE, f"*{faults.FILE}", "nonfinite-step*.json"):
        for path in workdir.glob(pattern):
            path.unlink()


def _start(
    config: ConfigDict, saved: checkpoint.Checkpoints, abstract: State, init
) -> tuple[State, lineage.Sources]:
    """The newest checkpoint's state, or a fresh one, with another run's parameters if asked for;
    and the data that those had seen."""
    restored = saved.restore(abstract)
    if restored is not None:
        return restored[0], lineage.kept(restored[1])
    state, earlier = init(), lineage.earlier_sources(config)
    if config.objective == "classify":
        if config.init_from and config.init_weights:
            state = finetune.take_encoder(state, abstract, config)
    elif config.init_from:
        state = finetune.take_parts(state, abstract, config)
    return state, earlier


class StopSignal:
    """SIGTERM or Ctrl-C asks the loop to save and stop; a second one ends the process at once.

    With several processes JAX watches SIGTERM itself and lets all of them agree on a step; from
    then on a further one ends the process at once.
    """

    def __init__(self):
        self._asked = False
        self._together = jax.process_count() > 1
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if not self._together:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        del frame
        self._asked = True
        signal.signal(number, signal.SIG_DFL)

    def reached(self, step: int) -> bool:
        """Whether to stop after this step; the same answer on every process."""
        if self._together:
            reached = multihost_utils.reached_preemption_sync_point(step)
            if reached:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return reached
        return self._asked
