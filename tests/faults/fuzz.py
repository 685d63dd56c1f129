"""Damaged and hostile inputs by seeded mutation: each must be decoded or reported.

    python -m tests.faults.fuzz --kind=records --count=1000 --seed=0

Kinds: records, videos, annotations, configs, saved. Every case runs in a process that may take 2
GiB more memory than it started with, 30 seconds of CPU time and 120 of waiting (for a loaded
machine). Exit code 1 when a case ended the process, took more, or raised what the program does not
report.
"""

import argparse
import collections
import dataclasses
import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

KINDS = ("records", "videos", "annotations", "configs", "saved")
SUITES = {kind: f"tests.faults.fuzz_{kind}" for kind in KINDS}
CPU_S, WALL_S = 30.0, 120.0
MEMORY = 2 * 2**30
DECODED, REPORTED, ESCAPED, CRASHED, HUNG = "decoded", "reported", "ESCAPED", "CRASHED", "HUNG"

# A suite: (folder to work in, seed) -> (one case by number -> what came of it, errors that count as
# reported).
Case = Callable[[int], str]
Suite = tuple[Case, tuple[type[BaseException], ...]]


@dataclasses.dataclass
class Result:
    """What came of all cases.

    Attributes:
      outcomes: outcome -> how often. bad: case number, outcome, traceback of each failure.
      details: what cases said of themselves -> how often.
      seconds, mebibytes: CPU time and resident memory of the worst case.
    """

    outcomes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    details: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    bad: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    mebibytes: int = 0

    def text(self, kind: str) -> str:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(self.outcomes.items()))
        said = ", ".join(f"{n} {what}" for what, n in self.details.most_common(12))
        return (
            f"{kind}: {self.outcomes.total()} cases: {counts}; worst {self.seconds:.1f} s of CPU, "
            f"{self.mebibytes} MiB" + (f"\n  {said}" if said else "")
        )


def run(kind: str, count: int, seed: int, only: int | None = None) -> Result:
    """Runs cases 0 to count - 1 of a kind, or one of them."""
    result = Result()
    todo = list(range(count)) if only is None else [only]
    while todo:
        todo = todo[_run_some(kind, seed, todo, result) :]
    return result


def _run_some(kind: str, seed: int, todo: list[int], result: Result) -> int:
    """Cases in one process, until it dies; how many are done."""
    context = multiprocessing.get_context("spawn")  # ArrayRecord's threads do not survive a fork
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(SUITES[kind], seed, todo, theirs))
    process.start()
    theirs.close()
    if not ours.poll(120) or ours.recv() != "ready":
        raise RuntimeError(f"the process for {kind} did not start")
    done = 0
    while done < len(todo):
        seconds, text = 0.0, ""
        if not ours.poll(WALL_S):
            process.kill()
            outcome = HUNG
        else:
            try:
                outcome, detail, text, seconds, peak = ours.recv()
                result.seconds = max(result.seconds, seconds)
                result.mebibytes = max(result.mebibytes, peak // 2**10)
                result.details.update([detail] if detail else [])
            except EOFError:
                process.join()
                outcome, text = CRASHED, f"exit code {process.exitcode}"
        if seconds > CPU_S:
            outcome = HUNG
        result.outcomes[outcome] += 1
        if outcome not in (DECODED, REPORTED):
            result.bad.append((todo[done], outcome, text))
        done += 1
        if outcome in (CRASHED, HUNG):
            break
    if done < len(todo):
        process.kill()
    process.join()
    return done


def _serve(module: str, seed: int, todo: list[int], channel) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (libraries complain of every file)
    os.dup2(sys.stderr.fileno(), 2)
    with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
        case, reported = importlib.import_module(module).suite(Path(folder), seed)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        channel.send("ready")
        _run_cases(case, reported, todo, channel)


def _run_cases(case: Case, reported, todo: list[int], channel) -> None:
    for number in todo:
        began, text, detail = _cpu(), "", ""
        try:
            outcome, detail = DECODED, case(number)
        except reported as error:
            outcome, detail = REPORTED, getattr(error, "fuzz_detail", "")
        except BaseException:
            outcome, text = ESCAPED, traceback.format_exc()
        peak = max(resident_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        channel.send((outcome, detail, text, _cpu() - began, peak))


def resident_peak() -> int:
    """Most resident memory of this process, in KiB; ru_maxrss would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM:"))


def _cpu() -> float:
    """CPU time of this process and its children, in s."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kind", choices=SUITES, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone")
    args = parser.parse_args()
    result = run(args.kind, args.count, args.seed, args.only)
    for number, outcome, text in result.bad[:20]:
        print(f"case {number}: {outcome}\n{text}")
    print(result.text(args.kind))
    return 1 if result.bad or result.mebibytes * 2**20 > MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
