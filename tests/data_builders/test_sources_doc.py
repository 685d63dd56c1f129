"""docs/sources.md: its table is the catalogue's, and its builder builds from the files it shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data_builders
from data_builders.common.source import registry
from data_builders.common.source.splits import split_by_case
from surgrec_jax.audit.catalogue import CATALOGUE
from surgrec_jax.records.source import open_source
from tests.data_builders.contract import assert_labels, read_back
from tests.data_builders.fake_video import write_video

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources.md"
CODE, COMMANDS = "and `clinic_x_dataset_builder.py`", "Look through the download"
FRAMES = 70


def block(after: str) -> str:
    """The first fenced block of the page that follows the words `after`."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(after)
    assert found, f"{PAGE.name} says nothing of {after!r}"
    return re.search(r"^```\w*\n(.*?)^```$", rest, re.S | re.M)[1]


def test_the_table_names_every_source():
    rows = re.findall(r"^\| \[(\w+)\]\(.*?\) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    expected = []
    for name in registry.sources():
        info = CATALOGUE[name]
        cells = (info.domain, info.task, info.licence, info.access)
        expected.append((name, " | ".join("?" if cell is None else cell for cell in cells)))
    assert rows == expected


def test_every_source_says_which_owners_files_it_has_met_and_where_counting_begins():
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("## Which owners' files")
    table = re.findall(r"^\| (\w+) \| .*\|$", rest.partition("## ")[0], re.M)
    assert table[1:] == registry.sources()
    for name in set(registry.sources()) - {"phantom_surgery", "video_folder"}:
        readme = Path(data_builders.__file__).parent / name / "README.md"
        assert "\n## Where counting begins\n" in readme.read_text(encoding="utf-8"), name


@pytest.fixture
def clinic_x(tmp_path):
    """Runs a command of the page where data_builders holds the package that the page makes."""
    real = Path(data_builders.__file__).parent
    root = tmp_path / "checkout" / "data_builders"
    shutil.copytree(real / "common", root / "common", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(real / name, root)
    (root.parent / "surgrec_jax").symlink_to(real.parent / "surgrec_jax")
    package = root / "clinic_x"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "TAGS.txt").write_text(block("a `TAGS.txt`"))
    (package / "clinic_x_dataset_builder.py").write_text(block(CODE))
    lines = {line.split()[3]: line.split()[1:] for line in block(COMMANDS).splitlines()}
    places = {"CLINIC_X": str(tmp_path / "CLINIC_X"), "DATA": str(tmp_path / "DATA")}

    def run(command, *options):
        words = lines.get(command, ["-m", "data_builders", command])
        words = [sys.executable, *(places.get(word, word) for word in words), *options]
        return subprocess.run(words, cwd=root.parent, capture_output=True, text=True)

    return run


@pytest.fixture
def download(tmp_path):
    """The files of the page, for three operations; op004 has no row, op002 no instruments."""
    root = tmp_path / "CLINIC_X"
    for folder in ("phases", "tools"):
        (root / folder).mkdir(parents=True)
    (root / "operations.csv").write_text(block("`operations.csv`"))
    for name in ("op001", "op002", "op003", "op004"):
        write_video(root / "videos" / f"{name}.mp4", FRAMES)
        (root / "phases" / f"{name}.csv").write_text(block("`phases/op001.csv`"))
        if name != "op002":
            (root / "tools" / f"{name}.txt").write_text(block("`tools/op001.txt`"))
    return root


def phase_of(number):
    return "Preparation" if 10 <= number < 30 else "Closure" if 30 <= number < 65 else None


def test_the_builder_of_the_page_builds(clinic_x, download, tmp_path):
    done = clinic_x("build", "--workers=1", "--fps=25")
    assert done.returncode == 0, done.stderr
    assert "skipped: 2" in done.stdout
    assert "op002.mp4: has no tools annotation (expected tools/op002.txt)" in done.stdout
    assert "op004.mp4: has no row in operations.csv" in done.stdout

    splits = read_back(tmp_path / "DATA" / "clinic_x" / "default" / "1.0.0")
    split_of = split_by_case(["p1", "p2"], {"train": 0.5, "test": 0.5}, 0)
    assert set(split_of.values()) == {"train", "test"}
    for name, case, skill in (("op001", "p1", "expert"), ("op003", "p2", "expert")):
        video = splits[split_of[case]].pop(name)
        assert video.numbers == list(range(FRAMES))
        np.testing.assert_allclose(video.times, np.arange(FRAMES) / 25, atol=1e-3)
        assert_labels(video, "phase", phase_of)
        assert_labels(video, "tool_grasper", lambda n: "present" if n < 50 else "absent")
        assert_labels(video, "tool_hook", lambda n: "absent" if n < 25 else "present")
        assert video.video_labels == {"skill": skill}
        assert (video.fields["source"], video.fields["domain"]) == ("clinic_x", "laparoscopy")
    assert not any(splits.values())
    source = open_source(tmp_path / "DATA", "clinic_x", split=split_of["p1"])
    assert source.tracks["phase"] == ("Preparation", "Dissection", "Closure")


def test_the_files_of_the_page_are_ready_to_build(clinic_x, download):
    done = clinic_x("check")
    assert done.returncode == 1
    assert "has no tools annotation" in done.stdout, done.stderr
    (download / "tools" / "op002.txt").write_text(block("`tools/op001.txt`"))
    for kind, suffix in (("videos", "mp4"), ("phases", "csv"), ("tools", "txt")):
        (download / kind / f"op004.{suffix}").unlink()
    done = clinic_x("check", "--strict")
    assert done.returncode == 0 and "ready to build." in done.stdout, done.stdout + done.stderr
    assert "clinic_x" in clinic_x("list").stdout
