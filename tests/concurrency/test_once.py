"""Once: what threads report once, and what they make once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from extframe import Interface, rpc
from extframe.client.observers import Observers
from extframe.concurrency.once import Once
from extframe.handlers.access_rules import AccessRules
from extframe.interface import async_interface


class Act:
    """Something whose second look-up in a set or dict lets another thread come first."""

    def __init__(self, other: Callable[[], object]) -> None:
        self._others = [lambda: None, other]

    def __hash__(self) -> int:
        if self._others:
            self._others.pop(0)()
        return 1


def test_a_thing_is_first_once():
    once = Once()
    assert [once.first("a"), once.first("a"), once.first("b"), "a" in once, "c" in once] == [
        True, False, True, True, False
    ]  # fmt: skip


def test_a_failure_of_an_observer_that_two_threads_report_is_logged_once(caplog):
    observers = Observers([])
    act = Act(lambda: observers.report(act, ValueError("no space left")))
    for _ in range(2):
        observers.report(act, ValueError("no space left"))
    assert len(caplog.records) == 1


def test_a_name_that_does_not_match_takes_back_no_match_of_another_thread():
    rules = AccessRules(block=["photos"], environ={})
    ((entry,),) = (each.entries for each in rules._block)
    writes: list[bool] = []

    class Watched(type(entry)):
        has_matched = property(lambda self: False, lambda self, value: writes.append(value))

    entry.__class__ = Watched
    assert rules.plugin_refusal("music") is None
    assert rules.plugin_refusal("photos") is not None
    assert writes == [True]


def test_two_threads_have_one_mirror_of_an_interface(monkeypatch: pytest.MonkeyPatch):
    class Backup(Interface, implements="Backup"):
        @rpc("Start")
        def start(self) -> None:
            raise NotImplementedError

    def mirror() -> None:
        mirrors.append(async_interface.untyped_mirror(Backup))

    mirrors: list[type] = []
    other = threading.Thread(target=mirror)
    declaration = async_interface.declaration

    def declared_slowly(interface: type) -> object:
        if other.ident is None:
            other.start()
            other.join(0.2)  # it makes one of its own, or waits for this one
        return declaration(interface)

    monkeypatch.setattr(async_interface, "declaration", declared_slowly)
    mirror()
    other.join(60)
    assert len(mirrors) == 2
    assert mirrors[0] is mirrors[1]
