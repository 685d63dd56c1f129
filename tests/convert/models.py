"""Parts of an imported checkpoint, to be run on given masks."""

from __future__ import annotations

import jax
import numpy as np
from flax import nnx

from surgrec_jax.convert.exporter import Model
from surgrec_jax.convert.plan import nest
from surgrec_jax.models.decoder import MAEDecoder
from surgrec_jax.models.heads import make_head
from surgrec_jax.models.predictor import JEPAPredictor
from surgrec_jax.models.presets import Compute
from surgrec_jax.models.vit import VideoViT, patchify, take_tokens
from surgrec_jax.objectives.mae import pixel_targets


def parts(path):
    """The modules of a checkpoint by name, and its exporter.Model."""
    model = Model(path)
    params = nest(model.params)["params"]
    build = {
        "encoder": lambda r: VideoViT(model.encoder, Compute(), rngs=r),
        "decoder": lambda r: MAEDecoder(model.encoder, Compute(), rngs=r, **model.decoder),
        "predictor": lambda r: JEPAPredictor(model.encoder, Compute(), rngs=r, **model.predictor),
        "head": lambda r: make_head(model.head, model.encoder, Compute(), r),
    }
    made = {}
    for name, values in params.items():
        graph = nnx.graphdef(nnx.eval_shape(lambda n=name: build[n](nnx.Rngs(0))))
        made[name] = nnx.merge(graph, values)
    return made, model


def mae(path, video, seen, hidden):
    """Decoder logits and the loss of VideoMAE under given ids."""
    made, model = parts(path)
    tubelets = patchify(video, model.encoder)
    visible = made["encoder"](take_tokens(tubelets, seen), seen)
    logits = np.asarray(made["decoder"](visible, seen, hidden))
    target = np.asarray(pixel_targets(take_tokens(tubelets, hidden)))
    return logits, float(np.mean((logits - target) ** 2))


def jepa(path, video, context, target, mask_index):
    """Predictions of V-JEPA from all-clip tokens, as transformers' port gathers them."""
    made, model = parts(path)
    tokens = made["encoder"](patchify(video, model.encoder))
    taken = take_tokens(tokens, context)
    return np.asarray(made["predictor"](taken, context, target, mask_index))


def logits(path, video):
    """Classifier logits."""
    made, model = parts(path)
    tokens = made["encoder"](patchify(video, model.encoder))
    if model.head.kind == "linear":
        tokens = made["encoder"].norm(tokens.mean(1))
    return np.asarray(jax.jit(lambda t: made["head"](t))(tokens))
