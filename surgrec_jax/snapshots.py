"""Snapshots of a run that goes on: collapse monitors, online probes, pictures."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from surgrec_jax import sharding, train_state
from surgrec_jax.objectives import Objective
from surgrec_jax.runlog import images, metrics
from surgrec_jax.train_state import State


class Watch:
    """Functions compiled once for a run; every process takes part and gets the same results.

    Args:
        clips: the clips of the pictures, uint8 [n, T, H, W, 3]; None where none are drawn.
        folder: folder of the pictures.
    """

    def __init__(
        self,
        objective: Objective,
        mesh: Mesh,
        *,
        seed: int,
        clips: np.ndarray | None = None,
        folder: Path,
    ):
        self._folder, self._clips, self._rows = folder, clips, objective.rows
        everywhere = sharding.replicated(mesh)

        def features(encoder_params, video):
            def pooled(clips):
                return objective.features(encoder_params, clips)

            # Each device encodes a clip at a time: all tokens of a step's batch may not fit.
            parts = sharding.microbatches(video, len(video) // mesh.size)
            return jnp.concatenate(jax.lax.map(pooled, parts))  # [B, D]

        def pictures(params, target_params, video):
            key = jax.random.fold_in(jax.random.key(seed), _IMAGE_STREAM)
            return objective.images(params, {"video": video}, key, target_params)

        self._features = jax.jit(features, out_shardings=everywhere)
        self._watched = jax.jit(objective.watched, out_shardings=everywhere)
        self._pictures = jax.jit(pictures, out_shardings=everywhere)

    def collapse(self, state: State, batch: dict[str, jax.Array]) -> dict[str, float]:
        """The `metrics.collapse_statistics` of the encoder to be exported, on one batch."""
        params = train_state.encoder_params(state)
        return metrics.collapse_statistics(np.asarray(self._features(params, batch["video"])))

    def probe(self, state: State, probes: list[Callable]) -> dict[str, float]:
        """Scores of the online probes, which see `objective.watched` as a function of clips."""
        params = state.get("target_params", state["params"])
        scores: dict[str, float] = {}
        for probe in probes:
            scores |= probe(lambda video: np.asarray(self._watched(params, video)))
        return scores

    def draw(self, state: State, step: int) -> Path | None:
        """Writes the objective's pictures of the clips as <folder>/<step>.png."""
        rows = self._pictures(state["params"], state.get("target_params"), self._clips)
        if jax.process_index():
            return None
        path = self._folder / f"{step:08d}.png"
        images.write_png(path, images.contact_sheet(np.asarray(rows), self._rows))
        return path


# Pictures are of the same clips, masked alike, at every step, so that they can be compared.
_IMAGE_STREAM = 2
