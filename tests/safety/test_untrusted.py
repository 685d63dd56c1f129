"""JSON and arrays made to do harm: refused in a sentence before memory is taken or code runs."""

import json
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from surgrec_jax.checkpoint import CheckpointError
from surgrec_jax.safety import untrusted


def header(file, shape):
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"[" * 200_000, "is not JSON .it nests too deeply"),
        (b"[1]", "holds no object"),
        (b"{" + b" " * 2000 + b"}", "is larger than 1000 bytes"),
        (b'{"a": [' + b"1," * 200 + b"1]}", "has more than 100 values"),
        (b'{"a": ' + b"9" * 900 + b"e}", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"", "is not JSON"),
    ],
)
def test_json(tmp_path, monkeypatch, data, complaint):
    monkeypatch.setattr(untrusted, "MAX_JSON_BYTES", 300_000 if data[:2] == b"[[" else 1000)
    monkeypatch.setattr(untrusted, "MAX_JSON_VALUES", 10**6 if data[:2] == b"[[" else 100)
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"a.json .*{complaint}"):
        untrusted.read_json(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for name in ("pipe.json", "zero.json"):
        for read in (untrusted.read_json, untrusted.read_array, untrusted.read_arrays):
            with pytest.raises(ValueError, match=f"{name} is no regular file"):
                read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        untrusted.read_json(tmp_path / "nothing")


def test_arrays_come_back(tmp_path):
    for number, array in enumerate((np.arange(6.0).reshape(2, 3), np.float64(3), np.zeros((0, 4)))):
        np.save(tmp_path / f"{number}.npy", array)
        np.testing.assert_array_equal(untrusted.read_array(tmp_path / f"{number}.npy"), array)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(10**6), y=np.array(["a", "bc"]))
    found = untrusted.read_arrays(tmp_path / "a.npz")
    assert found["x"].shape == (10**6,) and found["y"].tolist() == ["a", "bc"]
    assert isinstance(untrusted.read_array(tmp_path / "0.npy", mmap=True), np.memmap)


def test_an_array_that_claims_terabytes(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        header(file, (10**12,))
        file.write(bytes(100))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(path, "x.npy")
    tracemalloc.start()
    with pytest.raises(ValueError, match="a.npy is damaged or shorter than its header says"):
        untrusted.read_array(path)
    with pytest.raises(ValueError, match=r"a.npz is damaged .*claims to be float32 \[10{12}\]"):
        untrusted.read_arrays(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_an_archive_that_unpacks_a_thousandfold(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "UNPACKED_BYTES", 2**20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(10**6))
    with pytest.raises(ValueError, match=r"unpacks to 8000\d+ bytes, more than"):
        untrusted.read_arrays(tmp_path / "a.npz")


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm was done",)


def test_no_pickle_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([Harm()], object), allow_pickle=True)
    np.savez("a.npz", x=np.array([Harm()], object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Harm()))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Harm()))
    for name in ("a.npy", "b.npy", "a.npz"):
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            untrusted.read_array(tmp_path / name)
    for name in ("a.npz", "b.npz", "a.npy"):
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            untrusted.read_arrays(tmp_path / name)
    assert not (tmp_path / "harm was done").exists()


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "", ".", "..", 5, None, ["a"]])
def test_names_that_lead_elsewhere(name):
    with pytest.raises(ValueError, match="no name of a file beside it"):
        untrusted.plain_name(name)
    assert untrusted.plain_name("a.npy") == "a.npy"


@pytest.mark.parametrize("work", ["x['a']", "x + 1", "x.a", "10**400 * 1.5", "int('9')['a']"])
def test_values_that_make_no_sense_become_one_sentence(work):
    with (
        pytest.raises(CheckpointError, match=r"^a.json has values that make no sense \("),
        untrusted.interpreting("a.json", error_type=CheckpointError),
    ):
        eval(work, {"x": json.loads("[]")})
