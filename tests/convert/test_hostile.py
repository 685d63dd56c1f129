"""Files that were made to harm: refused in a sentence, before anything outside them is touched."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert import cases
from convert.test_strict import golden_file
from surgrec_jax import load_encoder
from surgrec_jax.convert import ConvertError, ImportOptions, import_file, torch_file
from surgrec_jax.convert.files import open_file
from surgrec_jax.safety import untrusted


def sharded(folder, where):
    """The weights in two files, and an index that says where `where` puts each."""
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    parts = {"a.safetensors": {}, "b.safetensors": {}}
    for number, (key, value) in enumerate(tensors.items()):
        parts["ab"[number % 2] + ".safetensors"][key] = value
    for name, part in parts.items():
        save_file(part, folder / name)
    index = {key: where(name) for name, part in parts.items() for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return parts


def refused(folder, match):
    with pytest.raises(ConvertError, match=match):
        import_file(folder, folder.parent / "run")
    assert not (folder.parent / "run").exists()


def test_a_folder_in_several_files_and_a_link(tmp_path):
    folder, _ = golden_file(tmp_path)
    sharded(folder, lambda name: name)
    # A Hugging Face cache has links to its blobs: files beside the index may be links.
    (folder / "a.safetensors").rename(tmp_path / "blob")
    (folder / "a.safetensors").symlink_to(tmp_path / "blob")
    import_file(folder, tmp_path / "run")
    assert load_encoder(tmp_path / "run").width == 48


@pytest.mark.parametrize("where", ["../{}", "/etc/{}", "sub/{}", "..\\..\\passwd"])
def test_an_index_that_points_elsewhere(tmp_path, where):
    folder, _ = golden_file(tmp_path)
    sharded(folder, lambda name: where.format(name))
    refused(folder, "index.json names .*, which is no file beside it")


def test_an_index_that_is_none(tmp_path):
    folder, _ = golden_file(tmp_path)
    index = folder / "model.safetensors.index.json"
    for text, match in (
        ('{"weight_map": [1]}', "has no weight_map"),
        ("[]", "no readable JSON"),
        ("[" * 100_000, "no readable JSON"),
    ):
        index.write_text(text)
        refused(folder, match)


def test_a_tensor_that_two_files_have(tmp_path):
    folder, _ = golden_file(tmp_path)
    parts = sharded(folder, lambda name: name)
    key = next(iter(parts["a.safetensors"]))
    save_file(parts["b.safetensors"] | {key: parts["a.safetensors"][key]}, folder / "b.safetensors")
    refused(folder, f"{key} is in .*b.safetensors and in .*a.safetensors")


@pytest.mark.parametrize("size", [2**62, 2**40, 200_000_000])
def test_a_header_that_claims_to_be_huge(tmp_path, size):
    folder, _ = golden_file(tmp_path)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + b"{}" * 10)
    refused(folder, "is no readable safetensors file")


def test_a_tensor_that_claims_more_than_the_file_has(tmp_path):
    folder, _ = golden_file(tmp_path)
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(folder, "is no readable safetensors file")


def test_a_folder_without_weights(tmp_path):
    folder, _ = golden_file(tmp_path)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    refused(folder, "has no model.safetensors; give one of its files: other.safetensors")


def test_a_record_with_pickled_objects(tmp_path):
    folder, _ = golden_file(tmp_path)
    record = folder / "model.safetensors.expected.npz"
    np.savez(record, video=np.array([object()], object), tokens=np.zeros(1))
    refused(folder, "is no reference with video and tokens: .*Object arrays cannot be loaded")
    record.write_bytes(b"PK\x03\x04 and no more")
    refused(folder, "is no reference with video and tokens")
    import_file(folder, tmp_path / "run", ImportOptions(), expect="none")


@pytest.mark.parametrize(
    "change, match",
    [
        ({"tokens": np.array([["a"]])}, r"tokens is <U1 \[1, 1\]"),
        ({"video": np.zeros((1, 4, 16, 16, 3), np.float32)}, "video is float32"),
        ({"rows": np.array([99])}, "rows are not of 32 tokens"),
        ({"rows": np.array([0.5])}, "rows is float64"),
        ({"tokens": np.full((1, 32, 48), np.inf)}, "tokens has numbers that are NaN or infinite"),
        ({"hidden": np.zeros((9, 1, 32, 48), np.float32)}, r"hidden \(9, 1, 32, 48\), this"),
        ({"video": np.zeros((0, 4, 16, 16, 3), np.uint8)}, r"has clips \[4, 16, 16, 3\]"),
    ],
)
def test_a_record_that_is_wrong(tmp_path, change, match):
    folder, _ = golden_file(tmp_path)
    right = {"video": cases.clips(4, 16, 16, 1), "tokens": np.zeros((1, 32, 48), np.float32)}
    np.savez(folder / "model.safetensors.expected.npz", **right | change)
    refused(folder, match)


def test_a_record_that_unpacks_to_more_than_there_is(tmp_path, monkeypatch):
    folder, _ = golden_file(tmp_path)
    monkeypatch.setattr(untrusted, "UNPACKED_BYTES", 10_000)
    record = folder / "model.safetensors.expected.npz"
    np.savez_compressed(record, video=np.zeros(20_000, np.uint8), tokens=np.zeros(1))
    refused(folder, "it unpacks to 20.* bytes, more than 1")


class Evil:
    """Runs code when it is unpickled, if anything lets it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def refused_torch(path, match):
    with pytest.raises(ConvertError, match=match):
        import_file(path, path.parent / "run")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_with_code_does_not_run(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    what = {"model": {"a": torch.zeros(2)}, "args": Evil(tmp_path / "ran")}
    torch.save(what, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    refused_torch(tmp_path / "x.pth", "holds io.open, and restoring such objects runs code")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_torch_file(tmp_path):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    torch.save({"model": {"a": torch.zeros(2000)}}, tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(data[: len(data) // 2])
    refused_torch(tmp_path / "half.pth", "if it is truncated or damaged, download it again")
    changed = bytearray(data)
    changed[data.index(bytes(4000)) + 2000] = 1  # of a number, which torch does not notice
    (tmp_path / "changed.pth").write_bytes(changed)
    refused_torch(tmp_path / "changed.pth", "record .*data/0 is not what was saved")


def test_a_torch_file_that_holds_itself(tmp_path):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    loop = {}
    loop["a"] = loop
    torch.save(loop, tmp_path / "x.pth")
    refused_torch(tmp_path / "x.pth", "nests more than 32 levels: a/a/a/")


@pytest.mark.parametrize("inside", [[1] * 10, []])
def test_a_torch_file_that_holds_one_list_a_million_times(tmp_path, monkeypatch, inside):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    monkeypatch.setattr(torch_file, "MAX_ENTRIES", 1000)
    wide = inside
    for _ in range(6):
        wide = [wide] * 10
    torch.save({"model": wide}, tmp_path / "x.pth")
    refused_torch(tmp_path / "x.pth", "has more than 1000 entries")


def test_tensors_that_repeat_or_share_what_is_stored(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    monkeypatch.setattr(untrusted, "UNPACKED_BYTES", 2**20)
    one = torch.zeros(5000)
    for name, model in (
        ("repeated", {"a": torch.zeros(1).expand(10**9, 48)}),
        ("shared", {str(n): one.view(5000) for n in range(2000)}),
    ):
        torch.save({"model": model}, tmp_path / f"{name}.pth")
        refused_torch(tmp_path / f"{name}.pth", f"{name}.pth unpacks to more than .* bytes at m")


def test_two_entries_that_read_the_same(tmp_path):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    torch.save({"a": {"b": torch.zeros(1)}, "a/b": torch.zeros(1)}, tmp_path / "x.pth")
    refused_torch(tmp_path / "x.pth", "has two entries that read a/b")


def test_tensors_that_are_no_plain_numbers(tmp_path):
    torch = pytest.importorskip("torch", reason="torch files need torch")
    kinds = {
        "sparse": torch.zeros(2).to_sparse(),
        "float8": torch.zeros(2).to(torch.float8_e4m3fn),
        "double": torch.zeros(2, dtype=torch.float64),
    }
    torch.save(kinds, tmp_path / "x.pth")
    file = open_file(tmp_path / "x.pth")
    for key, words in (
        ("sparse", "no plain dense"),
        ("float8", "no plain dense"),
        ("double", "64"),
    ):
        with pytest.raises(ConvertError, match=f"{key} is .*{words}"):
            file.get(key)
