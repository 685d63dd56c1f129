"""Finding files in a download: links, hidden files, doubled folders, keys that stand twice."""

import functools
from types import SimpleNamespace

import pytest

from data_builders.common.build.build import build
from data_builders.common.commands.check import check
from data_builders.common.source.builder import VideoDatasetBuilder
from data_builders.common.source.download import find_files, in_split
from data_builders.common.source.registry import builder_class, sources
from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_download import assert_reported, small_video, write_lines


@pytest.fixture
def builder():
    made = SimpleNamespace(name="source", skipped=[], MANUAL_DOWNLOAD_INSTRUCTIONS="Put it there.")
    made.pass_over = functools.partial(VideoDatasetBuilder.pass_over, made)
    made.leave_out = functools.partial(VideoDatasetBuilder.leave_out, made)
    return made


def find(builder, root, **more):
    arguments = {"video": r"videos/v(\d+)\.mp4", "annotations": {"label": r"v(\d+)\.txt"}} | more
    return find_files(builder, root, **arguments)


def names(found, root):
    return {
        kind: {key: path.relative_to(root).as_posix() for key, path in paths.items()}
        for kind, paths in found.items()
    }


def test_files_are_sorted_by_key_wherever_they_lie(builder, tmp_path):
    for name in ("b/b/videos/v10.mp4", "a/videos/v2.mp4", "a/other/v2.txt", "v10.txt", "notes.md"):
        write_lines(tmp_path / name, ["x"])
    write_lines(tmp_path / ".cache/videos/v3.mp4", ["x"])
    write_lines(tmp_path / "__MACOSX/videos/v4.mp4", ["x"])
    write_lines(tmp_path / "a/videos/.v5.mp4", ["x"])
    write_lines(tmp_path / "a/myvideos/v6.mp4", ["x"])  # a pattern begins at a part's beginning
    found = find(builder, tmp_path)
    assert names(found, tmp_path) == {
        "video": {"10": "b/b/videos/v10.mp4", "2": "a/videos/v2.mp4"},
        "label": {"10": "v10.txt", "2": "a/other/v2.txt"},
    }
    assert_reported(builder.skipped, [("a/myvideos/v6.mp4", "does not parse")])


def test_links_that_lead_out_are_listed(builder, tmp_path):
    root = tmp_path / "in"
    write_lines(root / "videos/v1.mp4", ["x"])
    write_lines(tmp_path / "elsewhere/videos/v2.mp4", ["x"])
    (root / "videos/v2.mp4").symlink_to(tmp_path / "elsewhere/videos/v2.mp4")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "v1.txt").symlink_to(tmp_path / "secret")
    found = find(builder, root)
    assert names(found, root) == {"video": {"1": "videos/v1.mp4"}, "label": {}}
    assert_reported(
        builder.skipped,
        [
            ("videos/v2.mp4", "leads out of the folder"),
            ("in/more", "links are not followed"),
            ("v1.txt", "leads out of the folder"),
        ],
    )


def test_two_files_for_one_key_and_labels_without_video(builder, tmp_path):
    for name in ("a/videos/v1.mp4", "b/videos/v1.mp4", "videos/v2.mp4", "v3.txt", "v1.txt"):
        write_lines(tmp_path / name, ["x"])
    assert names(find(builder, tmp_path), tmp_path)["video"] == {"2": "videos/v2.mp4"}
    assert_reported(
        builder.skipped,
        [
            ("a/videos/v1.mp4", "a/videos/v1.mp4 and b/videos/v1.mp4 claim the same video 1"),
            ("b/videos/v1.mp4", "keep one"),
            ("v3.txt", "belongs to no video (label of 3)"),
            ("v1.txt", "belongs to no video"),
        ],
    )


def test_the_first_pattern_with_a_key_wins_and_folders_are_not_entered(builder, tmp_path):
    for name in ("videos/v1.mp4", "frames/v1/000.png", "frames/v2/000.png", "frames/v2/v9.txt"):
        write_lines(tmp_path / name, ["x"])
    found = find(builder, tmp_path, video=[r"videos/v(\d+)\.mp4", r"frames/v(\d+)/"])
    assert names(found, tmp_path) == {
        "video": {"1": "videos/v1.mp4", "2": "frames/v2"},
        "label": {},
    }
    assert not builder.skipped


SCENE = ("Left_Image.png", "left_depth_map.tiff", "data/rgb.mp4")
# What a download holds, and a folder in it that somebody may give in its place.
LOWER = [
    ("aixsuture", ["OSATS.xlsx", "package_01/A31H.mp4"], "package_01"),
    ("autolaparo", ["T1/videos/01.mp4", "T1/labels/label_01.txt"], "T1/videos"),
    ("cataract101", ["videos/case_269.mp4", "videos.csv", "annotations.csv"], "videos"),
    ("c3vd", ["C3VD/cecum_t1_a/0000_color.png", "C3VD/cecum_t1_a/0000_depth.tiff"], "C3VD"),
    (
        "cataract1k",
        [
            "Phase_recognition_dataset/videos/case_5013.mp4",
            "Phase_recognition_dataset/annotations/case_5013/case_5013_annotations_phases.csv",
        ],
        "Phase_recognition_dataset",
    ),
    ("cataract21", ["training/case_01.mp4", "training/case_01.csv"], "training"),
    ("cholec80", ["videos/video01.mp4", "phase_annotations/video01-phase.txt"], "videos"),
    ("cholecseg8k", ["video01/video01_00080/frame_80_endo.png"], "video01"),
    ("cholect50", ["videos/VID01/000000.png", "labels/VID01.json"], "videos"),
    ("colonoscopic", ["Adenoma/adenoma_01/videos/NBI.mp4"], "Adenoma"),
    ("cvc_clinicdb", ["PNG/Original/1.png", "PNG/Ground Truth/1.png"], "PNG"),
    ("egosurgery", ["images/01/01_1_0001.jpg", "annotations/phase/01_1.csv"], "images"),
    (
        "endoscapes",
        ["e/train/1_29375.jpg", "e/val/121_14850.jpg", "e/all_metadata.csv"],
        "e/train",
    ),
    ("endovis2017", ["train/instrument_dataset_1/left_frames/frame000.png"], "train"),
    ("endovis2018", ["train/seq_1/left_frames/frame000.png", "train/seq_1/labels/x.png"], "train"),
    ("gensurgery", ["videos/-bCdEfGhIj_.A. title.mp4"], "videos"),
    ("gensurgery", [f"frames/one/{k:03}.png" for k in range(60)], "frames"),
    ("grasp", ["frames/CASE001/000000000.jpg", "annotations/grasp_long-term_train.json"], "frames"),
    (
        "heichole",
        ["Videos/Full_SD/Hei-Chole1.mp4", "Annotations/Phase/Hei-Chole1_Annotation_Phase.csv"],
        "Videos",
    ),
    (
        "hyper_kvasir",
        ["video-labels.csv", "lower-gi-tract/pathological-findings/polyps/x.avi"],
        "lower-gi-tract",
    ),
    (
        "jigsaws",
        ["Suturing/video/Suturing_B001_capture1.avi", "Suturing/transcriptions/Suturing_B001.txt"],
        "Suturing/video",
    ),
    ("kvasir_capsule", ["metadata.csv", f"labelled_videos/{'0' * 16}.mp4"], "labelled_videos"),
    ("kvasir_seg", ["images/cju0.jpg", "masks/cju0.jpg"], "images"),
    ("lapgyn4", ["Surgical_Actions/Coagulation/c_1_v_2_f_3.jpg"], "Surgical_Actions"),
    ("lapgyn_events", ["Bleeding/Train/Rest/case_1_Bleeding_0.mp4"], "Bleeding"),
    ("ldpolypvideo", ["TrainValid/Images/1/1.jpg", "TrainValid/Annotations/1/1.txt"], "TrainValid"),
    ("lemon", ["labels.json", "videos/-bCdEfGhIj_.mp4"], "videos"),
    (
        "m2cai16_workflow",
        ["train_dataset/workflow_video_01.mp4", "train_dataset/workflow_video_01.txt"],
        "train_dataset",
    ),
    (
        "multibypass140",
        ["BernBypass70/videos/BBP01.mp4", "labels/bern/labels_by70/BBP01.mp4.json"],
        "BernBypass70",
    ),
    ("ophnet2024", ["all/case_0002.mp4", "OphNet2024_loca_challenge_phase.csv"], "all"),
    ("pitvis", ["videos/video_01.mp4", "annotations_01.csv", "map_steps.csv"], "videos"),
    ("pmlr50", ["frames/01/00000000.jpg", "phase_annotations/01.txt"], "frames"),
    ("polypdiag", ["videos/a.mp4", "splits/train.txt"], "videos"),
    ("sar_rarp50", ["train1/video_01/video_left.avi"], "train1/video_01"),
    ("scared", [f"dataset_1/keyframe_1/{n}" for n in SCENE], "dataset_1/keyframe_1"),
    ("surgical_actions160", ["01_abdominal_access/01_01.mp4"], "01_abdominal_access"),
    ("surgvu", ["v/case_000/case_000_video_part_001.mp4", "labels/case_000/tasks.csv"], "v"),
]


@pytest.mark.parametrize(("name", "files", "lower"), LOWER)
def test_a_wrong_folder_level_is_taken_or_the_right_one_is_named(name, files, lower, tmp_path):
    """Every source that looks for files: a folder above the download, the download, one in it."""
    root = tmp_path / "above" / "download"
    for file in files:
        write_lines(root / file, ["x"])
    for given in (tmp_path / "above", root, root / lower):
        builder = builder_class(name)(data_dir=tmp_path / "data")
        builder.manual_dir = given  # hyper_kvasir reads its table early
        error = ""
        try:
            builder.checked_videos(given)
        except BuildError as raised:  # the tables here hold nothing
            error = str(raised)
        if builder.elsewhere is None:
            assert "no videos in" not in error and "holds no" not in error
            continue
        assert given == root / lower and builder.elsewhere.is_relative_to(root)
        assert f"give --manual_dir {builder.elsewhere}." in error + builder.other_folder()


def test_sources_are_all_in_the_table_of_folder_levels():
    others = {"phantom_surgery", "video_folder", "surgenet_youtube"}  # no files, or any
    assert {name for name, *_ in LOWER} == set(sources()) - others


def test_files_beside_the_folder_that_was_given(builder, tmp_path):
    """The folder of the labels, and that of the videos."""
    write_lines(tmp_path / "in/videos/v1.mp4", ["x"])
    write_lines(tmp_path / "in/labels/v1.txt", ["x"])
    with pytest.raises(BuildError, match="no videos in"):
        find(builder, tmp_path / "in/labels")
    assert builder.elsewhere == tmp_path / "in"
    builder.elsewhere = None
    assert list(find(builder, tmp_path / "in/videos")["video"]) == ["1"]
    assert builder.elsewhere == tmp_path / "in"


def test_a_build_of_the_videos_alone_names_the_folder(tmp_path):
    """Every video lacks its annotation: the error says where they are."""
    root = tmp_path / "cholec80"
    small_video(root / "videos/video01.mp4", 30, 25)
    write_lines(root / "phase_annotations/video01-phase.txt", ["Frame\tPhase", "0\tPreparation"])
    with pytest.raises(BuildError, match=rf"none of 1 videos.*--manual_dir {root}\.\n"):
        build("cholec80", data_dir=tmp_path / "data", manual_dir=root / "videos", progress=False)
    builder = builder_class("cholec80")(data_dir=tmp_path / "x", manual_dir=root / "videos")
    found = [finding for finding in check(builder).findings if finding[0] == "missing"]
    assert f"the other files lie in {root}" in found[-1][2]


def test_official_splits(builder, tmp_path):
    videos = {"01": tmp_path / "1", "05": tmp_path / "5", "09": tmp_path / "9"}
    given = list(in_split(builder, videos, {"train": range(1, 3), "test": (9,)}))
    assert given == [("01", tmp_path / "1", "train"), ("09", tmp_path / "9", "test")]
    assert_reported(builder.skipped, [("/5", "case 5 is in no split of source")])


def test_refused_folders(builder, tmp_path):
    with pytest.raises(BuildError, match="source needs --manual_dir.*Put it there"):
        find(builder, None)
    with pytest.raises(BuildError, match="is not a folder"):
        find(builder, tmp_path / "no")
    with pytest.raises(BuildError, match="no videos in .*Put it there"):
        find(builder, tmp_path)
