"""A frame beside its label map and a predicted one, drawn over it."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from surgrec_jax.data.loading.decode import UndecodableFrameError, decode_frames, decode_map
from surgrec_jax.evaluation.features.maps import read_map
from surgrec_jax.evaluation.report.svg import escape
from surgrec_jax.evaluation.report.svg_tasks import css_of
from surgrec_jax.records.maps import VOID
from surgrec_jax.records.source import Source

HEIGHT = 160  # pixels of the drawn picture
QUALITY = 85


def colours(count: int) -> np.ndarray:
    """RGB uint8 [256, 3] for ids: 0 is black, VOID grey, the others lie around the wheel."""
    table = np.zeros((256, 3), np.uint8)
    for k in range(1, count):
        table[k] = np.multiply(colorsys.hsv_to_rgb((k * 0.381966) % 1, 0.85, 1.0), 255)
    table[VOID] = 128
    return table


def overlays(source: Source, name: str, number: int, time: float, png: bytes) -> bytes:
    """A JPEG: the frame at `time` of a record, truth over it, a predicted map over it.

    Args:
        name: of the map.
        png: the prediction, ids of 8 bits or depths of 16 bits in tenths of a millimetre.

    Raises:
        DamagedRecordError, UndecodableFrameError: what is stored cannot be decoded.
    """
    jpeg, truth, millimetres = _stored(source, name, number, time)
    (frame,) = decode_frames([jpeg], [0])
    classes = source.maps[name]
    answer = decode_map(png, "a predicted map", None if classes is None else len(classes))
    size = max(1, round(frame.shape[1] * HEIGHT / frame.shape[0])), HEIGHT
    shown = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    small = [cv2.resize(m, size, interpolation=cv2.INTER_NEAREST_EXACT) for m in (truth, answer)]
    if classes is None:
        far = max(float(truth.max()) * millimetres, 1e-6)
        drawn = [_depth(small[0] * millimetres, far), _depth(small[1] / 10, far)]
    else:
        drawn = [_over(shown, values, len(classes)) for values in small]
    sheet = np.concatenate([shown, *drawn], 1)
    return cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def farthest(source: Source, name: str, number: int, time: float) -> float:
    """The largest depth of the map of a frame in millimetres, where its colours end.

    Raises:
        DamagedRecordError, UndecodableFrameError: as `overlays`.
    """
    _, truth, millimetres = _stored(source, name, number, time)
    return float(truth.max()) * millimetres


def _stored(source: Source, name: str, number: int, time: float) -> tuple[bytes, np.ndarray, float]:
    """A frame's JPEG, its map at stored size, and the millimetres of one count of it."""
    raw = source.raw(number)
    record, stored = source.parse(raw, number), source.parse_maps(raw, number)[name]
    place = int(np.abs(record.times - time).argmin())
    if place not in stored.frames:
        raise UndecodableFrameError(f"no map {name!r} at {time} s")
    image = stored.images[int(np.searchsorted(stored.frames, place))]
    truth = read_map(source, number, record.frames[place], image, name)
    return record.frames[place], truth, stored.millimetres


def _over(frame: np.ndarray, ids: np.ndarray, classes: int) -> np.ndarray:
    """Classes but the first as half transparent colours over a frame."""
    drawn = colours(classes)[ids]
    return np.where(ids[..., None] > 0, frame // 2 + drawn // 2, frame).astype(np.uint8)


def _depth(millimetres: np.ndarray, far: float) -> np.ndarray:
    """Depths as colours from red (0) to blue (`far` and beyond); black where nothing is known."""
    level = np.clip(255 * millimetres / far, 0, 255).astype(np.uint8)
    drawn = cv2.applyColorMap(255 - level, cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(millimetres[..., None] > 0, drawn, 0).astype(np.uint8)


def legend(classes: Sequence[str] | None) -> str:
    """HTML: what the colours of `overlays` say; `classes` is None for depths."""
    if classes is None:
        stops = cv2.applyColorMap(np.linspace(255, 0, 9).astype(np.uint8), cv2.COLORMAP_TURBO)
        ramp = ", ".join(css_of(colour) for colour in stops.reshape(-1, 3)[:, ::-1])
        return (
            '<div class="legend plain"><span>0 mm <i class="ramp" style="background:'
            f'linear-gradient(90deg, {ramp})"></i> the farthest true depth of the frame, '
            "or beyond; black: not measured</span></div>"
        )
    table = colours(len(classes))
    named = [*enumerate(classes), (VOID, "unlabelled")][1:]
    return '<div class="legend">' + "".join(
        f'<span style="--c:{css_of(table[k])}">{escape(name)}</span>' for k, name in named
    ) + "</div>"  # fmt: skip
