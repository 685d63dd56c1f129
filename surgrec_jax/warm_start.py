"""What a run takes from the checkpoint of another: architecture, clip rate, parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from surgrec_jax import checkpoint, encoder, untrusted
from surgrec_jax.config import FILE, FROM_CHECKPOINT, ConfigError, begun, make_encoder, tuples
from surgrec_jax.data.clips import LABEL_FRAMES
from surgrec_jax.data.records import Source
from surgrec_jax.evaluation.clips import class_names
from surgrec_jax.evaluation.tasks import Task
from surgrec_jax.objectives import Question

State = dict[str, Any]


def complete(config: ConfigDict, workdir: Path | None = None) -> ConfigDict:
    """The config with the architecture and clip rate of `init_from`, where it asks for them.

    Args:
        workdir: where a run that goes on has them already: `init_from` may be gone by then.

    Raises:
        ConfigError: no checkpoint to take them from, or a value that contradicts it.
        CheckpointError: a checkpoint that cannot be read.
    """
    if config.model.preset != FROM_CHECKPOINT:
        return config
    if not config.init_from:
        raise ConfigError(
            f"model.preset={FROM_CHECKPOINT!r} and init_from is empty: give a workdir or a "
            "checkpoint in --config.init_from, or an architecture in --config.model.preset"
        )
    if workdir is not None and begun(workdir) and (workdir / FILE).exists():
        with untrusted.interpreting(workdir / FILE, error_type=ConfigError):
            kept = untrusted.read_json(workdir / FILE)
            values, fps = tuples(kept["model"]), kept["data"]["fps"]
            found = {k: v for k, v in values.items() if k != "preset"}
    else:
        meta = checkpoint.read_meta(checkpoint.find(config.init_from))
        found, fps = dataclasses.asdict(encoder.config_from_meta(meta)), meta.get("fps")
        height, width = found["image_size"]
        if height != width:
            raise ConfigError(f"{config.init_from} takes clips of {height} x {width}; squares only")
        found["image_size"] = height
    config = config.copy_and_resolve_references()
    for name, value in config.model.items():
        # How fresh weights are drawn is no property of those in a checkpoint.
        if name in found and name != "init" and value is not None and value != found[name]:
            raise ConfigError(
                f"model.{name}={value!r} contradicts {config.init_from}, which has "
                f"{found[name]!r}; give that, or leave it out"
            )
    with config.unlocked():
        config.model.update(found)
        if config.data.fps is None:
            config.data.fps = fps
    return config


def question(track: str, frame: str, sources: list[Source]) -> Question:
    """What `classify.track` and `classify.frame` ask of the training sources.

    Args:
        track: a label track, a per-video label, or a pattern ("instrument_*") of binary tracks.
        frame: of a clip, whose label is asked for; a label of whole videos is that of any.

    Raises:
        ConfigError: no such frame, or sources with other classes. ValueError: no such label.
    """
    if frame not in LABEL_FRAMES:
        raise ConfigError(f"classify.frame={frame!r}: choose from {LABEL_FRAMES}")
    asked = []
    for source in sources:
        metric = "mean_average_precision" if "*" in track else "balanced_accuracy"
        task, names = Task("fine-tuning", source.name, track, metric=metric), class_names(source)
        asked.append(Question(task.tracks(names), task.classes(names), frame))
    for source, other in zip(sources[1:], asked[1:], strict=True):
        if other != asked[0]:
            raise ConfigError(
                f"classify.track={track!r} has the classes {', '.join(other.classes)} in "
                f"{source.name} and {', '.join(asked[0].classes)} in {sources[0].name}; "
                "fine-tune on sources with the same classes"
            )
    return asked[0]


def take_encoder(state: State, abstract: State, config: ConfigDict) -> State:
    """A fresh state with the encoder of a checkpoint: the EMA target where it has one.

    Says what was taken, what stays new and what was left behind.

    Args:
        abstract: shapes and shardings of `state`.
        config: of the fine-tuning run, completed.

    Raises:
        CheckpointError: another architecture, or a checkpoint that cannot be read.
    """
    location = checkpoint.find(config.init_from)
    meta = checkpoint.read_meta(location)
    encoder.check_architecture(meta, make_encoder(config))
    tree = "target_params" if meta["uses_target"] else "params"
    wanted = {tree: {"encoder": abstract["params"]["encoder"]}}
    taken = checkpoint.restore_state(location, wanted)[tree]["encoder"]
    new = {**state["params"], "encoder": taken}
    state = {**state, "params": new}
    if "target_params" in state:
        state["target_params"] = jax.tree.map(jnp.copy, new)
    left = [name for name in checkpoint.parts(location, tree) if name != "encoder"]
    print(
        f"encoder of {location.path} ({meta['name']}, {tree}) taken; "
        f"new: {', '.join(n for n in new if n != 'encoder')}; "
        f"left behind: {', '.join(left) or 'nothing'}"
    )
    return state


def take_parts(state: State, abstract: State, config: ConfigDict) -> State:
    """A fresh state with every part that a checkpoint has of it: pretraining that goes on.

    Encoder, decoder or predictor, and the EMA target, which is a copy of the encoder where the
    checkpoint has none. Says what was taken, what stays new and what was left behind.

    Args:
        abstract: shapes and shardings of `state`.

    Raises:
        CheckpointError: another architecture, or a checkpoint that cannot be read.
    """
    location = checkpoint.find(config.init_from)
    meta = checkpoint.read_meta(location)
    encoder.check_architecture(meta, make_encoder(config))
    saved = checkpoint.parts(location, "params")
    parts = {name: part for name, part in abstract["params"].items() if name in saved}
    averaged = "target_params" in state and meta["uses_target"]
    wanted = {"params": parts} | ({"target_params": abstract["target_params"]} if averaged else {})
    taken = checkpoint.restore_state(location, wanted)
    new = {**state["params"], **taken["params"]}
    state = {**state, "params": new}
    if averaged:
        state["target_params"] = taken["target_params"]
    elif "target_params" in state:
        state["target_params"] = {n: jax.tree.map(jnp.copy, new[n]) for n in state["target_params"]}
    target = ["EMA target"] if averaged else []
    print(
        f"taken from {location.path} ({meta['name']}): {', '.join([*parts, *target])}; "
        f"new: {', '.join(n for n in new if n not in parts) or 'nothing'}; "
        f"left behind: {', '.join(n for n in saved if n not in parts) or 'nothing'}"
    )
    return state
