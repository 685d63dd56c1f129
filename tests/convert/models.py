"""Parts of an imported checkpoint, compiled, to be run on given masks."""

import jax
import numpy as np
from flax import nnx

from surgrec_jax.convert.import_plan import nest
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.models.decoder import MAEDecoder
from surgrec_jax.models.heads import make_head
from surgrec_jax.models.predictor import JEPAPredictor
from surgrec_jax.models.presets import Compute
from surgrec_jax.models.vit import VideoViT, patchify, take_tokens
from surgrec_jax.objectives.mae import pixel_targets


def run(path, function, *arrays):
    """function(parts, encoder's config, *arrays), `parts` being a checkpoint's modules by name."""
    model = Model(path)
    build = {
        "encoder": lambda r: VideoViT(model.encoder, Compute(), rngs=r),
        "decoder": lambda r: MAEDecoder(model.encoder, Compute(), rngs=r, **model.decoder),
        "predictor": lambda r: JEPAPredictor(model.encoder, Compute(), rngs=r, **model.predictor),
        "head": lambda r: make_head(model.head, model.encoder, Compute(), r),
    }
    params = nest(model.params)["params"]
    graphs = {
        name: nnx.graphdef(nnx.eval_shape(lambda n=name: build[n](nnx.Rngs(0)))) for name in params
    }

    @jax.jit
    def compiled(params, arrays):
        parts = {name: nnx.merge(graphs[name], params[name]) for name in params}
        return function(parts, model.encoder, *arrays)

    return jax.tree.map(np.asarray, compiled(params, arrays))


def mae(path, video, seen, hidden):
    """Decoder logits and the loss of VideoMAE under given ids."""

    def forward(parts, config, video, seen, hidden):
        tubelets = patchify(video, config)
        visible = parts["encoder"](take_tokens(tubelets, seen), seen)
        logits = parts["decoder"](visible, seen, hidden)
        return logits, pixel_targets(take_tokens(tubelets, hidden))

    logits, target = run(path, forward, video, seen, hidden)
    return logits, float(np.mean((logits - target) ** 2))


def jepa(path, video, context, target, mask_index):
    """Predictions of V-JEPA from all-clip tokens, as transformers' port gathers them."""

    def forward(parts, config, video, context, target):
        tokens = take_tokens(parts["encoder"](patchify(video, config)), context)
        [told], _ = parts["predictor"](tokens, [context], [target], [mask_index])
        return told

    return run(path, forward, video, context, target)


def logits(path, video):
    """Classifier logits."""

    def forward(parts, config, video):
        tokens = parts["encoder"](patchify(video, config))
        if hasattr(parts["head"], "query"):
            return parts["head"](tokens)
        return parts["head"](parts["encoder"].norm(tokens.mean(1)))

    return run(path, forward, video)


def mask_tokens(path):
    """A predictor's mask tokens, one per kind of mask."""
    return run(path, lambda parts, config: parts["predictor"].mask_tokens[...])


def all_tokens(path, video):
    """Tokens with the CLS token and registers before them."""
    return run(
        path,
        lambda parts, config, v: parts["encoder"](patchify(v, config), with_prefix=True),
        video,
    )
