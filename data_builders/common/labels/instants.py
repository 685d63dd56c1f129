"""Cells that hold a time: seconds, clock times, timecodes and frame numbers.

What is read, by rule and never by guess:

  * a plain number counts in the unit that the column's name gives, or else in seconds; a comma in
    it is a decimal comma (thousands separators are not read);
  * `hh:mm:ss` and `hh:mm:ss.mmm` are a clock time; two numbers are minutes and seconds (`01:02` is
    62 s, `75:30` is 75 minutes and 30 seconds), never hours and minutes;
  * four numbers, `hh:mm:ss:ff`, are a timecode whose last number counts frames at the video's own
    rate; with a semicolon before the frames it is a drop-frame timecode.
"""

import math
import re
from typing import Literal, NamedTuple

InstantClock = Literal["seconds", "frames", "timecode", "dropped timecode"]
# Unit of a column -> seconds. Frames are counted, not measured.
UNITS = {"s": 1.0, "ms": 1e-3, "min": 60.0, "frames": None}
_NUMBER = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,3})?)\s*(s|sec|ms|min)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):(\d\d?)(?:[.,](\d{1,9}))?")
_TIMECODE = re.compile(r"(\d{1,3}):(\d\d):(\d\d)([:;])(\d{1,3})")
_SAID = {"clock": "hh:mm:ss", "hh:mm": "hh:mm"}
_PACKED = 1000.0  # a timecode is held as seconds * 1000 + frames, which sorts as it runs


class Instant(NamedTuple):
    """A time in its clock; `number` says where in a cell's notation a decimal stood, if any."""

    value: float
    clock: InstantClock
    decimal: str = ""  # "," or "." where the cell had one


def read_instant(cell: str, unit: str | None = None) -> Instant:
    """The time in a cell that is not empty.

    Args:
        cell: text without spaces at its ends.
        unit: a key of UNITS, "clock" or "hh:mm" (two numbers are hours and minutes), as the
            column's name says; None when it says nothing (seconds).

    Raises:
        ValueError: says what the cell is not; the caller names the place.
    """
    if match := _NUMBER.fullmatch(cell):
        if unit in ("clock", "hh:mm"):
            raise ValueError(f"{cell!r} is a number, but its column's name says {_SAID[unit]}")
        decimal = "," if "," in match[1] else "." if "." in match[1] else ""
        number = float(match[1].replace(",", "."))
        given = {"sec": "s"}.get(match[2] or "", match[2])
        if given and unit not in (None, given):
            raise ValueError(f"{cell!r} is in {given}, but its column counts in {unit}")
        unit = given or unit or "s"
        if unit in ("frames", "ms") and _THOUSANDS.fullmatch(match[1]):
            raise ValueError(f"{cell!r} may have a thousands separator; write it without")
        if not math.isfinite(number) or number < 0 or number > 1e12:
            raise ValueError(f"{cell!r} is not a number of 0 or more")
        if unit != "frames":
            return Instant(number * UNITS[unit], "seconds", decimal)
        if number != int(number):
            raise ValueError(f"{cell!r} is not a whole frame number")
        return Instant(number, "frames")
    if match := _TIMECODE.fullmatch(cell):
        hours, minutes, seconds, frames = (int(match[k]) for k in (1, 2, 3, 5))
        if minutes > 59 or seconds > 59:
            raise ValueError(f"{cell!r} has more than 59 minutes or seconds")
        _no_other_unit(cell, unit)
        clock = "dropped timecode" if match[4] == ";" else "timecode"
        return Instant((3600 * hours + 60 * minutes + seconds) * _PACKED + frames, clock)
    if match := _CLOCK.fullmatch(cell):
        hours, minutes, seconds = int(match[1] or 0), int(match[2]), int(match[3])
        if unit == "hh:mm" and not match[1] and not match[4]:
            hours, minutes, seconds = minutes, seconds, 0
        if seconds > 59 or (minutes > 59 and (match[1] or unit == "hh:mm")):
            raise ValueError(f"{cell!r} has more than 59 minutes or seconds")
        _no_other_unit(cell, unit)
        fraction = float(f"0.{match[4] or 0}")
        return Instant(3600 * hours + 60 * minutes + seconds + fraction, "seconds")
    raise ValueError(f"{cell!r} is not a time (seconds, mm:ss, hh:mm:ss.mmm, hh:mm:ss:ff)")


def looks_like_time(cell: str) -> bool:
    """Whether a cell is a clock time, a timecode or a number with decimals or a unit."""
    number = _NUMBER.fullmatch(cell)
    if number:
        return bool(number[2]) or not re.fullmatch(r"[+-]?\d+(?:[.,]0*)?", cell)
    return bool(_CLOCK.fullmatch(cell) or _TIMECODE.fullmatch(cell))


def timecode_frame(value: float, fps: float, dropped: bool) -> int:
    """The frame number (from 0) of a timecode as `read_instant` holds it.

    A timecode counts frames at the whole number nearest to the rate (30 at 29.97 frames a second).
    A drop-frame one leaves out the first two numbers of every minute but the tenth ones (four at
    59.94), as SMPTE ST 12-1 has it.

    Raises:
        ValueError: a frame number that the rate does not reach, or drop-frame at another rate than
            29.97 or 59.94.
    """
    nominal = max(1, round(fps))
    seconds, frames = divmod(int(value), int(_PACKED))
    if frames >= nominal:
        raise ValueError(f"frame {frames} of a second, where the video has {fps:.5g} a second")
    number = seconds * nominal + frames
    if dropped:
        if nominal not in (30, 60):
            raise ValueError(
                f"a drop-frame timecode, where the video has {fps:.5g} frames a second"
            )
        minutes = seconds // 60
        number -= nominal // 15 * (minutes - minutes // 10)
    return number


def show(value: float, clock: InstantClock) -> str:
    """A time in words, for messages."""
    if clock == "frames":
        return f"frame {value:.0f}"
    if clock == "seconds":
        return f"{value:g} s"
    seconds, frames = divmod(int(value), int(_PACKED))
    mark = ";" if clock == "dropped timecode" else ":"
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{frames:02}"


def _no_other_unit(cell: str, unit: str | None) -> None:
    if unit not in (None, "s", "min", *_SAID):
        raise ValueError(f"{cell!r} is a clock time, but its column counts in {unit}")
