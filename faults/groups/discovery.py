"""Live discovery: a watch reports plugins that appear, change and disappear within a second."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from functools import partial

from fault import Fault
from faultserver import FaultServer, send_and_close
from outcome import Outcome
from scene import GOOD, POINT, Scene
from scripted_plugin import ok

from extframe import PluginManager
from groups.restart import EventLog, restarted, rewritten, time_until

TITLE = "Live discovery"
WITHIN = 1.0  # seconds
WAIT = 10.0  # seconds after which a change counts as missed
GONE = ("p lost", "p removed")
AGAIN = ("p lost", "p activated")
GARBAGE = send_and_close(b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n")
ACTIVATED = ok({"Implements": [POINT]})


def watching(scene: Scene) -> tuple[PluginManager, EventLog]:
    """Return a manager with a watch, and the log of its lifecycle events."""
    manager, log = scene.manager(), EventLog()
    manager.register(log)
    manager.watch()
    return manager, log


def events_after(log: EventLog, change: Callable[[], object], *expected: str) -> Outcome:
    """Change something and wait for the expected events."""
    log.events.clear()
    change()
    seconds = time_until(lambda: len(log.events) >= len(expected), limit=WAIT)
    return Outcome(", ".join(log.events) or "no events", seconds)


def settle(log: EventLog) -> None:
    """Wait for the activation of a plugin that existed before the watch."""
    time_until(lambda: bool(log.events), limit=WAIT)


def watching_a_plugin(scene: Scene) -> tuple[FaultServer, EventLog]:
    """Return an active plugin, and the event log of a manager with a watch."""
    server = scene.plugin()
    _, log = watching(scene)
    settle(log)
    return server, log


# --- one change ---------------------------------------------------------------------------------------


def appears(scene: Scene) -> Outcome:
    _, log = watching(scene)
    time.sleep(0.2)
    return events_after(log, scene.plugin, "p activated")


def appears_before_it_listens(scene: Scene) -> Outcome:
    """Create the socket half a second before the plugin listens."""
    _, log = watching(scene)
    scene.dead("p")
    time.sleep(0.5)
    return events_after(log, scene.plugin, "p activated")


def disappears(scene: Scene) -> Outcome:
    _, log = watching_a_plugin(scene)
    return events_after(log, (scene.directory / "p.sock").unlink, *GONE)


def is_restarted(scene: Scene) -> Outcome:
    server, log = watching_a_plugin(scene)
    return events_after(log, partial(restarted, scene, server), *AGAIN)


def moves(scene: Scene) -> Outcome:
    """Rewrite the spec file."""
    server = scene.server(GOOD)
    scene.spec("p.spec", server.address)
    _, log = watching(scene)
    settle(log)
    return events_after(log, partial(rewritten, scene, server), *AGAIN)


def directory_is_created(scene: Scene) -> Outcome:
    scene.directory.rmdir()
    _, log = watching(scene)
    time.sleep(0.2)
    return events_after(log, partial(make_directory, scene), "p activated")


def directory_is_deleted(scene: Scene) -> Outcome:
    _, log = watching_a_plugin(scene)
    return events_after(log, partial(shutil.rmtree, scene.directory), *GONE)


def directory_is_recreated(scene: Scene) -> Outcome:
    _, log = watching_a_plugin(scene)
    events_after(log, partial(shutil.rmtree, scene.directory), *GONE)
    return events_after(log, partial(make_directory, scene), "p activated")


def make_directory(scene: Scene) -> None:
    scene.directory.mkdir()
    scene.plugin()


# --- plugins that fail, and the cost of watching --------------------------------------------------------------------


def fails_for_seconds(scene: Scene) -> Outcome:
    """Count the attempts and the log lines while a plugin sends garbage."""
    server = scene.plugin(behaviour=GARBAGE)
    lines: list[str] = []
    watcher = logging.getLogger("extframe")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    watcher.addHandler(handler)
    try:
        watching(scene)
        time.sleep(scene.several(5, short=2))
        time_until(lambda: server.connections >= 3, limit=WAIT)
    finally:
        watcher.removeHandler(handler)
    delays = "growing delays" if 3 <= server.connections <= 12 else f"{server.connections} attempts"
    return Outcome(f"{delays}; log lines: {len(lines)}", 0.0, f"{server.connections} attempts")


def fails_and_is_replaced(scene: Scene) -> Outcome:
    """Restart a plugin when the delay between attempts has become long."""
    scene.plugin(behaviour=GARBAGE)
    _, log = watching(scene)
    time.sleep(scene.several(6, short=2))
    return events_after(log, scene.plugin, "p activated")


def a_thousand(scene: Scene) -> Outcome:
    """Watch a thousand spec files of one plugin, none of which changes."""
    server = scene.server(send_and_close(ACTIVATED))
    for number in range(1000):
        scene.spec(f"p{number}.spec", server.address)
    _, log = watching(scene)
    time_until(lambda: len(log.events) >= 1000, limit=60)
    time.sleep(1)
    before, seconds = time.process_time(), scene.several(10, short=4)
    time.sleep(seconds)
    share = (time.process_time() - before) / seconds
    # A short run may share the machine, whose load makes the same work take more processor time.
    share_text = "under 1 % of a core" if share < (0.05 if scene.short else 0.01) else f"{share:.1%} of a core"
    return Outcome(f"plugins: {len(log.events)}; {share_text}", seconds, f"{share:.2%}")


def in_time(name: str, expected: tuple[str, ...], provoke: Callable[[Scene], Outcome]) -> Fault:
    return Fault(name, ", ".join(expected), provoke, within=WITHIN)


FAULTS = (
    in_time("a plugin appears", ("p activated",), appears),
    in_time("a socket appears half a second before the plugin listens", ("p activated",), appears_before_it_listens),
    in_time("a plugin disappears", GONE, disappears),
    in_time("a plugin is restarted", AGAIN, is_restarted),
    in_time("a spec file is rewritten with another address", AGAIN, moves),
    in_time("the directory is created later, with a plugin", ("p activated",), directory_is_created),
    in_time("the directory is deleted with everything in it", GONE, directory_is_deleted),
    in_time("the directory is created again, with a plugin", ("p activated",), directory_is_recreated),
    Fault("a plugin sends garbage for 5 s", "growing delays; log lines: 1", fails_for_seconds),
    in_time("a plugin that sent garbage for 6 s is replaced", ("p activated",), fails_and_is_replaced),
    Fault("1,000 spec files, none of which changes", "plugins: 1000; under 1 % of a core", a_thousand),
)
