"""The command line of several processes: flags to find the others, and joining them."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

from surgrec_jax.safety import errors

if TYPE_CHECKING:
    from surgrec_jax.hosts.watchdog import Peers

DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Join the other processes of a TPU pod, Slurm, Open MPI or Kubernetes job"
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, elsewhere")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: this one's number")
JOIN_WITHIN = flags.DEFINE_float("join_within", 300.0, "Seconds that all processes have to arrive")
LOST_AFTER = flags.DEFINE_float(
    "lost_after", 60.0, "Seconds without a sign of life of another process until this one ends"
)


def run(program: str, config: dict[str, Any], work: Callable[[], int]) -> int:
    """Does `work` together with the other processes, where the flags ask for them.

    Args:
        program: first word of its sentences.
        config: see `join`.

    Returns:
        The exit code: what `work` returns, 130 after Ctrl-C, or 1 after an error, which is told as
        `errors.tell` does. Of several processes one that fails tells the others and ends at once,
        with 1.
    """
    others = None
    try:
        others = join(config)
        code = work()
    except Exception as error:
        if others is not None:
            others.fail(error)
        errors.tell(program, error)
        if others is not None:
            os._exit(1)  # JAX would wait for the others at its own shutdown
        return 1
    except KeyboardInterrupt:
        return errors.tell_interrupted(f"{program}: stopped")
    if others is not None:
        others.close()
    return code


def join(config: dict[str, Any]) -> "Peers | None":
    """Meets the other processes of a run, joins and watches them, where the flags ask for it.

    Args:
        config: flat JSON values that must be the same everywhere.

    Raises:
        RendezvousError: a process is missing, or was started with another config.
    """
    if not (DISTRIBUTED.value or COORDINATOR.value):
        return None
    # These are imported here, as one process alone needs neither.
    from surgrec_jax.hosts import config_agreement, watchdog

    place = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    config_agreement.meet(config_agreement.find_place(*place), config, timeout_s=JOIN_WITHIN.value)
    return watchdog.join(*place, timeout_s=LOST_AFTER.value)
