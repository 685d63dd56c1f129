"""A process that only meets the other one: python -m tests.faults.peer ADDRESS NUMBER TIMEOUT."""

import sys
import time

import jax.numpy as jnp
from jax.experimental import multihost_utils

from surgrec_jax.hosts import watchdog

if __name__ == "__main__":
    watch = watchdog.join(sys.argv[1], 2, int(sys.argv[2]), timeout_s=float(sys.argv[3]))
    for meeting in range(10**6):
        try:
            multihost_utils.process_allgather(jnp.float32(meeting))
        except Exception as error:
            watch.fail(error)
            raise
        if meeting == 5:
            print("ready", flush=True)
        time.sleep(0.05)
