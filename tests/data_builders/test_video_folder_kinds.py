"""Which files of a folder are videos: by content, and everything else that might be is listed."""

import shutil
from fractions import Fraction

import pytest

from data_builders.common.commands.cli import main
from data_builders.common.video.images import why_no_series
from data_builders.common.video.kinds import is_video
from tests.data_builders.encoded import encode
from tests.data_builders.fake_video import draw_number, read_number, write_images, write_video
from tests.data_builders.video_folder_run import run, stored

# ending, codec, container
KINDS = (
    *(("asf", "wmv2", "asf"), ("mod", "mpeg2video", "vob"), ("h264", "libx264", "h264")),
    *(
        ("h265", "libx265", "hevc"),
        ("m2v", "mpeg2video", "mpeg2video"),
        ("dat", "mpeg1video", "vcd"),
    ),
    *(("rmvb", "rv20", "rm"), ("rec", "libx264", "mpegts"), ("ogm", "libvpx", "ogg")),
    *(("video", "mpeg4", "avi"), ("bin", "libx264", "mp4"), ("x", "libx264", "matroska")),
    *(("f", "libx264", "flv"), ("es", "mpeg4", "m4v"), ("broadcast", "mpeg2video", "mxf")),
    *(("", "libx264", "mov"), ("raw", "mpeg4", "nut")),
)


def test_other_endings_and_none(tmp_path, capsys):
    root = tmp_path / "in"
    for ending, codec, container in KINDS:
        name = f"v_{codec}_{container}" + (f".{ending}" if ending else "")
        encode(
            root / name,
            codec=codec,
            container=container,
            size=(352, 288) if container == "vcd" else (128, 96),
        )
    encode(root / "camera.dv", codec="dvvideo", size=(720, 576))
    assert run(root, tmp_path / "out", "--split", "none", "--strict", "--fps", "25") == 0
    videos = stored(tmp_path / "out")["train"]
    assert len(videos) == len(KINDS) + 1
    for name, video in videos.items():
        shown = [read_number(picture) for picture in video.pictures]
        assert shown == list(range(30)), name
    assert "skipped" not in capsys.readouterr().out


def test_what_is_no_video_is_listed_or_beside_the_point(tmp_path, capsys):
    root = tmp_path / "in"
    encode(root / "good.mp4")
    for name in ("notes.txt", "labels.csv", "photo.jpg", "sound.wav", "Thumbs.db", "LICENSE"):
        (root / name).write_bytes(b"x")
    assert run(root, tmp_path / "strict", "--split", "none", "--strict") == 0
    (root / "recording.xyz").write_bytes(b"something else" * 100)
    (root / "scan.dcm").write_bytes(b"no DICOM")
    (root / "empty.rec").write_bytes(b"")
    capsys.readouterr()
    assert run(root, tmp_path / "out", "--split", "none") == 0
    out = capsys.readouterr().out
    assert "skipped: 3" in out
    assert "recording.xyz: is no video by its first bytes" in out
    assert "empty.rec: is no video by its first bytes" in out
    assert "scan.dcm: is no DICOM file by its first bytes" in out
    assert run(root, tmp_path / "strict2", "--split", "none", "--strict") == 1
    error = capsys.readouterr().err
    assert "3 files would be passed over" in error and "recording.xyz" in error


def test_pictures_and_sound_are_no_videos(tmp_path):
    path = tmp_path / "file"
    heads = b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypM4A ", b"RIFF\0\0\0\0WAVE", b"\x89PNG\r\n\x1a\n"
    heads += b"\xff\xd8\xff\xe0", b"GIF89a", b"%PDF", b"PK\x03\x04", b"", b"#EXTM3U\n", b"A" * 5000
    for head in heads:
        path.write_bytes(head)
        assert not is_video(path), head


def test_folders_of_pictures(tmp_path, capsys):
    root = tmp_path / "in"
    write_images(root / "p1" / "frames", range(4, 34), name="img_{:05d}.png", shown_minus=4)
    write_images(root / "p2" / "frames", range(20), name="{:d}.jpg")
    encode(root / "p3.mp4")
    write_images(root, [1, 2, 3])  # beside a video
    assert run(root, tmp_path / "out", "--split", "none") == 0
    out = capsys.readouterr().out
    assert "p1/frames: holds 30 pictures; --native_fps RATE makes a video of them" in out
    assert run(root, tmp_path / "strict", "--split", "none", "--strict") == 1
    capsys.readouterr()
    options = ("--split", "none", "--case_from", "p.", "--native_fps", "5", "--fps", "25")
    assert run(root, tmp_path / "with", *options) == 0
    videos = stored(tmp_path / "with")["train"]
    assert sorted(videos) == ["p1/frames", "p2/frames", "p3.mp4"]
    for name, count in (("p1/frames", 30), ("p2/frames", 20)):
        assert [read_number(picture) for picture in videos[name].pictures] == list(range(count))
        assert videos[name].times[-1] == pytest.approx((count - 1) / 5)
    assert videos["p3.mp4"].times[-1] == pytest.approx(29 / 25)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("anna_001 anna_002 bert_003", "two series, such as anna_001 and bert_003"),
        ("p1_003 p1_004 p2_001", "tell two orders, such as p2_001 and p1_003"),
        ("t_0.8 t_0.9 t_1.1", "tell two orders"),
        ("10h59m59s_0001 11h00m00s_0002", None),
        ("img_9 img_10", None),
        ("f000000000000000000001 f2", None),
    ],
)
def test_pictures_of_two_videos_are_no_series(names, reason):
    found = why_no_series([f"{name}.png" for name in names.split()])
    assert (found is None) == (reason is None) and (reason or "") in (found or "").replace(
        ".png", ""
    )


def test_numbers_of_pictures_with_gaps_are_noted(tmp_path, capsys):
    root = tmp_path / "in"
    write_images(root / "p1", [0, 25, 50, 100])
    write_images(root / "p2", [7, 8, 11])
    write_images(root / "p3", [1], name="anna_{}.png")
    write_images(root / "p3", [2], name="bert_{}.png")
    assert run(root, tmp_path / "out", "--split", "none", "--native_fps", "1") == 0
    out = capsys.readouterr().out
    assert "go up by 25: at 1 numbers a second they are 25 s apart" in out
    assert "picture 7 is the first, and so frame 0 of tables, at 0 s" in out
    assert "1 pictures are missing in 1 gap(s)" in out and "2 pictures are missing" in out
    assert "p3: holds pictures of two series, such as anna_1.png and bert_2.png; put each" in out


def test_pictures_alone_need_a_rate(tmp_path, capsys):
    root = tmp_path / "in"
    write_images(root / "p1", range(10))
    assert run(root, tmp_path / "out", "--split", "none") == 1
    error = capsys.readouterr().err
    assert "p1, are videos when --native_fps gives their pictures per second" in error
    assert run(root, tmp_path / "out", "--split", "none", "--native_fps", "-2") == 1
    assert "--native_fps is -2" in capsys.readouterr().err


def test_interlaced_records_hold_nothing_of_the_video_before(tmp_path):
    """One process writes both: a picture that was not decoded would be the other patient's."""
    root = tmp_path / "in"
    encode(root / "a.mp4", numbers=range(1000, 1030))
    encode(root / "b.mts", container="mpegts", fields="tff")
    encode(root / "c.mpg", codec="mpeg2video", container="vob", fields="bff")
    options = ("--split", "none", "--shards", "1", "--fps", "25")
    assert run(root, tmp_path / "out", *options) == 0
    videos = stored(tmp_path / "out")["train"]
    assert videos["a.mp4"].numbers == list(range(1000, 1030))
    assert videos["b.mts"].numbers == videos["c.mpg"].numbers == list(range(30))
    assert run(root, tmp_path / "kept", *options, "--interlaced", "keep") == 0
    first = stored(tmp_path / "kept")["train"]["b.mts"].pictures[3]
    assert read_number(first[::2]) == 3 and read_number(first[1::2]) == 4
    assert draw_number(3).shape == first.shape


@pytest.mark.parametrize("kind", ["bare streams", "folders of pictures"])
def test_the_rate_reaches_joined_parts_their_labels_and_the_check(tmp_path, capsys, kind):
    root, table = tmp_path / "in", tmp_path / "labels.csv"
    for k in range(2):
        if kind == "bare streams":
            encode(
                root / f"op1_part{k + 1}.h264", container="h264", numbers=range(30 * k, 30 * k + 30)
            )
        else:
            write_images(root / f"op1_part{k + 1}", range(30 * k, 30 * k + 30))
    # Two parts of 30 pictures, 5 a second: 12 seconds.
    table.write_text("path,start_s,end_s,phase\nop1,0,6,first\nop1,6,12,second\n")
    options = ("--split", "none", "--join", "parts", "--labels", table, "--fps", "5")
    assert run(root, tmp_path / "out", *options, "--native_fps", "5") == 0
    (video,) = stored(tmp_path / "out")["train"].values()
    assert video.numbers == list(range(60))
    assert video.times[-1] == pytest.approx(59 / 5)
    assert video.labels["phase"] == ["first"] * 30 + ["second"] * 30
    table.write_text("path,start_s,end_s,phase\nop1,0,14,first\n")
    assert run(root, tmp_path / "beyond", *options, "--native_fps", "5") == 1
    assert "op1 ends at 12.0 s (60 frames)" in capsys.readouterr().err
    checked = ["check", "video_folder", "--manual_dir", str(root), "--join", "parts"]
    for decode in ((), ("--decode",)):
        assert main([*checked, "--native_fps", "5", *decode]) == 0
        assert "frame rates: 5 (1)" in capsys.readouterr().out


def test_parts_with_pictures_of_two_sizes_are_refused_by_what_is_shown(tmp_path, capsys):
    root = tmp_path / "in"
    encode(root / "op1_part1.mp4", size=(128, 96))
    encode(root / "op1_part2.mp4", size=(128, 96), aspect=Fraction(3, 2))
    assert run(root, tmp_path / "out", "--split", "none", "--join", "parts") == 1
    said = capsys.readouterr()
    assert "192 x 96 pixels, the first part of 128 x 96" in said.out + said.err


def test_a_file_that_is_there_twice_is_one_case(tmp_path, capsys):
    root = tmp_path / "in"
    for k in range(6):
        write_video(root / f"op{k}.mp4", 20 + k)
    (root / "sub").mkdir()
    shutil.copy(root / "op0.mp4", root / "sub" / "video_x.mp4")
    (root / "$RECYCLE.BIN").mkdir()
    shutil.copy(root / "op1.mp4", root / "$RECYCLE.BIN" / "$R1.mp4")
    assert run(root, tmp_path / "out", "--fps", "1") == 0
    assert "1 file(s) are the same as another, byte by byte" in capsys.readouterr().out
    cases = {
        name: video.fields["case_id"]
        for split in stored(tmp_path / "out").values()
        for name, video in split.items()
    }
    assert len(cases) == 7 and len(set(cases.values())) == 6
    assert cases["sub/video_x.mp4"] == cases["op0.mp4"]
