"""Time stamps made trustworthy, and the choice of frames on a grid of instants. Pure arithmetic."""

import math
import statistics

from data_builders.common.labels.tracks import TOLERANCE

_MEASURED = 1024  # intervals that enter the measured rate: half a minute, bounded memory
_RECENT = 16
_STEADY = 0.2  # share of an interval
_SET_BACK = 1.0  # seconds: stamps that fall by more come from a clock that was set back
# Decoders give up to 16 frames after a damaged place that precede it; a gap may show only then.
_DAMAGE_SHOWS = 32


class FrameClock:
    """Turns the raw time stamps of successive decoded frames into (seconds, frame number).

    Times count from `zero` and increase strictly. A stamp that is missing, or the same as the one
    before, is replaced by the last stamp's time plus the usual intervals since then. A frame whose
    stamp falls by less than a second comes too late (decoders give some after damage) and is left
    out; nothing later is moved. When stamps fall by more, or `restarted` told so, and then increase
    again, the clock was set back, and their differences count from there. Numbers count decoded
    frames; where decoding failed, frames lost are counted by time.

    Args:
        header_fps: frames per second that the header claims, or 0.
        zero: the raw stamp that a player shows as 0 seconds; None takes that of the first frame,
            or 0 when decoding failed before it.
        start: the raw stamp of frame 0, for a file whose first frames are lost; None takes `zero`.
        close_jumps: jumps of the stamps that are longer than this are no pauses, but a clock that
            was set anew: the frame follows the previous one.
        late: a first stamp that comes this many seconds after `zero`, or fewer, is 0 seconds.
    """

    def __init__(
        self,
        header_fps: float,
        zero: float | None = None,
        start: float | None = None,
        close_jumps: float = math.inf,
        late: float = 0.0,
    ):
        self._header_fps = header_fps if 0.1 <= header_fps <= 1000 else 0.0
        self._zero, self._start, self._close = zero, start, close_jumps
        self._late = late
        self._intervals: list[float] = []
        self._recent: list[float] = []
        self._origin = 0.0
        self._time = -math.inf
        self._number = -1
        self._damaged = 0  # frames to come whose gaps are lost frames
        self._restarted = 0  # frames to come whose stamps may fall
        self._raw = math.nan  # the last stamp
        self._stamped = 0.0  # its time
        self._since = 0  # frames since then
        self._set_back_to = math.nan  # the last stamp, if it fell
        self._fps: float | None = None
        self.first = 0.0  # the time of the first frame
        self.unstamped = False  # whether no frame so far had a stamp
        self.repaired = 0  # stamps that were missing or did not increase
        self.late = 0  # frames that came after their time
        self.missing = 0  # of these, stamps that were missing
        self.gaps = 0  # intervals of several usual ones
        self.lost = 0  # frames that these intervals had room for
        self._count = 0  # intervals
        self._steady = 0  # intervals as usual
        self.restarts = 0
        self.longest_jump = 0.0
        self.jump_at = 0.0

    def damaged(self) -> None:
        """Tells that decoding failed before the next frame."""
        self._damaged = _DAMAGE_SHOWS

    def restarted(self) -> None:
        """Tells that the clock was set back before this frame or one soon after it."""
        self._restarted = _DAMAGE_SHOWS

    def tick(self, raw: float) -> tuple[float, int] | None:
        """The time in seconds and the number of the frame stamped `raw` seconds (or NaN).

        None for a frame that comes after its time: it is left out.
        """
        if self._number < 0:
            return self._first_tick(raw)
        self._since += 1
        fps = self.fps  # before this interval counts
        self.unstamped &= not math.isfinite(raw)
        time = self._placed(raw) if math.isfinite(raw) else self._guessed()
        self._restarted = max(0, self._restarted - 1)
        if time is None:
            self.late += 1
            self._number += not self._damaged  # else the gap before it has counted it
            return None
        interval = time - self._time
        if interval > max(self.longest_jump, 4 / fps):
            self.longest_jump, self.jump_at = interval, self._time
        absent = max(0, round(interval * fps) - 1)
        if self._count:  # of the first interval only a header says how long it should be
            self.gaps += absent > 0
            self.lost += absent
        self._steady += abs(interval * fps - 1) < _STEADY
        self._number += 1 + (absent if self._damaged else 0)
        self._damaged = max(0, self._damaged - 1)
        self._count += 1
        self._time = time
        self._recent = [*self._recent[-_RECENT + 1 :], interval]
        return time, self._number

    def _guessed(self) -> float:
        """The time of a frame without a stamp: from the last stamp on, by the usual interval."""
        self.repaired += 1
        self.missing += 1
        usual = self.typical_interval
        return max(self._time + usual / 4, self._stamped + self._since * usual)

    def _placed(self, raw: float) -> float | None:
        """The time of a frame by its stamp; None when it comes after its time."""
        set_back, self._set_back_to = self._set_back_to, math.nan
        if 0 < raw - set_back <= self._close and raw - self._origin <= self._time:
            self._origin = set_back - self._time
            self.restarts += 1
        elif raw - self._origin - self._time > self._close:
            self._origin = raw - self._time - self.typical_interval
            self.restarts += 1
        elif raw < self._raw - (0.0 if self._restarted else _SET_BACK):
            self._set_back_to = self._raw = raw
            self._stamped, self._since = self._time + self.typical_interval, 0
            self.repaired += 1
            return self._stamped
        elif raw == self._raw:
            self.missing -= 1
            return self._guessed()
        elif raw < self._raw:
            return None
        else:
            self._measure_from(raw)
        time = raw - self._origin
        self._raw, self._stamped, self._since = raw, time, 0
        if time <= self._time + 1e-6:  # what was guessed ran ahead
            self.repaired += 1
            return self._time + self.typical_interval / 4
        return time

    def _measure_from(self, raw: float) -> None:
        for _ in range(min(self._since, _MEASURED - len(self._intervals))):
            self._intervals.append((raw - self._raw) / self._since)
            if len(self._intervals) < _RECENT or len(self._intervals) % 64 == 0:
                self._fps = None  # measure anew: often at first, seldom later, for it sorts

    def _first_tick(self, raw: float) -> tuple[float, int]:
        self.unstamped = not math.isfinite(raw)
        raw = (self._zero or 0.0) if self.unstamped else raw
        zero = self._zero
        if zero is None:
            zero = 0.0 if self._damaged else raw
        if not self._damaged and raw - zero <= self._late:
            zero = raw
        self._origin = min(raw, zero)
        self._raw = raw
        self._time = self.first = self._stamped = raw - self._origin
        start = self._origin if self._start is None else min(raw, self._start)
        self._number = round((raw - start) * self.fps) if self._damaged else 0
        return self._time, self._number

    @property
    def fps(self) -> float:
        """Frames per second, measured from up to 1024 intervals without pauses and glitches.

        The header's rate is given instead when it predicts the measured time to within 2 ms: time
        stamps rounded to milliseconds cannot tell 59.94 from 59.95, the header can.
        """
        if self._fps is None:
            self._fps = self._measure()
        return self._fps

    def _measure(self) -> float:
        if not self._intervals:
            return self._header_fps or 25.0
        middle = statistics.median(self._intervals)
        usual = [x for x in self._intervals if 0.5 * middle <= x <= 1.5 * middle]
        usual = usual or [middle]  # two intervals that differ beyond measure
        total = sum(usual)
        if self._header_fps and abs(len(usual) / self._header_fps - total) <= 2 * TOLERANCE:
            return self._header_fps
        return len(usual) / total

    @property
    def steady(self) -> bool:
        """Whether nearly all intervals are as usual, so that longer ones are frames lost."""
        return self._steady >= 0.9 * self._count

    @property
    def typical_interval(self) -> float:
        """Seconds from a frame to the next."""
        return 1.0 / self.fps

    @property
    def longest_interval(self) -> float:
        """The longest of the latest intervals: how soon the next frame is expected at the latest.

        Infinite until there is something to go by.
        """
        return max(self._recent) if len(self._recent) >= 2 else math.inf

    @property
    def origin(self) -> float:
        """The raw stamp of 0 seconds, as the latest frames have it."""
        return self._origin

    @property
    def counted(self) -> int:
        """One more than the number of the last frame."""
        return self._number + 1

    @property
    def lost_at_end(self) -> int:
        """Frames that are missing among the latest ones, and not counted in their numbers."""
        if self._damaged:
            return 0
        return sum(max(0, round(interval * self.fps) - 1) for interval in self._recent)

    @property
    def end(self) -> float:
        """Seconds from the start to the end of the last frame."""
        return 0.0 if self._number < 0 else self._time + self.typical_interval


class FramePicker:
    """Chooses, for every instant k / fps, the frame at or last before it, and no frame twice.

    Which frame is last before an instant shows only when the next one comes, and turning a decoded
    frame into a picture costs as much as a third of decoding it. So the caller asks `wanted` with
    the longest interval to expect and skips frames that cannot be chosen. When a pause follows a
    skipped frame unforeseen (variable frame rate), the instants within it get the first frame after
    it (`overdue`).
    """

    def __init__(self, fps: float):
        self._fps = fps
        self._next = 0  # index of the next instant
        self._skipped = False
        self.overdue = False

    def _instant(self) -> float:
        return self._next / self._fps + TOLERANCE if math.isfinite(self._fps) else -math.inf

    def passed(self, time: float) -> bool:
        """Whether an instant lies before `time`, that of a new frame; moves on to the next ones."""
        self.overdue = False
        if math.isinf(self._fps):
            return True
        # The first instant that is not before `time`; the slack absorbs floating-point noise.
        first = math.ceil((time - TOLERANCE) * self._fps - 1e-6)
        if first <= self._next:
            return False
        self.overdue, self._skipped = self._skipped, False
        self._next = first
        return True

    def wanted(self, time: float, longest_interval: float) -> bool:
        """Whether the frame at `time` may be chosen, given how long the next may take."""
        needed = self.overdue or self._instant() < time + 1.5 * longest_interval
        self._skipped = not needed
        return needed

    def retrieved(self) -> None:
        """Tells that the frame asked about was turned into a picture."""
        self._skipped = False
