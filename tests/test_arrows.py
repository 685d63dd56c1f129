"""Imports run one way (docs/architecture.md), and the core needs few packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What the modules of a room may import of this project, by prefix.
ALLOWED = {
    "surgrec_jax.safety": ("surgrec_jax.safety",),
    "surgrec_jax.sharding": (),
    "surgrec_jax.terminal": (),
    "surgrec_jax.untrusted": (),
    "surgrec_jax.models": ("surgrec_jax.models", "surgrec_jax.sharding"),
    "surgrec_jax.objectives": ("surgrec_jax.objectives", "surgrec_jax.models"),
    "surgrec_jax.optim": (),
    "surgrec_jax.train_state": (
        "surgrec_jax.objectives",
        "surgrec_jax.optim",
        "surgrec_jax.sharding",
    ),
    "surgrec_jax.data": ("surgrec_jax.data",),
    "surgrec_jax.metrics": ("surgrec_jax.appending",),
    "surgrec_jax.images": (),
    "surgrec_jax.checkpoint": ("surgrec_jax.checkpoint",),
    "surgrec_jax.encoder": (
        "surgrec_jax.models",
        "surgrec_jax.checkpoint",
        "surgrec_jax.sharding",
    ),
    "surgrec_jax.evaluation": (
        "surgrec_jax.evaluation",
        "surgrec_jax.data",
        "surgrec_jax.encoder",
        "surgrec_jax.classifier",
        "surgrec_jax.models",
        "surgrec_jax.metrics",
    ),
    "surgrec_jax.curation.__main__": ("surgrec_jax", "data_builders.common.records"),
    "surgrec_jax.curation": (
        "surgrec_jax.curation",
        "surgrec_jax.data",
        "surgrec_jax.encoder",
        "surgrec_jax.evaluation",
        "surgrec_jax.models",
        "surgrec_jax.sharding",
    ),
    "surgrec_jax.convert": (
        "surgrec_jax.convert",
        "surgrec_jax.models",
        "surgrec_jax.objectives",
        "surgrec_jax.checkpoint",
        "surgrec_jax.encoder",
        "surgrec_jax.lock",
        "surgrec_jax.sharding",
    ),
    "data_builders": ("data_builders",),
}
# What every room may import: leaves that import nothing of the project.
OF_ALL = (
    "surgrec_jax.__version__",
    "surgrec_jax.safety",
    "surgrec_jax.terminal",
    "surgrec_jax.untrusted",
)
CORE = ("models", "objectives", "optim", "train_state", "sharding", "flops", "encoder")


def modules():
    for package in ("surgrec_jax", "data_builders"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imported(path):
    """Every module a file imports, also inside functions, as full names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where an arrow goes"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, prefixes):
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def test_arrows_run_one_way():
    wrong = []
    for name, path in modules():
        rooms = [room for room in ALLOWED if within(name, [room])]
        for target in imported(path):
            if rooms and target.split(".")[0] in ("surgrec_jax", "data_builders"):
                allowed = ALLOWED[rooms[0]]
                if rooms[0] != "surgrec_jax.safety":  # the lowest room of all
                    allowed = (*allowed, *OF_ALL)
                if not within(target, allowed):
                    wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_nothing_needs_tensorflow_or_torch_to_be_imported():
    for name, path in modules():
        tree = ast.parse(path.read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        for node in top:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for imported_name in names:
                assert imported_name.split(".")[0] not in ("tensorflow", "torch"), name


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_importable_without_the_data_libraries(module):
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        gone = ('grain', 'tensorflow_datasets', 'ml_collections', 'tensorflow', 'torch')\n"
        "        if name.split('.')[0] in gone:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"import surgrec_jax.{module}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_are_short():
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for folder in ("surgrec_jax", "data_builders", "configs", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 300
    ]
    assert not long, "\n".join(long)
