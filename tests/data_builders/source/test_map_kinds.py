"""Kinds and names of files that label maps may have: each is read as written, or listed by name."""

import io

import numpy as np
from PIL import Image

from data_builders.common.source.paired import numbered_files
from data_builders.common.video.frame_labels import FrameLabels
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.maps import Above, MapFiles, by_colour, by_value
from surgrec_jax.evaluation.features.maps import read_maps
from surgrec_jax.records.maps import VOID
from surgrec_jax.records.source import open_source
from tests.data_builders.source.test_maps import run, write_scene


def palette(ids: np.ndarray, colours: list[int]) -> bytes:
    """A PNG of ids into a palette, as annotation tools write them."""
    picture = Image.fromarray(ids, "P")
    picture.putpalette(colours)
    return encoded(picture)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    picture.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def test_kinds_of_files_that_a_map_may_be(tmp_path):
    """The same 0 and 1 in files of many kinds: read as they were written, or listed by the file."""
    ids = (np.arange(12 * 16).reshape(12, 16) // 5 % 2).astype(np.uint8)
    grey, many = Image.fromarray(ids), np.stack([ids] * 3, -1)
    translucent = np.concatenate([many, ids[..., None] * 90], -1)
    right = {
        "8 bits": encoded(grey),
        "equal channels": encoded(Image.fromarray(many)),
        "alpha": encoded(Image.fromarray(translucent)),
        "grey palette": palette(ids, [0, 0, 0, 1, 1, 1]),
        "TIFF": encoded(grey, "TIFF"),
        "lossless WebP": encoded(Image.fromarray(many), "WEBP", lossless=True),
    }
    wrong = {
        "16 bits": (
            encoded(Image.fromarray(ids.astype(np.uint16))),
            "is no grey picture of 8 bits",
        ),
        "colours": (palette(ids, [0, 0, 0, 128, 0, 0]), "is no grey picture of 8 bits"),
        "1 bit": (
            encoded(grey.point([0, 255] + [255] * 254, "1")),
            "has 1 bits a pixel, not 8 or 16",
        ),
        "JPEG": (encoded(grey, "JPEG", quality=100), "is a JPEG or WebP file, which blurs ids"),
        "WebP": (encoded(Image.fromarray(many), "WEBP"), "is a JPEG or WebP file, which blurs"),
        "empty": (b"", "is no file of a readable size"),
        "cut off": (encoded(grey)[:40], "is no readable picture"),
        "text": (b"P2 1 1 255 x", "is no readable picture"),
    }
    decode = by_value({0: 0, 1: 1, 255: VOID})
    for number, data in enumerate([*right.values(), *(data for data, _ in wrong.values())]):
        (tmp_path / f"{number}.png").write_bytes(data)
    maps = MapFiles(numbered_files(tmp_path, r"(\d+)\.png"), decode)
    for number, kind in enumerate(right):
        np.testing.assert_array_equal(maps.at(number), ids, kind)
    told = ReadReport()
    for number in range(len(right), len(right) + len(wrong)):
        cut = {"blank": (), "native": ids.shape, "box": None, "size": ids.shape[::-1]}
        assert FrameLabels({"blocks": maps}).placed(number, ids.shape, told, **cut) == ({}, {})
    for number, (kind, (_, why)) in enumerate(wrong.items()):
        assert f"{number + len(right)}.png: {why}" in told.problems[number], kind
    number = [*right, *wrong].index("1 bit")  # what a threshold is for
    np.testing.assert_array_equal(MapFiles(maps.files, Above(128)).at(number), ids)
    colours = MapFiles(maps.files, by_colour({(0, 0, 0): 0, (128, 0, 0): 1}))
    np.testing.assert_array_equal(colours.at([*right, *wrong].index("colours")), ids)


def test_names_of_maps(tmp_path):
    """Upper case is no other name; two files of one frame are refused, a late one is listed."""
    write_scene(tmp_path / "in" / "v0")
    write_scene(tmp_path / "in" / "v1")
    first, second = tmp_path / "in" / "v0", tmp_path / "in" / "v1"
    (first / "5_mask.png").rename(first / "5_MASK.PNG")
    (first / "8_mask.png").rename(first / "88_mask.png")
    (second / "05_mask.png").write_bytes((second / "5_mask.png").read_bytes())
    summary = run(tmp_path / "in", tmp_path / "out")
    assert "88_mask.png: blocks map without a picture" in summary.partial[0][1]
    ((skipped, why),) = summary.skipped
    assert "v1/5_mask.png" in skipped and why == "is number 5, as 05_mask.png is"
    source = open_source(tmp_path / "out", "mini_scene", "default", "train")
    assert read_maps(source, "blocks", 8).ends.tolist()[:2] == [[0, 0], [0, 6]]
