"""The table of public encoders: held to the registry, to the readers and to the command line."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from surgrec_jax import benchmark
from surgrec_jax.convert import ImportOptions, dinov3, hub, levjepa, videomae, vjepa, zoo
from surgrec_jax.convert.__main__ import _parser, main
from surgrec_jax.convert.families import FAMILIES
from surgrec_jax.safety.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

# The clip of a family's public files where they say nothing, as its reader has it.
CLIPS = {"videomae": videomae.CLIP, "levjepa": levjepa.CLIP, **vjepa.CLIP}
CLIPS |= {"dinov3": (dinov3.FRAMES, dinov3.SIZE["dinov3"])}


def test_every_family_has_an_entry_and_every_entry_a_family():
    assert {entry.family for entry in zoo.ENTRIES} == set(FAMILIES)
    names = [entry.name for entry in zoo.ENTRIES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", zoo.ENTRIES, ids=lambda entry: entry.name)
def test_the_command_of_an_entry_is_one_that_the_command_line_takes(entry):
    command = zoo.import_command(entry).splitlines()[-1].split(" && ")[-1]
    program, arguments = shlex.split(command)[:3], shlex.split(command)[3:]
    assert program == ["python", "-m", "surgrec_jax.convert"]
    args = _parser().parse_args(arguments)
    options = ImportOptions(**{k: getattr(args, k) for k in ImportOptions.__dataclass_fields__})
    assert options.family == entry.family
    if entry.where.startswith(hub.SCHEME):
        assert args.file == entry.where and hub.parse(entry.where)
    size = re.fullmatch(r"ViT-[BLHgG]/(14|16)", entry.encoder)
    assert size and entry.side % int(size[1]) == 0
    assert args.resize_to in (None, (entry.frames, entry.side, entry.side))
    native = CLIPS.get(entry.family)
    assert native in (None, (entry.frames, (entry.side, entry.side)))


def test_the_command_prints_the_table_and_compares_what_is_named(capsys):
    assert main(["zoo"]) == 0
    every = capsys.readouterr().out
    assert all(f"--out {zoo.FOLDER}/{entry.name} " in every for entry in zoo.ENTRIES)
    assert main(["zoo", "vjepa2-l", "dinov3-b-original"]) == 0
    head, one, other, _, *commands = capsys.readouterr().out.splitlines()
    assert head.startswith("name") and one.startswith("vjepa2-l ") and "no" in other.split()
    assert commands[1].startswith("# FILE: https://ai.meta.com") and " import FILE " in commands[2]
    assert "vjepa2-l=runs/zoo/vjepa2-l,dinov3-b-original=runs/zoo/dinov3-b-" in commands[-1]
    assert "configs/benchmark.py:zoo --config.sources=MY_DATA" in commands[-1]
    assert main(["zoo", "vjepa9"]) == 1
    assert "zoo has no 'vjepa9'; it has videomae-b, " in capsys.readouterr().err


def test_the_config_compares_entries_that_need_no_option_and_asks_for_data(monkeypatch):
    module = runpy.run_path(str(ROOT / "configs/benchmark.py"))
    entries = {entry.name: entry for entry in zoo.ENTRIES}
    for column in module["ZOO"]:
        name, _, where = column.partition("=")
        assert where.startswith(hub.SCHEME) and where == entries[name].where
        assert not entries[name].options and entries[name].licence != zoo.DINOV3
    config = module["get_config"]("zoo")
    assert config.checkpoints == ",".join(module["ZOO"])
    monkeypatch.setattr(benchmark, "candidates", lambda *names: pytest.fail("it fetches"))
    with pytest.raises(ConfigError, match="name yours by --config.sources=NAME"):
        benchmark.run(config)
