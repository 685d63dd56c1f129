"""Every file of a saved step damaged in turn: found, put aside, and the step before goes on."""

import argparse
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from surgrec_jax import checkpoint
from tests.faults import runs
from tests.faults.runs import expect

STEPS, GOOD, NEWEST = 30, 10, 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `faults damage`."""
    parser.add_argument(
        "--files", type=int, default=0, help="damage this many files only; 0: every one"
    )
    parser.add_argument(
        "--continued", type=int, default=2, help="damaged runs that are trained to their end"
    )


def damages(
    rng: np.random.Generator, file: Path, other: Path | None
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Kinds of damage to a file, drawn from a seed; `other` is the same file of another step."""
    data = file.read_bytes()

    def flip(at: int) -> None:
        file.write_bytes(
            data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
        )

    if data:
        for place in (0, int(rng.integers(len(data))), len(data) - 1):
            yield f"bit flipped in byte {place}", lambda place=place: flip(place)
        cut = int(rng.integers(len(data)))
        yield f"truncated to {cut} bytes", lambda: file.write_bytes(data[:cut])
        yield "overwritten with zeros", lambda: file.write_bytes(bytes(len(data)))
    yield "lengthened", lambda: file.write_bytes(data + b"\0")
    yield "deleted", file.unlink
    yield "replaced by a folder", lambda: (file.unlink(), file.mkdir())
    if other is not None and other.read_bytes() != data:
        yield "swapped with another step's", lambda: shutil.copy(other, file)


def inject(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Damages copies of a run's checkpoints, restores them, and trains some of them on."""
    data, whole, broken = runs.make_data(folder / "data"), folder / "whole", folder / "broken"
    pristine = folder / "pristine"
    settings = {"steps": STEPS, "checkpoint__every": GOOD, "checkpoint__keep": 2}
    for workdir, more in ((whole, {}), (pristine, {"stop_after": NEWEST})):
        code, said = runs.finish(folder, runs.arguments(workdir, data, **settings, **more))
        expect(code in (0, 75), f"the run ended with {code}: {said}")
    good = runs.arrays(pristine, GOOD)
    rng = np.random.default_rng(args.seed)
    counts: dict[str, int] = {}
    root = pristine / "checkpoints"
    names = [p.relative_to(root / str(NEWEST)) for p in _files(root / str(NEWEST))]
    if args.files:
        names = [names[k] for k in sorted(rng.choice(len(names), args.files, replace=False))]
    continued = set(rng.choice(len(names), min(args.continued, len(names)), replace=False).tolist())
    for number, name in enumerate(names):
        other = _counterpart(root, name)
        kinds = [kind for kind, _ in damages(rng, root / str(NEWEST) / name, other)]
        for index, kind in enumerate(kinds):
            _copy(pristine, broken)
            target = broken / "checkpoints" / str(NEWEST) / name
            seeded = np.random.default_rng([args.seed, number])
            list(damages(seeded, target, other))[index][1]()
            _expect_fallback(broken, good, f"{name}: {kind}")
            counts[kind.split(" in ")[0].split(" to ")[0]] = (
                counts.get(kind.split(" in ")[0].split(" to ")[0], 0) + 1
            )
        if number in continued:
            _copy(pristine, broken)
            target = broken / "checkpoints" / str(NEWEST) / name
            target.write_bytes(target.read_bytes()[:-1])
            code, said = runs.finish(folder, runs.arguments(broken, data, **settings))
            expect(code == 0, f"{name}: the continued run ended with {code}: {said}")
            expect(runs.first_step(said) == GOOD, f"{name}: it did not go on from {GOOD}: {said}")
            expect(f"{NEWEST} is damaged: {name}" in said, f"{name} is not named: {said}")
            runs.expect_same(whole, broken)
    return {"files": len(names), **counts, "undetected": 0, "trained_on_bit_equal": len(continued)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _counterpart(root: Path, name: Path) -> Path | None:
    """The same file of the good step; of data files, whose names are hashes, one beside it."""
    folder = (root / str(GOOD) / name).parent
    if (folder / name.name).is_file():
        return folder / name.name
    beside = [path for path in _files(folder) if path.parent == folder]
    return beside[0] if beside else None


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _expect_fallback(workdir: Path, good: dict[str, np.ndarray], what: str) -> None:
    """The trainer's own restore must give the good step, and put the other aside."""
    root = workdir / "checkpoints"
    location = checkpoint.find(workdir, GOOD)
    shapes = checkpoint.checksums.arrays_of(location)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = {
        key: jax.ShapeDtypeStruct(shape, np.dtype(dtype), sharding=device)
        for key, (dtype, shape) in shapes.items()
        if key.startswith(("params/", "step"))
    }
    saved = checkpoint.Checkpoints(root)
    restored = saved.restore(_nest(wanted))
    saved.close()
    expect(restored is not None, f"{what}: nothing was restored")
    state, meta = restored
    expect(meta["step"] == GOOD, f"{what}: NOT DETECTED, step {meta['step']} was restored")
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        key = "/" + "/".join(k.key for k in path)
        expect(np.asarray(leaf).tobytes() == good[key].tobytes(), f"{what}: {key} differs")
    aside = [p.name.split("-")[0] for p in Path(f"{root}-damaged").iterdir()]
    expect(aside == [str(NEWEST)], f"{what}: put aside: {aside}")


def _nest(flat: dict[str, object]) -> dict:
    tree: dict = {}
    for key, value in flat.items():
        *path, last = key.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return tree
