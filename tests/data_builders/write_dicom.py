"""DICOM videos for tests."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

PATIENT = "PATIENT-4711"  # what must never be stored
NAME = "Doe^Jane"


def write_dicom(
    path: Path, pieces: Sequence[bytes], syntax: str, *, frames: int = 30, **fields
) -> Path:
    """Writes coded pictures as a DICOM file of a patient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    values = {
        "PatientID": PATIENT,
        "PatientName": NAME,
        "SOPInstanceUID": "1.2.3.4",
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "Rows": 96,
        "Columns": 128,
        "NumberOfFrames": frames,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "SamplesPerPixel": 3,
        "PixelRepresentation": 0,
        "PlanarConfiguration": 0,
        "PhotometricInterpretation": "YBR_FULL_422",
    }
    for name, value in (values | fields).items():
        setattr(data, name, value)
    data.PixelData = encapsulate(list(pieces))
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path
