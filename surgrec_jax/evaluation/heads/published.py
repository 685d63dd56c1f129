"""The head of the published SurgRec protocol (`v1`), on cached features of a frozen encoder.

Published: layer norm and a linear layer on the mean token, 50 epochs, AdamW with weight decay
0.05, cosine rate with 5 warm-up epochs, and the epoch with the best accuracy on the validation file
(often the test file). The rate is not published; here it is VideoMAE's fine-tuning default, 1e-3 x
batch / 256, and so is the label smoothing of 0.1. Every epoch sees one clip of each video, drawn at
random: there any stretch and crop of it, here one of its cached views.

The augmentation of pixels (mixup, RandAugment, erasing) cannot be done on cached features.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from surgrec_jax.evaluation.heads.grid import softmax
from surgrec_jax.safety.errors import ConfigError, DataError

EPOCHS, WARMUP_EPOCHS, BATCH = 50, 5, 64
RATE, WEIGHT_DECAY, SMOOTHING = 1e-3 * BATCH / 256, 0.05, 0.1


def train(train, targets, weights, queries, multi_label: bool, seed: int):
    """A head per epoch, for `run_head` to choose from; see `heads.Head`.

    The last epoch stands first, so that of equally good epochs the earliest is chosen, as
    published.

    Returns:
        epochs (50, ..., 1) and probabilities float32 [50, M, C].

    Raises:
        ValueError: several labels per clip, NaN features, or no training example.
    """
    if multi_label:
        raise ConfigError("the published protocol has one class per clip, this task several labels")
    features, tests = _normed(train.features), _normed(queries.features)
    counted = np.flatnonzero(weights > 0)
    if not len(counted):
        raise DataError("no training example has a positive weight")
    labels = targets.argmax(1)
    rows = _epochs(train.video_id, counted, seed)
    kernels, biases = _fit(
        jnp.asarray(features),
        jnp.asarray(labels),
        jnp.asarray(rows),
        jax.random.key(seed),
        classes=targets.shape[1],
    )
    logits = np.einsum("md,edc->emc", tests, np.asarray(kernels)) + np.asarray(biases)[:, None]
    scores = softmax(logits)[::-1].astype(np.float32)
    return tuple(float(e) for e in range(EPOCHS, 0, -1)), scores


def _normed(features: np.ndarray) -> np.ndarray:
    """Layer norm without affine parameters: the linear layer that follows can undo them."""
    if not np.isfinite(features).all():
        raise DataError("features contain NaN or infinity")
    centred = features - features.mean(1, keepdims=True)
    return (centred / np.sqrt(centred.var(1, keepdims=True) + 1e-6)).astype(np.float32)


def _epochs(videos: np.ndarray, counted: np.ndarray, seed: int) -> np.ndarray:
    """Clips of every step: int [epochs, steps, batch]; -1 fills up the last batch."""
    rng = np.random.default_rng([seed, 107])
    _, group = np.unique(videos[counted], return_inverse=True)
    count = group.max() + 1
    steps = math.ceil(count / BATCH)
    rows = np.full((EPOCHS, steps * BATCH), -1)
    for epoch in range(EPOCHS):
        order = rng.permutation(len(counted))
        _, first = np.unique(group[order], return_index=True)
        rows[epoch, :count] = rng.permutation(counted[order[first]])
    return rows.reshape(EPOCHS, steps, BATCH)


@functools.partial(jax.jit, static_argnames=("classes",))
def _fit(features, labels, rows, key, *, classes: int):
    """Kernel [50, D, C] and bias [50, C] after every epoch.

    features [N, D], labels [N], rows [epochs, steps, batch] (-1 = none).
    """
    steps = rows.shape[1]
    rate = optax.warmup_cosine_decay_schedule(
        0.0, RATE, WARMUP_EPOCHS * steps, EPOCHS * steps, 1e-6
    )
    decayed = {"kernel": True, "bias": False}
    adamw = optax.adamw(rate, b1=0.9, b2=0.999, weight_decay=WEIGHT_DECAY, mask=decayed)
    kernel = 0.02 * jax.random.normal(key, (features.shape[1], classes))
    params = {"kernel": kernel, "bias": jnp.zeros(classes)}

    def loss(params, chosen):
        logits = features[chosen] @ params["kernel"] + params["bias"]
        wanted = optax.smooth_labels(jax.nn.one_hot(labels[chosen], classes), SMOOTHING)
        each = optax.softmax_cross_entropy(logits, wanted)
        here = chosen >= 0
        return jnp.sum(each * here) / jnp.maximum(here.sum(), 1)

    def step(carry, chosen):
        params, state = carry
        updates, state = adamw.update(jax.grad(loss)(params, chosen), state, params)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, chosen):
        carry, _ = jax.lax.scan(step, carry, chosen)
        return carry, (carry[0]["kernel"], carry[0]["bias"])

    _, heads = jax.lax.scan(epoch, (params, adamw.init(params)), rows)
    return heads
