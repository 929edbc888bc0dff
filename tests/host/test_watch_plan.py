"""WatchPlan: when a watch tries which plugin, by the time that is passed in. No thread runs, and nothing sleeps."""

from __future__ import annotations

import math
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extframe import ActivationError, ConnectError, Manifest, PluginNotFound, PluginSpec
from extframe.handlers.failures import Failures
from extframe.host.plugin import Plugin
from extframe.host.plugin_table import PluginTable
from extframe.host.watch_plan import FIRST_PAUSE, LONGEST_PAUSE, NOT_YET, SETTLE, WatchPlan

BROKEN = ActivationError("it sends garbage")
STARTING = ActivationError("refused")
STARTING.__cause__ = ConnectError("refused")
STARTING.__cause__.__cause__ = ConnectionRefusedError()
GONE = PluginNotFound("no plugin")


class World:
    """A registry as a dict of names to stamps, and a watch of it, in a time of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sources: dict[str, Hashable] = {}
        self.abandoned: list[str] = []
        self.begun: set[str] = set()
        self.events: list[tuple[str, object]] = []
        self.table: PluginTable[Plugin] = PluginTable(
            lambda spec, listener: Plugin(spec, listener=listener),
            failures=Failures(),
            events=self,
            is_closed=lambda: False,
        )
        self.plan = WatchPlan(self.table, self.abandon)

    def publish(self, hook: str, **arguments: object) -> None:
        self.events.append((hook.removeprefix("plugin_"), arguments["name"]))

    def abandon(self, plugin: Plugin) -> bool:
        if plugin.name not in self.begun:
            return False
        self.begun.remove(plugin.name)
        self.abandoned.append(plugin.name)
        plugin._record_failure("leader", None)
        return True

    def scan(self) -> None:
        self.plan.begin_scan()
        for name in self.plan.missing(self.sources):
            self.table.not_found(name, self.table.seen(name), GONE)
        for name, stamp in self.sources.items():
            self.plan.present(name, stamp if self.table.known(name) else None, self.now)
        self.plan.scanned(self.now, self.now, 5.0, None)

    def begin(self) -> list[str]:
        due = self.plan.due(self.now)
        for name in due:
            if name in self.sources:
                found = PluginSpec(name, f"unix:///nowhere/{name}.sock", stamp=self.sources[name])
                self.table.found(name, found, self.table.seen(name))
            self.plan.begun(name)
            if name in self.sources:
                self.known(name)._lifecycle.ask("leader")
                self.begun.add(name)
            else:
                self.plan.ended(name, GONE, False, self.now)
        return due

    def end(self, name: str, error: Exception | None = None) -> None:
        self.begun.discard(name)
        plugin = self.known(name)
        if error is None:
            plugin._record_success("leader", Manifest(implements=("VolumeDriver",)))
        else:
            plugin._record_failure("leader", error if isinstance(error, ActivationError) else None)
        is_current = self.table.is_current(plugin, self.sources.get(name))
        self.plan.ended(name, error, is_current, self.now)

    # Steps of a random history.

    def appear(self, name: str, stamp: int) -> None:
        self.sources[name] = stamp

    def disappear(self, name: str) -> None:
        self.sources.pop(name, None)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def begin_due(self) -> None:
        before = set(self.begun)
        assert not before & set(self.begin()), "a plugin was begun whose handshake is under way"

    def end_if_begun(self, name: str, error: Exception | None) -> None:
        if name in self.begun:
            self.end(name, error)

    def lose(self, name: str) -> None:
        if self.table.known(name):
            self.known(name).mark_lost()
            self.plan.lost(name, self.now)

    def known(self, name: str) -> Plugin:
        plugin = self.table.known(name)
        assert plugin is not None
        return plugin


@pytest.fixture
def world() -> World:
    world = World()
    world.sources["photos"] = 1
    world.scan()
    return world


def test_a_plugin_that_fails_is_tried_with_exponential_backoff(world: World) -> None:
    pauses = []
    for _ in range(12):
        assert world.begin() == ["photos"]
        world.end("photos", BROKEN)
        pause = world.plan.next_try("photos", world.now)
        assert pause is not None
        pauses.append(pause)
        world.now += pause - 0.001
        assert world.begin() == []
        world.now += 0.002
    assert pauses[:3] == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE], rel=0.05)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)
    assert world.events == [("failed", "photos")]


def test_a_socket_that_refuses_connections_is_a_failure_only_after_a_moment(world: World) -> None:
    waited = 0.0
    while not world.events:
        world.begin()
        world.end("photos", STARTING)
        pause = world.plan.next_try("photos", world.now) or 0.0
        waited += pause
        world.now += pause
    assert NOT_YET / 2 < waited < 4 * NOT_YET


def test_a_changed_source_is_tried_at_once_and_an_unfinished_handshake_with_the_old_one_is_abandoned(
    world: World,
) -> None:
    world.begin()
    world.scan()
    assert (world.abandoned, world.begin()) == ([], [])
    world.sources["photos"] = 2
    world.scan()
    assert (world.abandoned, world.begin()) == (["photos"], ["photos"])
    world.end("photos")
    assert world.plan.next_try("photos", world.now) is None


def test_a_lost_plugin_is_tried_at_once_and_one_that_is_removed_never(world: World) -> None:
    world.begin()
    world.end("photos")
    world.known("photos").mark_lost()
    world.plan.lost("photos", world.now)
    assert world.begin() == ["photos"]
    del world.sources["photos"]
    world.scan()
    assert world.abandoned == ["photos"]
    world.now = math.inf
    assert world.begin() == []
    assert world.events == [("activated", "photos"), ("lost", "photos"), ("removed", "photos")]


def test_changes_are_scanned_once_they_have_settled_and_long_scans_are_followed_by_long_pauses(world: World) -> None:
    assert world.plan.next_time() <= world.now  # the plugin is due
    world.begin()
    assert world.plan.next_time() == world.now + 5.0
    world.plan.changed(world.now)
    assert world.plan.next_time() == world.now + SETTLE
    world.plan.begin_scan()
    world.plan.scanned(world.now, world.now + 1.0, 5.0, OSError("no file descriptor left"))
    world.plan.changed(world.now + 1.0)
    assert world.plan.next_time() == world.now + 11.0


def test_what_changes_during_a_scan_is_scanned_for_after_it(world: World) -> None:
    world.begin()
    world.end("photos")
    world.plan.begin_scan()
    world.plan.changed(world.now + 0.5)
    world.plan.scanned(world.now, world.now + 1.0, 5.0, None)
    assert world.plan.next_time() == world.now + 11.0  # not after 150 times the duration
    world.now += 11.0
    world.scan()
    assert world.plan.next_time() == world.now + 5.0


NAMES = st.sampled_from(["a", "b"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("appear"), NAMES, st.integers(1, 3)),
        st.tuples(st.just("disappear"), NAMES),
        st.tuples(st.just("scan")),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 20.0])),
        st.tuples(st.just("begin_due")),
        st.tuples(st.just("end_if_begun"), NAMES, st.sampled_from([None, BROKEN, STARTING])),
        st.tuples(st.just("lose"), NAMES),
    ),
    max_size=40,
)


@given(STEPS)
def test_any_history_makes_one_handshake_at_a_time_and_ends_with_every_plugin_active(steps):
    world = World()

    for act, *arguments in steps:
        getattr(world, act)(*arguments)
    for _ in range(3):  # the first may end with an old source
        world.wait(20.0)
        world.scan()
        world.begin_due()
        for name in list(world.begun):
            world.end(name)
    assert {name for name in world.sources if world.known(name).is_made} == set(world.sources)
