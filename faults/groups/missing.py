"""Missing plugins: nobody waits who did not ask to, and who asked waits no longer than needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from fault import Fault, Seen
from scene import POINT, Scene
from watched import watched

TITLE = "Missing plugins"
LATER = 1.2  # seconds


def get(scene: Scene) -> Seen:
    manager = scene.manager()
    return watched(lambda: manager.get("p", POINT))


def get_of_moby(scene: Scene) -> Seen:
    return scene.moby().get()


def get_dead(scene: Scene) -> Seen:
    scene.dead("p")
    return get(scene)


def get_dead_of_moby(scene: Scene) -> Seen:
    scene.dead("p")
    return scene.moby().get()


# --- while it comes -----------------------------------------------------------------------------------

Host = Callable[[Scene], Callable[[], Seen]]
"""Makes a host that is ready to wait, and returns what makes it wait."""


def extframe_waits(scene: Scene) -> Callable[[], Seen]:
    manager = scene.manager()
    return lambda: watched(lambda: manager.get("p", POINT, wait=10), lambda plugin: plugin.state.value)


def moby_waits(scene: Scene) -> Callable[[], Seen]:
    return scene.moby().get


def while_it_comes(host: Host, scene: Scene) -> Seen:
    wait = host(scene)
    coming = threading.Timer(LATER, scene.plugin)
    started = time.monotonic()
    coming.start()
    seen = wait()
    seconds = time.monotonic() - started
    coming.join()
    return Seen(seen.words, seconds)


def while_it_is_dead(host: Host, scene: Scene) -> Seen:
    scene.dead("p")
    return while_it_comes(host, scene)


def wait_in_vain(wait: float, timeout: float, scene: Scene) -> Seen:
    manager = scene.manager()
    return watched(lambda: manager.get("p", POINT, wait=wait, timeout=timeout))


FAULTS = (
    Fault("a plugin is missing: get", "PluginNotFound", get, get_of_moby, within=0.05),
    Fault(
        "a plugin's socket is dead: get", "ActivationError from ConnectError", get_dead, get_dead_of_moby, within=0.05
    ),
    Fault(
        f"a plugin appears after {LATER:g} s: get(wait=10)",
        "active",
        partial(while_it_comes, extframe_waits),
        partial(while_it_comes, moby_waits),
        after=LATER - 0.01,
        within=LATER + 0.1,
    ),
    Fault(
        f"a plugin's socket is dead, and it is restarted after {LATER:g} s: get(wait=10)",
        "active",
        partial(while_it_is_dead, extframe_waits),
        partial(while_it_is_dead, moby_waits),
        after=LATER - 0.01,
        within=LATER + 0.1,
    ),
    Fault(
        "a plugin never appears: get(wait=0.5)", "PluginNotFound", partial(wait_in_vain, 0.5, 30), after=0.4, within=0.6
    ),
    Fault(
        "a plugin never appears: get(wait=10, timeout=0.5)",
        "PluginNotFound",
        partial(wait_in_vain, 10, 0.5),
        after=0.4,
        within=0.6,
    ),
)
