"""A fine-tuned encoder with its classifier: uint8 clips in, probabilities out."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from surgrec_jax import checkpoint
from surgrec_jax.frozen.encoder import Encoder, load_encoder
from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encode, pool
from surgrec_jax.safety import untrusted


class Classifier:
    """Class probabilities of clips.

    Attributes:
        encoder: the fine-tuned encoder, to be probed like any other.
        tracks: the label tracks it was trained on.
        classes: names of the columns.
        multi_label: whether classes do not exclude each other.
        frame: of a clip, whose label it was trained on: "centre" or "last".
    """

    def __init__(self, encoder: Encoder, head: HeadConfig, params: Any, meta: dict[str, Any]):
        self.encoder, self._head = encoder, head
        # On the host, as a head is small: it goes to whatever devices the encoder is on.
        self._params = jax.tree.map(np.asarray, params)
        self.tracks, self.classes = tuple(meta["tracks"]), tuple(meta["classes"])
        self.multi_label: bool = meta["multi_label"]
        self.frame: str = meta["frame"]

    @property
    def fingerprint(self) -> str:
        """A hash of what gives the probabilities."""
        head = Encoder(self.encoder.config, self._params, fps=self.encoder.fps, name="head")
        return f"{self.encoder.fingerprint}-{head.fingerprint}"

    def probabilities(self, video: np.ndarray) -> np.ndarray:
        """uint8 clips [B, T, H, W, 3] -> float32 [B, C].

        Raises:
            ValueError: clips of another shape or dtype than the encoder takes.
        """
        function = functools.partial(_probabilities, self._head, self.multi_label, self._params)
        return self.encoder.batched(function, video)


@functools.partial(jax.jit, static_argnums=(0, 1, 3, 4))
def _probabilities(
    head: HeadConfig,
    multi_label: bool,
    head_params: Any,
    config: ViTConfig,
    compute: Compute,
    params: Any,
    video: jax.Array,
) -> jax.Array:
    tokens = encode(config, compute, params, video)
    if head.kind == "linear":
        tokens = pool(config, compute, params, tokens)
    logits = nnx.merge(_graph(head, config, compute), head_params)(tokens).astype(jnp.float32)
    return jax.nn.sigmoid(logits) if multi_label else jax.nn.softmax(logits)


@functools.lru_cache(maxsize=16)
def _graph(head: HeadConfig, config: ViTConfig, compute: Compute) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: make_head(head, config, compute, nnx.Rngs(0))))


def load_fitting(path: str | Path) -> tuple[Encoder, Classifier | None]:
    """The encoder of a checkpoint, and its classifier where it is of a fine-tuning run.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
    """
    if "classifier" not in checkpoint.read_meta(checkpoint.find(path)):
        return load_encoder(path), None
    one = load_classifier(path)
    return one.encoder, one


def load_classifier(
    path: str | Path, *, step: int | None = None, compute: Compute | None = None
) -> Classifier:
    """The classifier of a fine-tuning run: the average of its weights where it kept one.

    Args:
        path: a workdir, or one step's folder in its checkpoints.
        step: of a workdir; None for the newest.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or not one of fine-tuning.
    """
    location = checkpoint.find(path, step)
    meta = checkpoint.read_meta(location)
    if "classifier" not in meta:
        raise checkpoint.CheckpointError(
            f"{location.path} has no classifier (objective {meta['objective']}); fine-tune it with "
            "python -m surgrec_jax.main --config=configs/finetune.py --config.init_from=..."
        )
    encoder = load_encoder(location.path, compute=compute)
    with untrusted.interpreting(
        f"the classifier of {location.path}", error_type=checkpoint.CheckpointError
    ):
        about = {key: meta["classifier"][key] for key in ("head", "tracks", "classes")}
        about["multi_label"] = bool(meta["classifier"]["multi_label"])
        # Checkpoints that do not say are of a time when there was no other choice.
        about["frame"] = str(meta["classifier"].get("frame", "centre"))
        head = HeadConfig(**about["head"])
        build = functools.partial(make_head, head, encoder.config, Compute())
        shapes = jax.eval_shape(lambda: nnx.to_pure_dict(nnx.state(build(nnx.Rngs(0)), nnx.Param)))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), shapes)
    tree = "target_params" if meta["uses_target"] else "params"
    params = checkpoint.restore_state(location, {tree: {"head": shapes}})[tree]["head"]
    return Classifier(encoder, head, params, about)
