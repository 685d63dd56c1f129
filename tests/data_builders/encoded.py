"""Videos of many kinds, encoded by FFmpeg's own libraries; every frame shows its number.

In an interlaced video the field of frame k that comes first shows its number, the other already the
number of the next frame.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np

from tests.data_builders.fake_video import _box, draw_number

FPS = 25
RATE = 48_000


def encode(
    path: Path,
    *,
    codec: str = "libx264",
    container: str | None = None,
    numbers: Iterable[int] = range(30),
    stamps: Sequence[float] | None = None,
    size: tuple[int, int] = (128, 96),
    draw: Callable[[int, tuple[int, int]], np.ndarray] = draw_number,
    pixels: str = "yuv420p",
    fields: str | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    sound: str | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    colours: tuple[int, int] | None = None,
) -> Path:
    """Writes a video.

    Args:
      container: FFmpeg's name of it; None goes by the ending of `path`.
      numbers: what the frames show.
      stamps: seconds of each frame; None places them FPS a second.
      size: width, height.
      fields: "tff" or "bff" for interlaced frames, top or bottom field first.
      aspect: of one pixel, width by height.
      matrix: nine numbers of the display matrix.
      options, muxer: of the encoder, and of the container.
      sound: codec of a track of silence that begins at 0 seconds.
      colours: FFmpeg's number of the colour matrix, and of the range; None leaves both unsaid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w", format=container, options=dict(muxer or {})) as file:
        stream = file.add_stream(codec, rate=FPS, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if colours is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colours
        if codec == "mjpeg":
            stream.codec_context.color_range = 2
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if fields is not None:
            _interlace(stream, codec, fields)
        if codec.startswith("libx265"):
            stream.options |= {"x265-params": "log-level=none:pools=none"}
        voice = None if sound is None else file.add_stream(sound, rate=RATE, layout="stereo")
        if voice is not None:
            voice.bit_rate = 64_000
        last = 0.0
        for k, number in enumerate(numbers):
            last = k / FPS if stamps is None else stamps[k]
            picture = draw(number, size) if fields is None else _woven(draw, number, size, fields)
            frame = _coloured(av.VideoFrame.from_ndarray(picture, "bgr24"), pixels, codec, colours)
            if fields is not None:
                frame = _flagged(frame, fields)
            frame.pts, frame.time_base = round(last * FPS * 100), Fraction(1, FPS * 100)
            if stream.codec_context.time_base:
                frame.pts = round(last / stream.codec_context.time_base)
                frame.time_base = stream.codec_context.time_base
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
        if voice is not None:
            for packet in _silence(voice, last):
                file.mux(packet)
    return path


def _interlace(stream, codec: str, fields: str) -> None:
    if codec == "libx264":
        stream.options |= {"x264-params": f"{fields}=1"}
    elif codec != "dvvideo":
        stream.options |= {"flags": "+ildct+ilme"}


def _coloured(frame, pixels: str, codec: str, colours) -> av.VideoFrame:
    if codec == "mjpeg":
        return frame.reformat(format=pixels, dst_color_range=2)
    if colours is None:
        return frame.reformat(format=pixels)
    return frame.reformat(format=pixels, dst_colorspace=colours[0], dst_color_range=colours[1])


def _woven(draw, number: int, size, fields: str) -> np.ndarray:
    """Rows 0, 2, ... are the top field."""
    first, second = draw(number, size), draw(number + 1, size)
    woven = first.copy()
    woven[fields == "tff" :: 2] = second[fields == "tff" :: 2]
    return woven


def _flagged(frame: av.VideoFrame, fields: str) -> av.VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, FPS)
    )
    graph.link_nodes(source, graph.add("setfield", fields), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def _silence(stream, seconds: float):
    size = stream.codec_context.frame_size or 1024
    kind = stream.codec_context.format.name
    for at in range(0, max(size, round(seconds * RATE)), size):
        frame = av.AudioFrame(format=kind, layout="stereo", samples=size)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def cut_by_edit_list(path: Path, frames: int) -> Path:
    """Makes the edit list of an mp4 begin `frames` later."""
    data = bytearray(path.read_bytes())
    start, _ = _box(data, ["moov", "trak", "edts", "elst"])
    clock, _ = _box(data, ["moov", "trak", "mdia", "mdhd"])
    (movie,) = struct.unpack_from(">I", data, _box(data, ["moov", "mvhd"])[0] + 8 + 12)
    (scale,) = struct.unpack_from(">I", data, clock + 8 + 12)
    shown, begin = struct.unpack_from(">Ii", data, start + 16)
    shown, begin = shown - frames * movie // FPS, begin + frames * scale // FPS
    struct.pack_into(">Ii", data, start + 16, shown, begin)
    path.write_bytes(data)
    return path
