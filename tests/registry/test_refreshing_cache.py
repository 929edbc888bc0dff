"""A cache whose entries expire: what is returned when, with a clock of the test's own."""

from __future__ import annotations

import select
import threading
from typing import NoReturn

import pytest
from faultserver import eventually

from extframe import ExtframeError
from extframe.registry.docker_events import DockerEvents
from extframe.registry.refreshing_cache import CacheChanges, RefreshingCache


class Source:
    """What a cache loads from: values that count up, valid for ten seconds of a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loads = 0
        self.failure: Exception | None = None
        self.cache = RefreshingCache(
            self.load, "test cache", keeps_fresh=lambda name, value: name != "stale", clock=lambda: self.now
        )

    def follow(self, since: float) -> NoReturn:
        raise ExtframeError("no engine")

    def load(self, name: str) -> tuple[str, float]:
        self.loads += 1
        if self.failure is not None:
            raise self.failure
        return f"{name}{self.loads}", 10.0


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_value_is_loaded_again_when_it_has_expired(source):
    assert source.cache.peek("a") is None
    assert [source.cache.get("a"), source.cache.get("a"), source.cache.peek("a")] == ["a1", "a1", "a1"]
    source.now += 10
    assert source.cache.get("a") == "a2"
    source.now += 10
    assert source.cache.peek("a") == "a2"
    assert eventually(lambda: source.cache.peek("a") == "a3")
    source.now += 12
    assert source.cache.get("a", grace=3) == "a3"
    assert eventually(lambda: source.cache.peek("a") == "a4")
    source.now += 14
    assert source.cache.get("a", grace=3) == "a5"
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name == "test cache"])


@pytest.mark.parametrize("failure", [ExtframeError("no answer"), LookupError("a bug")])
def test_a_failed_refresh_keeps_the_value_is_logged_once_and_not_repeated_at_once(source, failure, caplog):
    source.cache.get("a")
    source.failure = failure
    for _ in range(3):
        source.now += 10
        loads = source.loads
        assert source.cache.peek("a") == "a1"
        assert eventually(lambda loads=loads: source.loads == loads + 1)
        assert eventually(lambda: not source.cache._entries["a"].is_refreshing)
        assert source.cache.get("a") == source.cache.peek("a") == "a1"
        assert source.loads == loads + 1
    assert [record.getMessage() for record in caplog.records] == [f"{failure}; what was found before is used"]


def test_a_refresh_for_which_there_was_no_thread_is_made_later(source, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise ExtframeError("no thread")

    source.cache.get("a")
    source.now += 10
    with monkeypatch.context() as patch:
        patch.setattr("extframe.registry.refreshing_cache.start", refuse)
        assert source.cache.peek("a") == "a1"
    assert eventually(lambda: source.cache.peek("a") == "a2")


def test_what_was_never_loaded_raises(source):
    source.failure = ExtframeError("no answer")
    with pytest.raises(ExtframeError, match="no answer"):
        source.cache.get("a")


def test_an_invalid_value_is_loaded_again_but_not_more_than_once_a_second(source):
    source.cache.get("a")
    source.cache.invalidate("a")
    assert not source.cache.is_invalid("a")
    source.now += 1
    source.cache.invalidate("a")
    source.cache.invalidate("b")
    assert source.cache.is_invalid("a")
    assert source.cache.get("a") == "a2"
    assert not source.cache.is_invalid("a")


class Compared:
    """A value that calls a function when it is compared with the one that replaces it."""

    on_compare = staticmethod(lambda: None)

    def __eq__(self, other: object) -> bool:
        self.on_compare()
        return self is other

    __hash__ = object.__hash__


def test_a_reader_finds_a_value_also_at_the_moment_at_which_it_is_replaced():
    now, found, values = [100.0], [], [Compared(), Compared()]
    cache = RefreshingCache(lambda name: (values[bool(now[0] > 100)], 10.0), "test cache", clock=lambda: now[0])
    values[0].on_compare = lambda: found.append(cache.peek("a") is values[0])
    assert cache.get("a") is values[0]
    now[0] += 20
    assert cache.get("a") is values[1]
    assert found == [True]


class Held(Source):
    """A source whose loads return when they are released, each by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = [threading.Event() for _ in range(3)]
        self.released = [threading.Event() for _ in range(3)]

    def load(self, name: str) -> tuple[str, float]:
        found = super().load(name)
        number = self.loads - 1
        self.begun[number].set()
        assert self.released[number].wait(30)
        return found

    def get_in_thread(self, number: int) -> threading.Thread:
        thread = threading.Thread(target=self.cache.get, args=["a"])
        thread.start()
        assert self.begun[number].wait(30)
        return thread

    def release(self, number: int, thread: threading.Thread) -> None:
        self.released[number].set()
        thread.join(30)


def test_a_value_that_becomes_invalid_while_it_is_loaded_is_loaded_once_more():
    source = Held()
    source.released[0].set()
    source.cache.get("a")
    source.now += 10
    loading = source.get_in_thread(1)
    source.now += 1
    source.cache.invalidate("a")
    source.release(1, loading)
    assert source.cache.is_invalid("a")
    source.released[2].set()
    assert source.cache.get("a") == "a3"
    assert not source.cache.is_invalid("a")


def test_a_load_that_ends_late_does_not_replace_what_was_loaded_after_it_began():
    source = Held()
    source.released[0].set()
    source.cache.get("a")
    source.now += 10
    late = source.get_in_thread(1)
    source.now += 1
    source.release(2, source.get_in_thread(2))
    assert source.cache.peek("a") == "a3"
    source.release(1, late)
    assert source.cache.peek("a") == "a3"
    assert source.cache.replaced == 1


@pytest.mark.parametrize("is_known", [False, True])
def test_a_load_that_fails_gives_what_another_thread_has_loaded_meanwhile(is_known, caplog):
    source = Held()
    load = source.cache._load
    failing = int(is_known)

    def load_or_fail(name: str) -> tuple[str, float]:
        found, seconds = load(name)
        if found == f"a{failing + 1}":
            raise ExtframeError("no answer")
        return found, seconds

    source.cache._load = load_or_fail
    if is_known:
        source.released[0].set()
        source.cache.get("a")
        source.now += 10
    found = []
    late = threading.Thread(target=lambda: found.append(source.cache.get("a")))
    late.start()
    assert source.begun[failing].wait(30)
    source.release(failing + 1, source.get_in_thread(failing + 1))
    source.release(failing, late)
    assert found == [source.cache.peek("a")] == [f"a{failing + 2}"]
    assert not caplog.records


def test_the_oldest_are_forgotten_first(source, monkeypatch):
    monkeypatch.setattr("extframe.registry.refreshing_cache.LIMIT", 2)
    for name in "abac":
        source.cache.get(name)
        source.now += 20
    assert [source.cache.peek(name) is None for name in "abc"] == [False, True, False]


def test_changes_are_reported_when_values_expire(source):
    for name in ("a", "stale"):
        source.cache.get(name)
    source.now += 9.5
    assert source.cache.seconds_left() == 0.5
    source.cache.refresh_expired()
    assert source.loads == 2
    source.now += 1
    assert source.cache.seconds_left() == 0
    for failure in (ExtframeError("no answer"), LookupError("a bug")):
        source.failure = failure
        source.cache.refresh_expired()
        assert source.cache.seconds_left() == 1
        source.now += 1
    source.failure = None
    assert source.cache.replaced == 0
    loads = source.loads
    source.cache.refresh_expired()
    assert source.loads == loads + 1
    assert source.cache.replaced == 1
    changes = CacheChanges(source.cache, "test changes")
    source.now += 20
    assert eventually(lambda: select.select([changes], [], [], 0)[0])
    changes.drain()
    assert not select.select([changes], [], [], 0)[0]
    changes.close()
    assert eventually(lambda: not [each for each in threading.enumerate() if each.name == "test changes"])


@pytest.mark.parametrize(
    ("module", "follow"),
    [
        ("refreshing_cache", lambda source: CacheChanges(source.cache, "test changes")),
        ("docker_events", lambda source: DockerEvents(source.follow)),
    ],
    ids=["cache", "docker"],
)
def test_a_thread_that_ctrl_c_interrupts_as_it_starts_ends(source, monkeypatch, module, follow):
    def start(thread: threading.Thread) -> None:
        threads.append(thread)
        thread.start()
        raise KeyboardInterrupt

    threads: list[threading.Thread] = []
    monkeypatch.setattr(f"extframe.registry.{module}.start", start)
    with pytest.raises(KeyboardInterrupt):
        follow(source)
    threads[0].join(30)
    assert not threads[0].is_alive()


@pytest.mark.parametrize("refreshed_by", ["get", "peek"])
def test_a_change_is_reported_that_was_found_where_the_value_was_used(source, refreshed_by):
    source.cache.get("a")
    changes = CacheChanges(source.cache, "test changes")
    source.cache._keeps_fresh = lambda name, value: False  # so that the thread itself refreshes nothing
    source.now += 20
    getattr(source.cache, refreshed_by)("a")
    assert eventually(lambda: select.select([changes], [], [], 0)[0])
    changes.close()
