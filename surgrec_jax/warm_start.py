"""What a run takes from the checkpoint in `init_from`: architecture and clip rate, the data that
its weights have seen, and the weights."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from surgrec_jax import checkpoint
from surgrec_jax.config import FILE, FROM_CHECKPOINT, ConfigError, begun, tuples
from surgrec_jax.frozen import encoder, lineage
from surgrec_jax.objectives import Objective
from surgrec_jax.safety import untrusted

State = dict[str, Any]
Sources = list[dict[str, Any]]


class WarmStart:
    """The checkpoint of `config.init_from`, found and read once, when it is first needed: a run
    that goes on needs it no more, and it may be gone by then.

    Every method raises CheckpointError where it cannot be read.
    """

    def __init__(self, config: ConfigDict):
        self._config, self._path = config, config.init_from
        self._gives_weights = bool(config.init_from) and config.get("init_weights", True)

    @functools.cached_property
    def _location(self) -> checkpoint.Location:
        return checkpoint.find(self._path)

    @functools.cached_property
    def _meta(self) -> dict[str, Any]:
        return checkpoint.read_meta(self._location)

    def complete(self, workdir: Path | None = None) -> ConfigDict:
        """The config with the checkpoint's architecture and clip rate, where it asks for them.

        Args:
            workdir: where a run that goes on has them already.

        Raises:
            ConfigError: no checkpoint to take them from, or a value that contradicts it.
        """
        config = self._config
        if config.model.preset != FROM_CHECKPOINT:
            return config
        if not self._path:
            raise ConfigError(
                f"model.preset={FROM_CHECKPOINT!r} and init_from is empty: give a workdir or a "
                "checkpoint in --config.init_from, or an architecture in --config.model.preset"
            )
        found, fps = self._architecture(workdir)
        config = config.copy_and_resolve_references()
        for name, value in config.model.items():
            # How fresh weights are drawn is no property of those in a checkpoint.
            if name in found and name != "init" and value is not None and value != found[name]:
                raise ConfigError(
                    f"model.{name}={value!r} contradicts {self._path}, which has "
                    f"{found[name]!r}; give that, or leave it out"
                )
        with config.unlocked():
            config.model.update(found)
            if config.data.fps is None:
                config.data.fps = fps
        return config

    def _architecture(self, workdir: Path | None) -> tuple[dict[str, Any], float | None]:
        """Fields of `config.model`, and frames per second."""
        if workdir is not None and begun(workdir) and (workdir / FILE).exists():
            with untrusted.interpreting(workdir / FILE, error_type=ConfigError):
                kept = untrusted.read_json(workdir / FILE)
                values, fps = tuples(kept["model"]), kept["data"]["fps"]
                return {k: v for k, v in values.items() if k != "preset"}, fps
        found = dataclasses.asdict(encoder.config_from_meta(self._meta))
        height, width = found["image_size"]
        if height != width:
            raise ConfigError(f"{self._path} takes clips of {height} x {width}; squares only")
        return found | {"image_size": height}, self._meta.get("fps")

    def sources(self) -> Sources:
        """The data behind the weights that a run begins with, see `lineage`; none where it begins
        afresh."""
        if not self._gives_weights:
            return []
        through = str(self._path)
        if not lineage.complete(self._meta):
            return [{"name": self._meta["name"], "through": through}]
        return [{"through": through, **entry} for entry in self._meta["sources"]]

    def weights(self, fresh: State, abstract: State, objective: Objective) -> State:
        """A fresh state with the checkpoint's parameters; says what was taken, what stays new and
        what was left behind.

        Pretraining goes on with every part that the checkpoint has of it, and with its EMA target.
        An objective that needs labels takes the encoder that is evaluated: the EMA target where
        there is one. A target that the checkpoint lacks begins as a copy.

        Args:
            abstract: shapes and shardings of `fresh`.

        Raises:
            CheckpointError: another architecture.
        """
        if not self._gives_weights:
            return fresh
        location, meta = self._location, self._meta
        encoder.check_architecture(meta, objective.encoder)
        alone, averaged = objective.needs_labels, meta["uses_target"]
        tree = "target_params" if alone and averaged else "params"
        saved = checkpoint.parts(location, tree)
        names = [n for n in abstract["params"] if (n == "encoder" if alone else n in saved)]
        wanted = {tree: {name: abstract["params"][name] for name in names}}
        target = [] if alone or not averaged or "target_params" not in fresh else ["EMA target"]
        if target:
            wanted["target_params"] = abstract["target_params"]
        taken = checkpoint.restore_state(location, wanted)
        new = {**fresh["params"], **taken[tree]}
        state = {**fresh, "params": new}
        if target:
            state["target_params"] = taken["target_params"]
        elif "target_params" in state:
            copied = {name: new[name] for name in state["target_params"]}
            state["target_params"] = jax.tree.map(jnp.copy, copied)
        what = (
            f"encoder of {location.path} ({meta['name']}, {tree}) taken"
            if alone
            else f"taken from {location.path} ({meta['name']}): {', '.join([*names, *target])}"
        )
        print(
            f"{what}; new: {', '.join(n for n in new if n not in names) or 'nothing'}; "
            f"left behind: {', '.join(n for n in saved if n not in names) or 'nothing'}"
        )
        return state
