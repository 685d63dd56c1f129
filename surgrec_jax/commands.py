"""What the command lines share: the flags that several have, their parser, and lists."""

import ast
import contextlib
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from surgrec_jax.config import ConfigError, flatten, load_file, unknown_key_hint

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/mae.py:tiny")


def items(text: str) -> tuple[str, ...]:
    """A list written with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_flags(program: str, argv: Sequence[str], **needed: str) -> list[str]:
    """absl's parser; a wrong command line ends in one sentence and exit code 2.

    Args:
        program: what the sentence begins with.
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
            error = error.args[0]  # what ml_collections wraps
        text = " ".join(str(error.args[0] if error.args else error).split())
        print(f"{program}: {text.split('ValueError: ')[-1]}", file=sys.stderr)
        sys.exit(2)
    return rest


def quiet() -> None:
    """Shows warnings and errors only, unless --verbosity says what to show."""
    if not any(flags.FLAGS[name].present for name in ("verbosity", "v")):
        logging.set_verbosity(logging.WARNING)


def _check_overrides(argv: Sequence[str], example: str) -> None:
    """What absl and ml_collections answer with a traceback, or with more than a sentence.

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
    """The config of `file[:variant]` with KEY=VALUE changes.

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
    """One figure a line, nested ones indented."""
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
