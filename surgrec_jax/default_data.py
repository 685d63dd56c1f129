"""The data of a command that names none: those of the checkpoint or the workdir that it names.

Phantom surgery is taken only where a command names neither, so that nobody's encoder is trained or
scored on drawings without having asked for it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from surgrec_jax.config.build import objective_kind
from surgrec_jax.config.workdir import FILE, begun, read_config
from surgrec_jax.evaluation.features.clips import class_names
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.evaluation.tasks.task_list import offered_tasks
from surgrec_jax.frozen import lineage
from surgrec_jax.inputs import open_named
from surgrec_jax.records.names import SourceName, parse_sources
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import ConfigError, UserError

PHANTOM = "phantom_surgery/tiny"


def say(text: str) -> None:
    """Prints a line once for all processes of a run."""
    if jax.process_index() == 0:
        print(text, flush=True)


def complete(
    config: ConfigDict, workdir: Path | None, path: str, meta: Callable[[], dict[str, Any]]
) -> ConfigDict:
    """Fills in `data.sources` where none are named, and says whose they are.

    Args:
        workdir: folder of the run, whose sources are taken if it goes on.
        path: the checkpoint of `init_from` or `continue_from`, "" for none.
        meta: reads what that checkpoint says of itself.

    Raises:
        ConfigError: the checkpoint does not say what it was trained on, or none of it has the label
            that is to be learnt.
    """
    if config.data.sources:
        return config
    if workdir is not None and begun(workdir) and (workdir / FILE).exists():
        with untrusted.interpreting(workdir / FILE, error_type=ConfigError):
            named, whose = str(read_config(workdir / FILE)["data"]["sources"]), str(workdir)
    elif path:
        named, whose = lineage.trained_on(meta()), path
        if not named:
            raise ConfigError(
                f"{path} does not say what data it was trained on: name yours by "
                "--config.data.sources=NAME"
            )
        if objective_kind(config).needs_labels:
            named = _with_label(config, named, path)
    else:
        named, whose = PHANTOM, ""
    say(
        f"data: {named}, as {whose} has them"
        if whose
        else f"data: {named} (drawn, not clinical), as none are named; yours are named by "
        "--config.data.sources=NAME"
    )
    config = config.copy_and_resolve_references()
    config.data.sources = named
    return config


def _with_label(config: ConfigDict, named: str, path: str) -> str:
    """Those of some sources that have the label to be learnt."""
    track, kept, others = config[config.objective].track, [], []
    for text, name in zip(named.split(","), parse_sources(named), strict=True):
        labels = class_names(open_named(name, config.data.data_dir))
        try:
            Task("fine-tuning", name.name, track).tracks(labels)
            kept.append(text.strip())
        except UserError:
            others.append(f"{name.name} has {', '.join(labels) or 'no labels'}")
    if not kept:
        raise ConfigError(
            f"no data that {path} was trained on have the label {track!r} ({'; '.join(others)}): "
            f"give --config.{config.objective}.track=LABEL, or name data by "
            "--config.data.sources=NAME"
        )
    return ",".join(kept)


def labelled(metas: Mapping[str, dict[str, Any]], data_dir: str | os.PathLike, key: str) -> str:
    """The sources with labels that some checkpoints were trained on, with commas.

    Args:
        metas: checkpoint -> what it says of itself.
        key: the config value that names sources, for the error.

    Raises:
        ConfigError: there is none; the message says why.
    """
    names = dict.fromkeys(
        title(name)
        for meta in metas.values()
        if (text := lineage.trained_on(meta))
        for name in parse_sources(text)
    )
    found, reasons = [], []
    for name in names:
        try:
            offered_tasks([name], data_dir)
            found.append(name)
        except UserError as error:
            reasons.append(str(error))
    if not found:
        paths = ", ".join(metas)
        why = "; ".join(reasons) or f"{paths} does not say what data it was trained on"
        raise ConfigError(f"no labelled data are named by --config.{key}=NAME, and {why}")
    say(f"data: {', '.join(found)}, as the checkpoint has them; others: --config.{key}=NAME")
    return ",".join(found)


def title(name: SourceName) -> str:
    """A source as name[/config]."""
    return name.name + (f"/{name.config}" if name.config else "")
