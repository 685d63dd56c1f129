"""The commands in README and docs name things that exist."""

import importlib.util
import re
import runpy
import shlex
from pathlib import Path

import pytest

from surgrec_jax.config.values import flatten

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands():
    """Every command line in a shell block that starts a module of this project."""
    for page in PAGES:
        for block in re.findall(r"```(?:bash|sh)\n(.*?)```", page.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[1:2] == ["-m"] and words[0] == "python":
                    yield pytest.param(words, id=f"{page.name}: {' '.join(words)[:70]}")


def get_config(text):
    path, _, variant = text.partition(":")
    module = runpy.run_path(str(ROOT / path))
    return module["get_config"](*([variant] if variant else []))


@pytest.mark.parametrize("words", list(commands()))
def test_modules_configs_and_keys_exist(words):
    assert importlib.util.find_spec(words[2]), f"no module {words[2]}"
    if not words[2].startswith("surgrec_jax") or words[2] == "surgrec_jax.bench":
        return
    options = dict(w.split("=", 1) for w in words[3:] if w.startswith("--") and "=" in w)
    config = options.get("--config")
    keys = [o.removeprefix("--config.") for o in options if o.startswith("--config.")]
    if config:
        known = flatten(get_config(config).to_dict())
        assert set(keys) <= known.keys()
    else:
        assert not keys


def test_config_values_that_messages_name_exist():
    """Every --config.KEY in the program's texts is a key, or a section, of some config."""
    known = set()
    for path in (ROOT / "configs").glob("*.py"):
        if "get_config" in runpy.run_path(str(path)):
            for key in flatten(get_config(f"configs/{path.name}").to_dict()):
                known |= {key, key.partition(".")[0]}
    for package in ("surgrec_jax", "data_builders"):
        for path in (ROOT / package).rglob("*.py"):
            named = re.findall(r"--config\.([a-z_0-9]+(?:\.[a-z_0-9]+)*)", path.read_text())
            assert set(named) <= known, path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_site_has_every_page_in_the_order_of_the_index():
    linked = re.findall(r"\]\(([^)#:\s]+\.md)\)", (ROOT / "docs/index.md").read_text())
    order = [re.sub(r"\.\./data_builders/(\w+)/README", r"builders/\1", name) for name in linked]
    nav = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    assert nav == ["index.md", "pages.md", *order, "contributing.md", "changes.md"]
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages == {name for name in order if "/" not in name}


def test_links_of_the_repository_become_links_of_the_site():
    site = runpy.run_path(str(ROOT / "docs/site.py"))
    text = "[a](../data_builders/lemon/README.md#x) [b](../tests/rooms.py) ![d](images/mae.jpg)"
    names = site["sources"]()
    assert site["rewritten"](text, "docs/sources.md", names) == (
        "[a](builders/lemon.md#x) b ![d](images/mae.jpg)"
    )
    home = site["rewritten"]("[p](docs/index.md)\n- one", "README.md", names)
    assert home == "[p](pages.md)\n\n- one"
    assert site["rewritten"]("[d](../../docs/data.md)", "data_builders/lemon/README.md", names) == (
        "[d](../data.md)"
    )


def test_targets_of_make_exist():
    made = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for page in (*PAGES, ROOT / "pyproject.toml"):
        named = re.findall(r"(?:`|^)make ([\w-]+)", page.read_text(), re.M)
        assert set(named) <= set(made), page.name


def test_every_config_explains_itself():
    for path in sorted((ROOT / "configs").glob("*.py")):
        if "get_config" not in runpy.run_path(str(path)):
            continue  # values that several configs share
        text = path.read_text().split('"""')[1]
        assert f"--config=configs/{path.name}" in text, path.name
        for variant in runpy.run_path(str(path))["VARIANTS"]:
            assert variant in text, (path.name, variant)


def test_the_recipes_fit_the_cards_that_their_heads_name():
    """With compute.remat=dots 256 clips of MAE B take 30 GiB and 128 of JEPA L 64 (performance)."""
    for path, most in (("configs/mae.py", 256), ("configs/jepa.py", 128)):
        config = get_config(path)
        assert "8 accelerators of 80 GB" in (ROOT / path).read_text()
        assert config.batch_size // 8 // config.accum_steps <= most
