"""What a config trains on a mesh, made in one place for all that take its steps.

Training, replay, the step's benchmark and the compile report differ in what they do with the
objective, the optimizer, the state and the step, never in how these are made.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from surgrec_jax import config as cfg
from surgrec_jax import optim, sharding, train_state
from surgrec_jax.objectives import Objective, Question
from surgrec_jax.train_state import State


def make_mesh(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `config.mesh`, over all devices where none are given.

    Raises:
        ConfigError: the devices or the batch do not divide over it.
    """
    mesh = sharding.make_mesh(config.mesh.fsdp, devices)
    sharding.check_batch_size(config.batch_size, mesh, config.accum_steps)
    return mesh


@dataclasses.dataclass(frozen=True)
class Setup:
    """What `build_setup` makes. State and step are traced when they are first asked for, which is
    to be done under `jax.set_mesh(mesh)`."""

    config: ConfigDict
    mesh: Mesh
    objective: Objective
    adamw: optim.AdamW
    tx: optax.GradientTransformation
    momentum: optim.Schedule | None

    @property
    def name(self) -> str:
        """What logs and checkpoints call the run."""
        return f"{self.config.objective}-{self.config.name}"

    @functools.cached_property
    def _sharded(self) -> tuple[State, Callable[[], State]]:
        init = train_state.make_init(self.objective, self.tx, self.config.seed)
        return train_state.shard_state(init, self.mesh)

    @property
    def abstract(self) -> State:
        """Shapes and shardings of the state."""
        return self._sharded[0]

    @property
    def init(self) -> Callable[[], State]:
        """Makes the state of step 0 in its shards."""
        return self._sharded[1]

    @functools.cached_property
    def step(self) -> Callable:
        """The step (state, batch) -> (state, metrics), compiled at its first call."""
        step = train_state.make_train_step(
            self.objective,
            self.tx,
            seed=self.config.seed,
            momentum=self.momentum,
            accum_steps=self.config.accum_steps,
        )
        return train_state.jit_train_step(step, self.abstract, self.mesh)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(x.size for x in jax.tree.leaves(self.abstract["params"]))

    @property
    def clips_shape(self) -> tuple[int, ...]:
        """[B, T, H, W, 3] of a step's uint8 clips."""
        encoder = self.objective.encoder
        return self.config.batch_size, encoder.num_frames, *encoder.image_size, 3


def build_setup(config: ConfigDict, mesh: Mesh, question: Question | None = None) -> Setup:
    """The objective, optimizer and schedules of a config.

    Args:
        mesh: of `make_mesh`.
        question: what is asked of the labels, for an objective that needs them.

    Raises:
        ConfigError: values that are not possible, or not on these devices.
    """
    with jax.set_mesh(mesh):
        compute = cfg.make_compute(config)
    # Not under the mesh: checking masks draws some, and the devices of a compile report are not
    # here to draw them.
    objective = cfg.build_objective(config, compute, question)
    momentum = objective.target_momentum(config.optim, config.steps)
    adamw = cfg.build_optimizer(config, objective.decayed)
    return Setup(config, mesh, objective, adamw, adamw.build(), momentum)
