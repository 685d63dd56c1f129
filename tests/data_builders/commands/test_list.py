"""`list` tells what sources there are, what is known of them and what is prepared."""

import itertools
import json
import re

from tensorflow_datasets.core.dataset_metadata import valid_tags

from data_builders.common.build.build import build
from data_builders.common.commands.cli import main
from data_builders.common.source.registry import builder_class, sources
from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig
from surgrec_jax.audit.catalogue import CATALOGUE, SourceInfo, source_info
from surgrec_jax.audit.surgrec_v1 import PUBLISHED
from surgrec_jax.records.schema import DOMAINS
from tests.data_builders.fake_video import write_video


def table(text):
    """Source -> cells by column title; columns are as wide as their titles stand apart."""
    lines = text.splitlines()
    titles = lines[0].split()
    starts = [lines[0].index(title) for title in titles] + [None]
    rows = {}
    for line in lines[1 : 1 + len(sources())]:
        cells = [line[a:b].strip() for a, b in itertools.pairwise(starts)]
        rows[cells[0]] = dict(zip(titles, cells, strict=True))
    return rows


def test_every_source_is_in_the_table(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert sorted(rows) == sources()
    assert rows["cholec80"] == {
        "source": "cholec80",
        "domain": "laparoscopy",
        "videos": "80",
        "cases": "80",
        "classes": "7",
        "task": "phases, tools",
        "licence": "CC BY-NC-SA 4.0",
        "access": "request form",
        "prepared": "",
    }
    assert rows["ldpolypvideo"]["licence"] == "?" and rows["jigsaws"]["videos"] == "206"
    assert "give --data_dir" in out


def test_what_is_prepared(tmp_path, capsys):
    for name in ("a", "b", "c"):
        write_video(tmp_path / "in" / f"{name}.mp4", 16, fps=8)
    config = VideoFolderConfig(split=(1.0, 0.0, 0.0))
    build(
        "video_folder",
        data_dir=tmp_path / "data",
        config=config,
        manual_dir=tmp_path / "in",
        num_workers=1,
        progress=False,
    )
    stray = tmp_path / "data" / "other" / "1.0.0"
    stray.mkdir(parents=True)
    (stray / "dataset_info.json").write_text("{")
    assert main(["list", "--data_dir", str(tmp_path / "data")]) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert rows["video_folder"]["prepared"] == "default" and rows["cholec80"]["prepared"] == "-"
    (line,) = [line for line in out.splitlines() if "video_folder/default/1.0.0" in line]
    assert "train 3 records" in line and "KiB" in line
    (line,) = [line for line in out.splitlines() if line.strip().startswith("other/1.0.0")]
    assert "unreadable: " in line
    assert main(["list", "--json", "--data_dir", str(tmp_path / "data")]) == 0
    facts = {fact["name"]: fact for fact in json.loads(capsys.readouterr().out)}
    prepared = {"config": "default", "version": "1.0.0", "records": "train 3"}
    assert facts["video_folder"]["prepared"] == [prepared]
    assert facts["cholec80"]["tracks"]["phase"][0] == "Preparation"
    assert main(["list", "--data_dir", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_one_source_in_full(capsys):
    assert main(["list", "cholec80"]) == 0
    out = capsys.readouterr().out
    assert "phase: Preparation, CalotTriangleDissection" in out
    assert "do not host pixels" in out and "https://camma.unistra.fr/datasets/" in out
    assert "one patient" not in out
    assert main(["list", "hyper_kvasir"]) == 0
    assert "does not tell which cases are one patient" in capsys.readouterr().out
    assert main(["list", "cholec81"]) == 1
    assert "did you mean cholec80" in capsys.readouterr().err


def test_the_tasks_are_labels_that_the_builders_give(capsys):
    """The task `phases, tools` needs labels called phase..., tool..."""
    assert main(["list", "--json"]) == 0
    for fact in json.loads(capsys.readouterr().out):
        given = [*fact["tracks"], *fact["video_labels"], *fact["maps"], *fact["boxes"]]
        if fact["name"] == "hyper_kvasir":
            given.append("finding")  # its names are those of the download
        task = re.sub(r"\(.*\)|rendered:|none|your own labels", "", fact["task"])
        words = [word.strip() for word in task.split(",") if word.strip()]
        assert bool(words) == bool(given), fact["name"]
        for word in words:
            stem = word[:6].removesuffix("s")
            assert any(stem in name for name in given), (fact["name"], word)


def test_the_catalogue():
    """It knows every source of the published benchmark, and a new source needs no entry."""
    benchmark = {entry.source for entry in PUBLISHED if entry.folder != "PitVis"}
    assert len(benchmark) == 16 and benchmark <= set(CATALOGUE) & set(sources())
    for name, info in CATALOGUE.items():
        assert info.domain in (*DOMAINS, "any"), name
        assert info.sharing and info.task
        if info.licence and "ND" in info.licence:
            assert "no derived" in info.sharing or "local" in info.sharing
    assert source_info("brand_new", Builder) == SourceInfo("any", "none")


def test_every_source_has_the_files_of_the_tfds_convention():
    """README.md, CITATIONS.bib, and a TAGS.txt whose tags TFDS knows."""
    valid = set(valid_tags())
    for name in sources():
        metadata = builder_class(name).get_metadata()
        assert metadata.description.startswith("# "), name
        assert metadata.tags and set(metadata.tags) <= valid, name
        assert name == "video_folder" or metadata.citation.startswith("@"), name
