"""Near-duplicate videos across data sets are found, listed, and left out where asked."""

import json
from pathlib import Path

import cv2
import numpy as np

from data_builders.common.commands.cli import main
from surgrec_jax.audit import duplicates
from surgrec_jax.records.prepared import Prepared, StoredFrame, read_videos
from tests.data_builders.fake_video import write_video


def scene(seed, k, size=(160, 120)):
    """A picture of a moving scene that `seed` makes."""
    rng = np.random.default_rng([seed, k // 2])
    noise = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)


def test_hashes():
    picture = scene(1, 0)
    value = duplicates.frame_hash(picture)
    smaller = cv2.resize(picture, (80, 60), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", smaller // 2 + 40, [cv2.IMWRITE_JPEG_QUALITY, 60])
    again = duplicates.frame_hash(cv2.imdecode(data, cv2.IMREAD_COLOR))
    assert (value ^ again).bit_count() <= duplicates.DISTANCE
    assert (value ^ duplicates.frame_hash(scene(2, 0))).bit_count() > 15
    assert duplicates.frame_hash(np.zeros((96, 128, 3), np.uint8)) is None


def test_a_clip_from_the_end_of_a_long_video_is_found(monkeypatch):
    """The video lasts 24 minutes; the clip is its last 100 seconds."""

    def frames(directory, wanted):
        first = {"long": 0, "clip": 670}[directory.name]
        for k in range(first, 720):
            time = 2.0 * (k - first)
            if wanted("train", directory.name, time):
                yield StoredFrame("train", directory.name, directory.name, time, scene(1, 2 * k))

    monkeypatch.setattr(duplicates, "decoded_frames", frames)
    sets = [Prepared(name, "", "1.0.0", Path(name)) for name in ("long", "clip")]
    (found,) = duplicates.find_duplicates(sets)
    assert (found.video.title, found.stands_in.title) == ("clip", "long")
    assert found.frames == len(found.video.hashes) >= 45


def test_near_duplicates_across_data_sets(tmp_path, capsys):
    """y is x cut at 4 s, at half the size and another rate; z is another video."""
    size = (160, 120)
    write_video(tmp_path / "one" / "x.mp4", (scene(1, k) for k in range(32)), size=size, fps=1)
    write_video(tmp_path / "one" / "z.mp4", (scene(2, k) for k in range(32)), size=size, fps=1)
    half = ((80, 60), cv2.INTER_AREA)
    pictures = (cv2.resize(scene(1, k), half[0], interpolation=half[1]) for k in range(4, 20))
    write_video(tmp_path / "two" / "y.mp4", pictures, size=(80, 60), fps=1)
    write_video(tmp_path / "two" / "w.mp4", (scene(3, k) for k in range(32)), size=size, fps=1)
    for name in ("one", "two"):
        arguments = ["build", "video_folder", "--manual_dir", str(tmp_path / name)]
        arguments += ["--name", name, "--split", "none", "--workers", "1"]
        assert main([*arguments, "--data_dir", str(tmp_path / "data")]) == 0
    capsys.readouterr()
    out = tmp_path / "audit.json"
    arguments = ["audit", "--data_dir", str(tmp_path / "data"), "--json", str(out)]
    assert main([*arguments, "--fail_on", "near_duplicates"]) == 0  # not looked for
    assert main([*arguments, "--duplicates", "--fail_on", "near_duplicates"]) == 1
    found = [f for f in json.loads(out.read_text())["findings"] if f["rule"] == "near_duplicates"]
    assert [f["count"] for f in found] == [8]
    assert found[0]["text"] == (
        "two/default@train y.mp4 is in one/default@train x.mp4 (8 of 8 frames)"
    )
    assert main(["audit", "cholec80", "--duplicates"]) == 1
    assert "give --data_dir" in capsys.readouterr().err
    # A build of either set leaves its own of the two out, and counts it.
    for name, video, stays in (("two", "y.mp4", {"w.mp4"}), ("one", "x.mp4", {"z.mp4"})):
        arguments = ["build", "video_folder", "--manual_dir", str(tmp_path / name)]
        arguments += ["--name", name, "--split", "none", "--workers", "1"]
        arguments += ["--data_dir", str(tmp_path / f"without_{name}")]
        arguments += ["--drop_duplicates", str(out)]
        for _ in range(2):  # the stored summary says it too
            assert main(arguments) == 0
            assert "drop_duplicates: 1 videos left out\n" in capsys.readouterr().out
        directory = tmp_path / f"without_{name}" / name / "default" / "1.0.0"
        assert set(read_videos(directory)["train"]) == stays
        (tmp_path / name / video).unlink()
        assert main(arguments) == 1
        assert f"names {name}/default@train {video}, which is not there" in capsys.readouterr().err


def test_a_list_of_duplicates_must_be_one(tmp_path, capsys):
    write_video(tmp_path / "in" / "a.mp4", 8, fps=8)
    write_video(tmp_path / "in" / "b.mp4", 8, fps=8)
    arguments = ["build", "video_folder", "--manual_dir", str(tmp_path / "in"), "--workers", "1"]
    arguments += ["--data_dir", str(tmp_path / "data"), "--split", "none"]
    listed = tmp_path / "audit.json"
    arguments += ["--drop_duplicates", str(listed)]
    for text in (None, "{", '{"findings": []}', '{"duplicates": [{"video": {}}]}'):
        if text is not None:
            listed.write_text(text)
        assert main(arguments) == 1
        assert "is not what `audit --duplicates --json FILE` writes" in capsys.readouterr().err
    a, b = (
        {"data_set": "video_folder/default", "split": "train", "video_id": f"{name}.mp4"}
        for name in "ab"
    )
    listed.write_text(json.dumps({"duplicates": [{"video": a, "stands_in": b}]}))
    assert main(arguments) == 0  # within a data set, the one that is contained goes
    assert set(read_videos(tmp_path / "data/video_folder/default/1.0.0")["train"]) == {"b.mp4"}
    both = [{"video": a, "stands_in": b}, {"video": b, "stands_in": a}]
    listed.write_text(json.dumps({"duplicates": both}))
    assert main([*arguments, "--overwrite"]) == 1
    assert "leaves no video of video_folder/default" in capsys.readouterr().err
