"""A checkpoint format as a table: which source tensors make which of our parameters, and how.

A table is a list of rules and a list of ignored keys. Applying it consumes every source tensor
exactly once (or finds it among the ignored ones) and fills every parameter exactly once; whatever
is left over is an error that lists the keys. The same table backwards is the export.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from surgrec_jax.safety.errors import UserError

Shape = tuple[int, ...]
Arrays = list[np.ndarray]

# The number of keys that an error lists; it counts the rest.
LISTED = 8


class ConvertError(UserError, ValueError):
    """A file cannot be converted; the message says why, and what to do."""


class Tensors(Protocol):
    """Named tensors that are read one at a time."""

    name: str

    def shapes(self) -> Mapping[str, Shape]:
        """Key -> shape of every tensor."""

    def get(self, key: str) -> np.ndarray:
        """One tensor, float32 where it is floating point."""


@dataclasses.dataclass(frozen=True)
class Transform:
    """A pair of functions that are each other's inverse, bit for bit.

    Attributes:
        forward: source tensors -> our parameter.
        back: our parameter -> source tensors; None where it cannot be undone.
    """

    forward: Callable[[Arrays], np.ndarray]
    back: Callable[[np.ndarray], Arrays] | None


SAME = Transform(lambda x: x[0], lambda y: [y])
# torch keeps matrices [out, in], flax [in, out].
LINEAR = Transform(lambda x: x[0].T, lambda y: [y.T])


def squeeze(*shape: int) -> Transform:
    """A tensor with leading axes of size 1, e.g. [1, 1, D] for `squeeze(1, 1)`, as one without."""
    ones = len(shape)
    return Transform(
        lambda x: x[0].reshape(x[0].shape[ones:]), lambda y: [y.reshape(*shape, *y.shape)]
    )


def fused_linear(parts: int) -> Transform:
    """Matrices [out, in] side by side in one of [in, parts x out] (query, key, value)."""
    return Transform(
        lambda x: np.concatenate(x, 0).T, lambda y: [p.T for p in np.split(y, parts, axis=1)]
    )


def fused_bias(parts: int) -> Transform:
    """Vectors one after another."""
    return Transform(np.concatenate, lambda y: np.split(y, parts))


def stacked(parts: int, *ones: int) -> Transform:
    """`parts` tensors [*ones, D] as the rows of [parts, D] (V-JEPA's list of mask tokens)."""
    return Transform(
        lambda x: np.stack([p.reshape(p.shape[len(ones) :]) for p in x]),
        lambda y: [row.reshape(*ones, *row.shape) for row in y],
    )


def patch_kernel(tubelet: int, patch: int) -> Transform:
    """A patch convolution [D, 3, t, p, p] as the matrix [P, D] that `vit.patchify` wants.

    P runs over (frame, row, column, channel).
    """
    return Transform(
        lambda x: x[0].transpose(2, 3, 4, 1, 0).reshape(-1, len(x[0])),
        lambda y: [y.reshape(tubelet, patch, patch, 3, -1).transpose(4, 3, 0, 1, 2)],
    )


@dataclasses.dataclass(frozen=True)
class Rule:
    """Source tensors that make one parameter.

    Attributes:
        source: key or keys; "{i}" stands for a layer.
        path: path of our parameter, e.g. "encoder/blocks/layers/attn/qkv/kernel".
        transform: the functions between the two.
        depth: number of layers stacked along the parameter's first axis, 0 for none.
    """

    source: str | tuple[str, ...]
    path: str
    transform: Transform = SAME
    depth: int = 0

    @property
    def patterns(self) -> tuple[str, ...]:
        """The keys as a tuple."""
        return (self.source,) if isinstance(self.source, str) else self.source

    def layers(self) -> list[list[str]]:
        """Source keys: one list per layer, a single one where nothing is stacked."""
        layers = range(self.depth) if self.depth else [0]
        return [[p.replace("{i}", str(i)) for p in self.patterns] for i in layers]


@dataclasses.dataclass(frozen=True)
class Ignored:
    """Source keys that make no parameter, and why that is right.

    Attributes:
        pattern: a regular expression for whole keys.
        reason: a sentence's worth.
        check: takes the tensor and returns what is wrong with ignoring it, or None.
    """

    pattern: str
    reason: str
    check: Callable[[np.ndarray], str | None] | None = None


def listing(keys: Iterable[str]) -> str:
    """Keys for an error message: some of them, and how many more there are."""
    keys = sorted(keys)
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def to_params(
    source: Tensors, rules: Sequence[Rule], ignored: Sequence[Ignored], wanted: Mapping[str, Shape]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Our parameters of a file.

    Nothing is read before all keys and shapes agree, and then one tensor at a time into the array
    that will hold it.

    Args:
        wanted: path -> shape of every parameter.

    Returns:
        path -> float32 array, and source key -> reason for the ignored ones.

    Raises:
        ConvertError: keys or shapes that do not agree, all of them listed.
    """
    shapes = source.shapes()
    consumed = [key for rule in rules for keys in rule.layers() for key in keys]
    problems = _repeated("the table reads", consumed)
    problems += _repeated("the table fills", [rule.path for rule in rules])
    consumed = set(consumed)
    left = {key: _entry(key, ignored) for key in shapes if key not in consumed}
    problems += _listed("missing from the file", consumed - shapes.keys())
    problems += _listed("in the file and unknown", [k for k, entry in left.items() if not entry])
    paths = {rule.path for rule in rules}
    problems += _listed("parameters nothing fills", wanted.keys() - paths)
    problems += _listed("filled but no parameters", paths - wanted.keys())
    problems += _wrong_shapes(shapes, rules, wanted)
    if problems:
        raise ConvertError(f"{source.name}: " + "; ".join(problems))
    for key, entry in left.items():
        if entry.check and (problem := entry.check(source.get(key))):
            raise ConvertError(f"{source.name}: {key} {problem}")
    params = {rule.path: _fill(source, rule, wanted[rule.path]) for rule in rules}
    return params, {key: entry.reason for key, entry in left.items()}


def to_source(params: Mapping[str, np.ndarray], rules: Sequence[Rule]) -> dict[str, np.ndarray]:
    """The source tensors of our parameters: a table backwards.

    Raises:
        ConvertError: parameters and table that do not cover each other, or a one-way transform.
    """
    paths = {rule.path for rule in rules}
    problems = _listed("parameters the format has no place for", params.keys() - paths)
    problems += _listed("parameters the format wants", paths - params.keys())
    problems += _listed("cannot be undone", [r.path for r in rules if r.transform.back is None])
    if problems:
        raise ConvertError("export: " + "; ".join(problems))
    out: dict[str, np.ndarray] = {}
    for rule in rules:
        value = np.asarray(params[rule.path])
        layers = value if rule.depth else value[None]
        for keys, layer in zip(rule.layers(), layers, strict=True):
            parts = rule.transform.back(layer)
            out |= zip(keys, map(np.ascontiguousarray, parts), strict=True)
    return out


def _fill(source: Tensors, rule: Rule, shape: Shape) -> np.ndarray:
    out = np.empty(shape, np.float32)
    layers = out if rule.depth else out[None]
    for layer, keys in zip(layers, rule.layers(), strict=True):
        layer[...] = rule.transform.forward([_weight(source, key) for key in keys])
    return out


def _weight(source: Tensors, key: str) -> np.ndarray:
    """A tensor that makes a parameter: floating point, and every number of it one."""
    value = source.get(key)
    if value.dtype != np.float32:
        raise ConvertError(
            f"{source.name}: {key} is {value.dtype}, a quantised weight or none; give the "
            "unquantised file"
        )
    if not np.isfinite(value).all():
        broken = value.size - int(np.isfinite(value).sum())
        raise ConvertError(
            f"{source.name}: {key} has {broken} of {value.size} numbers that are NaN or infinite; "
            "the file is damaged, or was saved after its training broke"
        )
    return value


def _wrong_shapes(
    shapes: Mapping[str, Shape], rules: Sequence[Rule], wanted: Mapping[str, Shape]
) -> list[str]:
    """Keys of other shapes than their parameter's, which the table computes from shapes alone."""
    wrong = []
    for rule in rules:
        if rule.path not in wanted:
            continue
        layer = wanted[rule.path][1:] if rule.depth else wanted[rule.path]
        for keys in rule.layers():
            if any(key not in shapes for key in keys):
                continue
            for key, expected in zip(keys, _source_shapes(rule, layer, keys, shapes), strict=True):
                if shapes[key] != expected:
                    hint = " (transposed?)" if shapes[key] == expected[::-1] else ""
                    wrong.append(f"{key} is {list(shapes[key])}, expected {list(expected)}{hint}")
    return [f"wrong shapes: {listing(wrong)}"] if wrong else []


def _source_shapes(
    rule: Rule, layer: Shape, keys: list[str], shapes: Mapping[str, Shape]
) -> list[Shape]:
    empty = np.broadcast_to(np.float32(0), layer)  # takes no memory, whatever its shape
    if rule.transform.back is not None:
        return [part.shape for part in rule.transform.back(empty)]
    try:
        parameter = rule.transform.forward(
            [np.broadcast_to(np.float32(0), shapes[k]) for k in keys]
        )
    except (ValueError, IndexError):  # shapes that do not go together at all
        parameter = np.zeros(0)
    return [shapes[k] if parameter.shape == layer else layer for k in keys]


def _entry(key: str, ignored: Sequence[Ignored]) -> Ignored | None:
    return next((i for i in ignored if re.fullmatch(i.pattern, key)), None)


def _repeated(what: str, items: list[str]) -> list[str]:
    twice = [item for item, times in Counter(items).items() if times > 1]
    return _listed(f"{what} more than once", twice)


def _listed(what: str, keys: Iterable[str]) -> list[str]:
    keys = list(keys)
    return [f"{what}: {listing(keys)}"] if keys else []


def count(shapes: Mapping[str, Shape]) -> int:
    """Numbers in tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())
