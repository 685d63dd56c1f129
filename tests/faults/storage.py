"""Disks that are full or read-only, clocks set back, few open files."""

import argparse
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from surgrec_jax import checkpoint
from tests.faults import runs
from tests.faults.runs import expect

# Long enough to fill the disk while it runs and to free it again.
STEPS = 800


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `faults storage`: none."""


def inject(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Every fault in turn, each compared with the run that had none."""
    del args
    data, whole = runs.make_data(folder / "data"), folder / "whole"
    code, said = runs.finish(folder, runs.arguments(whole, data, steps=STEPS), timeout=600)
    expect(code == 0, f"the run without faults ended with {code}: {said}")
    return {
        "disk full for a while": disk_full(folder, data, whole, freed=True),
        "disk full": disk_full(folder, data, whole, freed=False),
        "read-only workdir": read_only(folder, data),
        "workdir turns read-only": turns_read_only(folder, data),
        "clock set back by a day": clock_set_back(folder, data, whole),
        "open files": open_files(folder, data),
    }


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[Path | None]:
    """A file system of a given size; None where nothing may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def disk_full(folder: Path, data: Path, whole: Path, *, freed: bool) -> str:
    """The disk fills up in mid-run; `freed` says whether somebody makes room again."""
    with disk(folder / f"disk-{freed}", "24m") as place:
        if place is None:
            return "not tried: mounting a small tmpfs needs root"
        workdir = place / "run"
        limit = 100_000 if freed else 3
        args = runs.arguments(workdir, data, steps=STEPS, checkpoint__max_failures=limit)
        process = runs.run(folder, args)
        runs.wait_for_step(workdir, 20, process)
        filler = place / "filler"
        _fill(filler)
        if freed:
            _wait_until_full(process, workdir, filler)
            filler.unlink()
        _, said = process.communicate(timeout=600)
        expect("No space left" in said, f"a full disk is not named: {said}")
        steps = checkpoint.steps_in(workdir / "checkpoints")
        for step in steps:
            expect(
                not checkpoint.checksums.verify(checkpoint.Location(workdir / "checkpoints", step)),
                f"step {step} was harmed",
            )
        expect(steps, "no checkpoint is left")
        if freed:
            expect(process.returncode == 0, f"the run ended with {process.returncode}: {said}")
            runs.expect_same(whole, workdir, STEPS)
            failed = [line for line in said.splitlines() if "could not write checkpoint" in line]
            expect(failed, "no save failed: the disk was not full for long enough")
            return f"{len(failed)} failed saves, then bit-equal to the run without"
        expect(process.returncode == 1, f"exit code {process.returncode}: {said}")
        expect("Earlier checkpoints are intact" in said, f"not said what is safe: {said}")
        filler.unlink()
        code, said = runs.finish(folder, args, timeout=600)
        expect(code == 0, f"the continued run ended with {code}: {said}")
        runs.expect_same(whole, workdir, STEPS)
        return f"exit code 1 after {limit + 1} failed saves in a row; continued, bit-equal"


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def _wait_until_full(process: subprocess.Popen, workdir: Path, filler: Path) -> None:
    """Keeps the disk full until no line has reached the metrics file for three seconds."""
    deadline = time.monotonic() + 60
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        expect(process.poll() is None, "the run ended while the disk was full")
        expect(time.monotonic() < deadline, "the disk did not become full")
        _fill(filler)
        time.sleep(0.1)
        now = max(runs.losses(workdir), default=0)
        if now != seen:
            seen, since = now, time.monotonic()


def read_only(folder: Path, data: Path) -> str:
    """A workdir that cannot be written is refused before training."""
    with disk(folder / "readonly", "4m") as place:
        if place is None:
            return "not tried: mounting a small tmpfs needs root"
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        code, said = runs.finish(folder, runs.arguments(place / "run", data, steps=5))
    expect(code == 1 and "Read-only file system" in said, f"exit code {code}: {said}")
    expect("Traceback" not in said, said)
    return "exit code 1 and one sentence before the first step"


def turns_read_only(folder: Path, data: Path) -> str:
    """As file systems do after an error of their disk."""
    with disk(folder / "turning", "24m") as place:
        if place is None:
            return "not tried: mounting a small tmpfs needs root"
        workdir = place / "run"
        args = runs.arguments(workdir, data, steps=STEPS, checkpoint__max_failures=2)
        process = runs.run(folder, args)
        runs.wait_for_step(workdir, 20, process)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], capture_output=True)
        # A mount with files open for writing may refuse: then every new file is refused instead.
        if os.access(place, os.W_OK):
            (workdir / "checkpoints").rename(workdir / "gone")
            (workdir / "checkpoints").touch()
        _, said = process.communicate(timeout=300)
        expect(process.returncode == 1, f"exit code {process.returncode}: {said}")
        expect("could not write checkpoint" in said and "intact" in said, said)
        kept = workdir / ("gone" if (workdir / "gone").exists() else "checkpoints")
        steps = checkpoint.steps_in(kept)
        expect(
            steps and not checkpoint.checksums.verify(checkpoint.Location(kept, steps[-1])),
            f"the last of {steps} was harmed",
        )
    return "exit code 1 after 3 failed saves in a row; the last checkpoint is whole"


def clock_set_back(folder: Path, data: Path, whole: Path) -> str:
    """time.time() and time.time_ns() jump back by a day while the run goes on."""
    tricks = folder / "clock"
    tricks.mkdir(exist_ok=True)
    (tricks / "sitecustomize.py").write_text(
        "import time\n"
        "real, real_ns, jump = time.time, time.time_ns, time.monotonic() + 8\n"
        "time.time = lambda: real() - (86400 if time.monotonic() > jump else 0)\n"
        "time.time_ns = lambda: real_ns() - (86400 * 10**9 if time.monotonic() > jump else 0)\n"
    )
    workdir = folder / "back"
    env = runs.environment(folder, PYTHONPATH=f"{tricks}{os.pathsep}{runs.ROOT}")
    code, said = runs.finish(
        folder, runs.arguments(workdir, data, steps=STEPS), env=env, timeout=600
    )
    expect(code == 0, f"exit code {code}: {said}")
    runs.expect_same(whole, workdir, STEPS)
    return "bit-equal to the run without"


def open_files(folder: Path, data: Path) -> str:
    """A limit of 1,000 open files; 200 saves must not leave any open."""
    workdir = folder / "files"
    args = runs.arguments(workdir, data, steps=1000, data__num_threads=2)
    limit = ["sh", "-c", 'ulimit -n 1000 && exec "$@"', "sh"]
    process = runs.run(folder, args, prefix=limit)
    counts = []
    while process.poll() is None:
        with contextlib.suppress(OSError):
            counts.append(len(os.listdir(f"/proc/{process.pid}/fd")))
        time.sleep(0.1)
    said = process.stderr.read()
    expect(process.returncode == 0, f"exit code {process.returncode}: {said}")
    quarter = len(counts) // 4
    early, late = max(counts[quarter : 2 * quarter]), max(counts[-quarter:])
    expect(late <= early + 20, f"open files grow: {early} in the second quarter, {late} at the end")
    return f"at most {max(counts)} of 1,000 open at once over 200 saves"
