import argparse
import json

import pytest

from data_builders.common.build.build import build
from data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from surgrec_jax.bench import builder, loader, sampler
from surgrec_jax.commands import show
from surgrec_jax.records.errors import BadInput


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


def test_the_sampler_bench_takes_several_sizes():
    result = measure(sampler, "--records=100,1e4", "--draws=10000")
    assert [r["records"] for r in result["sizes"]] == [100, 10_000]
    assert [r["leaves"] for r in result["sizes"]] == [10, 1000]
    assert all(r["draws_per_s"] > 0 for r in result["sizes"])


@pytest.mark.parametrize("given", [False, True])
def test_the_builder_bench_sets_a_build_against_decoding(tmp_path, given):
    videos = tmp_path / "videos"
    videos.mkdir()
    video = builder.write_video(videos / "video.mp4", 4, 120, 25)
    options = [f"--video={video}"] if given else ["--seconds=4", "--height=120"]
    result = measure(builder, *options, "--repeats=1")
    config = VideoFolderConfig(split=(1.0, 0.0, 0.0))
    summary = build(
        "video_folder", data_dir=tmp_path, manual_dir=videos, config=config, num_workers=1,
        progress=False,
    )  # fmt: skip
    assert summary.source_seconds == pytest.approx(4) and summary.splits["train"].frames == 32
    assert result["bytes_per_video_hour"] == {
        "file": pytest.approx(900 * video.stat().st_size),
        "records": pytest.approx(900 * summary.splits["train"].bytes),
    }
    speed = result["video_s_per_cpu_s"]
    assert speed["decoding alone"] > speed["build"] > 0
    ratio = speed["decoding alone"] / speed["build"]
    assert result["cpu_of_a_build_over_decoding"] == pytest.approx(ratio)
    assert result["video"].startswith("214x120, 25 fps, 4 s")
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    "minutes", [("0.1", "0.3"), pytest.param(("1", "30"), marks=pytest.mark.slow)]
)
def test_memory_of_a_build_does_not_grow_with_the_length_of_a_video(minutes):
    result = measure(builder, "--memory", "--minutes", *minutes, "--height=240")
    short, long = result["builds"]
    assert [short["minutes"], long["minutes"]] == [float(text) for text in minutes]
    assert long["records"] >= 2.5 * short["records"] > 0
    assert long["stored_MiB"] > 2.5 * short["stored_MiB"]
    assert short["imports_MiB"] < short["peak_MiB"]
    assert long["peak_MiB"] < short["peak_MiB"] + 48


def test_the_builder_bench_refuses_what_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(BadInput, match="not a video"):
        measure(builder, f"--video={tmp_path / 'a.mp4'}")
    with pytest.raises(ValueError, match="above 0"):
        measure(builder, "--repeats=0")


def test_figures_are_printed_one_a_line(capsys):
    show({"a": 1.5, "b": {"c": 1234.5}, "runs": [{"n": 1, "s": 0.25}, {"n": 2, "s": None}]})
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["a     1.5", "b", "  c  1,234", "runs", "  n 1  s 0.25", "  n 2  s -"]
