"""The rooms of the house and the arrows between them.

`ROOMS` is the plan: which modules are of a room, and which rooms those may import. The arrows that
there are come from the imports of the files. tests/test_arrows.py holds the two against each other;
tests/draw_rooms.py draws both.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("surgrec_jax", "data_builders")
# Every room may import these: they import nothing of the project.
FOR_ALL = ("safety",)

# room: (what it is for, prefixes of its modules, rooms that they may import)
ROOMS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "command lines": (
        "main, probe, benchmark, ...",
        (
            *(f"surgrec_jax.{name}" for name in ("main", "probe", "benchmark", "replay", "report")),
            *("surgrec_jax.predict", "surgrec_jax.search", "surgrec_jax.prediction.command"),
            *(f"surgrec_jax.{name}.__main__" for name in ("checkpoint", "convert", "curation")),
        ),
        (
            *(
                "commands",
                "config",
                "hosts",
                "trainer",
                "objectives",
                "checkpoint",
                "frozen",
                "records",
            ),
            *("benchmark", "heads", "tasks", "report", "vlm"),
            *("audit", "curation", "convert", "sharding"),
            *("prediction", "builder commands", "labels", "video", "next commands"),
        ),
    ),
    "prediction": (
        "from a video to an answer",
        ("surgrec_jax.prediction",),
        (
            *("report", "heads", "metrics", "tasks", "frozen", "loading", "records"),
            *("builders", "builder commands", "builds", "video", "labels", "curation"),
            "next commands",
        ),
    ),
    "bench": (
        "measurements, as commands",
        ("surgrec_jax.bench",),
        (
            *(
                "commands",
                "trainer",
                "compile_report",
                "models",
                "objectives",
                "sharding",
                "checkpoint",
            ),
            *("frozen", "records", "sampling", "loading", "features", "heads", "metrics"),
            *("tasks", "benchmark"),
            *("curation", "convert", "audit", "builders", "builds", "video", "prediction"),
        ),
    ),
    "compile_report": (
        "steps compiled for other machines",
        ("surgrec_jax.compile_report",),
        ("commands", "trainer", "sharding"),
    ),
    "commands": (
        "flags and errors that all share",
        ("surgrec_jax.commands", "surgrec_jax.__main__"),
        ("config",),
    ),
    "trainer": (
        "train, state, inputs, warm start",
        tuple(
            f"surgrec_jax.{name}"
            for name in (
                *("train", "train_state", "setup", "inputs", "warm_start", "snapshots", "teacher"),
                *("default_data", "online_probes"),
            )
        ),
        (
            *("config", "optim", "hosts", "runlog", "checkpoint", "frozen", "objectives"),
            *("models", "sharding", "records", "sampling", "loading", "online", "tasks"),
            *("features", "builds", "next commands"),
        ),
    ),
    "config": (
        "files, values, what is made of them",
        ("surgrec_jax.config",),
        ("optim", "objectives", "models", "sharding"),
    ),
    "curation": (
        "embeddings, clusters, mixture",
        ("surgrec_jax.curation",),
        ("frozen", "features", "report", "loading", "sampling", "records", "sharding"),
    ),
    "report": (
        "HTML pages",
        ("surgrec_jax.evaluation.report",),
        ("vlm", "benchmark", "heads", "features", "metrics", "objectives", "loading", "records"),
    ),
    "vlm": (
        "answers of language models",
        ("surgrec_jax.evaluation.vlm",),
        ("benchmark", "heads", "tasks", "loading", "records"),
    ),
    "benchmark": (
        "encoders x tasks, in cells",
        ("surgrec_jax.evaluation.benchmark",),
        ("heads", "tasks", "features", "metrics", "loading", "frozen", "records"),
    ),
    "online": (
        "probes during training",
        ("surgrec_jax.evaluation.online",),
        ("heads", "features", "metrics"),
    ),
    "heads": (
        "linear, kNN, attentive, ...",
        ("surgrec_jax.evaluation.heads",),
        ("tasks", "features", "metrics", "models", "records"),
    ),
    "tasks": (
        "questions with labels",
        ("surgrec_jax.evaluation.tasks",),
        ("features", "metrics", "loading", "records"),
    ),
    "features": (
        "encoders to arrays",
        ("surgrec_jax.evaluation.features",),
        ("loading", "records"),
    ),
    "metrics": ("scores and intervals", ("surgrec_jax.evaluation.metrics",), ()),
    "convert": (
        "published checkpoints, in and out",
        ("surgrec_jax.convert",),
        ("frozen", "checkpoint", "objectives", "models", "hosts", "sharding"),
    ),
    "frozen": (
        "encoder, classifier",
        ("surgrec_jax.frozen",),
        ("models", "checkpoint", "sharding"),
    ),
    "objectives": ("MAE, JEPA, fine-tuning", ("surgrec_jax.objectives",), ("models",)),
    "models": ("transformers and their parts", ("surgrec_jax.models",), ("sharding",)),
    "next commands": ("the last line of a command", ("surgrec_jax.next_commands",), ()),
    "optim": ("AdamW and its schedules", ("surgrec_jax.optim",), ()),
    "sharding": ("mesh and placement", ("surgrec_jax.sharding",), ()),
    "checkpoint": ("saves, checksums, restores", ("surgrec_jax.checkpoint",), ()),
    "hosts": ("several processes of one run", ("surgrec_jax.hosts",), ()),
    "runlog": ("what a run writes of itself", ("surgrec_jax.runlog",), ()),
    "loading": ("records to batches", ("surgrec_jax.data.loading",), ("sampling", "records")),
    "sampling": ("draws, shares, the mixture", ("surgrec_jax.data.sampling",), ("records",)),
    "audit": (
        "splits, overlaps, duplicates",
        ("surgrec_jax.audit",),
        ("records", "frozen"),
    ),
    "builders": (
        "a folder per data set",
        ("data_builders",),
        ("builds", "sources", "video", "labels", "records"),
    ),
    "builder commands": (
        "build, check, list, audit",
        ("data_builders.common.commands", "data_builders.__main__"),
        ("builds", "sources", "video", "audit", "records", "next commands"),
    ),
    "builds": (
        "jobs, shards, summary",
        ("data_builders.common.build",),
        ("sources", "video", "labels", "records"),
    ),
    "sources": (
        "videos, cases, splits",
        ("data_builders.common.source",),
        ("video", "labels", "audit", "records"),
    ),
    "video": (
        "frames, clocks, filters",
        ("data_builders.common.video",),
        ("labels", "records"),
    ),
    "labels": ("tables and tracks", ("data_builders.common.labels",), ("records",)),
    "records": ("schema and reading of data sets", ("surgrec_jax.records",), ()),
    "safety": ("errors, untrusted files", ("surgrec_jax.safety",), ()),
}


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the project by its full name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@functools.cache
def room_of(module: str) -> str | None:
    """The room of a module: that of the longest prefix; None where no room claims it."""
    claims = [
        (len(prefix), room)
        for room, (_, prefixes, _) in ROOMS.items()
        for prefix in prefixes
        if module == prefix or module.startswith(prefix + ".")
    ]
    return max(claims)[1] if claims else None


def imported(path: Path) -> Iterator[str]:
    """Every module of the project that a file imports, also inside functions and by name.

    Raises:
        AssertionError: a relative import, which hides where an arrow goes.
    """
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where an arrow goes"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            names = [text.strip("'\"") for text in map(ast.unparse, node.args)]
        else:
            continue
        for name in names:
            while name not in known and "." in name:
                name = name.rpartition(".")[0]  # a class or function of a module
            if name in known and name not in PACKAGES:
                yield name


def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, imported room) -> "module imports module" for every arrow between two rooms."""
    drawn: dict[tuple[str, str], list[str]] = {}
    for module, path in modules().items():
        room = room_of(module)
        for target in imported(path):
            other = room_of(target)
            if room is not None and other is not None and other != room:
                drawn.setdefault((room, other), []).append(f"{module} imports {target}")
    return drawn


def layers(edges: set[tuple[str, str]]) -> dict[str, int]:
    """Room -> its height: 0 imports nothing, every other stands above all that it imports.

    Raises:
        ValueError: the rooms of a circle.
    """
    height: dict[str, int] = {}
    while len(height) < len(ROOMS):
        ready = [
            room
            for room in ROOMS
            if room not in height and all(b in height for a, b in edges if a == room)
        ]
        if not ready:
            raise ValueError(f"a circle among {sorted(set(ROOMS) - set(height))}")
        for room in ready:
            height[room] = 1 + max((height[b] for a, b in edges if a == room), default=-1)
    return height
