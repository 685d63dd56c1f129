"""Shared parts of the command lines: their flags and parser, how they start, lists, tables."""

import ast
import contextlib
import functools
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from surgrec_jax.config import ConfigError, flatten, load_file, unknown_key_hint
from surgrec_jax.safety.errors import run_command
from surgrec_jax.safety.terminal import escape_output

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/mae.py:tiny")


def items(text: str) -> tuple[str, ...]:
    """The parts of a list that is written with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_flags(program: str, argv: Sequence[str], **needed: str) -> list[str]:
    """Parses flags as absl does; a wrong command line ends in one sentence and exit code 2.

    Args:
        program: first word of the sentence.
        needed: flags that must be given, with an example of each.
    """
    try:
        _check_overrides(argv, needed["config"])
        try:
            rest = flags.FLAGS(list(argv))
        except SystemExit:  # --help and its like, which absl ends with 1
            sys.exit(0)
        for name, example in needed.items():
            if getattr(flags.FLAGS, name) is None:
                raise ConfigError(f"--{name} is missing; e.g. --{name}={example}")
        if len(rest) > 1:
            raise ConfigError(f"unexpected arguments: {' '.join(rest[1:])}")
    except (flags.Error, AttributeError, ValueError, TypeError, OSError) as error:
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]  # ml_collections wraps errors
        text = " ".join(str(error.args[0] if error.args else error).split())
        print(f"{program}: {text.split('ValueError: ')[-1]}", file=sys.stderr)
        sys.exit(2)
    return rest


def quiet() -> None:
    """Shows warnings and errors only, unless --verbosity says what to show."""
    if not any(flags.FLAGS[name].present for name in ("verbosity", "v")):
        logging.set_verbosity(logging.WARNING)


def run_resumable(program: str, work: Callable[[], object]) -> int:
    """The exit code of a command that goes on where it was interrupted, see `run_command`."""
    quiet()

    def to_its_end() -> int:
        work()
        return 0

    stopped = f"{program}: stopped; the same command goes on with what is there"
    return run_command(program, to_its_end, interrupted=stopped)


def start(program: str, main: Callable[[Sequence[str]], int], **needed: str) -> None:
    """Runs a command as this process; the arguments are those of `parse_flags`."""
    escape_output()
    app.run(main, flags_parser=functools.partial(parse_flags, program, **needed))


def _check_overrides(argv: Sequence[str], example: str) -> None:
    """Refuses overrides that absl and ml_collections answer with a traceback or a long text.

    Raises:
        ConfigError: a file that is not there or holds no config, an override of an unknown key or
            of no config.
    """
    after = dict(itertools.pairwise(argv))
    files = [arg.partition("=")[2] for arg in argv if re.match(r"--?config=", arg)]
    files += [after[arg] for arg in argv if arg in ("-config", "--config") and arg in after]
    overrides = [m[1] for arg in argv if (m := re.match(r"--?(?:no)?config\.([^=\[]+)", arg))]
    if not files:
        if overrides:
            raise ConfigError(f"--config is missing; e.g. --config={example}")
        return
    config = load_file(files[-1])
    known = flatten(config.to_dict())
    for key in overrides:
        if key not in known and not any(k.startswith(key + ".") for k in known):
            raise ConfigError(f"--config.{key} does not exist; {unknown_key_hint(config, key)}")


def load_config(text: str, changes: Sequence[str]) -> ConfigDict:
    """Loads the config of `file[:variant]` and applies KEY=VALUE changes.

    Raises:
        ConfigError: no such file or key.
    """
    config = load_file(text)
    for change in changes:
        key, _, value = change.partition("=")
        if key not in flatten(config.to_dict()):
            raise ConfigError(f"{key} does not exist; {unknown_key_hint(config, key)}")
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
        with config.ignore_type():
            config.update_from_flattened_dict({key: value})
    return config


def show(figures: dict[str, Any], indent: str = "") -> None:
    """Prints one figure a line, nested ones indented."""
    width = max(map(len, figures), default=0)
    for key, value in figures.items():
        if isinstance(value, dict):
            print(f"{indent}{key}")
            show(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{indent}{key}")
            for one in value:
                print(f"{indent}  " + "  ".join(f"{k} {_text(v)}" for k, v in one.items()))
        else:
            print(f"{indent}{key:<{width}}  {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return " to ".join(_text(v) for v in value)
    return "-" if value is None else str(value)
