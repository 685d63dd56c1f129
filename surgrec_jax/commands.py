"""What the command lines share: the flags that several have, and lists."""

import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/mae.py:tiny")


def items(text: str) -> tuple[str, ...]:
    """A list written with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_flags(program: str, argv: Sequence[str]) -> list[str]:
    """absl's parser; a wrong command line ends in one sentence and exit code 2."""
    try:
        rest = flags.FLAGS(list(argv))
        if CONFIG.value is None:
            raise ValueError(f"--config is missing; e.g. --config=configs/{program}.py")
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
    except (flags.Error, AttributeError, ValueError, TypeError, OSError) as error:
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]  # what ml_collections wraps
        text = " ".join(str(error.args[0] if error.args else error).split())
        print(f"{program}: {text.split('ValueError: ')[-1]}", file=sys.stderr)
        sys.exit(2)
    return rest
