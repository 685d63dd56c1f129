"""bench step beside PyTorch: the same model on both sides."""

import argparse

import pytest

from surgrec_jax.bench import step

SMALL = ("batch_size=8", "model.width=32", "model.depth=1", "model.heads=2", "model.mlp_dim=64")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "changes"),
    [
        ("mae", ("model.qkv_bias=qv", "model.position=sincos_1d")),
        ("jepa", ("model.position=rope_3d_tiled",)),
    ],
)
def test_both_sides_train_as_many_parameters(objective, changes):
    pytest.importorskip("torch", reason="the comparison is with torch")
    pytest.importorskip("transformers", reason="the comparison is with transformers")
    parser = argparse.ArgumentParser()
    step.add_arguments(parser)
    args = [f"--config=configs/{objective}.py:tiny", "--compare=torch", "--steps=1", "--threads=1"]
    figures = step.run(parser.parse_args([*args, "--set", *SMALL, *changes]))
    assert figures["torch"]["parameters_m"] == pytest.approx(figures["parameters_m"], abs=1e-9)
    assert figures["ours_over_torch"]["cpu_median"] > 0
