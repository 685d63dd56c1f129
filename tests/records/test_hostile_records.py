"""Prepared data that was made to do harm: sizes are bounded, and no class is imported."""

import json
import resource
import struct
import sys

import cv2
import numpy as np
import pytest

from surgrec_jax.config.workdir import FILE, check_workdir
from surgrec_jax.convert.files import SafetensorsFile
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.data.loading import decode
from surgrec_jax.data.loading.decode import UndecodableFrameError, decode_frames, jpeg_size
from surgrec_jax.records.prepared import read_videos
from surgrec_jax.records.source import open_source
from surgrec_jax.runlog.metrics import MetricsWriter
from surgrec_jax.safety.errors import ConfigError, DataError
from tests.data.small_corpus import example, write_source


def jpeg(height=48, width=64, **flags) -> bytes:
    image = np.random.default_rng(0).integers(256, size=(height, width, 3)).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(flags.get("progressive", False))]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def claiming(data: bytes, height: int, width: int) -> bytes:
    """The same file with another size in its frame header."""
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if at >= 0:
            return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
    raise AssertionError("no frame header")


def test_the_size_of_a_jpeg_is_read_from_its_header():
    assert jpeg_size(jpeg()) == jpeg_size(jpeg(progressive=True)) == (48, 64)
    assert jpeg_size(b"") is jpeg_size(b"\xff\xd8\xff") is jpeg_size(b"\x89PNG\r\n\x1a\n") is None
    twice = jpeg()[:-2] + claiming(jpeg(), 9000, 9000)[2:]
    assert jpeg_size(twice) == (48, 64) and decode_frames([twice], [0])[0].shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(65000, 65000), (65535, 65535), (65000, 1000), (20000, 20000)])
def test_pictures_too_large_are_refused_before_memory_is_taken(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UndecodableFrameError, match=f"claims {size[1]}x{size[0]} pixels"):
        decode_frames([claiming(jpeg(), *size)], [0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_many_large_frames_are_refused(monkeypatch):
    monkeypatch.setattr(decode, "MAX_CLIP_BYTES", 30_000)  # three of these frames
    with pytest.raises(UndecodableFrameError, match="frame 3 .* makes the clip larger"):
        decode_frames([jpeg()] * 5, range(5))
    assert len(decode_frames([jpeg()] * 5, [0, 1, 2, 0])) == 4


def test_thousands_of_scans_are_refused():
    """A progressive file may ask for pass after pass over a large picture."""
    data = claiming(jpeg(progressive=True), 5000, 5000)
    at = data.rfind(b"\xff\xda")
    scans = data[:-2] + data[at:-2] * 500 + b"\xff\xd9"
    with pytest.raises(UndecodableFrameError, match=r"25000000 pixels|pixels in 5\d\d scan"):
        decode_frames([scans], [0])


def test_other_formats_than_jpeg_are_not_tried():
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    with pytest.raises(UndecodableFrameError, match="is not a readable image"):
        decode_frames([png], [0])


def test_metadata_may_name_no_class_but_those_of_tfds(tmp_path):
    folder = write_source(tmp_path, "odd", [example("odd", 0, 0, 2, 8.0, 0.0)], shards=1)
    path = folder / "features.json"
    sound = path.read_text()
    (tmp_path / "harmful_module.py").write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        values = json.loads(sound)
        values["pythonClassName"] = "harmful_module.FeaturesDict"
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError, match="names the class 'harmful_module.FeaturesDict'"):
            open_source(tmp_path, "odd")
        with pytest.raises(DataError, match="names the class 'harmful_module.FeaturesDict'"):
            read_videos(folder)  # as the audit does, also of a source that a checkpoint names
        path.write_text(json.dumps({"a": [{"type": "harmful_module.Text"}]}))
        with pytest.raises(ValueError, match="names the class"):
            open_source(tmp_path, "odd")
    finally:
        sys.path.remove(str(tmp_path))
    assert "harmful_module" not in sys.modules
    for text in (sound[:100], "[]", "[" * 100_000, "\x00", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"features.json (is|holds) no|TFDS cannot read"):
            open_source(tmp_path, "odd")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"features.json is missing; restore"):
        open_source(tmp_path, "odd")


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        (
            {"weight_map": {"a": "../other.safetensors"}},
            "names '../other.safetensors', which is no",
        ),
        ({"weight_map": {"a": "/etc/x.safetensors"}}, "which is no file beside it"),
        ({"weight_map": {"a": "weights.bin"}}, "which is no file beside it"),
        ({"weight_map": {"a": 1}}, "has no weight_map"),
        ({}, "has no weight_map"),
        ([], "is no readable JSON: .* holds no object"),
    ],
)
def test_an_index_of_weights_stays_in_its_folder(tmp_path, index, complaint):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    if index != {}:
        with pytest.raises(ConvertError, match=complaint):
            SafetensorsFile(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "1"])
def test_a_damaged_config_of_a_workdir_is_named(tmp_path, text):
    class Config:
        def to_dict(self):
            return {"a": 1}

    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"config.json cannot be read"):
        check_workdir(Config(), tmp_path)


@pytest.mark.parametrize(
    "line", [b"[]", b"5", b"{}", b'{"step": []}', b'{"step": null}', b"[" * 100_000, b"\x9a"]
)
def test_a_damaged_line_of_metrics_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(DataError, match="line 2 is not JSON with a step"):
        MetricsWriter(tmp_path, 5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("{DATASET}-", "../../../{DATASET}-"), "which is no pattern of TFDS's"),
        (("{DATASET}-", "{DATASET.__class__}-"), "which is no pattern of TFDS's"),
        (("{DATASET}-", "{}-"), "which is no pattern of TFDS's"),
        (("{DATASET}-", "{NOTHING}-"), "Could not format template"),
        (('"1"', '"-1"'), "claims shards of -1 to 1 records"),
        (('"1"', '"9000000000000000"'), "claims shards of"),
    ],
)
def test_names_and_numbers_of_shards(tmp_path, change, complaint):
    folder = write_source(tmp_path, "odd", [example("odd", 0, r, 2, 8.0, 0.0) for r in range(2)])
    info = folder / "dataset_info.json"
    assert change[0] in info.read_text()
    info.write_text(info.read_text().replace(*change, 1))
    with pytest.raises(DataError, match=complaint):
        open_source(tmp_path, "odd")
