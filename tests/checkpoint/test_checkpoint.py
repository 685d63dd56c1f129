"""Checkpoints: exact round trips, other meshes, retention, damage, mismatch, a full disk."""

import errno
import os
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax import checkpoint, sharding
from surgrec_jax.checkpoint import CheckpointError, Checkpoints, MismatchError, checksums
from tests.small_checkpoint import META, abstract, save, state


def test_round_trip_is_exact_also_on_another_mesh(tmp_path):
    original = state(mesh=sharding.make_mesh(4))
    saved = Checkpoints(tmp_path / "checkpoints")
    saved.save(7, original, META)
    saved.close()
    for fsdp in (1, 8):
        target = state(0.0, sharding.make_mesh(fsdp))
        restored, meta = Checkpoints(tmp_path / "checkpoints").restore(abstract(target))
        assert meta["step"] == 7 and meta["objective"] == "mae"
        for a, b, c in zip(*map(jax.tree.leaves, (original, restored, target)), strict=True):
            np.testing.assert_array_equal(a, b)
            assert b.sharding == c.sharding


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path / "checkpoints").restore(abstract(state())) is None


def test_newest_and_best_stay(tmp_path):
    save(tmp_path, range(1, 7), [0.1, 0.9, 0.2, 0.3, None, 0.4], keep=2, keep_best=1)
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [2, 5, 6]


def test_a_subtree_is_read_alone(tmp_path):
    save(tmp_path, [3])
    part = {"params": abstract(state())["params"]}
    restored = checkpoint.restore_state(checkpoint.find(tmp_path), part)
    assert restored.keys() == {"params"}
    np.testing.assert_array_equal(
        restored["params"]["encoder"]["kernel"], state(3)["params"]["encoder"]["kernel"]
    )


def test_a_truncated_checkpoint_is_put_aside_and_the_one_before_is_used(tmp_path):
    root = tmp_path / "checkpoints"
    save(root, [1, 2])
    biggest = max((root / "2" / "state").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    biggest.write_bytes(biggest.read_bytes()[: biggest.stat().st_size // 2])
    restored, meta = Checkpoints(root).restore(abstract(state()))
    assert meta["step"] == 1
    np.testing.assert_array_equal(
        restored["params"]["encoder"]["kernel"], state(1)["params"]["encoder"]["kernel"]
    )
    assert not (root / "2").exists()
    assert [p.name.split("-")[0] for p in (tmp_path / "checkpoints-damaged").iterdir()] == ["2"]


def test_when_all_are_damaged_it_says_so(tmp_path):
    root = tmp_path / "checkpoints"
    save(root, [1])
    for file in (root / "1" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints.*another --workdir"):
        Checkpoints(root).restore(abstract(state()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: jnp.zeros((64, 1024), x.dtype), r"float32\[64, 2048\].*wants float32\[64, 1024"),
        (lambda x: x.astype(jnp.bfloat16), r"is float32.*wants bfloat16"),
    ],
)
def test_other_shapes_and_dtypes_are_refused_not_cast(tmp_path, change, message):
    save(tmp_path)
    other = state()
    other["params"]["encoder"]["kernel"] = change(other["params"]["encoder"]["kernel"])
    with pytest.raises(MismatchError, match=message):
        Checkpoints(tmp_path).restore(abstract(other))
    assert (tmp_path / "1").exists()


def test_a_missing_array_is_refused(tmp_path):
    save(tmp_path)
    other = state() | {"target_params": {"a": jnp.zeros(2)}}
    with pytest.raises(MismatchError, match="'target_params/a'"):
        Checkpoints(tmp_path).restore(abstract(other))


def test_too_little_space_is_said_before_training(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path, keep=2, keep_best=1)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match="checkpoint.keep"):
        saved.check_space(state())
    with pytest.raises(CheckpointError, match="free space, use another folder$"):
        saved.check_space(state(), saves=1)
    usage.free = 600_000  # of 0.5 MB each
    saved.check_space(state(), saves=1)


def test_folders_that_cannot_be_renamed_are_said_before_training(tmp_path, monkeypatch):
    """As gcsfuse has it for buckets without a hierarchical namespace."""
    saved = Checkpoints(tmp_path)
    saved.check_space(state())

    def rename(path, target):
        assert (path / "state").is_dir()  # a folder without folders proves nothing
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr("pathlib.Path.rename", rename)
    with pytest.raises(CheckpointError, match="Too many open files.*hierarchical namespace"):
        saved.check_space(state())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_full_disk_ends_in_one_sentence_and_keeps_what_was_saved(tmp_path):
    """On a file system of 2 MiB, where that may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        saved = Checkpoints(disk / "checkpoints", keep=9)
        saved.save(1, state(1), META)
        saved.wait()
        rng = np.random.default_rng(1)
        with pytest.raises(CheckpointError, match="Earlier checkpoints are intact"):
            for step in range(2, 9):
                big = state()
                big["params"]["encoder"]["kernel"] = jnp.asarray(rng.standard_normal((64, 2048)))
                saved.save(step, big, META)
                saved.wait()
        located = checkpoint.find(disk / "checkpoints", 1)
        restored = checkpoint.restore_state(located, abstract(state()))
        np.testing.assert_array_equal(
            restored["params"]["encoder"]["kernel"], state(1)["params"]["encoder"]["kernel"]
        )
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_find(tmp_path):
    save(tmp_path / "checkpoints", [3, 5], keep=2)
    for path in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "5"):
        assert checkpoint.find(path).step == 5
    assert checkpoint.find(tmp_path, 3).step == 3
    with pytest.raises(CheckpointError, match=r"no step 4; it has \[3, 5\]"):
        checkpoint.find(tmp_path, 4)
    with pytest.raises(CheckpointError, match="is one step's folder, and step 3 is asked for"):
        checkpoint.find(tmp_path / "checkpoints" / "5", 3)
    with pytest.raises(CheckpointError, match="nowhere, which does not exist; give the workdir"):
        checkpoint.find(tmp_path / "nowhere")


def test_a_save_that_fails_is_counted_and_training_goes_on(tmp_path):
    """The folder of the third step is in the way: what stands there cannot be replaced."""
    root = tmp_path / "checkpoints"
    saved = Checkpoints(root, keep=9, max_failures=1)
    saved.save(1, state(1), META)
    saved.wait()
    for step in (2, 3):
        (root / str(step)).mkdir()
        (root / str(step) / "in the way").touch()
    saved.save(2, state(2), META)
    saved.wait()
    assert saved.failed == 1
    saved.save(3, state(3), META)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 3 to .*not empty.*are intact.*continues"
    ):
        saved.wait()
    saved.save(4, state(4), META)
    saved.close()
    assert saved.failed == 2
    assert not checksums.verify(checkpoint.find(root, 1))
    assert not checksums.verify(checkpoint.find(root, 4))
    assert not list(root.glob("*.tmp"))


def test_the_last_save_may_not_fail(tmp_path):
    saved = Checkpoints(tmp_path, max_failures=5)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "in the way").touch()
    saved.save(2, state(2), META)
    with pytest.raises(CheckpointError, match="could not write checkpoint 2"):
        saved.close()


def test_what_killed_saves_left_is_removed(tmp_path):
    save(tmp_path, [1])
    for left in ("2.tmp", "1.old.tmp"):
        (tmp_path / left / "state").mkdir(parents=True)
    (tmp_path / "notes.tmp").touch()
    Checkpoints(tmp_path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "notes.tmp"]
