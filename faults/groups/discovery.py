"""Live discovery: what comes, changes and goes while a host watches is noticed within a second."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from functools import partial

from fault import Fault, Seen
from faultserver import FaultServer, send_and_close
from scene import GOOD, POINT, Scene
from scripted_plugin import ok

from extframe import PluginManager
from groups.restart import Diary, restarted, rewritten, time_until

TITLE = "Live discovery"
WITHIN = 1.0  # seconds
WAIT = 10.0  # seconds after which a change was not noticed
GONE = ("p lost", "p removed")
AGAIN = ("p lost", "p activated")
GARBAGE = send_and_close(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")
ACTIVATED = ok({"Implements": [POINT]})


def watching(scene: Scene) -> tuple[PluginManager, Diary]:
    """Return a manager that watches, with a handler that writes down what it is told."""
    manager, diary = scene.manager(), Diary()
    manager.register(diary)
    manager.watch()
    return manager, diary


def told(diary: Diary, change: Callable[[], object], *expected: str) -> Seen:
    """Change something and wait until that is told."""
    diary.told.clear()
    change()
    seconds = time_until(lambda: len(diary.told) >= len(expected), limit=WAIT)
    return Seen(", ".join(diary.told) or "nothing is told", seconds)


def settle(diary: Diary) -> None:
    """Wait for the activation of a plugin that was there from the beginning."""
    time_until(lambda: bool(diary.told), limit=WAIT)


def watching_a_plugin(scene: Scene) -> tuple[FaultServer, Diary]:
    """Return a plugin that is active, and the diary of a manager that watches."""
    server = scene.plugin()
    _, diary = watching(scene)
    settle(diary)
    return server, diary


# --- one change ---------------------------------------------------------------------------------------


def comes(scene: Scene) -> Seen:
    _, diary = watching(scene)
    time.sleep(0.2)
    return told(diary, scene.plugin, "p activated")


def comes_before_it_listens(scene: Scene) -> Seen:
    """Nobody listens for the first half second."""
    _, diary = watching(scene)
    scene.dead("p")
    time.sleep(0.5)
    return told(diary, scene.plugin, "p activated")


def goes(scene: Scene) -> Seen:
    _, diary = watching_a_plugin(scene)
    return told(diary, (scene.directory / "p.sock").unlink, *GONE)


def is_restarted(scene: Scene) -> Seen:
    server, diary = watching_a_plugin(scene)
    return told(diary, partial(restarted, scene, server), *AGAIN)


def moves(scene: Scene) -> Seen:
    """The spec file is written anew."""
    server = scene.server(GOOD)
    scene.spec("p.spec", server.address)
    _, diary = watching(scene)
    settle(diary)
    return told(diary, partial(rewritten, scene, server), *AGAIN)


def directory_comes(scene: Scene) -> Seen:
    scene.directory.rmdir()
    _, diary = watching(scene)
    time.sleep(0.2)
    return told(diary, partial(make_directory, scene), "p activated")


def directory_goes(scene: Scene) -> Seen:
    _, diary = watching_a_plugin(scene)
    return told(diary, partial(shutil.rmtree, scene.directory), *GONE)


def directory_comes_back(scene: Scene) -> Seen:
    _, diary = watching_a_plugin(scene)
    told(diary, partial(shutil.rmtree, scene.directory), *GONE)
    return told(diary, partial(make_directory, scene), "p activated")


def make_directory(scene: Scene) -> None:
    scene.directory.mkdir()
    scene.plugin()


# --- what fails, and what it costs --------------------------------------------------------------------


def fails_for_seconds(scene: Scene) -> Seen:
    """Count the tries and the lines in the log while a plugin talks nonsense."""
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
    pauses = "growing pauses" if 3 <= server.connections <= 12 else f"{server.connections} tries"
    return Seen(f"{pauses}; lines in the log: {len(lines)}", 0.0, f"{server.connections} tries")


def fails_and_is_replaced(scene: Scene) -> Seen:
    """The pause between two tries has become long when the plugin is restarted."""
    scene.plugin(behaviour=GARBAGE)
    _, diary = watching(scene)
    time.sleep(scene.several(6, short=2))
    return told(diary, scene.plugin, "p activated")


def a_thousand(scene: Scene) -> Seen:
    """A thousand spec files of one plugin, nothing of which changes."""
    server = scene.server(send_and_close(ACTIVATED))
    for number in range(1000):
        scene.spec(f"p{number}.spec", server.address)
    _, diary = watching(scene)
    time_until(lambda: len(diary.told) >= 1000, limit=60)
    time.sleep(1)
    before, seconds = time.process_time(), scene.several(10, short=4)
    time.sleep(seconds)
    share = (time.process_time() - before) / seconds
    words = "under 1 % of a core" if share < 0.01 else f"{share:.1%} of a core"
    return Seen(f"plugins: {len(diary.told)}; {words}", seconds, f"{share:.2%}")


def in_time(name: str, expected: tuple[str, ...], provoke: Callable[[Scene], Seen]) -> Fault:
    return Fault(name, ", ".join(expected), provoke, within=WITHIN)


FAULTS = (
    in_time("a plugin comes", ("p activated",), comes),
    in_time("a socket comes half a second before anybody listens", ("p activated",), comes_before_it_listens),
    in_time("a plugin goes", GONE, goes),
    in_time("a plugin is restarted", AGAIN, is_restarted),
    in_time("a spec file is written anew, with another address", AGAIN, moves),
    in_time("the directory is missing at first, and comes with a plugin", ("p activated",), directory_comes),
    in_time("the directory goes with all in it", GONE, directory_goes),
    in_time("the directory comes back, with a plugin", ("p activated",), directory_comes_back),
    Fault("a plugin talks nonsense for 5 s", "growing pauses; lines in the log: 1", fails_for_seconds),
    in_time("a plugin has talked nonsense for 6 s, and is replaced", ("p activated",), fails_and_is_replaced),
    Fault("1,000 spec files, nothing of which changes", "plugins: 1000; under 1 % of a core", a_thousand),
)
