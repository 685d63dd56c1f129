"""The page on Python runs as it stands there, and importing the package costs nothing."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import surgrec_jax
from tests.data_builders.fake_video import write_video
from tests.prediction.workdirs import pictures, save_classifier

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_runs_and_its_names_agree_with_each_other(tmp_path, monkeypatch, capsys):
    save_classifier(tmp_path / "runs/phase")
    write_video(tmp_path / "case.mp4", pictures(100), fps=8.0, size=(64, 48))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.S):
        exec(block, names)
    found, api = names["found"], names["surgrec_jax"]
    assert "(4, 32, 4.0)" in capsys.readouterr().out and len(found.scores) == 13
    clips = [c for _, c in api.read_video("case.mp4", names["encoder"], batch_size=4)]
    assert [len(c) for c in clips] == [4, 4, 4, 1]
    clips = np.concatenate(clips)
    np.testing.assert_array_equal(names["encoder"].features(clips), names["features"])
    np.testing.assert_array_equal(names["classifier"].probabilities(clips), found.scores)
    assert {"predict", "embed", "read_video"} <= set(dir(api))


def test_what_a_notebook_needs_is_typed_and_what_an_editor_sees_is_what_runs():
    tree = ast.parse(Path(surgrec_jax.__file__).read_text())
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    for name, module in surgrec_jax._SURFACE.items():
        one = getattr(surgrec_jax, name)
        assert seen.pop(name) == module == one.__module__ and one.__doc__
        given = inspect.signature(one)
        parts = [p.annotation for p in given.parameters.values()] + [given.return_annotation]
        assert inspect.Signature.empty not in parts, name
    assert not seen


def test_importing_the_package_does_not_import_jax():
    code = "import sys, surgrec_jax; sys.exit('jax' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
