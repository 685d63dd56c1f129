"""Control characters in what is printed do not reach the terminal."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec_jax.safety.terminal import EscapedStream


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ° 手术 \ttext\n", "plain ° 手术 \ttext\n"),
        ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07"),
        ("\x9b31m\x7f\0", "\\x9b31m\\x7f\\x00"),
        ("\r 5/10 clips", "\r 5/10 clips"),  # a progress bar
        ("error\rfine", "error\\rfine"),
        ("line\r\n", "line\r\n"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
    ],
)
def test_steering_characters(text, shown):
    stream = EscapedStream(io.StringIO())
    print(text, end="", file=stream)
    assert stream.getvalue() == shown


def test_a_command_line(tmp_path):
    command = [sys.executable, "-m", "data_builders", "check", "no\x1b[31msuch\x07source"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "\x1b" not in done.stderr and "\x07" not in done.stderr
    assert "no\\x1b[31msuch\\x07source" in done.stderr.replace("\\\\", "\\")


@pytest.mark.parametrize(("code", "told"), [(130, "words"), (1, "wordsat exit")])
def test_ctrl_c_ends_without_tearing_anything_down(code, told):
    """What Python does at exit would take JAX's backend from under a thread that compiles."""
    script = (
        "import atexit; from surgrec_jax.safety.terminal import run_escaped;"
        "atexit.register(print, 'at exit', end='');"
        f"run_escaped(lambda: (print('words', end=''), {code})[1])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, told)
