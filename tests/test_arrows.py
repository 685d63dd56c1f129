"""Imports run one way (docs/architecture.md), and the core needs few packages."""

import ast
import subprocess
import sys

import pytest

from tests import draw_rooms, rooms
from tests.rooms import FOR_ALL, PACKAGES, ROOMS, ROOT

OPEN = (*PACKAGES, "surgrec_jax.data", "surgrec_jax.evaluation")  # they hold rooms only
CORE = ("models", "objectives", "optim", "train_state", "sharding", "frozen.encoder")


def test_every_module_is_in_a_room():
    homeless = [
        name for name in rooms.modules() if rooms.room_of(name) is None and name not in OPEN
    ]
    assert not homeless, homeless


def test_every_arrow_is_drawn_in_the_plan():
    wrong = [
        imports
        for (room, other), found in rooms.arrows().items()
        if other not in ROOMS[room][2] and other not in FOR_ALL
        for imports in found
    ]
    assert not wrong, "\n".join(wrong)


def test_every_arrow_of_the_plan_is_there():
    """A plan that allows more than is done hides the next arrow that should not be there."""
    drawn = rooms.arrows()
    idle = [
        f"{room} -> {other}"
        for room, (_, _, others) in ROOMS.items()
        for other in others
        if (room, other) not in drawn
    ]
    assert not idle, "\n".join(idle)


def test_the_plan_has_no_circle():
    planned = {(room, other) for room, (_, _, others) in ROOMS.items() for other in others}
    rooms.layers(planned)


def test_a_new_arrow_is_found(monkeypatch, tmp_path):
    path = tmp_path / "new.py"
    path.write_text("def late():\n    from surgrec_jax.frozen import encoder\n    return encoder\n")
    modules = {**rooms.modules(), "surgrec_jax.models.new": path}
    monkeypatch.setattr(rooms, "modules", lambda: modules)
    assert rooms.arrows()[("models", "frozen")] == [
        "surgrec_jax.models.new imports surgrec_jax.frozen.encoder"
    ]
    with pytest.raises(AssertionError, match=r"surgrec_jax\.models\.new imports"):
        test_every_arrow_is_drawn_in_the_plan()


def test_the_picture_is_that_of_the_imports():
    page = ROOT / "docs" / "images" / "rooms.svg"
    assert page.read_text(encoding="utf-8") == draw_rooms.picture(), (
        "draw it again: python -m tests.draw_rooms docs/images/rooms.svg"
    )


def test_nothing_needs_tensorflow_or_torch_to_be_imported():
    for name, path in rooms.modules().items():
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
