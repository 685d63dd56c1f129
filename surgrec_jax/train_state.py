"""The state of a run as one plain pytree, its sharded initialisation, and the compiled step.

A state is {"step": int32, "params": ..., "opt_state": ..., "target_params": ... (JEPA),
"teacher": ... (a frozen target)}.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from surgrec_jax import optim, sharding
from surgrec_jax.objectives import Objective
from surgrec_jax.objectives.base import WholeBatchObjective

State = dict[str, Any]
Metrics = dict[str, jax.Array]


def make_init(
    objective: Objective, tx: optax.GradientTransformation, seed: int
) -> Callable[[], State]:
    """Returns a function that makes the state of step 0; `shard_state` makes it in place."""

    def init() -> State:
        params = objective.init(jax.random.fold_in(jax.random.key(seed), _INIT_STREAM))
        state = {"step": jnp.zeros((), jnp.int32), "params": params, "opt_state": tx.init(params)}
        if objective.uses_target:
            state["target_params"] = jax.tree.map(jnp.copy, objective.target_of(params))
        return state

    return init


# Streams of randomness under one seed; the data have streams of their own (data.sampling).
_INIT_STREAM, _MASK_STREAM = 0, 1


def clip_keys(seed: int, step: jax.Array, batch_size: int) -> jax.Array:
    """Keys [B] of a step's clips: a function of (seed, step, position in the global batch)."""
    key = jax.random.fold_in(jax.random.key(seed), _MASK_STREAM)
    return jax.random.split(jax.random.fold_in(key, step), batch_size)


def make_train_step(
    objective: Objective,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    momentum: optim.Schedule | None = None,
    accum_steps: int = 1,
) -> Callable[[State, dict[str, jax.Array]], tuple[State, Metrics]]:
    """Makes the step (state, batch) -> (state, metrics), to be jitted with the state donated.

    A step whose loss or gradient is not finite changes nothing but the step count and reports
    `finite` = 0: the trainer decides what follows, and no checkpoint can hold the damage.

    Args:
        momentum: momentum of the EMA target, as a function of the step.
        accum_steps: number of microbatches (`sharding.microbatches`) whose gradients are averaged,
            or, where a loss compares clips, whose embeddings are made one after another.
    """
    if objective.uses_target and momentum is None:
        raise ValueError(f"objective {objective.name!r} has an EMA target and needs its momentum")

    compares = isinstance(objective, WholeBatchObjective)
    loss_fn = objective.loss
    if compares and accum_steps > 1:
        loss_fn = _compare_in_parts(objective, accum_steps)

    def gradient(params, batch, keys, target_params):
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, metrics), grads = grad_fn(params, batch, keys, target_params)
        return grads, {"loss": loss, **metrics}

    def update(old: State, grads: Any, m: jax.Array | None) -> State:
        updates, opt_state = tx.update(grads, old["opt_state"], old["params"])
        new = {"params": optax.apply_updates(old["params"], updates), "opt_state": opt_state}
        if objective.uses_target:
            new["target_params"] = optim.ema(
                old["target_params"], objective.target_of(new["params"]), m
            )
        return new

    def step(state: State, batch: dict[str, jax.Array]) -> tuple[State, Metrics]:
        params, target = state["params"], target_of_loss(state)
        keys = clip_keys(seed, state["step"], len(batch["video"]))
        batch = objective.prepare(batch, keys, state["step"])
        if accum_steps == 1 or compares:
            grads, metrics = gradient(params, batch, keys, target)
        else:
            grads, metrics = _accumulate(gradient, params, batch, keys, target, accum_steps)
        metrics["grad_norm"] = optax.tree.norm(grads)
        old = {k: v for k, v in saved(state).items() if k != "step"}
        m = momentum(state["step"]) if objective.uses_target else None
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        # A branch needs no second copy of the state, as selecting every array would.
        new = jax.lax.cond(finite, update, lambda old, *_: old, old, grads, m)
        if objective.uses_target:
            metrics["ema_momentum"] = m
        new |= {k: v for k, v in state.items() if k == "teacher"} | {"step": state["step"] + 1}
        return new, {k: jnp.float32(v) for k, v in metrics.items()} | {"finite": finite}

    return step


def _accumulate(gradient, params, batch, keys, target, accum_steps: int):
    """Mean gradient and metrics over microbatches, one after another."""

    def split(x):
        return sharding.microbatches(x, accum_steps)

    def body(total, inputs):
        return jax.tree.map(jnp.add, total, gradient(params, *inputs, target)), None

    inputs = jax.tree.map(split, batch), split(keys)
    first = jax.tree.map(lambda x: x[0], inputs)
    shapes = jax.eval_shape(lambda i: gradient(params, *i, target), first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(body, zeros, inputs)
    return jax.tree.map(lambda x: x / accum_steps, total)


def _compare_in_parts(objective: WholeBatchObjective, accum_steps: int) -> Callable:
    """The objective's loss of the whole batch, with the activations of one microbatch at a time.

    The backward pass embeds each microbatch again (`jax.checkpoint`), with the gradient that the
    whole batch's loss has for it (Gao et al. 2021, "GradCache").
    """

    def loss(params, batch, keys, target_params):
        del target_params

        def split(x):
            return sharding.microbatches(x, accum_steps)

        embed = jax.checkpoint(lambda part: objective.embed(params, *part))
        parts = jax.lax.map(embed, (jax.tree.map(split, batch), split(keys)))
        return objective.compare(params, sharding.whole_batch(parts), keys)

    return loss


def shard_state(init: Callable[[], State], mesh: Mesh) -> tuple[State, Callable[[], State]]:
    """The abstract state with its shardings, and `init` compiled to make it in place."""
    abstract = abstract_state(jax.eval_shape(init), mesh)
    return abstract, jax.jit(init, out_shardings=jax.tree.map(lambda s: s.sharding, abstract))


def abstract_state(state: State, mesh: Mesh) -> State:
    """Shapes and dtypes of (a part of) a state, with its shardings on a mesh."""
    return jax.tree.map(
        lambda x, sh: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sh),
        state,
        sharding.state_shardings(state, mesh),
    )


def jit_train_step(step: Callable, abstract_state: State, mesh: Mesh) -> Callable:
    """The step compiled for a mesh: state donated and kept where it is, metrics everywhere."""
    shardings = jax.tree.map(lambda s: s.sharding, abstract_state)
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, sharding.replicated(mesh)))


def saved(state: State) -> State:
    """What checkpoints hold of a state: all but a frozen teacher, which is another's."""
    return {name: part for name, part in state.items() if name != "teacher"}


def target_of_loss(state: State) -> Any:
    """What `Objective.loss` takes as its target: the frozen teacher, the EMA target, or None."""
    return state.get("teacher", state.get("target_params"))


def encoder_params(state: State) -> Any:
    """The encoder to evaluate and export: the EMA target where there is one, as V-JEPA does."""
    return state.get("target_params", state["params"])["encoder"]
