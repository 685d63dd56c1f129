"""Shared parts of the command lines: their flags and parser, how they start, lists, tables."""

import functools
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from surgrec_jax.config.files import find, load_file
from surgrec_jax.config.help import config_help
from surgrec_jax.config.values import flatten, keys_of, read_value, same_meaning
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import ConfigError, run_command
from surgrec_jax.safety.terminal import escape_output, leave

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/mae.py:tiny")


# These values are addresses and no paths, or may be names of the hub, which their reader tells.
ADDRESSES = ("--config.vlm.endpoint", "--config.checkpoint", "--config.checkpoints")


# A value that the configs of a program have, and those of others have not.
OF_PROGRAM = {
    "surgrec_jax": "objective",
    "probe": "source",
    "benchmark": "checkpoints",
    "curation": "cluster",
}


def items(text: str) -> tuple[str, ...]:
    """The parts of a list that is written with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_flags(program: str, argv: Sequence[str], **needed: str) -> list[str]:
    """Parses flags as absl does; a wrong command line ends in one sentence and exit code 2.

    Args:
        program: first word of the sentence.
        needed: flags that must be given, with an example of each.
    """
    config = None
    try:
        file, config = _named_config(program, argv, needed["config"])
        try:
            rest = flags.FLAGS([_installed(arg) for arg in argv])
        except SystemExit:  # --help and its like, which absl ends with 1
            print(config_help(file))
            sys.exit(0)
        for name, example in needed.items():
            if getattr(flags.FLAGS, name) is None:
                raise ConfigError(f"--{name} is missing; e.g. --{name}={example}")
        if len(rest) > 1:
            raise ConfigError(f"unexpected arguments: {' '.join(rest[1:])}")
        _check_paths()
    except (flags.Error, ConfigError) as error:
        unknown = isinstance(error, flags.UnrecognizedFlagError)
        text = _unknown_flag(error, config) if unknown else str(error)
        print(f"{program}: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(2)
    return rest


def _check_paths() -> None:
    """Refuses addresses of remote storage among the flags and config values."""
    given = {f"--{flag}": flags.FLAGS[flag].value for flag in flags.FLAGS if flag != "config"}
    values = flatten(CONFIG.value.to_dict()) if CONFIG.value else {}
    paths.check_local(
        given | {f"--config.{key}": value for key, value in values.items()}, ADDRESSES
    )


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
    app.run(
        lambda argv: leave(main(argv)),
        flags_parser=functools.partial(parse_flags, program, **needed),
    )


def _installed(argument: str) -> str:
    """An argument with the path of a config file that stands where the project is installed."""
    match = re.fullmatch(r"(--?config=)?([^:=]+)(:.*)?", argument)
    return f"{match[1] or ''}{find(match[2])}{match[3] or ''}" if match else argument


def _named_config(program: str, argv: Sequence[str], example: str) -> tuple[str, ConfigDict | None]:
    """The file[:variant] that a command line names, and its config; its overrides are checked.

    Without a file they are the example's name and None.

    An exception in the file itself is no mistake of the command line and is raised as it is.

    Raises:
        ConfigError: a file that is not there or holds no config, or one of another program; an
            override of an unknown key or of no config, or a value of another type.
    """
    after = dict(itertools.pairwise(argv))
    files = [arg.partition("=")[2] for arg in argv if re.match(r"--?config=", arg)]
    files += [after[arg] for arg in argv if arg in ("-config", "--config") and arg in after]
    overrides = [arg for arg in argv if re.match(r"--?(?:no)?config\.", arg)]
    if not files:
        if overrides:
            raise ConfigError(f"--config is missing; e.g. --config={example}")
        return example, None
    config = load_file(files[-1])
    _check_program(program, config, files[-1])
    for arg in overrides:
        flag, equals, value = arg.partition("=")
        key, indexed, _ = re.sub(r"^--?(no)?config\.", "", flag).partition("[")
        if not equals:  # the value of a switch may be left out, that of another stands apart
            value = "true" if keys_of(config).get(key) is bool else after.get(arg, "")
        if not indexed or key not in keys_of(config):
            read_value(config, key, value)
    return files[-1], config


def _check_program(program: str, config: ConfigDict, file: str) -> None:
    """Refuses a config that is made for another program."""
    if (own := OF_PROGRAM.get(program)) and own not in config:
        others = [name for name, value in OF_PROGRAM.items() if value in config]
        raise ConfigError(
            f"--config={file} is made for {' or '.join(others) or 'none of the commands'}, not for "
            f"{program}: it has no value {own}"
        )


def _unknown_flag(error: flags.UnrecognizedFlagError, config: ConfigDict | None) -> str:
    """The sentence for a flag that does not exist, where a config value may be meant."""
    near = same_meaning(config, error.flagname) if config is not None else []
    if not near:
        return str(error)
    return (
        f"there is no flag --{error.flagname}; values of the config begin with --config., e.g. "
        f"--config.{near[0]}"
    )


def load_config(text: str, changes: Sequence[str], program: str = "") -> ConfigDict:
    """Loads the config of `file[:variant]` and applies KEY=VALUE changes.

    Args:
        program: what it must be made for, of OF_PROGRAM; "" for any.

    Raises:
        ConfigError: no such file or key, a config of another program, or a value of another type.
    """
    config = load_file(text)
    _check_program(program, config, text)
    for change in changes:
        key, _, value = change.partition("=")
        values = {key: read_value(config, key, value)}
        paths.check_local({f"--config.{key}": values[key]}, ADDRESSES)
        with config.ignore_type():
            config.update_from_flattened_dict(values)
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
                print(f"{indent}  " + "  ".join(f"{k} {text_of(v)}" for k, v in one.items()))
        else:
            print(f"{indent}{key:<{width}}  {text_of(value)}")


def text_of(value: Any) -> str:
    """A figure as it is shown: floats in three digits, none as a dash."""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return " to ".join(text_of(v) for v in value)
    return "-" if value is None else str(value)
