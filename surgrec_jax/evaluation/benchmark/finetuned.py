"""The benchmark's protocol `fine-tune`: every encoder trained on every task, by the trainer.

A training run is the command a user would give (`python -m surgrec_jax.main
--config=configs/finetune.py ...`), in a workdir of its own; one that was stopped goes on.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys

from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.frozen.classifier import load_fitting
from surgrec_jax.safety.errors import UserError


def command(one: Candidate, task: Task, config, workdir: pathlib.Path) -> list[str]:
    """The training run of an encoder on a task."""
    train, validation = (f"{task.source}@{split}" for split in task.splits[:2])
    values = {
        "init_from": one.checkpoint,
        "data.data_dir": config.data_dir,
        "data.sources": train,
        "probe.sources": validation.partition("@")[0],
        "classify.track": task.track,
        "classify.frame": task.frame,
    }
    overrides = [f"--config.{name}={value}" for name, value in values.items()]
    main = [sys.executable, "-m", "surgrec_jax.main", f"--config={config.finetune}"]
    return [*main, f"--workdir={workdir}", *overrides]


def fine_tune(one: Candidate, task: Task, config, out: pathlib.Path) -> Candidate:
    """The encoder trained on a task, with its classifier; trained now unless that is done.

    Raises:
        UserError: the training run failed; the sentence has its last line, and the command.
    """
    if one.classifier is not None:
        return one
    words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{one.name}--{task.source}--{task.name}")
    workdir = out / "finetune" / f"{words}-{one.encoder.fingerprint}"
    arguments = command(one, task, config, workdir)
    done = subprocess.run(arguments, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        *_, last_line = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(
            f"fine-tuning ended with code {done.returncode}: {last_line} "
            f"(command: {' '.join(arguments[1:])})"
        )
    encoder, classifier = load_fitting(workdir)
    return dataclasses.replace(one, encoder=encoder, classifier=classifier, checkpoint=str(workdir))
