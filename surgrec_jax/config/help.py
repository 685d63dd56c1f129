"""The keys of a config file with their defaults and comments, read from the files themselves."""

import re
from pathlib import Path

from surgrec_jax.config.files import find, load_file
from surgrec_jax.config.values import keys_of

_VALUE = re.compile(r"^\s+(?:c|config)\.([a-z_0-9.]+) = (.*)$")
_SHARED = re.compile(r"^from configs\.(\w+) import", re.MULTILINE)
WIDTH = 100


def comments(path: Path) -> dict[str, str]:
    """Key -> the comment behind its value, or above it, in a file and those it imports."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name in _SHARED.findall(text):
        found |= comments(path.parent / f"{name}.py")
    above: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().lstrip("# "))
            continue
        if match := _VALUE.match(line):
            behind = match[2].rpartition("  # ")
            said = [*above, behind[2]] if behind[1] else above
            if said:
                found[match[1]] = " ".join(said)
        above = []
    return found


def config_help(text: str) -> str:
    """What `--help` says of the config `file[:variant]`: a line for each key.

    Raises:
        ConfigError: no such file or variant.
    """
    config, said = load_file(text), comments(find(text.partition(":")[0]))
    lines = [f"\nValues of {text}, changed by --config.KEY=VALUE:"]
    for key in keys_of(config):
        section, _, name = key.rpartition(".")
        default = (config[section] if section else config)[name]
        head = f"  {key} = {'not set' if default is None else repr(default)}"
        comment = said.get(key, "")
        lines.append(f"{head}  # {comment}" if comment else head)
    return "\n".join(lines)
