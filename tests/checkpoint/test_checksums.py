"""Manifests: every byte is guarded, hostile ones are refused, and the commands that read them."""

import errno
import io
import json
import os
import zlib

import pytest

from surgrec_jax import checkpoint
from surgrec_jax.checkpoint import (
    CheckpointError,
    Checkpoints,
    DamagedError,
    MismatchError,
    checksums,
)
from surgrec_jax.checkpoint.__main__ import main as command
from tests.small_checkpoint import abstract, save, state


def test_every_file_of_a_step_is_guarded(tmp_path):
    """A flipped bit in any byte region of any file is found, and the file is named."""
    save(tmp_path, [1])
    location = checkpoint.find(tmp_path)
    assert checksums.verify(location) == []
    files = [path for path in location.path.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        before = path.read_bytes()
        for at in (0, len(before) // 2, len(before) - 1):
            path.write_bytes(before[:at] + bytes([before[at] ^ 4]) + before[at + 1 :])
            (problem,) = checksums.verify(location)
            assert path.name in problem
        path.write_bytes(before)
    assert checksums.verify(location) == []


def test_blocks_of_large_files_are_summed_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "BLOCK", 1000)
    save(tmp_path, [1])
    location = checkpoint.find(tmp_path)
    biggest = max(location.path.rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    data = bytearray(biggest.read_bytes())
    data[5000] ^= 1
    biggest.write_bytes(data)
    assert "between bytes 5000 and 6000" in checksums.verify(location)[0]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / "manifest.json").unlink(), "never committed"),
        (lambda p: p.rename(p.parent / "2"), "holds step 1: it was renamed or swapped"),
        (lambda p: (p / "meta.json").symlink_to("/etc/passwd"), "is a link"),
        (lambda p: (p / "manifest.json").write_text("[" * 100_000), "cannot be read"),
        (lambda p: os.mkfifo(p / "manifest.json"), "is no regular file"),
    ],
)
def test_hostile_and_half_steps_are_damaged_ones(harm, message, tmp_path):
    save(tmp_path, [1])
    for words, name in (("link", "meta.json"), ("regular", "manifest.json")):
        if words in message:
            (tmp_path / "1" / name).unlink()
    harm(tmp_path / "1")
    with pytest.raises(DamagedError, match=message):
        checkpoint.restore_state(checkpoint.find(tmp_path), abstract(state()))


def rewrite(location, change):
    """The manifest with another body, and the checksum of that."""
    body = checksums.read(location)
    change(body)
    text = json.dumps(body)
    outer = {"crc32": zlib.crc32(text.encode()), "manifest": text}
    (location.path / "manifest.json").write_text(json.dumps(outer))


def test_a_step_of_another_format_is_left_where_it_is(tmp_path, capsys):
    save(tmp_path, [1, 2])
    rewrite(checkpoint.find(tmp_path), lambda body: body.update(format=2))
    with pytest.raises(MismatchError, match="has format 2, this version reads 1"):
        Checkpoints(tmp_path).restore(abstract(state()))
    assert (tmp_path / "2").is_dir()
    for word, whole in (("list", "committed"), ("verify", "whole")):
        capsys.readouterr()
        assert command([word, str(tmp_path)]) == 1  # and the other steps are shown
        _, first, second, message = capsys.readouterr().out.splitlines()
        assert first.endswith(whole) and second.endswith("OTHER FORMAT")
        assert "has format 2, this version reads 1" in message


def test_reads_that_give_less_than_was_asked_for(tmp_path, monkeypatch):
    """As FUSE and NFS may."""

    class Short(io.FileIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:7])

    def short(path, mode, buffering=-1):
        return io.BufferedReader(Short(path)) if buffering else Short(path)

    save(tmp_path, [1])
    monkeypatch.setattr(checksums, "open", short, raising=False)
    assert checksums.verify(checkpoint.find(tmp_path), ("meta.json",)) == []


def test_a_manifest_cannot_point_outside(tmp_path):
    save(tmp_path, [1])
    location = checkpoint.find(tmp_path)
    rewrite(location, lambda b: b["files"].update({"../../secret": {"size": 1, "crc32": [0]}}))
    assert checksums.verify(location) == ["'../../secret' lies outside the checkpoint"]


def test_too_many_open_files_is_no_reason_to_put_a_step_aside(tmp_path, monkeypatch):
    save(tmp_path, [1])

    def refuse(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read now.*Too many open files"):
        Checkpoints(tmp_path).restore(abstract(state()))
    assert (tmp_path / "1").is_dir()


def test_after_all_steps_were_damaged_a_run_does_not_begin_again_unasked(tmp_path):
    root = tmp_path / "checkpoints"
    save(root, [1])
    (root / "1" / "meta.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="remove that folder"):
            Checkpoints(root).restore(abstract(state()))


def test_list_and_verify(tmp_path, capsys):
    save(tmp_path / "checkpoints", [1, 2], [0.25, 0.5])
    assert command(["verify", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == ["step", "1", "2"]
    assert out[2].split()[-1] == "whole" and "0.5000" in out[2]
    (tmp_path / "checkpoints" / "2" / "meta.json").write_text("{}")
    assert command(["verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "DAMAGED" in out and "meta.json has 2 bytes" in out
    assert command(["list", str(tmp_path / "checkpoints" / "1")]) == 0
    assert command(["list", str(tmp_path / "nowhere")]) == 2
    assert "no checkpoint in" in capsys.readouterr().err
