"""Runs of several processes: who was lost, said within a bounded time.

A collective waits forever for a process that is stopped or cut off. Every process therefore writes
a sign of life to JAX's coordination service and looks for those of the others; one that misses
another ends itself and names it. JAX has a watch of its own, which aborts with a stack trace: its
time-out is set to twice this one's. Where the first process dies JAX aborts the others at once; a
helper process then says what happened, because the aborted one cannot.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time

import jax
from jax._src import distributed  # the key-value store has no public name

# Exit code of a process that ended because another one was lost.
LOST = 76
_ROOT = "surgrec_jax/peers"
_LAST_WORDS = """
import sys
for line in sys.stdin:
    last = line
if last != "bye\\n":
    print(last, file=sys.stderr, end="")
"""
# What XLA's errors about other processes begin with, gloo's and NCCL's among them.
_STATUS = re.compile(r"(UNKNOWN|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED)\b")


def _from_another(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from (a save that failed), is XLA's about others."""
    while error is not None:
        if _STATUS.match(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def join(
    coordinator: str | None, processes: int | None, process: int | None, *, timeout_s: float
) -> "Peers":
    """Joins the other processes, and begins to watch them.

    Args:
        coordinator, processes, process: as `jax.distributed.initialize`; None to find out.
        timeout_s: without a sign of life, after which a process counts as lost.
    """
    timeout = max(int(timeout_s), 1)
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        heartbeat_timeout_seconds=2 * timeout + 5,
        shutdown_timeout_seconds=2 * timeout + 5,
    )
    return Peers(timeout)


class Peers:
    """Watches the other processes from two threads; ends this process when one is lost.

    Args:
        timeout_s: without a sign of life, after which a process counts as lost.
    """

    def __init__(self, timeout_s: float):
        self._timeout, self._client = timeout_s, distributed.global_state.client
        self._me, self._count = jax.process_index(), jax.process_count()
        self._where = f"{socket.gethostname()}, pid {os.getpid()}"
        self._closed, self._telling = threading.Event(), threading.Lock()
        now = time.monotonic()
        self._answered = now
        self._seen = {k: now for k in range(self._count) if k != self._me}
        self._signs: dict[int, str] = {}
        self._names = {k: f"process {k}" for k in self._seen}
        self._helper = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAST_WORDS],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._meet()
        for target in (self._beat, self._judge):
            threading.Thread(target=target, name="peers", daemon=True).start()

    def close(self) -> None:
        """Takes leave: this process has done its part."""
        self._closed.set()
        with contextlib.suppress(RuntimeError):  # the service is gone: nobody is left to be told
            self._say("done")
        self._tell("bye\n")

    def fail(self, error: BaseException) -> None:
        """Tells the others why this process ends, so that they do not wait for it.

        An error that comes from the loss of another process is held back until the watch has had
        the time to find out which; it then ends this process in its own words.
        """
        if _from_another(error):
            time.sleep(1.5 * self._timeout)
        self._closed.set()
        self._tell("bye\n")
        with contextlib.suppress(RuntimeError):  # as above
            self._say("failed " + str(error).replace("\n", " ")[:500])
            # The service ends with the first process: let the others read it first.
            deadline = time.monotonic() + min(5.0, self._timeout)
            while self._me == 0 and time.monotonic() < deadline and self._others_running():
                time.sleep(0.2)

    def _others_running(self) -> bool:
        return any(not sign.startswith(("done", "failed")) for sign in self._read().values())

    def _meet(self) -> None:
        """Waits for the others' first signs, so that whoever is lost later has a name."""
        # One that is gone already, and a service that does not answer, are the judge's.
        with contextlib.suppress(RuntimeError):
            self._say(f"alive {self._where} 0")
            for process in self._seen:
                self._client.blocking_key_value_get(f"{_ROOT}/{process}", int(1000 * self._timeout))
            self._look()

    def _beat(self) -> None:
        """Writes and reads signs of life; blocks where the service does not answer."""
        count = 0
        while not self._closed.wait(self._timeout / 6 if count else 0):
            count += 1
            # Whatever gRPC makes of a silent service: the judge counts the silence.
            with contextlib.suppress(RuntimeError):
                self._say(f"alive {self._where} {count}")
                self._look()

    def _look(self) -> None:
        """Reads the others' signs of life, and tells the helper whom they are from."""
        signs = self._read()
        self._answered = time.monotonic()
        for process, sign in signs.items():
            if sign != self._signs.get(process) or sign == "done":
                self._seen[process], self._signs[process] = time.monotonic(), sign
            if sign.startswith("alive"):
                self._names[process] = f"process {process} ({sign[6:].rsplit(' ', 1)[0]})"
        self._tell(
            f"surgrec_jax: process {self._me} ended suddenly. If JAX says above that the "
            "leader or the coordination service is gone, "
            f"{self._names.get(0, 'this one')} was lost. "
            "Start all processes again with the same command\n"
        )

    def _judge(self) -> None:
        while not self._closed.wait(self._timeout / 12):
            now = time.monotonic()
            failed = [k for k, sign in self._signs.items() if sign.startswith("failed")]
            late = [k for k, seen in self._seen.items() if now - seen > self._timeout]
            if failed:
                time.sleep(min(2.0, self._timeout))  # the same error may be found here too
                texts = [f"{self._names[k]} ended with: {self._signs[k][7:]}" for k in failed]
            elif now - self._answered > self._timeout and self._me:
                texts = [f"{self._names[0]}, the coordinator, has not answered"]
            elif late and now - self._answered < self._timeout / 2:
                texts = [f"{self._names[k]} has given no sign of life" for k in late]
            else:
                continue
            if self._closed.is_set():
                return
            waited = "" if failed else f" for {self._timeout:.0f} s"
            print(
                f"surgrec_jax: {'; '.join(texts)}{waited}. Process {self._me} ends too (exit code "
                f"{LOST}); start all processes again with the same command",
                file=sys.stderr,
                flush=True,
            )
            self._tell("bye\n")
            os._exit(LOST)

    def _say(self, text: str) -> None:
        self._client.key_value_set(f"{_ROOT}/{self._me}", text, allow_overwrite=True)

    def _read(self) -> dict[int, str]:
        pairs = self._client.key_value_dir_get(_ROOT)
        signs = {int(key.rsplit("/", 1)[1]): text for key, text in pairs}
        signs.pop(self._me, None)
        return signs

    def _tell(self, line: str) -> None:
        """Gives the helper its last words to say."""
        with self._telling, contextlib.suppress(OSError):  # it was killed: nothing depends on it
            if self._helper.stdin.closed:
                return
            self._helper.stdin.write(line)
            self._helper.stdin.flush()
            if line == "bye\n":
                self._helper.stdin.close()
                self._helper.wait()
