"""Missing plugins: only callers that pass ``wait=`` wait, and no longer than necessary."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from fault import Fault
from observe import observe
from outcome import Outcome
from scene import POINT, Scene

TITLE = "Missing plugins"
LATER = 1.2  # seconds


def get(scene: Scene) -> Outcome:
    manager = scene.manager()
    return observe(lambda: manager.get("p", POINT))


def get_of_moby(scene: Scene) -> Outcome:
    return scene.moby().get()


def get_dead(scene: Scene) -> Outcome:
    scene.dead("p")
    return get(scene)


def get_dead_of_moby(scene: Scene) -> Outcome:
    scene.dead("p")
    return scene.moby().get()


# --- waiting for a plugin -----------------------------------------------------------------------------------

Host = Callable[[Scene], Callable[[], Outcome]]
"""Creates a host and returns a function that waits for the plugin."""


def extframe_waits(scene: Scene) -> Callable[[], Outcome]:
    manager = scene.manager()
    return lambda: observe(lambda: manager.get("p", POINT, wait=10), lambda plugin: plugin.state.value)


def moby_waits(scene: Scene) -> Callable[[], Outcome]:
    return scene.moby().get


def until_it_appears(host: Host, scene: Scene) -> Outcome:
    wait = host(scene)
    coming = threading.Timer(LATER, scene.plugin)
    started = time.monotonic()
    coming.start()
    outcome = wait()
    seconds = time.monotonic() - started
    coming.join()
    return Outcome(outcome.text, seconds)


def until_it_listens(host: Host, scene: Scene) -> Outcome:
    scene.dead("p")
    return until_it_appears(host, scene)


def wait_too_short(wait: float, timeout: float, scene: Scene) -> Outcome:
    manager = scene.manager()
    return observe(lambda: manager.get("p", POINT, wait=wait, timeout=timeout))


FAULTS = (
    Fault("a plugin is missing: get", "PluginNotFound", get, get_of_moby, within=0.05),
    Fault(
        "a plugin's socket is dead: get", "ActivationError from ConnectError", get_dead, get_dead_of_moby, within=0.05
    ),
    Fault(
        f"a plugin appears after {LATER:g} s: get(wait=10)",
        "active",
        partial(until_it_appears, extframe_waits),
        partial(until_it_appears, moby_waits),
        after=LATER - 0.01,
        within=LATER + 0.1,
    ),
    Fault(
        f"a plugin's socket is dead, and it is restarted after {LATER:g} s: get(wait=10)",
        "active",
        partial(until_it_listens, extframe_waits),
        partial(until_it_listens, moby_waits),
        after=LATER - 0.01,
        within=LATER + 0.1,
    ),
    Fault(
        "a plugin never appears: get(wait=0.5)",
        "PluginNotFound",
        partial(wait_too_short, 0.5, 30),
        after=0.4,
        within=0.6,
    ),
    Fault(
        "a plugin never appears: get(wait=10, timeout=0.5)",
        "PluginNotFound",
        partial(wait_too_short, 10, 0.5),
        after=0.4,
        within=0.6,
    ),
)
