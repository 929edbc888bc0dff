"""EtcdRegistry: what may happen in two threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakSet

import pytest

from extframe import EtcdRegistry, ExtframeError


class Growing(WeakSet):
    """A set that another thread wants to add to while it is listed."""

    add_in_thread: Callable[[], None]

    def __iter__(self):
        for each in super().__iter__():
            yield each
            self.add_in_thread()


def test_a_watch_that_begins_while_others_are_notified_does_not_end_the_thread(monkeypatch):
    monkeypatch.setattr(EtcdRegistry, "_start", lambda self: None)  # this test is the thread
    registry = EtcdRegistry("etcd://127.0.0.1:1")
    registry._pipes = pipes = Growing()
    threads, watches = [], []

    def add_in_thread() -> None:
        if not threads:
            threads.append(threading.Thread(target=lambda: watches.append(registry.changes())))
            threads[0].start()
            threads[0].join(0.2)  # without a lock, it adds one now

    pipes.add_in_thread = add_in_thread
    watches += [registry.changes(), registry.changes()]
    registry._notify()
    threads[0].join(30)
    assert len(watches) == 3
    for watch in watches:
        watch.close()
    registry.close()


def test_a_thread_that_runs_is_not_started_again_where_there_was_none_for_the_other(monkeypatch):
    started, limit = [], 1

    def start(thread: threading.Thread) -> None:
        if len(started) == limit:
            raise ExtframeError("no thread")
        started.append(thread.name)

    monkeypatch.setattr("extframe.registry.etcd_registry.start", start)
    registry = EtcdRegistry("etcd://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(ExtframeError, match="no thread"):
            registry.changes()
    limit = 3
    for _ in range(2):
        registry.changes().close()
    registry.close()
    assert started == ["extframe etcd", "extframe etcd renewal"]
