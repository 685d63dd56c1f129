"""The analytic cost against the published table and against XLA's own count."""

import jax
import numpy as np
import pytest

from surgrec_jax.models.presets import MAE_DECODERS, Compute, ViTConfig, preset
from surgrec_jax.objectives import Question, find_objective

MASKS = (
    {"blocks": 8, "scale": 0.15, "context": 40, "target": 96},
    {"blocks": 2, "scale": 0.7, "context": 16, "target": 132},
)


def mae(name):
    depth, width, heads = MAE_DECODERS[name]
    options = {"decoder_depth": depth, "decoder_width": width, "decoder_heads": heads}
    return find_objective("mae").from_config(preset(name), options, Compute())


# GFLOP per clip and step of VideoMAE at 16 x 224, counted by hand for its code, which embeds all
# 1568 tubelets; ours embeds the 160 visible ones.
@pytest.mark.parametrize(("name", "gflop"), [("S", 67), ("B", 209), ("L", 851), ("H", 1420)])
def test_mae_cost_is_videomaes_less_the_hidden_patches(name, gflop):
    objective = mae(name)
    saved = 2 * 2 * (1568 - 160) * objective.encoder.width * 1536
    assert (objective.flops() + saved) / 1e9 == pytest.approx(gflop, abs=0.6)


def test_jepa_cost_by_hand():
    objective = find_objective("jepa").from_config(
        preset("L", position="rope_3d", init="trunc_normal"), {"masks": MASKS}, Compute()
    )

    def block(n, d):
        return 24 * n * d * d + 4 * n * n * d

    total = 2 * 1568 * 1024 * 1536 + 24 * block(1568, 1024)
    for context, target in ((320, 768), (128, 1056)):
        total += 2 * (2 * context * 1024 * 1536)
        total += 3 * (24 * block(context, 1024) + 2 * context * 1024 * 384)
        total += 3 * (12 * block(context + target, 384) + 2 * target * 384 * 1024)
    assert objective.flops() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", ["mae", "jepa", "linear", "attentive"])
def test_xla_counts_the_same_when_nothing_is_a_loop(name):
    """An unrolled step: XLA counts every product, and some element-wise work besides."""
    encoder = ViTConfig(
        192, 3, 3, 768, num_frames=8, image_size=(96, 96), position="sincos_1d", init="trunc_normal"
    )
    about, batch = {}, {"video": np.zeros((2, 8, 96, 96, 3), np.uint8)}
    if name == "mae":
        options = {"decoder_depth": 2, "decoder_width": 96, "decoder_heads": 3, "mask_ratio": 0.75}
    elif name == "jepa":
        masks = ({"blocks": 2, "scale": 0.2, "context": 12, "target": 10},)
        options = {"masks": masks, "predictor_depth": 2, "predictor_width": 96}
    else:
        options = {"head": name, "head_depth": 3 * (name == "attentive"), "drop_path": 0.0}
        options["mixing"], about["question"] = {}, Question(("phase",), ("a", "b"))
        batch |= {"target": np.ones((2, 2), np.float32), "weight": np.ones((2, 2), np.float32)}
        name = "classify"
    compute = Compute(unroll=3, attention="einsum")
    objective = find_objective(name).from_config(encoder, options, compute, **about)
    params = objective.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(0), 2)
    step = jax.jit(jax.value_and_grad(lambda p, t: objective.loss(p, batch, keys, t), has_aux=True))
    compiled = step.lower(params, objective.target_of(params)).compile()
    counted = compiled.cost_analysis()["flops"] / 2
    assert objective.flops() == pytest.approx(counted, rel=0.12)
    assert objective.flops() < counted
