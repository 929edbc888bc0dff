"""Locks that signals may interrupt."""

from __future__ import annotations

from program import Program

HANDLER = """
    import signal
    from extframe.concurrency.locks import signal_safe_lock

    lock, taken = signal_safe_lock(), []

    def handler(*_):
        with lock:
            taken.append("by the handler")

    signal.signal(signal.SIGUSR1, handler)
    with lock:
        signal.raise_signal(signal.SIGUSR1)
    print(taken)
"""

INTERRUPTED = """
    import random, signal, threading
    from extframe.concurrency.locks import signal_safe_condition, signal_safe_lock

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    lock = signal_safe_lock()
    changed = signal_safe_condition(lock)
    moments = random.Random(1)
    interrupts = 0
    for _ in range(5000):
        try:
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(5e-6, 5e-5))
            while True:
                with lock:
                    changed.notify_all()
        except KeyboardInterrupt:
            interrupts += 1
    free = []
    other = threading.Thread(target=lambda: free.append(lock.acquire(timeout=1)))
    other.start()
    other.join()
    print(free, interrupts)
"""


def test_a_signal_handler_may_take_the_lock_that_its_thread_holds() -> None:
    with Program(HANDLER, measured=False) as program:
        assert program.end(60) == (0, "['by the handler']\n")


def test_ctrl_c_at_any_moment_leaves_the_lock_free() -> None:
    with Program(INTERRUPTED, measured=False) as program:
        assert program.end(90) == (0, "[True] 5000\n")
