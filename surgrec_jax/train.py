"""Set-up and loop of a training run, to be read from top to bottom."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from surgrec_jax import checkpoint, inputs, optim, sharding, teacher, train_state
from surgrec_jax.config.values import check_numbers, flatten
from surgrec_jax.config.workdir import begun, check_workdir
from surgrec_jax.data.loading import faults
from surgrec_jax.data.loading.batches import Batches
from surgrec_jax.data.sampling.manifest import Manifest
from surgrec_jax.default_data import say
from surgrec_jax.frozen import architecture, lineage
from surgrec_jax.hosts import config_agreement, workdir_lock
from surgrec_jax.hosts.stop_signal import StopSignal
from surgrec_jax.next_commands import after_training
from surgrec_jax.online_probes import open_probes
from surgrec_jax.records.source import Source
from surgrec_jax.runlog import environment
from surgrec_jax.runlog.health import Health
from surgrec_jax.runlog.profile import Profile
from surgrec_jax.runlog.run_log import RunLog
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.setup import Setup, build_setup, make_mesh
from surgrec_jax.snapshots import Watch
from surgrec_jax.train_state import State
from surgrec_jax.warm_start import WarmStart


def train(config: ConfigDict, workdir: Path) -> bool:
    """Runs `config`, or continues it from the newest checkpoint in `workdir`.

    Everything that can be refused is refused before the first step is compiled.

    Returns:
        True when all steps are done, False when stopped by a signal or `config.stop_after`.

    Raises:
        UserError, OSError: a mistake or a fault, in one sentence with the remedy.
        NonFiniteError: the run's numbers broke; the ids of the batch are saved in the workdir.
    """
    check_numbers(config)
    paths.check_local({"workdir": workdir} | flatten(config.to_dict()))
    warm = WarmStart(config)
    config = warm.complete(workdir)
    mesh = make_mesh(config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--workdir={workdir} cannot be made a folder: {error.strerror}; give another path"
        ) from error
    alone = workdir_lock.held(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
    with alone, jax.set_mesh(mesh):
        return _train(config, workdir, mesh, warm)


def _train(config: ConfigDict, workdir: Path, mesh: Mesh, warm: WarmStart) -> bool:
    # The objective and its labels.
    question = inputs.open_question(config)
    if question is not None:
        say(f"learns {question.describe()}, of {config.data.sources}")
    setup = build_setup(config, mesh, question)
    config = setup.config
    config_agreement.check_same("teachers", setup.teacher and setup.teacher.fingerprint)
    profile = Profile(config.profile_steps, workdir / "profile", config.steps)

    # The data, the probes, and the checkpoints.
    _open_workdir(config, workdir)
    sources = inputs.open_sources(config)
    config_agreement.check_same("data", [[s.name, s.split, s.fingerprint] for s in sources])
    mixture = inputs.open_manifest(config, sources)
    if mixture is not None:
        mixture.keep_copy(workdir, write=jax.process_index() == 0, begun=begun(workdir))
    probes = open_probes(config, question)
    checkpoints = checkpoint.Checkpoints(
        workdir / "checkpoints",
        keep=config.checkpoint.keep,
        keep_best=config.checkpoint.keep_best if probes else 0,
        max_failures=config.checkpoint.max_failures,
    )

    # The state, made or restored in its shards, and the remaining steps.
    checkpoints.check_space(train_state.saved(setup.abstract))
    state, inherited = _start(setup, checkpoints, warm, sources)
    first = int(state["step"])
    last = max(first, min(config.steps, config.stop_after or config.steps))
    seen = [source.describe() for source in sources] + inherited.pop("sources")
    if jax.process_index() == 0:
        environment.write(workdir, seen)
    health = Health(workdir, max_nonfinite=config.max_nonfinite)
    log = _open_log(setup, workdir, state, health)
    log.say(
        f"{setup.name}: steps {first} to {last} of {config.steps}, "
        f"{setup.parameters / 1e6:.1f} M parameters, "
        f"{mesh.size} {jax.devices()[0].platform} device(s), workdir {workdir}"
    )
    for probe in probes:
        log.event(first, probe.chance())
    clips = inputs.pictured(config, sources, mixture, question)
    watch = Watch(setup.objective, mesh, seed=config.seed, clips=clips, folder=workdir / "images")
    meta = _meta(setup, seen, mixture) | inherited
    run = _Run(setup, probes, checkpoints, meta, watch, health, log)

    loader = inputs.training_batches(config, sources, first, last, mixture, workdir, question)
    with StopSignal() as stop, checkpoints, profile, loader as batches:
        state = _take_steps(run, state, range(first + 1, last + 1), batches, profile, stop)
    log.flush()
    done = int(state["step"])
    if done < config.steps:
        log.say(f"stopped and saved at step {done} of {config.steps}; the same command continues")
    else:
        following = after_training(str(workdir), question is not None, bool(probes))
        log.say(f"complete: {setup.name}, {workdir}/checkpoints/{done}\nnext: {following}")
    log.close()
    return done >= config.steps


def _open_workdir(config: ConfigDict, workdir: Path) -> None:
    """Holds a run that has begun to its config, and removes what an unsaved attempt left behind.

    Notes of an attempt that saved nothing would count as this run's. The other processes read their
    lists of bad records later, after `check_same`.
    """
    lead = jax.process_index() == 0
    if lead and not begun(workdir):
        for pattern in (environment.FILE, f"*{faults.FILE}", "nonfinite-step*.json"):
            for path in workdir.glob(pattern):
                path.unlink()
    check_workdir(config, workdir, write=lead)


def _start(
    setup: Setup, checkpoints: checkpoint.Checkpoints, warm: WarmStart, sources: list[Source]
) -> tuple[State, dict[str, Any]]:
    """The state of the newest checkpoint or a (warm) start, and what its weights have behind them.

    The latter are entries of a checkpoint's meta: the data that they had seen, how positions were
    resized, and the run that goes on here.
    """
    restored = checkpoints.restore(train_state.saved(setup.abstract))
    if restored is not None:
        state, meta = restored
        inputs.check_unchanged(setup.config, sources, meta)
        inherited = {key: meta.get(key) for key in ("resized", "parent")}
        return setup.with_teacher(state), {"sources": lineage.earlier(meta), **inherited}
    inherited = {"resized": warm.resized(), "parent": warm.parent()}
    state = warm.state(setup.init(), setup.abstract, setup.objective)
    behind = warm.sources() + teacher.sources(setup.config, setup.teacher)
    return state, {"sources": behind, **inherited}


def _open_log(setup: Setup, workdir: Path, state: State, health: Health) -> RunLog:
    config, first = setup.config, int(state["step"])
    return RunLog(
        workdir,
        name=setup.name,
        first=first,
        skipped=first - optim.updates(state["opt_state"]),
        total=config.steps,
        batch_size=config.batch_size,
        every=config.log_every,
        schedules={"lr": setup.adamw.lr, "weight_decay": setup.adamw.weight_decay},
        health=health,
    )


def _meta(setup: Setup, seen: list[dict[str, Any]], mixture: Manifest | None) -> dict[str, Any]:
    """The JSON values that every checkpoint of the run says of it."""
    config, objective = setup.config, setup.objective
    return {
        "name": setup.name,
        "objective": config.objective,
        "uses_target": objective.uses_target,
        "parts": objective.parts(),
        "sources": seen,
        "manifest": mixture.describe() if mixture else None,
        "config": json.loads(json.dumps(config.to_dict())),
        **architecture.meta_of(objective.encoder, fps=config.data.fps),
        **objective.meta(),
    }


class _Run(NamedTuple):
    """The parts of a run that its steps need."""

    setup: Setup
    probes: list
    checkpoints: checkpoint.Checkpoints
    meta: dict[str, Any]
    watch: Watch
    health: Health
    log: RunLog


def _take_steps(
    run: _Run, state: State, steps: range, batches: Batches, profile: Profile, stop: StopSignal
) -> State:
    """The state after the steps, or after fewer where a signal asks to stop."""
    setup, log, bad_records = run.setup, run.log, 0
    for step in steps:
        profile.before(step, state)
        began = time.perf_counter()
        ids = next(batches)
        log.clock.waited(time.perf_counter() - began)
        batch = sharding.put_batch(inputs.take_shown(ids), setup.mesh)
        state, values = setup.step(state, batch)
        log.add(step, values, ids)
        if len(batches.bad) > bad_records:
            bad_records = len(batches.bad)
            log.event(step, {"bad_records": float(bad_records)})
            run.health.note("data", f"{bad_records} bad record(s)")
        stopping = stop.reached(step)
        _look_and_save(run, step, state, batch, saving=stopping or step == steps[-1])
        if stopping:
            break
    return state


def _look_and_save(
    run: _Run, step: int, state: State, batch: dict[str, jax.Array], *, saving: bool
) -> None:
    """Probes, draws pictures and saves after a step, each where it is due."""
    config, log = run.setup.config, run.log
    probing = run.probes and _due(step, config.probe.every, config.steps)
    drawing = config.images.every and _due(step, config.images.every, config.steps)
    saving = saving or step % config.checkpoint.every == 0
    if not (probing or drawing or saving):
        return
    log.flush()  # raises for a state that broke, before it is used below
    began = time.perf_counter()
    score = None
    if probing:
        scores = run.watch.probe(state, run.probes)
        parts = (f"{key.removeprefix('probe/')} {value:.1%}" for key, value in scores.items())
        log.say(f"step {step}: {', '.join(parts)}")
        score = float(np.mean(list(scores.values())))
        log.event(step, scores)
    if drawing:
        log.event(step, run.health.collapse(step, run.watch.collapse(state, batch)))
        try:
            log.picture(step, run.watch.draw(state, step))
        except OSError as error:  # a picture is not worth the end of a run
            logging.warning("no picture of step %d: %s", step, error)
    if saving:
        run.checkpoints.save(step, train_state.saved(state), run.meta, score)
        if run.checkpoints.failed:
            log.event(step, {"failed_saves": float(run.checkpoints.failed)})
            run.health.note("saves", f"{run.checkpoints.failed} failed save(s)")
    log.clock.pause(time.perf_counter() - began)


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last
