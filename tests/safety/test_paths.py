"""Addresses of remote storage are refused wherever a path is taken."""

import io
import re
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from data_builders.common.commands.cli import main as builders
from surgrec_jax import checkpoint, replay
from surgrec_jax.convert.__main__ import main as convert
from surgrec_jax.evaluation.report.summary import main as report
from surgrec_jax.prediction.command import main as predict
from surgrec_jax.records.locate import find_version
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.safety.paths import check_local, local


@pytest.mark.parametrize(
    "text",
    ["gs://b/x", "s3://b", "https://a/b.pth", "MAE=gs://b/run", "a,JEPA=gs://b", "file:///a"],
)
def test_an_address_is_no_path(text):
    with pytest.raises(ConfigError, match=r"workdir=.*:// is not a folder.* mount the storage"):
        local(text, "workdir")
    with pytest.raises(ConfigError):
        local(Path("gs://b/x"))  # of which pathlib leaves one slash
    with pytest.raises(ConfigError):
        check_local({"runs": ["mine", text], "steps": 3})


@pytest.mark.parametrize(
    ("text", "meant"),
    [("~/runs/a", "$HOME/runs/a"), ("a,JEPA=~/b", "a,JEPA=$HOME/b"), ("~", "$HOME")],
)
def test_a_tilde_is_no_folder(text, meant):
    with pytest.raises(ConfigError, match=f"workdir={text}: .* write {re.escape(meant)} "):
        local(text, "workdir")


@pytest.mark.parametrize(
    "text", ["runs/~a", "./~/x", "runs/a", "/data:old/x", "MAE=runs/a,JEPA=/x", "b/c:1", "4x64@2"]
)
def test_what_is_a_path(text):
    assert local(text) == text


def said(command, *arguments):
    text = io.StringIO()
    with redirect_stderr(text):
        try:
            code = command(list(arguments))
        except SystemExit as end:
            code = end.code
    assert code
    return text.getvalue()


def test_commands_refuse_addresses():
    for command, *arguments in (
        (builders, "build", "video_folder", "--manual_dir", "v", "--data_dir", "gs://b/data"),
        (builders, "build", "video_folder", "--manual_dir", "s3://v", "--data_dir", "data"),
        (convert, "import", "model.safetensors", "--out", "gs://b/run"),
        (convert, "export", "gs://b/run", "--format", "transformers", "--out", "hub"),
        (report, "--runs", "gs://b/run", "--out", "page.html"),
        (replay.main, "gs://b/run"),
        (predict, "s3://b/op.mp4", "--checkpoint", "runs/a", "--out", "answers"),
    ):
        assert "mount the storage" in said(command, *arguments)
    for take in (checkpoint.find, lambda path: find_version(Path(path), "a", None)):
        with pytest.raises(ConfigError, match="mount the storage"):
            take("gs://b/run")
    assert not Path("gs:").exists()
