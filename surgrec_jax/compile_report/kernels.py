"""Kernels of a program compiled for a GPU: FLOPs, bytes of memory moved, and the time they need.

XLA's own cost analysis counts the body of a loop once, and nothing inside cuDNN's attention.
"""

import dataclasses
import math
import re
from collections import defaultdict

from surgrec_jax.compile_report import hlo

KINDS = ("matrix products", "attention", "other")

_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_CUSTOM = re.compile(r'custom_call_target="([^"]*)"')
_CONTRACTED = re.compile(r'lhs_contracting_dim(?:ension)?s"?[=:][\[{]([\d",]*)')
_CONTROL = ("while", "conditional", "call")
# They run nothing, or only point at what is there.
_FREE = (
    *("parameter", "constant", "iota", "get-tuple-element", "tuple", "bitcast", "opt-barrier"),
    *("after-all", *_CONTROL),
)
# Of an operand they read only what they give; or write, into their first operand, the second.
_READS_A_PART = ("dynamic-slice", "gather", "slice")
_WRITES_A_PART = "dynamic-update-slice"
# cuDNN's attention of n queries and m keys of size d: two products of 2 n m d forward, five back.
_ATTENTION_FLOPS = {False: 4, True: 10}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One operation of a program that runs as a kernel (or a few).

    Attributes:
        kind: of KINDS.
        times: how often it runs in a step.
        flops: of matrix products and attention, in one run; 0 for others.
        size: bytes read and written in one run, each once and none found in a cache.
    """

    kind: str
    times: int
    flops: float
    size: float

    def seconds(self, peak: float, bandwidth: float) -> float:
        """The least that all runs take, at `peak` FLOP/s and `bandwidth` bytes/s."""
        return self.times * max(self.flops / peak, self.size / bandwidth)


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    types: str
    op: str
    operands: list[str]
    line: str
    root: bool

    @property
    def size(self) -> float:
        return sum(hlo.array_sizes(self.types))

    @property
    def shape(self) -> list[int]:
        return hlo.shapes(self.types)[0]


def kernels(text: str) -> list[Kernel]:
    """The kernels of a module's HLO text, loops counted by their known trip counts."""
    entry, bodies = hlo.computations(text)
    program = {name: _parse(lines) for name, lines in bodies.items()}
    # What loops and branches do are kernels; what others call, fusions above all, is inside one.
    inside = {
        callee
        for instructions in program.values()
        for instruction in instructions.values()
        if instruction.op not in _CONTROL
        for callee in hlo.callees(instruction.line)
    }
    return [
        _kernel(instruction, program[name], program, runs)
        for name, runs in hlo.runs(entry, bodies).items()
        if name not in inside
        for instruction in program[name].values()
        if instruction.op not in _FREE
    ]


def summary(found: list[Kernel], peak: float, bandwidth: float) -> dict[str, dict[str, float]]:
    """Per kind: runs in a step, TFLOP, GiB moved, and the least seconds that they take."""
    table = {}
    for kind in KINDS:
        mine = [k for k in found if k.kind == kind]
        table[kind] = {
            "runs_per_step": sum(k.times for k in mine),
            "tflop_per_step": sum(k.times * k.flops for k in mine) / 1e12,
            "gib_per_step": sum(k.times * k.size for k in mine) / 2**30,
            "least_seconds": sum(k.seconds(peak, bandwidth) for k in mine),
        }
    return table


def _parse(lines: list[str]) -> dict[str, _Instruction]:
    found = {}
    for line in lines:
        match = _INSTRUCTION.match(line)
        if match:
            root, name, types, op, rest = match.groups()
            found[name] = _Instruction(name, types, op, _operands(rest), line, bool(root))
    return found


def _operands(rest: str) -> list[str]:
    """Names between an operation's parentheses."""
    depth = 1
    for end, letter in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return re.findall(r"%([\w.\-]+)", rest[:end])
    return []


def _kernel(instruction: _Instruction, around, program, runs: int) -> Kernel:
    operands = [around[name] for name in instruction.operands]
    if instruction.op == "fusion":
        inside = program[hlo.callees(instruction.line)[0]]
        flops = sum(_product(i, [inside[o] for o in i.operands]) for i in inside.values())
        return Kernel(KINDS[0] if flops else KINDS[2], runs, flops, _fused_bytes(inside))
    target = _CUSTOM.search(instruction.line)
    size = sum(o.size for o in operands) + instruction.size
    if target and "fmha" in target[1]:
        (b, n, h, d), m = operands[0].shape, operands[1].shape[1]
        flops = _ATTENTION_FLOPS["Backward" in target[1]] * b * n * h * d * m
        return Kernel(KINDS[1], runs, flops, size)
    flops = _product(instruction, operands)
    if flops and target:  # its second result is scratch space
        size = sum(o.size for o in operands) + hlo.array_sizes(instruction.types)[0]
    elif instruction.op in _READS_A_PART:
        size = 2 * instruction.size
    elif instruction.op == _WRITES_A_PART:
        size = 2 * operands[1].size
    return Kernel(KINDS[0] if flops else KINDS[2], runs, flops, size)


def _product(instruction: _Instruction, operands: list[_Instruction]) -> float:
    """FLOPs of a matrix product; 0 for anything else."""
    target = _CUSTOM.search(instruction.line) if instruction.op == "custom-call" else None
    if instruction.op != "dot" and not (target and "cublas" in target[1]):
        return 0
    contracted = re.findall(r"\d+", _CONTRACTED.search(instruction.line)[1])
    inner = math.prod(operands[0].shape[int(axis)] for axis in contracted)
    return 2 * math.prod(instruction.shape) * inner


def _fused_bytes(inside: dict[str, _Instruction]) -> float:
    """Bytes that a fusion reads and writes, where it takes or replaces parts only those."""
    users: dict[str, list[tuple[str, _Instruction]]] = defaultdict(list)
    for instruction in inside.values():
        for operand in instruction.operands:
            users[operand].append((operand, instruction))

    def uses(name: str) -> list[tuple[str, _Instruction]]:
        found = []
        for operand, user in users[name]:
            found += uses(user.name) if user.op == "bitcast" else [(operand, user)]
        return found

    read = 0.0
    for parameter in (i for i in inside.values() if i.op == "parameter"):
        mine = uses(parameter.name)
        first = [user for name, user in mine if user.operands[:1] == [name]]
        if len(first) == len(mine) and all(u.op in _READS_A_PART for u in first):
            read += sum(user.size for user in first)
        elif not (len(first) == len(mine) and all(u.op == _WRITES_A_PART for u in first)):
            read += parameter.size

    def written(instruction: _Instruction) -> float:
        if instruction.op == _WRITES_A_PART:
            return inside[instruction.operands[1]].size
        if instruction.op in ("bitcast", "tuple"):
            return sum(written(inside[operand]) for operand in instruction.operands)
        return instruction.size

    return read + sum(written(i) for i in inside.values() if i.root)
