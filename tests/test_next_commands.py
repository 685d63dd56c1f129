"""Commands end with a line that names what comes next."""

import pytest

from data_builders.common.commands import cli
from surgrec_jax import next_commands


def test_what_comes_next():
    assert next_commands.after_training("r", False, True).startswith("python -m surgrec_jax.probe")
    assert next_commands.after_training("r", False, False).split()[2] == "surgrec_jax.curation"
    assert next_commands.after_training("r", True, True).split()[2] == "surgrec_jax.predict"
    assert "--config.init_from=r " in next_commands.after_probe("r", False, "mine")
    assert "manifest=r/manifest.json" in next_commands.after_curation(
        "a", "data", "r/manifest.json"
    )
    assert "--config.data.data_dir='my data'" in next_commands.after_build("a/b", "my data")
    assert next_commands.look_at("my page.html") == "open 'my page.html' in a browser"


def test_a_check_ends_with_the_build_of_what_it_checked():
    said = next_commands.after_check(
        ["check", "video_folder", "--manual_dir", "my films", "--json", "a.json", "--decode"], 0
    )
    build = "python -m data_builders build video_folder --manual_dir 'my films' --data_dir data"
    assert said == build
    assert "mend the 3 above" in next_commands.after_check(["check", "cholec80"], 3)


def test_an_audit_ends_with_what_its_findings_ask_for():
    assert "weigh what was found" in next_commands.after_audit("cholec80", "data", 2)
    assert "--config.data.sources=cholec80" in next_commands.after_audit("cholec80", "data", 0)
    assert "data_builders build cholec80" in next_commands.after_audit("cholec80", None, 0)


@pytest.mark.parametrize("argv", [["audit", "cholec80"]])
def test_the_line_is_the_last(argv, capsys):
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: python -m data_builders")
