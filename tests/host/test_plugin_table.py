"""PluginTable: what searches and handshakes that overlap mean for failures and events. Nothing sleeps here."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from extframe import ActivationError, CallTimeout, ExtframeError, Manifest, PluginNotFound, PluginSpec, SpecError
from extframe.handlers.failures import Failures
from extframe.host.plugin import Plugin
from extframe.host.plugin_table import PluginTable

SPEC = PluginSpec("photos", "unix:///nowhere/photos.sock", stamp=1)
MANIFEST = Manifest(implements=("VolumeDriver",))
GONE = PluginNotFound("no plugin 'photos'")
REFUSED = ActivationError("refused")
CANNOT_LOOK = ExtframeError("no file descriptor left")


class Table(PluginTable[Plugin]):
    """A table that keeps its events."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.failures = Failures()
        self.closed = False
        super().__init__(
            lambda spec, listener: Plugin(spec, listener=listener),
            failures=self.failures,
            events=self,
            is_closed=lambda: self.closed,
        )

    def publish(self, hook: str, **arguments: object) -> None:
        self.events.append(hook.removeprefix("plugin_"))

    def find(self, spec: PluginSpec) -> Plugin:
        """Have a search end that nothing has come between."""
        return self.found(spec.name, spec, self.seen(spec.name))

    def lead(self, spec: PluginSpec = SPEC) -> Plugin:
        """Find a plugin, and begin its handshake."""
        plugin = self.find(spec)
        plugin._lifecycle.ask("leader")
        return plugin

    def activate(self, spec: PluginSpec = SPEC) -> Plugin:
        plugin = self.lead(spec)
        plugin._record_success("leader", MANIFEST)
        return plugin


@pytest.fixture
def table():
    return Table()


def test_a_plugin_that_is_found_again_is_the_same(table):
    plugin = table.activate()
    assert table.not_found("photos", SPEC, GONE) is None
    assert table.candidate("photos") is None  # its source has to be searched
    assert table.find(replace(SPEC, stamp=2)) is plugin


def test_a_search_that_another_has_overtaken_renews_nothing(table):
    plugin = table.activate()
    seen = table.seen("photos")
    assert table.activate(replace(SPEC, stamp=3)) is plugin
    assert table.found("photos", replace(SPEC, stamp=2), seen) is plugin  # it began earlier, and was slow to end
    assert plugin.spec.stamp == 3
    assert plugin.is_made
    assert table.events == ["activated", "lost", "activated"]


def test_a_search_that_another_has_overtaken_during_a_handshake_renews_nothing(table):
    table.activate()
    plugin = table.lead(replace(SPEC, stamp=2))
    seen = table.seen("photos")
    table.find(replace(SPEC, stamp=4))
    table.found("photos", replace(SPEC, stamp=3), seen)  # it began earlier, and was slow to end
    plugin._record_failure("leader", None)
    assert plugin.spec.stamp == 4


def test_a_search_that_begins_during_a_handshake_renews_what_an_earlier_one_has_found(table):
    table.activate()
    plugin = table.lead(replace(SPEC, stamp=2))
    for stamp in (3, 4):
        table.find(replace(SPEC, stamp=stamp))
    plugin._record_failure("leader", None)
    assert plugin.spec.stamp == 4


def test_a_search_that_ends_after_a_handshake_renews_what_another_has_found_again_during_it(table):
    plugin = table.lead()
    table.find(replace(SPEC))  # the same
    seen = table.seen("photos")
    plugin._record_success("leader", MANIFEST)
    table.found("photos", replace(SPEC, stamp=2), seen)
    assert plugin.spec.stamp == 2


def test_a_plugin_that_was_forgotten_and_is_found_again_is_renewed(table):
    plugin = table.activate()
    assert table.not_found("photos", SPEC, GONE) is None
    table._forget(["photos"])
    assert table.seen("photos") is None
    assert table.found("photos", replace(SPEC, stamp=2), None) is plugin
    assert plugin.spec.stamp == 2


def test_a_failed_search_loses_no_plugin_that_is_active(table):
    plugin = table.activate()
    assert table.not_found("photos", SPEC, CANNOT_LOOK) is plugin
    assert table.events == ["activated"]
    plugin.mark_lost()
    assert table.not_found("photos", SPEC, CANNOT_LOOK) is None
    assert table.events == ["activated", "lost"]


def test_an_outdated_search_neither_loses_nor_removes_the_plugin_that_is_back(table):
    plugin = table.activate()
    assert table.activate(replace(SPEC, stamp=2)) is plugin
    table.not_found("photos", SPEC, GONE)
    assert table.events == ["activated", "lost", "activated"]
    assert plugin.is_made


def test_a_plugin_that_another_caller_found_after_the_search_is_usable(table):
    plugin = table.activate()
    assert table.to_check_again("photos", CANNOT_LOOK) is None
    assert table.to_check_again("photos", GONE) is plugin.spec
    assert table.not_found("photos", SPEC, GONE, stamp=SPEC.stamp) is plugin
    assert table.events == ["activated"]


def test_an_outdated_search_does_not_discard_the_handshake_with_the_plugin_that_is_back(table):
    table.activate()
    plugin = table.lead(replace(SPEC, stamp=2))
    table.not_found("photos", SPEC, GONE)
    plugin._record_success("leader", MANIFEST)
    assert table.events[-1] == "activated"


def test_a_search_that_fails_while_a_newer_source_waits_for_a_handshake_discards_nothing(table):
    table.activate()
    plugin = table.lead(replace(SPEC, stamp=2))
    table.find(replace(SPEC, stamp=3))
    table.not_found("photos", plugin.spec, GONE)
    plugin._record_success("leader", MANIFEST)
    assert plugin.spec.stamp == 3


def test_a_source_that_disappears_during_a_handshake_discards_it(table):
    plugin = table.activate()
    plugin.mark_lost()
    plugin._lifecycle.ask("leader")
    table.not_found("photos", SPEC, GONE)
    with pytest.raises(PluginNotFound):
        plugin._record_success("leader", MANIFEST)
    assert table.events == ["activated", "lost", "removed"]


def test_a_removal_is_reported_once_and_again_after_another_event(table):
    table.activate()
    for _ in range(2):
        table.not_found("photos", SPEC, GONE)
    table.find(SPEC)  # and gone before its handshake
    table.not_found("photos", SPEC, GONE)
    assert table.events == ["activated", "lost", "removed"]
    table.find(SPEC)
    table.record_failure("photos", REFUSED)
    table.not_found("photos", SPEC, GONE)
    assert table.events[3:] == ["failed", "removed"]


def test_the_failure_of_an_attempt_that_is_outdated_is_not_reported(table):
    table.activate()
    assert not table.record_failure("photos", REFUSED)  # another caller's attempt succeeded since
    assert table.failures.list() == []
    table.not_found("photos", SPEC, GONE)
    assert not table.record_failure("photos", REFUSED)  # removed since
    assert table.events == ["activated", "lost", "removed"]


def test_a_plugin_that_is_lost_and_fails_again_before_its_user_noted_the_success_has_failed(table):
    table.find(SPEC)
    table.record_failure("photos", REFUSED)
    plugin = table.activate()
    plugin.mark_lost()
    assert table.record_failure("photos", REFUSED)
    assert table.events == ["failed", "activated", "lost", "failed"]
    table.record_success("photos")  # by the thread that activated it
    assert table.failure("photos") is REFUSED


def test_the_failure_of_an_outdated_attempt_is_not_reported_while_an_empty_manifest_is_asked_for_again(table):
    table.lead()._record_success("leader", Manifest())
    table.lead()
    assert not table.record_failure("photos", REFUSED)
    assert table.events == ["activated"]


@pytest.mark.parametrize(
    ("report", "event"),
    [
        (lambda table: table.record_failure("photos", REFUSED), "failed"),
        (lambda table: table.not_found("photos", None, GONE), "removed"),
    ],
    ids=["failed", "removed"],
)
def test_what_another_thread_reports_while_a_plugin_is_being_lost_comes_after_its_loss(table, report, event):
    plugin = table.activate()
    is_losing, may_publish = threading.Event(), threading.Event()
    publish_state = table.state_changed

    def pause_and_publish(*change):
        is_losing.set()
        assert may_publish.wait(30)
        publish_state(*change)

    table.state_changed = pause_and_publish
    threads = [threading.Thread(target=plugin.mark_lost), threading.Thread(target=report, args=[table])]
    threads[0].start()
    assert is_losing.wait(30)
    threads[1].start()
    threads[1].join(0.1)  # without order, it reports at once
    may_publish.set()
    for thread in threads:
        thread.join(30)
    assert table.events == ["activated", "lost", event]


@pytest.mark.parametrize("last", ["failed", "abandoned", "discarded"])
def test_a_plugin_with_an_empty_manifest_is_lost_when_its_next_handshake_fails(table, last):
    plugin = table.lead()
    plugin._record_success("leader", Manifest())
    table.lead()
    if last == "discarded":
        table.not_found("photos", SPEC, GONE)
        with pytest.raises(PluginNotFound):
            plugin._record_success("leader", MANIFEST)
        assert table.events == ["activated", "lost", "removed"]
        return
    plugin._record_failure("leader", REFUSED if last == "failed" else None)
    expected = ["activated", "lost"] if last == "failed" else ["activated"]
    assert table.events == expected
    table.lead()
    plugin._record_success("leader", MANIFEST)
    assert table.events == [*expected, "activated"]


def test_a_late_handler_of_an_active_plugin_is_a_failure_and_no_event(table):
    table.activate()
    assert table.record_failure("photos", CallTimeout("handler 'x' has not returned", phase="handlers"))
    assert len(table.failures.list()) == 1
    assert table.events == ["activated"]


def test_a_failure_is_reported_once_until_the_plugin_works_or_fails_otherwise(table):
    table.find(SPEC)
    assert [table.record_failure("photos", each) for each in (REFUSED, REFUSED, SpecError("a"))] == [True, False, True]
    table.activate().mark_lost()
    assert table.record_failure("photos", SpecError("a"))
    assert table.events == ["failed", "failed", "activated", "lost", "failed"]


def test_names_that_do_not_exist_and_errors_of_a_closed_manager_are_not_failures(table):
    assert not table.record_failure("typo", GONE)
    table.not_found("typo", None, GONE)
    table.closed = True
    assert not table.record_failure("photos", REFUSED)
    with pytest.raises(ExtframeError, match="closed"):
        table.find(SPEC)
    assert table.events == []
    assert table.failures.list() == []
