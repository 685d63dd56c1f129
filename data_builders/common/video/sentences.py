"""The sentences on a file that was read, for the build's report."""

from data_builders.common.video.clock import FrameClock
from data_builders.common.video.container import OpenedFile
from data_builders.common.video.decoder import Faults
from data_builders.common.video.frames import ReadReport

_REST_BYTES = 256 * 1024  # the sound behind a last picture, and more


def problems(report: ReadReport, clock: FrameClock, faults: Faults, file: OpenedFile) -> list[str]:
    """The faults of a file, a sentence each; none for a sound one."""
    found = []
    short = report.header_frames - report.frames_read
    if file.counts_pauses and report.header_frames <= (clock.end + 0.002) * report.header_fps:
        short = 0
    if report.frames_read and short > max(1, 0.002 * report.header_frames):
        found.append(
            f"the header claims {report.header_frames} frames, {report.frames_read} could be "
            f"decoded (up to {clock.end:.1f} s)"
        )
    elif not report.header_frames and file.tells_its_end:
        short = report.header_seconds - clock.end
        if short > max(1.5 * clock.typical_interval, 0.002 * report.header_seconds):
            found.append(
                f"the header claims {report.header_seconds:.2f} s, frames could be decoded up to "
                f"{clock.end:.2f} s"
            )
    if faults.places:
        found.append(
            f"damaged in {faults.places} place(s); {report.frames_read} frames up to "
            f"{clock.end:.1f} s could be decoded"
        )
    if faults.pictures:
        found.append(f"{faults.pictures} pictures are marked as damaged by the decoder")
    if faults.messages:
        found.append(
            f"FFmpeg reported {faults.messages} error(s) while decoding, so pictures may be "
            f"damaged (the first: {faults.first})"
        )
    behind = file.container.size - faults.read_to if file.interleaved else 0
    if behind > max(_REST_BYTES, 0.01 * file.container.size):
        found.append(
            f"the last {behind / file.container.size:.0%} of the file's bytes are not of its "
            "picture track: pictures that a recorder wrote there as another track are not read; "
            "cut the file where the new track begins"
        )
    if found and file.uncertain:
        found.append("there are no time stamps, so what follows lost frames stands too early")
    if clock.repaired > clock.missing:
        found.append(
            f"{clock.repaired} time stamps missing or not increasing; "
            f"{clock.fps:.3g} frames per second assumed there"
        )
    if clock.late:
        found.append(f"{clock.late} frames came after later ones, and were left out")
    if clock.restarts:
        found.append(
            f"the clock of the file was set anew {clock.restarts} time(s); times go on from the "
            "frame before"
        )
    if clock.longest_jump > 1.0:
        found.append(f"time stamps jump by {clock.longest_jump:.1f} s at {clock.jump_at:.1f} s")
    return found


def notes(report: ReadReport, clock: FrameClock) -> list[str]:
    """The conversions and assumptions made for a file, a sentence each."""
    found = []
    if report.interlaced:
        found.append(f"{report.interlaced} interlaced frames were deinterlaced")
    if clock.first >= 0.5:
        found.append(
            f"the picture begins {clock.first:.2f} s after the sound; times are a player's"
        )
    if clock.gaps and clock.steady:
        found.append(f"{clock.lost} frames are missing in {clock.gaps} gap(s) of a steady rate")
    if 0 < clock.missing == clock.repaired and not clock.unstamped:
        found.append(f"{clock.missing} frames carry no time stamp; the usual interval was assumed")
    if clock.unstamped:
        found.append(f"carries no time stamps; {clock.fps:.5g} frames per second")
    return found
