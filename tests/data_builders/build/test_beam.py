"""Builds as a Beam pipeline: the same files as a build on one machine. `make test-beam` runs them.

Apache Beam is the `beam` extra and has an environment of its own; without it only what needs no
Beam is tested.
"""

import importlib.util
import json
import sys

import numpy as np
import pytest

from data_builders.cholecseg8k.cholecseg8k_dataset_builder import VALUES
from data_builders.common.build import beam
from data_builders.common.build.build import build
from data_builders.common.commands.cli import main
from surgrec_jax.records.errors import BuildError
from tests.data_builders.contract import read_back
from tests.data_builders.fake_download import small_video, write_lines
from tests.data_builders.fake_video import write_video
from tests.data_builders.map_files import HEIGHT, WIDTH, photo, stored, write

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed"
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for k in range(10):
        write_video(root / f"video{k}.avi", 30 + 10 * k, fourcc="MJPG")
    return root


def run(videos, data_dir, **kwargs):
    kwargs = {"progress": False} | kwargs
    return build("video_folder", data_dir=data_dir, manual_dir=videos, **kwargs)


def files(directory):
    """The bytes of every file; of the build's note, without the time it took."""
    found = {path.name: path.read_bytes() for path in directory.iterdir()}
    note = json.loads(found.pop("build.json"))
    del note["summary"]["seconds"]
    return found | {"build.json": note}


@needs_beam
def test_the_same_files_as_without_beam(videos, tmp_path):
    plain = run(videos, tmp_path / "plain", num_workers=1, shards=3)
    summary = run(videos, tmp_path / "beam", beam="", shards=3)
    assert files(summary.directory) == files(plain.directory)
    assert len(list(summary.directory.glob("*train.array_record*"))) == 3
    assert not (tmp_path / "beam" / ".building").exists()
    splits = read_back(summary.directory)  # checks that nothing imported TensorFlow, too
    assert {name: len(v) for name, v in splits.items()} == {"train": 6, "val": 2, "test": 2}


@needs_beam
def test_several_processes_annotations_and_what_was_skipped(tmp_path, capsys):
    """A source with annotations and a bad file goes to Beam's worker processes and back."""
    root = tmp_path / "in"
    for number in (1, 2, 3, 11, 15):
        small_video(root / f"videos/{number:02d}.mp4", 50, 25)
        rows = ["Frame\tPhase", f"1\t{number % 7 + 1}", "2\t2"]
        write_lines(root / f"labels/label_{number:02d}.txt", rows)
    write_lines(root / "labels/label_02.txt", ["Frame\tPhase", "1\t1", "2\t9"])
    arguments = ["build", "autolaparo", "--manual_dir", str(root), "--data_dir"]
    assert main([*arguments, str(tmp_path / "plain"), "--workers", "1"]) == 0
    options = "--direct_num_workers=2 --direct_running_mode=multi_processing"
    assert main([*arguments, str(tmp_path / "b"), "--beam", "--beam_options", options]) == 0
    assert capsys.readouterr().out.count("label_02.txt:3") == 2
    where = "autolaparo/default/1.0.0"
    assert files(tmp_path / "b" / where) == files(tmp_path / "plain" / where)


@needs_beam
def test_label_maps(tmp_path):
    """The files of records with maps, one of them at fault, by one process, by four and by Beam."""
    root, ids = tmp_path / "in", np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % len(VALUES)
    grey = np.array(list(VALUES.values()), np.uint8)[ids]
    for clip, first in (("video01_00080", 80), ("video37_00848", 848), ("video55_00508", 508)):
        for n in range(first, first + 3):
            place = root / clip[:7] / clip / f"frame_{n}_endo"
            write(place.with_suffix(".png"), photo(n))
            grey[0, 0] = 99 if n == 509 else 50
            write(place.with_name(f"{place.name}_watershed_mask.png"), np.roll(grey, n))
    kwargs = {"manual_dir": root, "progress": False}
    plain = build("cholecseg8k", data_dir=tmp_path / "plain", num_workers=1, **kwargs)
    assert "509_endo_watershed_mask.png: holds values that are no class: 99" in plain.partial[0][1]
    four = build("cholecseg8k", data_dir=tmp_path / "four", num_workers=4, **kwargs)
    by_beam = build("cholecseg8k", data_dir=tmp_path / "beam", beam="", **kwargs)
    assert files(by_beam.directory) == files(plain.directory) == files(four.directory)
    record = stored(by_beam, "test")["video55_00508"]
    assert list(record["maps"]["scene"]["frames"]) == [0, 2]


@needs_beam
def test_goes_on_after_an_error(videos, tmp_path):
    """The marks of finished shards are those of any build: either kind goes on with the other's."""
    root = tmp_path / "in"
    root.mkdir()
    for path in videos.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    (root / "video3.avi").write_bytes(b"")
    with pytest.raises(BuildError, match=r"video3\.avi: is empty.*because of --strict"):
        run(root, tmp_path / "beam", beam="", strict=True)
    done = len(list((tmp_path / "beam").rglob("*.part.json")))
    assert done == 9
    (root / "video3.avi").write_bytes((videos / "video3.avi").read_bytes())
    summary = run(root, tmp_path / "beam", num_workers=1, strict=True)
    assert summary.resumed == done
    plain = run(videos, tmp_path / "plain", num_workers=1)
    shards = {name: data for name, data in files(plain.directory).items() if "array" in name}
    assert len(shards) == 10
    assert shards.items() <= files(summary.directory).items()


@needs_beam
def test_workers_on_another_disk_are_noticed(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "_write", lambda job, builder, strict: None)
    with pytest.raises(BuildError, match="10 of 10 shards are not in .* that all workers see"):
        run(videos, tmp_path, beam="")


@needs_beam
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--rumner=DirectRunner", "Beam has no option --rumner"),
        ("--runner=Nonsense", "Beam's Nonsense cannot run: Unexpected pipeline runner"),
        ("--runner='x", "Beam does not take --beam_options"),
        ("--direct_num_workers=many", "Beam does not take --beam_options"),
    ],
)
def test_options_that_beam_does_not_know(videos, tmp_path, capsys, options, message):
    arguments = ["--manual_dir", str(videos), "--data_dir", str(tmp_path)]
    command = ["build", "video_folder", "--beam", "--beam_options", options, *arguments]
    assert main(command) == 1
    assert message in capsys.readouterr().err


def test_without_beam_one_sentence_says_what_to_install(videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    arguments = ["--manual_dir", str(videos), "--data_dir", str(tmp_path)]
    assert main(["build", "video_folder", "--beam", *arguments]) == 1
    assert "needs Apache Beam: pip install '.[beam]' (in an" in capsys.readouterr().err
    assert main(["build", "video_folder", "--beam_options=--runner=x", *arguments]) == 1
    assert "--beam_options is given without --beam" in capsys.readouterr().err
    assert main(["build", "video_folder", "--beam", "--workers", "2", *arguments]) == 1
    assert "--workers is for builds without --beam" in capsys.readouterr().err
