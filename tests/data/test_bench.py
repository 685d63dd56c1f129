import argparse

import pytest

from surgrec_jax.bench import loader, sampler


def measure(bench, *arguments):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args(arguments))


@pytest.mark.parametrize("given", [(), ("--source=alpha",)])
def test_the_loader_bench_measures_every_stage(corpus, given):
    result = measure(
        loader, *given, f"--data_dir={corpus.data_dir}", "--clips=16", "--records=2", "--size=32",
        "--frames=4", "--fps=4",
    )  # fmt: skip
    stages = result["stages_ms_per_clip"]
    assert set(stages) == {"read", "parse", "decode", "crop", "batch"}
    assert stages["decode"] > 0 and stages["crop"] > 0
    assert [(r["num_threads"], r["repeats"]) for r in result["runs"]] == [(0, 1), (2, 1), (2, 4)]
    assert all(r["clips"] == 16 or r["repeats"] == 4 for r in result["runs"])
    assert sum(stages.values()) == pytest.approx(result["runs"][0]["cpu_ms_per_clip"], abs=0.01)
    assert ("alpha/train, 20 records" if given else "synthetic/train, 2") in result["data"]
    assert "clips/CPU s" in loader.table(result)


def test_the_sampler_bench_takes_several_sizes():
    result = measure(sampler, "--records=100,1e4", "--draws=10000")
    assert [r["records"] for r in result["sizes"]] == [100, 10_000]
    assert [r["leaves"] for r in result["sizes"]] == [10, 1000]
    assert all(r["draws_per_s"] > 0 for r in result["sizes"])
    assert "10,000" in sampler.table(result)
