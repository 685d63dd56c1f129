"""What a sharded step sends between devices: what FSDP needs, and nothing else."""

import collections

import jax
import numpy as np
import pytest

from surgrec_jax import optim, sharding, train_state
from surgrec_jax.compile_report import hlo
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import find_objective

DEPTH, NARROW_DEPTH = 3, 5
ENCODER = ViTConfig(
    64, DEPTH, 4, 256, num_frames=4, image_size=(32, 32), patch=8, position="rope_3d"
)
NARROW = {"depth": NARROW_DEPTH, "width": 64, "heads": 2}
MASKS = (
    {"blocks": 2, "scale": 0.2, "context": 5, "target": 5},
    {"blocks": 1, "scale": 0.3, "context": 4, "target": 4},
)
OPTIONS = {
    "mae": {f"decoder_{k}": v for k, v in NARROW.items()} | {"mask_ratio": 0.75},
    "jepa": {f"predictor_{k}": v for k, v in NARROW.items()} | {"masks": MASKS},
    "levjepa": {
        "local_views": 2,
        "local_side": 16,
        "global_drop": 0.5,
        "local_drop": 0.5,
        "hidden": 32,
        "outputs": 16,
        "lines": 24,
    },
}
# qkv, proj, fc1 and fc2 of a block are split; norms and biases are not.
KERNELS = 4


def compiled_text(name, fsdp, remat, encoder=ENCODER):
    mesh = sharding.make_mesh(fsdp)
    objective = find_objective(name).from_config(encoder, OPTIONS[name], Compute(remat=remat))
    tx = optim.AdamW(
        lr=lambda s: 1e-3, weight_decay=lambda s: 0.05, decayed=objective.decayed
    ).build()
    with jax.set_mesh(mesh):
        abstract, _ = train_state.shard_state(train_state.make_init(objective, tx, 0), mesh)
        step = train_state.make_train_step(objective, tx, seed=0, momentum=lambda s: 0.9)
        shape = (16, encoder.num_frames, *encoder.image_size, 3)
        video = jax.ShapeDtypeStruct(shape, np.uint8, sharding=sharding.batch_sharding(mesh))
        step = train_state.jit_train_step(step, abstract, mesh)
        return step.lower(abstract, {"video": video}).compile().as_text()


@pytest.mark.parametrize(
    ("name", "fsdp", "remat"),
    [
        ("mae", 8, "dots"),
        pytest.param("jepa", 4, "none", marks=pytest.mark.slow),
        pytest.param("mae", 1, "none", marks=pytest.mark.slow),
    ],
)
def test_layers_send_what_fsdp_needs(name, fsdp, remat, monkeypatch, capfd):
    """Every kernel of a layer is gathered once per pass, and its gradient reduced once."""
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 4096)
    found = hlo.collectives(compiled_text(name, fsdp, remat))
    assert "rematerialization" not in capfd.readouterr().err

    in_loops = [c for c in found if c.times > 1]
    count = collections.Counter((c.kind, c.times) for c in in_loops)
    # Forward and backward; the encoder also as the EMA target, whose gradient nobody asks for.
    passes = {DEPTH: 3 if name == "jepa" else 2, NARROW_DEPTH: 2}
    gathers = {("all-gather", depth): KERNELS * n for depth, n in passes.items()}
    expected = gathers if fsdp > 1 else {}
    reduces = {key: n for key, n in count.items() if key[0] in ("all-reduce", "reduce-scatter")}
    assert {k: n for k, n in count.items() if k not in reduces} == expected
    for depth in passes:
        # A layer's kernels and its 1-D parameters, float32 here, in one operation or several.
        sizes = [c.size for c in in_loops if c.kind != "all-gather" and c.times == depth]
        width, mlp = 64, 256
        kernels = 4 * (4 * width**2 + 2 * width * mlp)
        if fsdp > 1:
            # What is left split is then summed over the copies, where there are several.
            kernels += kernels // fsdp if fsdp < 8 else 0
            assert kernels <= sum(sizes) < 1.05 * kernels
            assert sum(n for (_, times), n in reduces.items() if times == depth) <= KERNELS + 1


def test_a_batch_is_compared_by_one_small_sum():
    """SIGReg: the means of cosines and sines of every view, direction and knot, and no embedding
    of a clip. Besides it, batch normalisation's sums, a random key, and metrics."""
    found = hlo.collectives(compiled_text("levjepa", 1, "none"))
    assert {c.kind for c in found} == {"all-reduce"}
    means = 2 * 3 * 24 * 17 * 4
    outside = sorted(c.size for c in found if c.times == 1)
    assert outside.count(means) == 1
    gradients = outside.pop()  # of what no loop holds, in one sum
    outside.remove(means)
    patch_embed = 64 * ENCODER.patch_dim * 4
    assert gradients > 2 * patch_embed  # of the two passes: the large view's, the small ones'
    assert sum(outside) < 4000


@pytest.mark.slow
def test_widths_and_heads_that_do_not_divide_stay_whole(monkeypatch, capfd):
    """A prime width over 8 devices: copied, not split unevenly, and no reshuffling."""
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 1024)
    encoder = ViTConfig(
        42, 2, 3, 124, num_frames=4, image_size=(32, 32), patch=8, position="rope_3d"
    )
    found = hlo.collectives(compiled_text("mae", 8, "dots", encoder))
    assert "rematerialization" not in capfd.readouterr().err
    gathers = [c for c in found if c.kind == "all-gather" and c.times == 2]
    assert not gathers  # 42, 126 and 124 do not divide by 8


def test_what_is_read_from_a_programs_text():
    text = """HloModule step

%fused (p: bf16[8,16]) -> bf16[8,128] {
  ROOT %g.1 = bf16[8,128]{1,0} all-gather(%p), channel_id=3, replica_groups=[2,8]<=[16]
}

%fused.2 (p: bf16[8,16]) -> bf16[8,128] {
  ROOT %g.2 = bf16[8,128]{1,0} all-gather(%p), channel_id=3, replica_groups=[2,8]<=[16]
}

%all-reduce-scatter.7 (p: f32[64,8]) -> f32[4,8] {
  %r = f32[64,8]{1,0} all-reduce(%p), channel_id=4, replica_groups=mesh['a'=2,'b'=8] {'b'}
}

%limit (p: (s32[], bf16[8])) -> pred[] {
  %c = s32[]{:T(128)} constant(24)
  ROOT %lt = pred[] compare(%i, %c), direction=LT
}

%body (p: (s32[], bf16[8])) -> (s32[], bf16[8]) {
  %a = bf16[8,128]{1,0} fusion(%x), kind=kCustom, calls=%fused
  %b = bf16[8,128]{1,0} fusion(%x), kind=kCustom, calls=%fused.2
  %s = f32[4,8]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.7
}

ENTRY %main (p: bf16[8]) -> bf16[8] {
  %w = (s32[], bf16[8]) while(%t), condition=%limit, body=%body
  %q = (bf16[4], bf16[8]) all-gather-start(%p), channel_id=9, replica_groups={{0,1},{2,3}}
  %z = f32[2]{0} reduce-scatter(%p), channel_id=10, replica_groups={{0,1,2,3}}
  %y = ((f32[8]), (f32[2])) reduce-scatter-start(%p), channel_id=11, replica_groups={{0,1,2,3}}
}
"""
    found = {(c.kind, c.times, c.size, c.group) for c in hlo.collectives(text)}
    assert found == {
        ("all-gather", 24, 2 * 8 * 128, 8),
        ("reduce-scatter", 24, 4 * 64 * 8, 8),
        ("all-gather", 1, 16, 2),
        ("reduce-scatter", 1, 32, 4),  # both of them
    }
    table = hlo.summary(hlo.collectives(text))
    assert table["all-gather"]["runs_per_step"] == 25
    assert table["reduce-scatter"]["mib_per_step"] == (24 * 2048 + 2 * 32) / 2**20
