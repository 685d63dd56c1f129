"""What is looked at while a run goes on: collapse monitors, the online probe, pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from surgrec_jax import sharding, train_state
from surgrec_jax.objectives import Objective
from surgrec_jax.runlog import images, metrics

State = dict[str, Any]


class Watch:
    """Compiled once for a run; every process takes part, results are the same on all.

    Args:
        clips: how many clips are drawn.
        folder: where pictures go.
    """

    def __init__(self, objective: Objective, mesh: Mesh, *, seed: int, clips: int, folder: Path):
        self._folder = folder
        everywhere = sharding.replicated(mesh)

        def features(encoder_params, video):
            def pooled(clips):
                return objective.encode(encoder_params, clips).astype(jnp.float32).mean(1)

            # A clip per device at a time: with all tokens of all clips a step's batch may not fit.
            parts = sharding.microbatches(video, len(video) // mesh.size)
            return jnp.concatenate(jax.lax.map(pooled, parts))  # [B, D]

        def pictures(params, target_params, video):
            key = jax.random.fold_in(jax.random.key(seed), _IMAGE_STREAM)
            return objective.images(params, {"video": video[:clips]}, key, target_params)

        self._features = jax.jit(features, out_shardings=everywhere)
        self._watched = jax.jit(objective.watched, out_shardings=everywhere)
        self._pictures = jax.jit(pictures, out_shardings=everywhere)

    def collapse(self, state: State, batch: dict[str, jax.Array]) -> dict[str, float]:
        """`metrics.collapse_statistics` of the encoder that would be exported, on one batch."""
        params = train_state.encoder_params(state)
        return metrics.collapse_statistics(np.asarray(self._features(params, batch["video"])))

    def probe(self, state: State, probes: list[Callable]) -> dict[str, float]:
        """Scores of the online probes, which see `objective.watched` as a function of uint8
        clips."""
        params = state.get("target_params", state["params"])
        scores: dict[str, float] = {}
        for probe in probes:
            scores |= probe(lambda video: np.asarray(self._watched(params, video)))
        return scores

    def draw(self, state: State, batch: dict[str, jax.Array], step: int) -> Path | None:
        """Writes the objective's pictures of the batch's first clips as <folder>/<step>.png."""
        rows = self._pictures(state["params"], state.get("target_params"), batch["video"])
        if jax.process_index():
            return None
        path = self._folder / f"{step:08d}.png"
        images.write_png(path, images.contact_sheet(np.asarray(rows)))
        return path


# Pictures are masked alike at every step, so that they can be compared.
_IMAGE_STREAM = 2
