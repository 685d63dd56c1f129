"""The table of docs/scaling.md: which sizes fit where, and with how many clips.

Every cell is a process of its own (a compiler that fails takes nothing with it), and is kept as a
JSON file, so that the table goes on where it was stopped.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from surgrec_jax.compile_report import targets

SIZES = ("B", "L", "H", "g")
RECIPES = ("mae", "jepa")  # the files of configs/
SLICES = {
    "v5e": ("4x4", "16x16"),
    "v4": ("2x2x4", "4x8x8"),
    "v5p": ("2x2x4", "4x8x8"),
    "v6e": ("4x4", "16x16"),
    "h200": ("1", "8"),
}
# Chips that share one copy of the state: a slice of 16, or a node of 8 GPUs.
FSDP = 16


@dataclasses.dataclass(frozen=True)
class Cell:
    """One objective and size on one slice."""

    objective: str
    size: str
    topology: str

    @property
    def name(self) -> str:
        """The name of its file, without ending."""
        return f"{self.objective}-{self.size}-{self.topology.replace(':', '-')}"

    def command(self, guess: int, out: Path, changes: list[str]) -> list[str]:
        """What makes it."""
        chips = targets.parse(self.topology).chips
        return [
            *(sys.executable, "-m", "surgrec_jax.compile_report", "--largest_batch"),
            *(f"--config=configs/{self.objective}.py", f"--topology={self.topology}"),
            *(f"--config.model.preset={self.size}", f"--config.mesh.fsdp={min(chips, FSDP)}"),
            *("--config.accum_steps=1", f"--guess={guess}", f"--json={out}"),
            *(f"--config.{change}" for change in changes),
        ]


def cells() -> Iterator[Cell]:
    """All cells, the recipes' own sizes and small slices first."""
    recipes = [("jepa", "L"), ("mae", "B")]
    others = [(o, s) for s in SIZES for o in RECIPES if (o, s) not in recipes]
    small = [f"{kind}:{layouts[0]}" for kind, layouts in SLICES.items()]
    large = [f"{kind}:{layouts[1]}" for kind, layouts in SLICES.items()]
    small.insert(1, "v5e:8x8")
    for wave in ([recipes, small], [others, small[:1] + small[2:]], [recipes + others, large]):
        for objective, size in wave[0]:
            for topology in wave[1]:
                yield Cell(objective, size, topology)


def run(folder: Path, only: str, changes: list[str]) -> int:
    """Makes the cells that are not in the folder yet, and prints the table of those that are.

    Args:
        only: cells with this in their name; "none" prints the table alone.
        changes: config values, as KEY=VALUE, for all cells.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for cell in cells():
        out = folder / f"{cell.name}.json"
        if only not in cell.name or _searched(out):
            continue
        try:
            targets.check_installed(targets.parse(cell.topology))
        except targets.TargetError as error:
            print(f"{cell.name}: left out, {error}", file=sys.stderr)
            continue
        done = subprocess.run(
            cell.command(_guess(folder, cell), out, changes), capture_output=True, text=True
        )
        lines = (done.stderr or "").strip().splitlines()[-1:]
        print(f"{cell.name}: {'done' if _searched(out) else lines}", file=sys.stderr, flush=True)
    print(markdown(load(folder)))
    return 0


def _searched(path: Path) -> bool:
    return path.exists() and json.loads(path.read_text())["searched"]


def load(folder: Path) -> dict[Cell, dict]:
    """Cells that have been begun, and their reports."""
    found = {}
    for cell in cells():
        path = folder / f"{cell.name}.json"
        if path.exists():
            found[cell] = json.loads(path.read_text())
    return found


def _guess(folder: Path, cell: Cell) -> int:
    """Clips per chip to begin with, from what a clip takes in another cell of the same model."""
    for other, figures in load(folder).items():
        if (other.objective, other.size) == (cell.objective, cell.size) and figures["fits"]:
            fixed = sum(figures["state_gib_per_chip"].values())
            total = figures["memory_gib_per_chip"]["total"]
            clip = (total - fixed) / figures["batch_per_chip"]
            room = targets.parse(cell.topology).chip.memory / targets.GIB - fixed
            return 1 << max(int(room / clip).bit_length() - 1, 0)
    return 16


def markdown(found: dict[Cell, dict]) -> str:
    """One row per slice, one column per model: clips per chip, and GiB of the chip's memory.

    "≥" stands before a batch whose search was broken off, "open" for a cell that is not made yet,
    "-" for one that is none of the table's.
    """
    models = [(o, s) for o in RECIPES for s in SIZES]
    lines = [
        "| slice (GiB a chip) | " + " | ".join(f"{o.upper()} {s}" for o, s in models) + " |",
        "|---" * (len(models) + 1) + "|",
    ]
    wanted = set(cells())
    topologies = dict.fromkeys(cell.topology for cell in cells())
    for topology in sorted(topologies, key=lambda t: list(SLICES).index(t.partition(":")[0])):
        chip = targets.parse(topology).chip
        row = [f"{topology} ({chip.memory / targets.GIB:.1f})"]
        for objective, size in models:
            cell = Cell(objective, size, topology)
            row.append(_entry(found.get(cell)) if cell in wanted else "-")
        if any(entry not in ("open", "-") for entry in row[1:]):
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _entry(figures: dict | None) -> str:
    if figures is None:
        return "open"
    total = figures["memory_gib_per_chip"]["total"]
    if not figures["fits"]:
        return f"no ({total:.1f})"
    return f"{'' if figures['searched'] else '≥ '}{figures['batch_per_chip']:.0f} ({total:.1f})"
