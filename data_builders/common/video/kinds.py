"""The kind of a file by its first bytes; without any decoder, so that no file can do harm here."""

import re
from pathlib import Path

_HEAD = 4096
_STARTS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"\x00\x00\x01\xba",  # MPEG program stream: .mpg .vob .mod .tod
    b"\x00\x00\x01\xb3",  # MPEG-1 and MPEG-2 video
    b"\x00\x00\x01\xb0",  # MPEG-4 part 2
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11",  # WTV
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b"\x00\x00\x00\x00\x01\xbc\x00\x00",  # GXF
    *(b"FLV\x01", b"OggS", b".RMF", b"DKIF", b"NSVf", b"NSVs", b"YUV4MPEG2", b"nut/multimedia"),
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"pnot", b"moof", b"styp")
# Brands of the same boxes that are pictures or sound alone.
_NO_VIDEO = (b"heic", b"heix", b"mif1", b"avif", b"jxl ", b"M4A ", b"M4B ", b"M4P ")
_RIFF = (b"AVI ", b"CDXA", b"AMV ")  # CDXA: the .dat of a video CD
# A start code, and the head of a parameter set, a delimiter or a message of H.264 or HEVC.
_ANNEX_B = re.compile(rb"\x00{2,3}\x01(?:[\x67\x27\x47\x09\x06]|[\x40\x42\x44\x46\x4e]\x01)")
_DV = re.compile(rb"\x1f\x07\x00[\x3f\xbf]")
_TS_PACKETS = (188, 192, 204)  # plain, with a time code (AVCHD), with a checksum

_MAX_TOP_BOXES = 100_000  # two a fragment, of a second or more


def is_video(path: Path) -> bool:
    """Whether the first bytes of a readable file are those of a video that is read."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_STARTS) or _ANNEX_B.match(head) or _DV.match(head):
        return True
    if head[4:8] in _BOXES:
        return head[8:12] not in _NO_VIDEO
    if head.startswith(b"RIFF"):
        return head[8:12] in _RIFF
    return any(_is_transport(head, size) for size in _TS_PACKETS)


def _is_transport(head: bytes, size: int) -> bool:
    """An MPEG transport stream has 0x47 at the start of each packet; it may begin within one."""
    return any(
        set(head[first::size]) == {0x47} and len(head[first::size]) >= 5 for first in range(size)
    )


def recordings(path: Path) -> int:
    """How many MP4 or QuickTime files stand one after the other in a file; the first is read."""
    found, at, end = 0, 0, path.stat().st_size
    with open(path, "rb") as file:
        for _ in range(_MAX_TOP_BOXES):
            file.seek(at)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:  # a size of 64 bits follows the name
                size = int.from_bytes(head[8:16], "big")
            found += head[4:8] == b"moov"
            at += size
            if size < 8 or at >= end:
                break
    return max(found, 1)
