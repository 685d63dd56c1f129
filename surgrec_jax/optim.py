"""Schedules, AdamW with the recipes' weight-decay mask, gradient clipping and the EMA target."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from surgrec_jax.safety.errors import ConfigError

Schedule = Callable[[Any], Any]


def warmup_cosine(start: float, peak: float, end: float, warmup: int, total: int) -> Schedule:
    """Linear from start to peak over `warmup` steps, then half a cosine to `end` at `total`.

    Raises:
        ConfigError: a warm-up that is longer than the run.
    """
    _check_warmup(warmup, total)
    return optax.join_schedules(
        [
            optax.linear_schedule(start, peak, warmup),
            cosine(peak, end, total - warmup),
        ],
        [warmup],
    )


def warmup_constant(
    start: float, peak: float, end: float, warmup: int, total: int, cooldown: int = 0
) -> Schedule:
    """Linear to peak, constant, and linear to `end` over the last `cooldown` steps (V-JEPA 2).

    Raises:
        ConfigError: warm-up and cool-down that are longer than the run.
    """
    _check_warmup(warmup + cooldown, total)
    return optax.join_schedules(
        [
            optax.linear_schedule(start, peak, warmup),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, end, max(cooldown, 1)),
        ],
        [warmup, total - cooldown],
    )


def _check_warmup(steps: int, total: int) -> None:
    if steps > total:
        raise ConfigError(
            f"optim.warmup_steps and optim.cooldown_steps take {steps} of {total} steps; "
            "lower them or raise steps"
        )


def cosine(start: float, end: float, total: int) -> Schedule:
    """Half a cosine from start to end over `total` steps, then constant (either may be larger)."""

    def schedule(step):
        progress = jnp.clip(step / max(total, 1), 0.0, 1.0)
        return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))

    return schedule


@dataclasses.dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2019) as the recipes use it.

    Attributes:
        lr, weight_decay: functions of the step.
        decayed: names of the parameters (last key of their path) that decay.
        clip_norm: largest global gradient norm, 0 for none; per top-level module (encoder,
            predictor), as V-JEPA 1 clips, where `clip_per_module`.
        layer_decay: of the learning rate per layer of the encoder, see `layer_rates`.
    """

    lr: Schedule
    weight_decay: Schedule
    decayed: tuple[str, ...]
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 0.0
    clip_per_module: bool = False
    layer_decay: float = 1.0

    def build(self) -> optax.GradientTransformation:
        """The transformation; its state holds two float32 moments per parameter."""
        steps = []
        if self.clip_norm:
            steps.append(clip_by_norm(self.clip_norm, per_module=self.clip_per_module))
        steps += [
            optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps),
            optax.add_decayed_weights(self.weight_decay, mask=self.decay_mask),
            optax.scale_by_learning_rate(self.lr),
        ]
        if self.layer_decay != 1:
            steps.append(optax.stateless(self._scale_layers))
        return optax.chain(*steps)

    def _scale_layers(self, updates: Any, params: Any) -> Any:
        return jax.tree.map(jnp.multiply, updates, layer_rates(params, self.layer_decay))

    def decay_mask(self, params: Any) -> Any:
        """A tree of bool: True where weight decay applies."""
        return jax.tree_util.tree_map_with_path(
            lambda path, _: path[-1].key in self.decayed, params
        )


def updates(opt_state: Any) -> int:
    """How many updates an optimizer has made: where its schedules stand. A step that was skipped
    because it was not finite is none."""
    (_, count), *_ = optax.tree_utils.tree_get_all_with_path(opt_state, "count")
    return int(count)


def layer_rates(params: Any, decay: float) -> Any:
    """Factors of the learning rate, per parameter: small where an encoder sees pixels.

    decay ** (depth + 1) for the embedding, decay ** (depth - i) for block i from 0, 1 for the final
    norm and all that is not the encoder (Bao et al. 2022, BEiT, as VideoMAE fine-tunes).
    """

    def one(path, x):
        keys = [key.key for key in path]
        if keys[0] != "encoder" or keys[1] == "norm":
            return jnp.ones((1,) * x.ndim)
        if "layers" in keys:
            rates = decay ** jnp.arange(len(x), 0, -1.0)
            return rates.reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.full((1,) * x.ndim, decay ** (depth + 1))

    blocks = jax.tree_util.tree_leaves_with_path(params["encoder"])
    depth = next(len(x) for path, x in blocks if "layers" in [key.key for key in path])
    return jax.tree_util.tree_map_with_path(one, params)


def clip_by_norm(max_norm: float, *, per_module: bool) -> optax.GradientTransformation:
    """Scales gradients down to a norm, of the whole tree or of each top-level module by itself."""
    whole = optax.clip_by_global_norm(max_norm)
    if not per_module:
        return whole

    def update(grads, state, params=None):
        del params
        return {name: whole.update(tree, state)[0] for name, tree in grads.items()}, state

    return optax.GradientTransformation(whole.init, update)


def ema(target: Any, params: Any, momentum: jax.Array) -> Any:
    """momentum * target + (1 - momentum) * params, in float32.

    1 - momentum times a difference is below bfloat16's resolution, so EMA weights stay float32.
    """
    return jax.tree.map(lambda t, p: t + (1 - momentum) * (p - t), target, params)
