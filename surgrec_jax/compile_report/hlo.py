"""Collectives of a compiled program, from its HLO text: how often they run, and their bytes."""

import dataclasses
import math
import re
from collections import defaultdict

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s4": 0.5}
_BYTES |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8, "c64": 8, "c128": 16}

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_CALLS = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|true_computation|false_computation)="
    r"\{?([^,}\s]+(?:, ?%[^,}\s]+)*)"
)
_TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_GROUPS_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_GROUPS_IOTA = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_GROUPS_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_LIMIT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
# How libtpu writes a reduce-scatter: a fusion of an all-reduce and a slice.
_TPU_REDUCE_SCATTER = "all-reduce-scatter"


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
        kind: of KINDS.
        times: how often it runs in a step: once per trip of the loops it stands in.
        size: bytes of the whole arrays that it gathers, reduces or moves, in one run.
        group: devices that take part together.
        in_loop: whether it stands in a loop.
    """

    kind: str
    times: int
    size: int
    group: int
    in_loop: bool


def collectives(text: str) -> list[Collective]:
    """The collectives of a module's HLO text, loops counted by their known trip counts."""
    entry, bodies = computations(text)
    times = runs(entry, bodies)
    found, seen = [], set()
    for name, lines in bodies.items():
        for line in lines if times[name] else ():
            match = _OPERATION.search(line)
            if not match:
                continue
            kind, group = match[2], _group(line)
            size = _size(match[1], kind, bool(match[3]), group)
            if name.startswith(_TPU_REDUCE_SCATTER):
                kind = "reduce-scatter"
            # libtpu spreads one asynchronous operation over several fusions.
            channel = _CHANNEL.search(line)
            key = (kind, size, channel[1]) if channel else (name, line)
            if key not in seen:
                seen.add(key)
                found.append(Collective(kind, times[name], size, group, times[name] > 1))
    return found


def summary(found: list[Collective]) -> dict[str, dict[str, float]]:
    """Per kind: operations in the program, runs in a step, and MiB in all runs together."""
    table = {}
    for kind in KINDS:
        mine = [c for c in found if c.kind == kind]
        if mine:
            table[kind] = {
                "operations": len(mine),
                "runs_per_step": sum(c.times for c in mine),
                "mib_per_step": sum(c.times * c.size for c in mine) / 2**20,
            }
    return table


def computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the entry computation, and the lines of every computation by its name."""
    entry, name, bodies = "", "", {}
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            name = header[2]
            bodies[name] = []
            entry = name if header[1] else entry
        elif name:
            bodies[name].append(line)
    return entry, bodies


def runs(entry: str, bodies: dict[str, list[str]]) -> dict[str, int]:
    """How often every computation runs in a step, both branches of a condition once."""
    total: dict[str, int] = defaultdict(int)
    _count(entry, 1, bodies, total)
    return total


def _count(name: str, times: int, bodies: dict[str, list[str]], total: dict[str, int]) -> None:
    total[name] += times
    for line in bodies[name]:
        inner = times * (_trips(line, bodies) if " while(" in line else 1)
        for callee in callees(line):
            if callee in bodies:
                _count(callee, inner, bodies, total)


def callees(line: str) -> list[str]:
    """Computations that an operation calls."""
    listed = (match[1].split(",") for match in _CALLS.finditer(line))
    return [name.strip().lstrip("%") for names in listed for name in names]


def _trips(line: str, bodies: dict[str, list[str]]) -> int:
    """Trips of a loop; 1 where the number is not known before it runs."""
    known = _TRIPS.search(line)
    if known:
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", line)
    body = bodies.get(condition[1], []) if condition else []
    limits = [int(m[1]) for m in map(_LIMIT.search, body) if m]
    return limits[0] if len(limits) == 1 and any("direction=LT" in x for x in body) else 1


def shapes(types: str) -> list[list[int]]:
    """The shapes of all arrays in a type."""
    return [[int(d) for d in dims.split(",") if d] for _, dims in _SHAPE.findall(types)]


def array_sizes(types: str) -> list[int]:
    """The bytes of all arrays in a type."""
    dtypes = [dtype for dtype, _ in _SHAPE.findall(types)]
    pairs = zip(dtypes, shapes(types), strict=True)
    return [int(_BYTES.get(dtype, 4) * math.prod(shape)) for dtype, shape in pairs]


def _group(line: str) -> int:
    listed = _GROUPS_LISTED.search(line)
    if listed:
        return len(listed[1].split(","))
    mesh = _GROUPS_MESH.search(line)
    if mesh:  # mesh['a'=2,'b'=4] {'b'}
        sizes = dict(part.split("=") for part in mesh[1].split(","))
        return math.prod(int(sizes[axis]) for axis in mesh[2].split(",") if axis)
    iota = _GROUPS_IOTA.search(line)
    return int(iota[1]) if iota else 1


def _size(types: str, kind: str, start: bool, group: int) -> int:
    sizes = array_sizes(types)
    if start and kind == "all-gather":  # (operands, results)
        sizes = sizes[len(sizes) // 2 :]
    elif start and kind == "reduce-scatter":
        return sum(sizes[: len(sizes) // 2])
    elif start and kind == "collective-permute":  # (operand, result, contexts)
        sizes = sizes[1:2]
    return sum(sizes) * (group if kind == "reduce-scatter" else 1)
