"""Time stamps made trustworthy, and the choice of frames on a grid of instants. Pure arithmetic."""

import math
import statistics

from data_builders.common.labels.tracks import TOLERANCE

_MEASURED = 1024  # intervals that enter the measured rate: half a minute, bounded memory
_RECENT = 16


class FrameClock:
    """Turns the raw time stamps of successive decoded frames into (seconds, frame number).

    Times start at 0 with the first frame (unless the head of the file is damaged) and increase
    strictly: a stamp that is missing or does not increase is replaced by the previous one plus the
    usual interval. Numbers count decoded frames; where decoding failed, frames lost are counted by
    time.
    """

    def __init__(self, header_fps: float):
        self._header_fps = header_fps if 0.1 <= header_fps <= 1000 else 0.0
        self._intervals: list[float] = []
        self._recent: list[float] = []
        self._origin: float | None = None
        self._time = -math.inf
        self._number = -1
        self._was_damaged = False
        self._fps: float | None = None
        self.repaired = 0
        self.longest_jump = 0.0
        self.jump_at = 0.0

    def damaged(self) -> None:
        """Tells that decoding failed before the next frame."""
        self._was_damaged = True

    def tick(self, raw: float) -> tuple[float, int]:
        """The time in seconds and the number of the frame stamped `raw` seconds."""
        if self._number < 0:
            raw = raw if math.isfinite(raw) else 0.0
            self._origin = min(0.0, raw) if self._was_damaged else raw
            self._time = raw - self._origin
            self._number = round(self._time * self.fps)
            return self._time, self._number
        time = raw - self._origin
        if not math.isfinite(time) or time <= self._time + 1e-6:
            time = self._time + self.typical_interval
            self.repaired += 1
        interval = time - self._time
        if interval > max(self.longest_jump, 4 * self.typical_interval):
            self.longest_jump, self.jump_at = interval, self._time
        lost = round(interval * self.fps) - 1 if self._was_damaged else 0
        self._number += 1 + max(0, lost)
        self._time = time
        if len(self._intervals) < _MEASURED:
            self._intervals.append(interval)
            if len(self._intervals) < _RECENT or len(self._intervals) % 64 == 0:
                self._fps = None  # measure anew: often at first, seldom later, for it sorts
        self._recent = [*self._recent[-_RECENT + 1 :], interval]
        return time, self._number

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
        total = sum(usual)
        if self._header_fps and abs(len(usual) / self._header_fps - total) <= 2 * TOLERANCE:
            return self._header_fps
        return len(usual) / total

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
