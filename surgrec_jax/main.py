"""Pretrains a video encoder.

    python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/mae_tiny

Exit codes: 0 the run is complete; 1 an error, described in one sentence; 2 a wrong command line;
75 stopped by SIGTERM or Ctrl-C after saving (the same command continues); 76 another process of the
run was lost (start all of them again with the same command). A second SIGTERM or Ctrl-C ends the
process at once.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging

from surgrec_jax import together
from surgrec_jax.commands import CONFIG
from surgrec_jax.config import ConfigError, flatten, shared_values, unknown_key_hint
from surgrec_jax.terminal import escape_output

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command continues it")

STOPPED = 75
MEMORY_REMEDY = (
    "(lower batch_size, raise accum_steps or mesh.fsdp, or set compute.remat=full; what a step "
    "takes is told by python -m surgrec_jax.compile_report)"
)


def main(argv: Sequence[str]) -> int:
    """Starts or continues the run of --config in --workdir."""
    if len(argv) > 1:
        raise ConfigError(f"unexpected arguments: {' '.join(argv[1:])}")
    # Imported here: a wrong command line is answered without waiting for JAX.
    from data_builders.common.errors import BuildError
    from surgrec_jax import train
    from surgrec_jax.checkpoint import CheckpointError
    from surgrec_jax.health import NonFiniteError
    from surgrec_jax.lock import WorkdirInUseError

    logging.set_verbosity(logging.WARNING)
    expected = (
        ConfigError,
        BuildError,
        CheckpointError,
        NonFiniteError,
        WorkdirInUseError,
        ValueError,
        OSError,
    )

    def work() -> int:
        return 0 if train.train(CONFIG.value, Path(WORKDIR.value)) else STOPPED

    def sentence(error: Exception) -> str | None:
        no_memory = isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")
        if not (isinstance(error, expected) or no_memory):
            return None
        logging.debug("traceback", exc_info=True)
        return f"surgrec_jax: {error}{f' {MEMORY_REMEDY}' if no_memory else ''}"

    return together.run(shared_values(CONFIG.value), work, sentence)


def parse(argv: Sequence[str]) -> list[str]:
    """absl's parser, with every wrong command line answered in one sentence."""
    try:
        _check_overrides(argv)
        rest = flags.FLAGS(list(argv))
        missing = [name for name in ("config", "workdir") if getattr(flags.FLAGS, name) is None]
        if missing:
            raise ConfigError(
                f"--{missing[0]} is missing; e.g. python -m surgrec_jax.main "
                "--config=configs/mae.py:tiny --workdir=runs/mae_tiny"
            )
    except (ConfigError, flags.Error, ValueError, TypeError, OSError) as error:
        print(f"surgrec_jax: {error}", file=sys.stderr)
        sys.exit(2)
    return rest


def _check_overrides(argv: Sequence[str]) -> None:
    """Raises ConfigError for a config that is not there and for an override of an unknown key."""
    files = [arg.split("=", 1)[1] for arg in argv if re.match(r"--?config=", arg)]
    if not files:
        return
    path, _, variant = files[-1].partition(":")
    if not Path(path).is_file():
        raise ConfigError(f"--config={path}: there is no such file")
    get_config = runpy.run_path(path)["get_config"]
    config = get_config(variant) if variant else get_config()
    known = flatten(config.to_dict())
    for arg in argv:
        match = re.match(r"--?(?:no)?config\.([^=\[]+)", arg)
        if match and match[1] not in known and not any(k.startswith(match[1] + ".") for k in known):
            raise ConfigError(
                f"--config.{match[1]} does not exist; {unknown_key_hint(config, match[1])}"
            )


if __name__ == "__main__":
    escape_output()
    app.run(main, flags_parser=parse)
