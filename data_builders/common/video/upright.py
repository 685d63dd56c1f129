"""Turns a decoded frame into the picture a viewer sees: whole, square pixels, upright, BGR.

All of it is FFmpeg's own: deinterlacing (bwdif), the colour conversion that the frame's matrix and
range ask for, and the resizing of pixels that are not square. Only the turning and mirroring of the
display matrix is done here, on the finished picture.
"""

import collections
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer

from data_builders.common.video.container import MAX_PIXELS, MAX_SIDE

MAX_ASPECT = 4  # ratio of a pixel's sides, either way; anamorphic film has 2
_HDR = (16, 18)  # transfer curves of ITU-R BT.2100: PQ and HLG


class Deinterlacer:
    """Makes whole pictures of interlaced frames: one frame out for each one in, in order.

    Frames pass untouched until the first that is flagged as interlaced. From there on all go
    through bwdif, which holds one frame back (it looks at the next one) and changes only those that
    are flagged. A note of the caller's travels with each frame.
    """

    def __init__(self, time_base: Fraction):
        self._time_base = time_base
        self._graph: av.filter.Graph | None = None
        self._kind: tuple | None = None
        self._notes: collections.deque = collections.deque()
        self.frames = 0  # flagged as interlaced

    def push(self, frame: av.VideoFrame, note: Any) -> Iterator[tuple[av.VideoFrame, Any]]:
        """Takes the next frame, and yields what is ready."""
        self.frames += frame.interlaced_frame
        kind = _kind(frame)
        if self._graph is not None and kind != self._kind:
            yield from self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame, note
                return
            bwdif = "bwdif", "mode=send_frame:deint=interlaced"
            self._graph, self._kind = _graph(frame, self._time_base, bwdif), kind
        self._notes.append(note)
        self._graph.vpush(frame)
        yield from self._ready()

    def flush(self) -> Iterator[tuple[av.VideoFrame, Any]]:
        """Yields what is held back.

        Raises:
            RuntimeError: FFmpeg gave another number of frames than it took.
        """
        if self._graph is None:
            return
        self._graph.vpush(None)
        yield from self._ready()
        if self._notes:
            raise RuntimeError(f"bwdif kept {len(self._notes)} frames to itself.")
        self._graph = None

    def _ready(self):
        for frame in _pulled(self._graph):
            yield frame, self._notes.popleft()


class Converter:
    """Turns frames into BGR pictures of square pixels, upright.

    Attributes:
        notes: sentences on what could not be followed.
    """

    def __init__(self, stream: av.VideoStream):
        self._time_base = stream.time_base
        self._codec = stream.codec_context
        # The container's word on the shape of pixels counts before each frame's.
        own = stream.sample_aspect_ratio
        self._aspect = own if own and own != self._codec.sample_aspect_ratio else None
        self._graph: av.filter.Graph | None = None
        self._kind: tuple | None = None
        self.notes: set[str] = set()

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture of a frame, uint8 [H, W, 3], that nothing else holds.

        Raises:
            av.FFmpegError: FFmpeg cannot convert it.
        """
        kind = _kind(frame)
        if self._graph is None or kind != self._kind:
            self._graph = _graph(
                frame, self._time_base, self._scale(), ("format", "pix_fmts=bgr24")
            )
            self._kind = kind
        aspect = self._aspect or self._codec.sample_aspect_ratio or 1
        if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
            self.notes.add(f"claims pixels of shape {aspect}, which no camera has; taken as square")
        if frame.color_trc in _HDR:
            self.notes.add("has high dynamic range; its brightness is stored as coded")
        self._graph.vpush(frame)
        (converted,) = _pulled(self._graph)
        picture = converted.to_ndarray()  # a view of the converted frame, which it keeps alive
        if frame.format.name == "bgr24" or not picture.flags.writeable:
            picture = picture.copy()  # nothing was converted, and the decoder may need its frame
        return oriented(picture, display_matrix(frame))

    def _scale(self) -> tuple[str, str]:
        """The filter that makes pixels square, frame by frame: `sar` is that of each frame."""
        sar = "sar" if self._aspect is None else f"({self._aspect})"
        fits = f"lte(iw*{sar},{MAX_SIDE})*lte(iw*{sar}*ih,{MAX_PIXELS})"
        sound = f"between({sar},{1 / MAX_ASPECT},{MAX_ASPECT})*{fits}"
        width = f"if({sound},max(1,round(iw*{sar})),iw)".replace(",", "\\,")
        return "scale", f"w={width}:h=ih:eval=frame"


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """The a, b, c, d of a frame's display matrix; None where there is none.

    A point (x, y) is shown at (a x + c y, b x + d y): ISO/IEC 14496-12, 6.2.2.
    """
    # frame.side_data is not used: PyAV keeps it and the frame in a circle, and the frame in memory.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")
    if data is None:
        return None
    values = np.frombuffer(bytes(data), np.int32)
    if len(values) < 9:
        return None
    return tuple(int(values[k]) for k in (0, 1, 3, 4))


def oriented(picture: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """A picture turned and mirrored as a display matrix says: the nearest of the eight ways."""
    if matrix is None or not any(matrix):
        return picture
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = cv2.transpose(picture), c, b
    if a < 0 and d < 0:
        return cv2.flip(picture, -1)
    if a < 0:
        return cv2.flip(picture, 1)
    return cv2.flip(picture, 0) if d < 0 else picture


def _kind(frame: av.VideoFrame) -> tuple:
    """The properties of a frame that a filter graph is made for."""
    return (
        frame.width,
        frame.height,
        frame.format.name,
        int(frame.colorspace),
        int(frame.color_range),
    )


def _graph(frame: av.VideoFrame, time_base: Fraction, *filters: tuple[str, str]):
    width, height, pixels, matrix, full = _kind(frame)
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        f"video_size={width}x{height}:pix_fmt={pixels}:time_base={time_base}:pixel_aspect=1/1:"
        f"colorspace={matrix}:range={full}",
    )
    nodes = [graph.add(name, options) for name, options in filters]
    graph.link_nodes(source, *nodes, graph.add("buffersink")).configure()
    return graph


def _pulled(graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
