"""A fine-tuned encoder with its classifier: uint8 clips in, probabilities out."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from surgrec_jax import checkpoint
from surgrec_jax.frozen.encoder import Encoder, load_encoder, restore_part
from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encode, extract_features
from surgrec_jax.safety import untrusted


class Classifier:
    """Class probabilities of clips.

    Attributes:
        encoder: the fine-tuned encoder, to be probed like any other.
        tracks: the label tracks it was trained on.
        classes: names of the columns.
        multi_label: whether classes do not exclude each other.
        frame: frame of a clip whose label it was trained on, "centre" or "last".
    """

    def __init__(self, encoder: Encoder, head: HeadConfig, params: Any, meta: dict[str, Any]):
        self.encoder, self._head = encoder, head
        # A head is small and stays on the host, to follow the encoder to its devices.
        self._params = jax.tree.map(np.asarray, params)
        self.tracks, self.classes = tuple(meta["tracks"]), tuple(meta["classes"])
        self.multi_label: bool = meta["multi_label"]
        self.frame: str = meta["frame"]

    @property
    def fingerprint(self) -> str:
        """A hash of everything that determines the probabilities."""
        head = Encoder(self.encoder.config, self._params, fps=self.encoder.fps, name="head")
        return f"{self.encoder.fingerprint}-{head.fingerprint}"

    def probabilities(self, video: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [B, C], of uint8 clips [B, T, H, W, 3].

        Raises:
            ValueError: as `Encoder.tokens`.
        """
        function = functools.partial(_probabilities, self._head, self.multi_label, self._params)
        return self.encoder.batched(function, video)

    @property
    def takes_features(self) -> bool:
        """Whether the head takes pooled features, as `of_features` needs."""
        return self._head.kind == "linear"

    def of_features(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 [B, C], of the encoder's features float32 [B, D].

        Raises:
            ValueError: the head takes tokens.
        """
        if not self.takes_features:
            raise ValueError(f"a head of kind {self._head.kind} takes tokens, not features")
        encoder = self.encoder
        options = self._head, self.multi_label, self._params, encoder.config, encoder.compute
        return np.asarray(_head_probabilities(*options, features))


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
    make = extract_features if head.kind == "linear" else encode
    tokens = make(config, compute, params, video)
    return _head_probabilities(head, multi_label, head_params, config, compute, tokens)


@functools.partial(jax.jit, static_argnums=(0, 1, 3, 4))
def _head_probabilities(
    head: HeadConfig,
    multi_label: bool,
    head_params: Any,
    config: ViTConfig,
    compute: Compute,
    tokens: jax.Array,
) -> jax.Array:
    logits = nnx.merge(_graph(head, config, compute), head_params)(tokens).astype(jnp.float32)
    return jax.nn.sigmoid(logits) if multi_label else jax.nn.softmax(logits)


@functools.lru_cache(maxsize=16)
def _graph(head: HeadConfig, config: ViTConfig, compute: Compute) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: make_head(head, config, compute, nnx.Rngs(0))))


def load_fitting(path: str | Path) -> tuple[Encoder, Classifier | None]:
    """Loads the encoder of a checkpoint, and its classifier if it is of a fine-tuning run.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
    """
    if "classifier" not in checkpoint.read_meta(checkpoint.find(path)):
        return load_encoder(path), None
    one = load_classifier(path)
    return one.encoder, one


def load_classifier(path: str | Path) -> Classifier:
    """Loads the classifier of a fine-tuning run: the average of its weights if there is one.

    Args:
        path: a workdir, or one step's folder in its checkpoints.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or not one of fine-tuning.
    """
    location = checkpoint.find(path)
    meta = checkpoint.read_meta(location)
    if "classifier" not in meta:
        raise checkpoint.CheckpointError(
            f"{location.path} has no classifier (objective {meta['objective']}); fine-tune it with "
            "python -m surgrec_jax.main --config=configs/finetune.py --config.init_from=..."
        )
    encoder = load_encoder(location.path)
    with untrusted.interpreting(
        f"the classifier of {location.path}", error_type=checkpoint.CheckpointError
    ):
        about = {key: meta["classifier"][key] for key in ("head", "tracks", "classes")}
        about["multi_label"] = bool(meta["classifier"]["multi_label"])
        # Checkpoints without a frame are of a time when there was no other choice.
        about["frame"] = str(meta["classifier"].get("frame", "centre"))
        head = HeadConfig(**about["head"])
        build = functools.partial(make_head, head, encoder.config, Compute())
        shapes = jax.eval_shape(lambda: nnx.to_pure_dict(nnx.state(build(nnx.Rngs(0)), nnx.Param)))
    params = restore_part(location, meta, "head", shapes)
    return Classifier(encoder, head, params, about)
