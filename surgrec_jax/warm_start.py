"""A run's start from another checkpoint (`init_from`): architecture, data lineage and weights."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from surgrec_jax import checkpoint, default_data, train_state
from surgrec_jax.checkpoint import checksums
from surgrec_jax.config.build import FROM_CHECKPOINT
from surgrec_jax.config.values import tuples
from surgrec_jax.config.workdir import FILE, begun
from surgrec_jax.frozen import architecture, lineage
from surgrec_jax.models import resize
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import Objective
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.train_state import State

Sources = list[dict[str, Any]]


class WarmStart:
    """The checkpoint of `init_from` or `continue_from`, located and read at its first use.

    A run takes parameters from the former. Of the latter it takes the whole state, the optimizer
    and the step too, and goes on as a new run with other data, steps or rates.

    A run that goes on needs it no more, and it may be gone by then. Every method raises
    CheckpointError where it cannot be read.
    """

    def __init__(self, config: ConfigDict):
        self._config, self._continues = config, bool(config.get("continue_from"))
        if self._continues and (config.init_from or config.get("init_resize")):
            raise ConfigError(
                f"continue_from={config.continue_from} takes the whole state of a run: leave out "
                "init_from and init_resize"
            )
        self._path = config.get("continue_from") or config.init_from
        self._gives_weights = bool(self._path) and config.get("init_weights", True)

    @functools.cached_property
    def _location(self) -> checkpoint.Location:
        return checkpoint.find(self._path)

    @functools.cached_property
    def _meta(self) -> dict[str, Any]:
        return checkpoint.read_meta(self._location)

    def complete(self, workdir: Path | None = None) -> ConfigDict:
        """Fills in the checkpoint's architecture, clip rate and data, where the config has none.

        Args:
            workdir: folder of the run, which has them already if it goes on.

        Raises:
            ConfigError: no checkpoint is named, a value contradicts it, or it has no such data.
        """
        config = self._with_architecture(workdir)
        return default_data.complete(config, workdir, self._path, lambda: self._meta)

    def _with_architecture(self, workdir: Path | None) -> ConfigDict:
        config = self._config
        if config.model.preset != FROM_CHECKPOINT:
            if config.get("init_resize"):
                raise ConfigError(
                    f"init_resize={config.init_resize!r} resizes the encoder of a checkpoint: give "
                    f"--config.model.preset={FROM_CHECKPOINT} and --config.init_from"
                )
            return config
        if not self._path:
            raise ConfigError(
                f"model.preset={FROM_CHECKPOINT!r} and init_from is empty: give a workdir or a "
                "checkpoint in --config.init_from, or an architecture in --config.model.preset"
            )
        fields, fps = self._architecture(workdir)
        config = config.copy_and_resolve_references()
        for name, value in config.model.items():
            # `init` says how fresh weights are drawn, which a checkpoint's weights no longer show.
            if name in fields and name != "init" and value is not None and value != fields[name]:
                clip = name in ("num_frames", "image_size")
                raise ConfigError(
                    f"model.{name}={value!r} contradicts {self._path}, which has "
                    f"{fields[name]!r}; give that, or leave it out"
                    f"{', or resize positions by --config.init_resize=interpolate' * clip}"
                )
        with config.unlocked():
            config.model.update(fields)
            if config.data.fps is None:
                config.data.fps = fps
        return config

    def _architecture(self, workdir: Path | None) -> tuple[dict[str, Any], float | None]:
        """The fields of `config.model`, and frames per second."""
        if workdir is not None and begun(workdir) and (workdir / FILE).exists():
            with untrusted.interpreting(workdir / FILE, error_type=ConfigError):
                config = untrusted.read_json(workdir / FILE)
                values, fps = tuples(config["model"]), config["data"]["fps"]
                return {k: v for k, v in values.items() if k != "preset"}, fps
        fields = dataclasses.asdict(self._encoder)
        height, width = fields["image_size"]
        if height != width:
            raise ConfigError(f"{self._path} takes clips of {height} x {width}; squares only")
        return fields | {"image_size": height}, self._meta.get("fps")

    @functools.cached_property
    def _saved(self) -> ViTConfig:
        """The encoder as the checkpoint has it."""
        return architecture.config_from_meta(self._meta)

    @functools.cached_property
    def _encoder(self) -> ViTConfig:
        """The encoder as the run takes it: for the clip of `config.model` under `init_resize`."""
        return self._resize()[0]

    def _resize(self) -> tuple[ViTConfig, str | None]:
        """The encoder that the run takes, and how its positions are resized; None for not at all.

        Raises:
            ConfigError: as `resize.resized`.
        """
        saved, method = self._saved, self._config.get("init_resize", "")
        side, frames = self._config.model.get("image_size"), self._config.model.get("num_frames")
        clip = (frames or saved.num_frames, *((side, side) if side else saved.image_size))
        if not method or clip == (saved.num_frames, *saved.image_size):
            return saved, None
        return resize.resized(saved, clip, method, self._family)

    @property
    def _family(self) -> str | None:
        """The family of the file that the checkpoint was imported from, None for a trained one."""
        return (self._meta.get("import") or {}).get("family")

    def resized(self) -> dict[str, Any] | None:
        """The record of resized positions for a checkpoint's meta; None where they are kept.

        It holds the clip that the encoder was trained on, [frames, height, width], and the method.
        """
        method = self._resize()[1] if self._gives_weights else None
        native = self._gives_weights and [self._saved.num_frames, *self._saved.image_size]
        return {"from": native, "method": method} if method else None

    def sources(self) -> Sources:
        """The data behind the weights that a run begins with (`lineage`); none of fresh weights."""
        if not self._gives_weights:
            return []
        return lineage.behind(self._meta, str(self._path))

    def parent(self) -> dict[str, Any] | None:
        """The run that goes on in this one, for a checkpoint's meta; None where none does."""
        if not self._continues:
            return None
        location = self._location
        return {"path": str(location.path), "name": self._meta["name"], "step": location.step}

    def state(self, fresh: State, abstract: State, objective: Objective) -> State:
        """The state that a run begins with: fresh, with parameters taken, or wholly taken.

        Raises:
            ConfigError: the run to be continued has as many steps already.
            CheckpointError: see `weights`.
        """
        if not self._continues:
            return self.weights(fresh, abstract, objective)
        architecture.check_architecture(self._meta, objective.encoder)
        state = fresh | checkpoint.restore_state(self._location, train_state.saved(abstract))
        step, steps = int(state["step"]), self._config.steps
        if step >= steps:
            raise ConfigError(
                f"steps={steps}: {self._path} is at step {step} already; give more --config.steps"
            )
        print(f"goes on from {self._location.path} ({self._meta['name']}), after its step {step}")
        return state

    def weights(self, fresh: State, abstract: State, objective: Objective) -> State:
        """Puts the checkpoint's parameters into a fresh state, and prints which were taken.

        Pretraining goes on with every part that the checkpoint has of it, and with its EMA target.
        An objective that needs labels takes the encoder that is evaluated: the EMA target where
        there is one. A target that the checkpoint lacks begins as a copy.

        Args:
            abstract: shapes and shardings of `fresh`.

        Raises:
            CheckpointError: another architecture, or another number of mask tokens.
        """
        if not self._gives_weights:
            return fresh
        location, meta = self._location, self._meta
        architecture.check_architecture(meta, objective.encoder, self._encoder)
        alone, averaged = objective.needs_labels, meta["uses_target"]
        tree = "target_params" if alone and averaged else "params"
        saved = checkpoint.parts(location, tree)
        names = [n for n in abstract["params"] if (n == "encoder" if alone else n in saved)]
        subtree = {tree: {name: abstract["params"][name] for name in names}}
        target = [] if alone or not averaged or "target_params" not in fresh else ["EMA target"]
        if target:
            held = checkpoint.parts(location, "target_params")
            subtree["target_params"] = {
                name: part for name, part in abstract["target_params"].items() if name in held
            }
        self._check_predictor(subtree)
        restored = self._restore(subtree)
        new = {**fresh["params"], **restored[tree]}
        state = {**fresh, "params": new}
        if "target_params" in state:
            averages = restored.get("target_params", {})
            copied = {name: new[name] for name in state["target_params"] if name not in averages}
            state["target_params"] = jax.tree.map(jnp.copy, copied) | averages
        what = (
            f"encoder of {location.path} ({meta['name']}, {tree}) taken"
            if alone
            else f"taken from {location.path} ({meta['name']}): {', '.join([*names, *target])}"
        )
        print(
            f"{what}; new: {', '.join(n for n in new if n not in names) or 'nothing'}; "
            f"left behind: {', '.join(n for n in saved if n not in names) or 'nothing'}"
        )
        if record := self.resized():
            clip = (self._encoder.num_frames, *self._encoder.image_size)
            was, now = (" x ".join(map(str, sizes)) for sizes in (record["from"], clip))
            print(f"positions resized from {was} to {now}: {record['method']}")
        return state

    def _check_predictor(self, wanted: State) -> None:
        """Raises CheckpointError where the predictor is of other parts or masks than the run's."""
        arrays = checksums.arrays_of(self._location)
        have = arrays.get("params/predictor/mask_tokens")
        predictor = wanted.get("params", {}).get("predictor")
        if have is None or predictor is None:
            return
        names = {key.split("/")[2] for key in arrays if key.startswith("params/predictor/")}
        if names != set(predictor):
            raise checkpoint.CheckpointError(
                f"the predictor of {self._path} is of another kind (it alone or the run's alone "
                f"has {', '.join(sorted(names ^ set(predictor)))}): set jepa.levels and "
                "jepa.visible_weight as it was trained, V-JEPA 2.1's as configs/jepa.py:v2_1 does"
            )
        tokens, kinds = have[1][0], predictor["mask_tokens"].shape[0]
        if tokens != kinds:
            again = ",".join(("1" if self._family == "vjepa21" else "0") * kinds)
            raise checkpoint.CheckpointError(
                f"the predictor of {self._path} has {tokens} mask tokens, and jepa.masks has "
                f"{kinds} kinds of masks: give {tokens} kinds, or import the file again and choose "
                f"one token for each kind, e.g. by --mask_tokens={again}"
            )

    def _restore(self, wanted: State) -> State:
        """The checkpoint's parameters, with learned position tables of the run's clip."""
        saved, larger = self._saved, self._encoder
        if saved.position != "learned_2d" or saved.grid[1:] == larger.grid[1:]:
            return checkpoint.restore_state(self._location, wanted)
        tables = {tree: parts["encoder"]["position"] for tree, parts in wanted.items()}
        for tree, table in tables.items():
            shape = (1 + saved.grid[1] * saved.grid[2], saved.width)
            native = jax.ShapeDtypeStruct(shape, table.dtype, sharding=_whole(table.sharding))
            part = {**wanted[tree]["encoder"], "position": native}
            wanted = {**wanted, tree: {**wanted[tree], "encoder": part}}
        taken = checkpoint.restore_state(self._location, wanted)
        for tree, table in tables.items():
            params = resize.resize_params(taken[tree]["encoder"], saved, larger, self._family)
            params["position"] = jax.device_put(params["position"], table.sharding)
            taken[tree]["encoder"] = params
        return taken


def _whole(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """A sharding over the same devices, each of which holds all of an array."""
    if isinstance(sharding, jax.sharding.NamedSharding):
        return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
    return sharding
