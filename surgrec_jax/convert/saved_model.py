"""A checkpoint of this project, opened for an export."""

from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from surgrec_jax import checkpoint
from surgrec_jax.convert.import_plan import flatten, nest, part_shapes
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.frozen.architecture import config_from_meta
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.objectives.older_runs import parts_of


class Model:
    """A checkpoint to export: its parameters and all that describes them.

    Args:
        path: a workdir or step folder.
        whole: whether the decoder, predictor or head, and both encoders where there are two, are
            read too; only the encoder `which` otherwise.
        which: "target" (the EMA, where there is one) or "online".

    Attributes:
        decoder, predictor, head: sizes of the parts besides the encoder, None where not read.
        levels: whether norms of earlier levels are read too (`models.levels`).
        labels: names of a head's classes, () where nobody recorded them.
        multi_label: whether the classes do not exclude each other, None where nobody recorded it.

    Raises:
        CheckpointError: it cannot be read.
        ConvertError: it has parts that no format holds.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        step: int | None = None,
        whole: bool = True,
        which: str = "target",
    ):
        self.location = checkpoint.find(path, step)
        self.meta = checkpoint.read_meta(self.location)
        self.encoder = config_from_meta(self.meta)
        parts = parts_of(self.meta) if whole else {}
        others = sorted(parts.keys() - {"decoder", "predictor", "levels", "head"})
        if others:
            raise ConvertError(
                f"no format has a place for the {', '.join(others)} of {self.location.path}; leave "
                "out --whole for the encoder alone"
            )
        self.decoder, self.predictor = parts.get("decoder"), parts.get("predictor")
        self.levels = "levels" in parts
        self.head = HeadConfig(**parts["head"]) if "head" in parts else None
        classifier = self.meta.get("classifier", {})
        self.labels = tuple(classifier.get("classes", ()))
        self.multi_label = classifier.get("multi_label")
        trees = ["params", "target_params"] if self.meta["uses_target"] else ["params"]
        names = ("encoder", *parts)
        self.params = self._restore(
            f"{tree}/{name}"
            for tree in (trees if whole else [self.tree(which)])
            for name in checkpoint.parts(self.location, tree)
            if name in names
        )

    def tree(self, which: str) -> str:
        """The name of the parameter tree that holds this encoder."""
        return "target_params" if which == "target" and self.meta["uses_target"] else "params"

    def _restore(self, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        kinds = self.encoder, self.decoder, self.predictor, self.head
        flat = {
            f"{where}/{path}": jax.ShapeDtypeStruct(shape, np.float32)
            for where in wanted
            for path, shape in part_shapes(where.split("/")[1], *kinds).items()
        }
        arrays = flatten(checkpoint.restore_state(self.location, nest(flat)))
        return {path: np.asarray(array) for path, array in arrays.items()}

    def only(self, which: str) -> dict[str, np.ndarray]:
        """Parameters under "params/...": this encoder, the parts averaged with it, the others."""
        tree = self.tree(which)
        selected = {
            "params" + path.removeprefix(tree): value
            for path, value in self.params.items()
            if path.startswith(f"{tree}/")
        }
        names = {path.split("/")[1] for path in selected}
        return selected | {
            path: value
            for path, value in self.params.items()
            if path.startswith("params/") and path.split("/")[1] not in names
        }
