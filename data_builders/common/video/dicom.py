"""DICOM videos: where the coded pictures lie in the file, and their rate. PS3.5 8.2 and A.4.

Read are MPEG-2, H.264, HEVC and multi-frame JPEG of 8 bits. Of the header only what decoding needs
is taken; no field of the patient, study or hospital is stored or printed.
"""

import bisect
import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import uid
from pydicom.encaps import parse_basic_offsets, parse_fragments

from surgrec_jax.records.errors import BadInput

_VIDEO = (
    *(uid.MPEG2MPML, uid.MPEG2MPMLF, uid.MPEG2MPHL, uid.MPEG2MPHLF),
    *(uid.MPEG4HP41, uid.MPEG4HP41F, uid.MPEG4HP41BD, uid.MPEG4HP41BDF),
    *(uid.MPEG4HP422D, uid.MPEG4HP422DF, uid.MPEG4HP423D, uid.MPEG4HP423DF),
    *(uid.MPEG4HP42STEREO, uid.MPEG4HP42STEREOF, uid.HEVCMP51, uid.HEVCM10P51),
)
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_NEEDED = (
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("BurnedInAnnotation", "SharedFunctionalGroupsSequence"),
)
_PATIENT_ID = 0x00100020
_HEAD = 2**20  # bytes that the patient's number is looked for in
_UNEVEN = 0.01


@dataclasses.dataclass(frozen=True)
class DicomVideo:
    """The coded pictures of a DICOM file.

    Attributes:
        stream: to read them from, as if they were a file of their own.
        format: FFmpeg's name of what they are; None where that shows from their first bytes.
        fps: pictures per second by the header; None where it does not say.
        frames: their number by the header.
        notes: sentences for the build's report.
    """

    stream: BinaryIO
    format: str | None
    fps: float | None
    frames: int
    notes: list[str]


def is_dicom(path: Path) -> bool:
    """Whether a readable file is DICOM by its first bytes."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextlib.contextmanager
def open_dicom(path: Path) -> Iterator[DicomVideo]:
    """Finds the coded pictures of a DICOM file.

    Raises:
        BadInput: its pictures are not a video that is read; says what they are.
    """
    with open(path, "rb") as file:
        try:
            if pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") in (
                uid.DeflatedExplicitVRLittleEndian,
            ):
                raise BadInput(path, "is a deflated DICOM file, which is not read")
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_NEEDED))
            syntax = header.file_meta.TransferSyntaxUID
            kind = _kind(path, header, syntax)
            fps, frames = _rate(path, header), int(header.get("NumberOfFrames") or 1)
            pieces = _pieces(path, file)
        except BadInput:
            raise
        except Exception as error:  # pydicom's own checks raise what Python raises
            raise BadInput(
                path, f"is no DICOM file that can be read ({type(error).__name__})"
            ) from error
        notes = []
        if header.get("BurnedInAnnotation") == "YES":
            notes.append("its header says that text is burnt into its pictures (see --blank)")
        yield DicomVideo(io.BufferedReader(_Pieces(file, pieces)), kind, fps, frames, notes)


def patient_of(path: Path) -> str | None:
    """The patient's number in the header, to be compared and forgotten; None without one."""
    with open(path, "rb") as file:
        head = io.BytesIO(file.read(_HEAD))
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            return None
        header = pydicom.filereader.read_partial(
            head, stop_when=lambda tag, vr, length: tag > _PATIENT_ID, specific_tags=[_PATIENT_ID]
        )
        return str(header.get("PatientID") or "").strip() or None
    except Exception:  # what is wrong with the file is told when it is read
        return None


def _kind(path: Path, header, syntax) -> str | None:
    if syntax in _VIDEO:
        return None
    bits, colours = header.get("BitsAllocated"), str(header.get("PhotometricInterpretation", ""))
    if syntax in _JPEG and bits == 8 and int(header.get("NumberOfFrames") or 1) > 1:
        if colours in ("YBR_FULL_422", "YBR_FULL", "MONOCHROME2"):
            return "mjpeg"
        raise BadInput(
            path, f"is DICOM with JPEG pictures of colours {colours}, which are not read"
        )
    name = getattr(syntax, "name", syntax)
    raise BadInput(
        path,
        f"is DICOM with {header.get('NumberOfFrames') or 1} picture(s) of {bits} bits as {name}; "
        "read are MPEG-2, H.264, HEVC and multi-frame JPEG of 8 bits",
    )


def _rate(path: Path, header) -> float | None:
    """PS3.3 C.7.6.5: frame time in ms, or a rate."""
    vector = [float(value) for value in header.get("FrameTimeVector") or ()][1:]
    if vector and max(vector) - min(vector) > _UNEVEN * max(vector):
        raise BadInput(
            path, "keeps its pictures at uneven times (FrameTimeVector), which is not read"
        )
    interval = float(header.get("FrameTime") or 0) or (vector[0] if vector else 0)
    rate = 1000 / interval if interval > 0 else 0
    rate = rate or float(header.get("CineRate") or header.get("RecommendedDisplayFrameRate") or 0)
    return rate if 0.01 <= rate <= 10000 else None


def _pieces(path: Path, file: BinaryIO) -> list[tuple[int, int]]:
    """(offset, length) of each fragment; `file` stands at the pixel data."""
    tag = file.read(4)
    if tag != b"\xe0\x7f\x10\x00":
        raise BadInput(path, "is DICOM without pixel data")
    if file.read(8)[4:] != b"\xff\xff\xff\xff":  # two letters, two zeros, the length
        raise BadInput(path, "is DICOM whose pixel data are not in fragments")
    parse_basic_offsets(file)
    pieces = []
    for offset in parse_fragments(file)[1]:
        file.seek(offset + 4)
        pieces.append((offset + 8, int.from_bytes(file.read(4), "little")))
    if not pieces:
        raise BadInput(path, "is DICOM without a picture")
    return pieces


class _Pieces(io.RawIOBase):
    """Parts of a file, read as one."""

    def __init__(self, file: BinaryIO, pieces: list[tuple[int, int]]):
        self._file, self._pieces = file, pieces
        self._starts = [0]
        for _, length in pieces:
            self._starts.append(self._starts[-1] + length)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer) -> int:
        k = bisect.bisect_right(self._starts, self._at) - 1
        if k >= len(self._pieces):
            return 0
        offset, length = self._pieces[k]
        inside = self._at - self._starts[k]
        self._file.seek(offset + inside)
        count = self._file.readinto(memoryview(buffer)[: length - inside])
        self._at += count
        return count
