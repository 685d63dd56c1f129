import pickle
import signal
import threading
import time

import pytest

from surgrec_jax.data.loading.threads import Threads


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_every_number_is_called_once(num_threads):
    threads, called = Threads(num_threads), []
    pickle.loads(pickle.dumps(threads)).run(called.append, 20)
    assert sorted(called) == list(range(20))
    threads.close()


def test_the_first_number_that_failed_is_reported():
    threads = Threads(2)

    def fail(i):
        if i >= 3:
            raise ValueError(f"number {i}")

    for _ in range(20):
        with pytest.raises(ValueError, match="number 3"):
            threads.run(fail, 50)
    threads.close()


def test_ctrl_c_leaves_no_thread_waiting():
    """Interrupted in its calls, `run` and the threads end; calls that have not begun are left."""
    for k in range(40):
        threads, called = Threads(2), []
        threads.run(called.append, 2)  # the threads stand: starting one is Python's own affair
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.0005 * (k + 1))
                threads.run(lambda i, called=called: called.append(time.sleep(0.001)), 1000)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        threads.close()
        assert len(called) < 1000


def test_closing_while_others_run_leaves_no_thread_behind():
    """Two callers, as Grain has two batches under way; both must return."""
    others = set(threading.enumerate())  # of earlier tests: they end when they are collected
    for k in range(30):
        threads, ends = Threads(2), []

        def call(threads=threads, ends=ends):
            try:
                threads.run(lambda i: time.sleep(0.001), 30)
                ends.append(None)
            except RuntimeError as e:
                ends.append(str(e))

        callers = [threading.Thread(target=call, daemon=True) for _ in range(2)]
        for caller in callers:
            caller.start()
        time.sleep(0.0005 * k)
        threads.close()
        for caller in callers:
            caller.join(10)
        assert len(ends) == 2 and set(ends) <= {None, "the batches were closed"}
        left = set(threading.enumerate()) - others
        assert not [thread for thread in left if thread.name.startswith("clips")]
