"""DICOM videos: every frame's number and time, and nothing of the patient."""

import cv2
import numpy as np
import pytest
from pydicom import uid

from data_builders.common.video.dicom import patient_of
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import read_video
from surgrec_jax.records.errors import BadInput
from tests.data_builders.encoded import encode
from tests.data_builders.fake_video import draw_number, read_number
from tests.data_builders.video_folder_run import run, stored
from tests.data_builders.write_dicom import NAME, PATIENT, write_dicom

CODED = {
    "mpeg2": ("m2v", "mpeg2video", "mpeg2video", uid.MPEG2MPML),
    "h264": ("h264", "libx264", "h264", uid.MPEG4HP41),
    "h264 in mp4": ("mp4", "libx264", None, uid.MPEG4HP41),
    "h264 in a transport stream": ("ts", "libx264", "mpegts", uid.MPEG4HP41BD),
    "hevc": ("h265", "libx265", "hevc", uid.HEVCMP51),
}


def coded(tmp_path, kind):
    ending, codec, container, syntax = CODED[kind]
    path = encode(tmp_path / f"coded.{ending}", codec=codec, container=container)
    return path.read_bytes(), syntax


def jpegs(count=30):
    return [cv2.imencode(".jpg", draw_number(k))[1].tobytes() for k in range(count)]


def read(path):
    report = ReadReport()
    return list(read_video(path, report=report)), report


@pytest.mark.parametrize("kind", CODED)
def test_videos(tmp_path, kind):
    data, syntax = coded(tmp_path, kind)
    half = len(data) // 4 * 2  # pieces have an even length
    path = write_dicom(tmp_path / "IM0001", [data[:half], data[half:]], syntax, FrameTime=40.0)
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 25, atol=2e-3)
    assert not report.problems


@pytest.mark.parametrize(
    ("fields", "rate"), [({"FrameTime": 50.0}, 20), ({"CineRate": 15}, 15),
                         ({"FrameTimeVector": [0.0, *[100.0] * 29]}, 10)]
)  # fmt: skip
def test_pictures_of_jpeg(tmp_path, fields, rate):
    path = write_dicom(tmp_path / "a.dcm", jpegs(), uid.JPEGBaseline8Bit, **fields)
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / rate)
    assert not report.problems


def test_a_header_and_a_video_that_differ_in_their_rates(tmp_path):
    data, syntax = coded(tmp_path, "h264")
    frames, report = read(write_dicom(tmp_path / "a.dcm", [data], syntax, CineRate=50))
    assert frames[-1].time == pytest.approx(29 / 50)
    assert "claims 50 pictures per second, the video in it 25" in report.problems[0]


@pytest.mark.parametrize(
    ("syntax", "fields", "reason"),
    [
        (uid.JPEGBaseline8Bit, {}, "neither time stamps nor a rate.*--native_fps"),
        (uid.JPEGBaseline8Bit, {"frames": 1}, "is DICOM with 1 picture"),
        (uid.JPEGBaseline8Bit, {"PhotometricInterpretation": "RGB"}, "of colours RGB"),
        (uid.JPEGExtended12Bit, {"BitsAllocated": 16}, "of 16 bits as JPEG Extended"),
        (uid.JPEG2000, {}, "as JPEG 2000 Image Compression; read are MPEG-2"),
        (uid.JPEGBaseline8Bit, {"FrameTimeVector": [0.0, *[40.0, 90.0] * 14, 40.0]}, "uneven"),
    ],
)
def test_what_is_not_read_says_so(tmp_path, syntax, fields, reason):
    path = write_dicom(tmp_path / "a.dcm", jpegs(), syntax, **fields)
    with pytest.raises(BadInput, match=reason) as error:
        read(path)
    assert PATIENT not in str(error.value) and NAME not in str(error.value)


def test_damaged_headers_are_refused(tmp_path):
    whole = write_dicom(tmp_path / "a.dcm", jpegs(), uid.JPEGBaseline8Bit, CineRate=25)
    data = whole.read_bytes()
    for k, part in enumerate((data[:140], data[:300], data[:132] + bytes(2000), data[:900])):
        path = tmp_path / f"{k}.dcm"
        path.write_bytes(part)
        with pytest.raises(BadInput, match="DICOM|not one frame"):
            read(path)
    path.write_bytes(data[: len(data) // 2])
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames[:10]] == list(range(10))
    assert "the header claims 30 frames" in report.problems[0]


def test_nothing_of_the_patient_is_stored_and_a_patient_is_one_case(tmp_path, capsys):
    root = tmp_path / "in"
    for k, patient in enumerate([PATIENT, PATIENT, "other", ""]):
        fields = {"PatientID": patient, "CineRate": 25, "BurnedInAnnotation": "YES"}
        write_dicom(root / f"IM000{k}", jpegs(), uid.JPEGBaseline8Bit, **fields)
    write_dicom(root / "1.2.840.5", jpegs(), uid.JPEGBaseline8Bit, PatientID="other", CineRate=25)
    (root / "DICOMDIR").write_bytes(b"")
    assert patient_of(root / "IM0001") == PATIENT and patient_of(root / "IM0003") is None
    assert run(root, tmp_path / "out") == 0
    splits = stored(tmp_path / "out")
    videos = {name: video for split in splits.values() for name, video in split.items()}
    assert {name: video.fields["case_id"] for name, video in videos.items()} == {
        "1.2.840.5": "1.2.840.5",
        "IM0000": "IM0000",
        "IM0001": "IM0000",
        "IM0002": "1.2.840.5",
        "IM0003": "IM0003",
    }
    out = capsys.readouterr().out
    assert "2 DICOM file(s) name the patient of another" in out and "--blank" in out
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert PATIENT.encode() not in data and NAME.encode() not in data
    assert PATIENT not in out and NAME not in out


def test_cases_that_the_user_names_are_kept(tmp_path, capsys):
    root = tmp_path / "in"
    for k in range(2):
        write_dicom(root / f"op{k}" / "IM0001", jpegs(), uid.JPEGBaseline8Bit, CineRate=25)
    assert run(root, tmp_path / "out", "--case_from", "folder", "--split", "none") == 0
    videos = stored(tmp_path / "out")["train"].values()
    assert {video.fields["case_id"] for video in videos} == {"op0", "op1"}
    assert "1 DICOM file(s) name the patient of another" in capsys.readouterr().out


def test_what_shares_a_case_with_a_dicom_file_goes_with_it(tmp_path):
    root = tmp_path / "in"
    for name in ("IM0000", "IM0001"):
        write_dicom(root / name, jpegs(), uid.JPEGBaseline8Bit, CineRate=25)
    encode(root / "IM0001.mp4")  # the case IM0001 by its name
    encode(root / "op2.mp4", numbers=range(20))
    assert run(root, tmp_path / "out", "--split", "none") == 0
    videos = stored(tmp_path / "out")["train"]
    assert {name: video.fields["case_id"] for name, video in videos.items()} == {
        **dict.fromkeys(("IM0000", "IM0001", "IM0001.mp4"), "IM0000"),
        "op2.mp4": "op2",
    }
