"""The tour: a plugin is found, activated, handed to a handler and called; then things go wrong around it.

    .venv/bin/python examples/tour.py

The plugin is a process of its own, started for the occasion. Everything is kept in a temporary directory.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import extframe
from extframe import LocalRegistry, PluginManager, VolumeDriver

PLUGIN = Path(__file__).parent / "plugins" / "volume_plugin.py"


class Witness:
    """A handler. It stands for one that pip installed: this one is registered by hand, and only looks on."""

    @extframe.hookimpl
    def volume_driver(self, name: str, client: extframe.Client) -> None:
        """Hear of a volume plugin. Returns no driver, so that the host gets extframe's own."""
        print(f"    Witness.volume_driver(name={name!r}, client={client})")


class Diary:
    """A handler that hears what becomes of plugins."""

    def __init__(self) -> None:
        self._active: queue.SimpleQueue[str] = queue.SimpleQueue()

    @extframe.hookimpl
    def plugin_activated(self, name: str, plugin: extframe.Plugin) -> None:
        """Hear of a handshake."""
        print(f"    Diary.plugin_activated(name={name!r}, plugin={plugin})")
        self._active.put(name)

    def wait_for(self, name: str) -> None:
        """Wait until a plugin is active: handlers are told in a thread of their own."""
        while self._active.get(timeout=10) != name:
            pass


class Tour:
    """Runs lines of Python and shows them as a Python prompt would, each with what comes of it."""

    def __init__(self, **names: Any) -> None:
        self.names = names

    def step(self, title: str, *lines: str) -> None:
        """Run lines that work."""
        print(f"\n# {title}")
        for line in lines:
            self.run(line)

    def run(self, line: str) -> None:
        """Run one line."""
        print(f">>> {line}")
        exec(compile(line + "\n", "<tour>", "single"), self.names)

    def fail(self, line: str) -> None:
        """Run one line that must fail."""
        try:
            self.run(line)
        except extframe.ExtframeError as error:
            print(f"{type(error).__name__}: {error}")
        else:
            raise AssertionError(f"{line} was to fail")


def main() -> None:
    """Go through it, in about two seconds."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tour-")))
        sockets, volumes = directory / "plugins", directory / "volumes"
        sockets.mkdir()
        volumes.mkdir()
        manager = stack.enter_context(PluginManager(LocalRegistry(sockets, specs=[])))
        manager.register(Witness())
        tour = Tour(manager=manager, VolumeDriver=VolumeDriver, Diary=Diary, diary=Diary())
        with plugin(sockets / "directories.sock", volumes):
            find_and_call(tour)
            bring_bad_neighbours(tour, sockets)
            see_it_refuse(tour)
        tour.step("The plugin is killed, and started again. Whoever calls meanwhile waits for it, and sees no error.")
        with plugin(sockets / "directories.sock", volumes):
            tour.run("[volume.name for volume in volumes.list()]")
            watch(tour)


def find_and_call(tour: Tour) -> None:
    """From a name to a volume."""
    tour.step(
        "A plugin, which is starting just now, is found by its name and asked what it implements; handlers are told.",
        'plugin = manager.get("directories", wait=10)',
        "manager.scan()",
        "plugin.manifest.implements",
    )
    tour.step(
        "Calls go through a typed driver.",
        'volumes = manager.driver("directories", VolumeDriver)',
        'volumes.create("photos")',
        'volumes.mount("photos", id="me")',
        'volumes.get("photos")',
        'volumes.unmount("photos", id="me")',
        "[volume.name for volume in volumes.list()]",
    )


def bring_bad_neighbours(tour: Tour, sockets: Path) -> None:
    """Two plugins that are of no use, and cost the good one nothing."""
    with left_over_socket(sockets / "dead.sock"), silent_socket(sockets / "hung.sock"):
        tour.step(
            "Two more, one dead and one that never answers, cost no more than the deadline.",
            "manager.scan()",
            "[plugin.name for plugin in manager.get_all(VolumeDriver, timeout=1)]",
            "for failure in manager.failures(): print(failure)",
        )


def see_it_refuse(tour: Tour) -> None:
    """Errors, in whose words they are."""
    tour.step("What the plugin refuses, it refuses in its own words. A plugin that is missing is missed at once.")
    tour.fail('volumes.mount("letters", id="me")')
    tour.fail('manager.get("directory")')


def watch(tour: Tour) -> None:
    """Plugins that nobody asks for, and a handler that hears of them."""
    tour.step(
        "A manager that watches makes a new handshake of itself. Handlers hear of it, if they like.",
        "manager.register(diary, name='diary')",
        "watch = manager.watch()",
        "diary.wait_for('directories')",
    )


@contextlib.contextmanager
def plugin(path: Path, volumes: Path) -> Iterator[None]:
    """Run the plugin, a process of its own, behind the socket ``path``."""
    place = ["--name", path.stem, "--directory", path.parent]
    process = subprocess.Popen([sys.executable, PLUGIN, volumes, *place], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def silent_socket(path: Path) -> Iterator[None]:
    """Listen, and never answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield
    path.unlink()


@contextlib.contextmanager
def left_over_socket(path: Path) -> Iterator[None]:
    """Leave a socket behind that nobody listens to."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    yield
    path.unlink()


if __name__ == "__main__":
    main()
