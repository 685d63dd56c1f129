"""bench step beside PyTorch: the same model on both sides, and PyTorch at its best."""

import argparse

import jax
import numpy as np
import pytest

from surgrec_jax import commands, sharding
from surgrec_jax.bench import step, torch_step
from surgrec_jax.config.build import build_objective

torch = pytest.importorskip("torch", reason="the comparison is with torch")
pytest.importorskip("transformers", reason="the comparison is with transformers")

SMALL = ("batch_size=8", "model.width=32", "model.depth=1", "model.heads=2", "model.mlp_dim=64")
MODELS = pytest.mark.parametrize(
    ("objective", "changes"),
    [
        ("mae", ("model.qkv_bias=qv", "model.position=sincos_1d")),
        ("jepa", ("model.position=rope_3d_tiled", "jepa.predictor_depth=2")),
    ],
)


def run(*args):
    parser = argparse.ArgumentParser()
    step.add_arguments(parser)
    return step.run(parser.parse_args(args))


@pytest.mark.slow
@MODELS
def test_both_sides_train_as_many_parameters(objective, changes):
    options = ("--compare=torch", "--steps=1", "--threads=1", "--set", *SMALL, *changes)
    figures = run(f"--config=configs/{objective}.py:tiny", *options)
    assert figures["torch"]["parameters_m"] == pytest.approx(figures["parameters_m"], abs=1e-9)
    assert figures["torch"]["device"] == "cpu, 1 threads"
    assert figures["over_torch"]["cpu_median"] > 0


@pytest.mark.slow
def test_a_step_beside_another_objectives():
    """Values of --set are of both configs, those after --compare of the second alone."""
    beside = ("--compare", "configs/jepa.py:tiny", "jepa.predictor_depth=2", "batch_size=16")
    figures = run("--config=configs/mae.py:tiny", "--steps=1", "--set", *SMALL, *beside)
    assert figures["batch_size"] == 8
    other = figures["other"]
    assert (other["config"], other["batch_size"]) == ("configs/jepa.py:tiny", 16)
    assert other["parameters_m"] != figures["parameters_m"]
    assert figures["over_other"]["cpu_median"] > 0


def mae_loss(model, objective, pixels, cells):
    """transformers' own forward pass."""
    hidden = cells[:, : int(objective.options.mask_ratio * cells.shape[1])]
    masked = torch.zeros(cells.shape, dtype=torch.bool).scatter(1, hidden, True)
    return model(pixels, bool_masked_pos=masked.repeat(1, objective.encoder.grid[0])).loss


def gather(x, ids):
    return torch.gather(x, 1, ids[..., None].expand(-1, -1, x.shape[-1]))


def jepa_loss(model, objective, pixels, *drawn):
    """transformers' own target and embeddings; the layers between as V-JEPA trains them."""
    t, h, w = objective.encoder.grid
    with torch.no_grad():
        wanted = model.encoder(pixels).last_hidden_state  # EMA and encoder are equal at first
        wanted = torch.nn.functional.layer_norm(wanted, wanted.shape[-1:])
    total = 0.0
    for number, (mask, cells) in enumerate(zip(objective.options.masks, drawn, strict=True)):
        ids = torch.stack([cells + h * w * i for i in range(t)], 1)
        seen = ids[..., : mask.context].flatten(1)
        hidden = ids[..., mask.context : mask.context + mask.target].flatten(1)
        x = gather(model.encoder.embeddings(pixels), seen)
        for layer in model.encoder.layer:
            x = layer(x, seen)[0]
        x = model.encoder.layernorm(x)
        x, ids = model.predictor.embeddings(x, [seen], [hidden], mask_index=number)
        for layer in model.predictor.layer:
            x = layer(x, ids)[0]
        x = model.predictor.proj(model.predictor.layernorm(x)[:, seen.shape[1] :])
        total = total + (x - gather(wanted, hidden)).abs().mean()
    return total / len(drawn)


@MODELS
def test_torchs_step_is_one_graph_with_the_losses_and_gradients_of_transformers(objective, changes):
    config = commands.load_config(f"configs/{objective}.py:tiny", [*SMALL, *changes])
    with jax.set_mesh(sharding.make_mesh()):
        built = build_objective(config)
    encoder = built.encoder
    shape = (2, encoder.num_frames, *encoder.image_size, 3)
    clips = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    loss_fn, model, _ = torch_step.make_loss(built, "cpu")

    torch.manual_seed(1)
    loss = loss_fn(clips)
    loss.backward()
    got = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    torch.manual_seed(1)
    drawn = [
        torch.rand(2, encoder.grid[1] * encoder.grid[2]).argsort(1)
        for _ in getattr(built.options, "masks", [None])
    ]
    mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.mean, encoder.std))
    pixels = (clips.permute(0, 1, 4, 2, 3) / 255 - mean) / std
    expected = {"mae": mae_loss, "jepa": jepa_loss}[objective](model, built, pixels, *drawn)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, p in model.named_parameters():
        torch.testing.assert_close(got[name], p.grad, rtol=1e-3, atol=1e-5)

    # As on a GPU, where nothing may fall out of the graph, nor be compiled in a timed step.
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    compiled = torch.compile(loss_fn, fullgraph=True, backend="eager")
    with torch.autocast("cpu", torch.bfloat16):
        assert [compiled(clips).dtype for _ in range(2)] == [torch.float32] * 2
    assert graphs["unique_graphs"] - before == 1
    # Nor may anything be left on the host, to be copied in every step, or be asked of the device.
    assert torch_step.make_loss(built, "meta")[0](clips.to("meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("platform", "count", "complaint"),
    [
        pytest.param(
            *("gpu", 1, "jax runs on a gpu and torch .* has none"),
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here"),
        ),
        ("gpu", 2, "jax takes all 2 GPUs and torch one; .*CUDA_VISIBLE_DEVICES=0"),
        ("tpu", 4, "jax runs on a tpu and torch .* has none"),
    ],
)
def test_the_two_sides_run_on_one_kind_of_device(platform, count, complaint):
    assert torch_step.pick_device("cpu", 8) == "cpu"
    with pytest.raises(ValueError, match=complaint):
        torch_step.pick_device(platform, count)


def test_a_comparison_is_not_fed_by_the_loader():
    for other in ("torch", "configs/jepa.py:tiny"):
        with pytest.raises(ValueError, match=f"--data and --compare={other}"):
            run("--config=configs/mae.py:tiny", "--compare", other, "--data")


@pytest.mark.parametrize(
    ("kind", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA H200", 989.0),
        ("NVIDIA H200 NVL", None),
        ("TPU v5 lite", 197.0),
        ("TPU v5e", 197.0),
        ("TPU v5p", 459.0),
    ],
)
def test_peaks_are_of_whole_names(kind, tflops):
    assert step.PEAK_TFLOPS.get(kind) == tflops
