"""Event: an event that Ctrl-C cannot leave locked."""

from __future__ import annotations

import threading
import time

from program import Program

from extframe.concurrency.event import Event

INTERRUPTED = """
    import faulthandler, random, signal, sys, time
    from extframe import LocalRegistry, PluginManager

    def interrupt(*_):
        global inside
        if inside:
            inside = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    end = time.monotonic() + float(sys.argv[1])
    inside = False
    while time.monotonic() < end:
        faulthandler.dump_traceback_later(60, exit=True)
        pm = PluginManager(LocalRegistry(sys.argv[2], []), groups=())
        try:
            inside = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 15e-6))
            for _ in range(5):
                pm.close()
            inside = False
        except KeyboardInterrupt:
            pass
        pm.close()
"""


def test_setting_an_event_wakes_its_waiters_and_later_waits_return_at_once() -> None:
    event = Event()
    assert not event.is_set()
    assert not event.wait(0.01)
    timer = threading.Timer(0.1, event.set)
    timer.start()
    began = time.monotonic()
    assert event.wait(60)
    assert event.wait(60)
    assert time.monotonic() - began < 30
    assert event.is_set()
    timer.join()


def test_a_manager_whose_close_was_interrupted_can_be_closed(short_path) -> None:
    with Program(INTERRUPTED, 2.0, short_path, measured=False) as program:
        code, said = program.end(90)
    assert code == 0, said
