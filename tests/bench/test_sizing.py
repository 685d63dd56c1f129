"""bench sizing: the rows of docs/sizing.md, and what it refuses."""

import argparse
import functools
import re
from pathlib import Path

import pytest

from surgrec_jax import commands
from surgrec_jax.bench import sizing
from surgrec_jax.compile_report.targets import CHIPS
from surgrec_jax.safety.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/sizing.md").read_text()
TINY = f"--config={ROOT}/configs/mae.py:tiny"


def options(*words):
    parser = argparse.ArgumentParser()
    sizing.add_arguments(parser)
    return parser.parse_args(list(words))


@functools.cache  # a recipe's model is built once for all rows of it
def figures(*words):
    return sizing.run(options(*words))


def rows(first):
    """The cells of the table's rows whose first cell has this form."""
    cells = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("|")]
    return [row for row in cells if re.fullmatch(first, row[0])]


def test_hours_are_those_of_the_page():
    for hours, *said in rows(r"[\d,]+"):
        corpus = sizing.corpus(options(f"--hours={hours.replace(',', '')}"))
        keys = ("core_hours_to_build", "hours_to_build_on_32_cores", "records_terabytes")
        assert said == [commands.text_of(corpus[key]) for key in keys]


@pytest.mark.parametrize("recipe", ["mae", "jepa"])
def test_recipes_are_those_of_the_page(recipe):
    found = rows(rf"`{recipe}\.py`.*")
    assert len(found) >= 2
    for name, cards, *said in found:
        more = re.findall(r"`(data\.\w+=\d+)`", name)
        words = ["--hours=10000", f"--config={ROOT}/configs/{recipe}.py", "--set", *more]
        all_of_it = figures(*words)
        training, clips = all_of_it[cards], all_of_it["recipe"]["clips"]
        keys = ("clips_per_second_of_a_card", "days", "loader_cores", "reads_gigabytes_per_second")
        assert said == [str(clips), *(commands.text_of(training[key]) for key in keys)]
    size = commands.text_of(all_of_it["recipe"]["checkpoint_gigabytes"])
    assert f"{size} GB" in PAGE


def test_your_own_figure_takes_the_place_of_the_assumption():
    found = figures("--hours=10", TINY, "--card=h100", "--cards=2", "--clips_per_second=50")
    assert found["2 x h100"]["loader_cores"] == pytest.approx(100 / 93)
    assert found["2 x h100"]["rests_on"] == "your figure of a card"
    assert sizing.share_of_peak("mae", "B", CHIPS["h200"]) == pytest.approx(0.4)
    assert sizing.share_of_peak("mae", "B", CHIPS["h100"]) < 0.4
    assert sizing.share_of_peak("mae", "S", CHIPS["h100"]) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hours=-1"], "--hours=-1: give a number above 0"),
        (["--hours=1", "--mfu=40"], "--mfu=40: give a share"),
        (["--hours=1", "--card=a100"], "--card=a100 is not known: choose from v4"),
        (["--hours=1", TINY, "--set", "data.repeats=3"], "data.repeats=3 has not been measured"),
    ],
)
def test_what_cannot_be_is_refused(words, says):
    with pytest.raises(ConfigError, match=says):
        figures(*words)
