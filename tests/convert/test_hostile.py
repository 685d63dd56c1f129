"""Files that were made to harm: refused in a sentence, before anything outside them is touched."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert.test_strict import golden_file
from surgrec_jax import load_encoder
from surgrec_jax.convert import ConvertError, ImportOptions, files, import_file


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


def test_a_record_with_pickled_objects(tmp_path):
    folder, _ = golden_file(tmp_path)
    record = folder / "model.safetensors.expected.npz"
    np.savez(record, video=np.array([object()], object), tokens=np.zeros(1))
    refused(folder, "Object arrays cannot be loaded.*is no reference with video and tokens")
    record.write_bytes(b"PK\x03\x04 and no more")
    refused(folder, "is no reference with video and tokens")
    import_file(folder, tmp_path / "run", ImportOptions(), expect="none")


def test_a_config_that_claims_a_billion_layers(tmp_path):
    folder, _ = golden_file(tmp_path)
    path = folder / "config.json"
    sound = json.loads(path.read_text())
    for key, value, match in (
        ("num_hidden_layers", 10**9, "num_hidden_layers=1000000000; at most 1000 is read"),
        ("pred_num_hidden_layers", 10**9, "at most 1000 is read"),
        ("hidden_size", 10**30, "at most 1000000 is read"),
        ("num_attention_heads", 0, "the config beside .* has values that make no sense"),
        ("pred_num_mask_tokens", "x", "the config beside .* has values that make no sense"),
        ("crop_size", None, "the config beside .* has values that make no sense"),
    ):
        path.write_text(json.dumps({**sound, key: value}))
        refused(folder, match)


def test_a_torch_file_that_holds_itself(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(files, "MAX_ENTRIES", 1000)
    itself: dict = {}
    itself["model"] = itself
    wide = [1] * 10
    for _ in range(9):
        wide = [wide] * 10  # a thousand million entries in a few bytes
    for number, value in enumerate((itself, {"model": wide})):
        path = tmp_path / f"{number}.pth"
        torch.save(value, path)
        refused(path, "nests deeper than 100 or has more than 1000 entries")
