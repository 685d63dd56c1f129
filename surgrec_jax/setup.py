"""Objective, optimizer, state and step of a config, made in one place for all that take steps.

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

from surgrec_jax import optim, sharding, teacher, train_state
from surgrec_jax.config.build import build_objective, build_optimizer, make_compute
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.objectives import Objective, Question
from surgrec_jax.train_state import State


def make_mesh(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes the mesh of `config.mesh`, by default over all devices.

    Raises:
        ConfigError: the devices or the batch do not divide over it.
    """
    mesh = sharding.make_mesh(config.mesh.fsdp, devices)
    sharding.check_batch_size(config.batch_size, mesh, config.accum_steps)
    return mesh


@dataclasses.dataclass(frozen=True)
class Setup:
    """The parts of a run, see `build_setup`; state and step are traced at their first use.

    `config` has the fingerprint of the teacher, where there is one.
    That first use must be under `jax.set_mesh(mesh)`.
    """

    config: ConfigDict
    mesh: Mesh
    objective: Objective
    adamw: optim.AdamW
    tx: optax.GradientTransformation
    momentum: optim.Schedule | None
    teacher: Encoder | None = None

    @property
    def name(self) -> str:
        """The run's name in logs and checkpoints."""
        return f"{self.config.objective}-{self.config.name}"

    @functools.cached_property
    def _sharded(self) -> tuple[State, Callable[[], State]]:
        init = train_state.make_init(self.objective, self.tx, self.config.seed)
        abstract, init = train_state.shard_state(init, self.mesh)
        if self.teacher is not None:
            part = {"teacher": {"encoder": self.teacher.params}}
            abstract |= train_state.abstract_state(part, self.mesh)
        return abstract, init

    @property
    def abstract(self) -> State:
        """Shapes and shardings of the state."""
        return self._sharded[0]

    def init(self) -> State:
        """Makes the state of step 0 in its shards."""
        return self.with_teacher(self._sharded[1]())

    def with_teacher(self, state: State) -> State:
        """Adds the teacher, where the run has one, to a state from a checkpoint, which has none."""
        if self.teacher is None:
            return state
        placed = teacher.place(self.teacher.params, self.abstract["teacher"]["encoder"])
        return state | {"teacher": {"encoder": placed}}

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
        """Number of trained parameters."""
        return sum(x.size for x in jax.tree.leaves(self.abstract["params"]))

    @property
    def clips_shape(self) -> tuple[int, ...]:
        """Shape [B, T, H, W, 3] of a step's uint8 clips."""
        encoder = self.objective.encoder
        return self.config.batch_size, encoder.num_frames, *encoder.image_size, 3


def build_setup(config: ConfigDict, mesh: Mesh, question: Question | None = None) -> Setup:
    """Builds the objective, optimizer and schedules of a config.

    Args:
        mesh: the mesh of `make_mesh`.
        question: the labels to learn, for an objective that needs them.

    Raises:
        ConfigError: values that are not possible, or not on these devices.
        CheckpointError: a teacher that cannot be read.
    """
    with jax.set_mesh(mesh):
        compute = make_compute(config)
    # The objective is built outside the mesh: checking masks draws some, and the devices of a
    # compile report are not here to draw them.
    config, frozen = teacher.open_teacher(config)
    like = None if frozen is None else frozen.config
    objective = build_objective(config, compute, question, like)
    momentum = objective.target_momentum(config.optim, config.steps)
    adamw = build_optimizer(config, objective.decayed)
    return Setup(config, mesh, objective, adamw, adamw.build(), momentum, frozen)
