"""The tour: find a plugin, activate it, dispatch it to a handler and call it; then things around it fail.

    .venv/bin/python examples/tour.py

The plugin is a separate process that the tour starts. All files are in a temporary directory.
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


class Observer:
    """A handler that prints its calls. Usually a handler is installed with pip; this one is registered by hand."""

    @extframe.hookimpl
    def volume_driver(self, name: str, client: extframe.Client) -> None:
        """Print the call. Returns no driver, so that the host gets the built-in one."""
        print(f"    Observer.volume_driver(name={name!r}, client={client})")


class EventLog:
    """A handler with a lifecycle hook."""

    def __init__(self) -> None:
        self._active: queue.SimpleQueue[str] = queue.SimpleQueue()

    @extframe.hookimpl
    def plugin_activated(self, name: str, plugin: extframe.Plugin) -> None:
        """Print the event."""
        print(f"    EventLog.plugin_activated(name={name!r}, plugin={plugin})")
        self._active.put(name)

    def wait_for(self, name: str) -> None:
        """Wait until a plugin is active: lifecycle hooks are called in a background thread."""
        while self._active.get(timeout=10) != name:
            pass


class Tour:
    """Runs lines of Python and prints them as a Python prompt would, each with its result."""

    def __init__(self, **names: Any) -> None:
        self.names = names

    def step(self, title: str, *lines: str) -> None:
        """Run lines that succeed."""
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
            raise AssertionError(f"{line} did not fail")


def main() -> None:
    """Run the tour, in about two seconds."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tour-")))
        sockets, volumes = directory / "plugins", directory / "volumes"
        sockets.mkdir()
        volumes.mkdir()
        manager = stack.enter_context(PluginManager(LocalRegistry(sockets, specs=[])))
        manager.register(Observer())
        tour = Tour(manager=manager, VolumeDriver=VolumeDriver, EventLog=EventLog, event_log=EventLog())
        with plugin(sockets / "directories.sock", volumes):
            find_and_call(tour)
            add_broken_plugins(tour, sockets)
            show_errors(tour)
        tour.step("The plugin is killed and started again. A call in between waits for it, and does not fail.")
        with plugin(sockets / "directories.sock", volumes):
            tour.run("[volume.name for volume in volumes.list()]")
            watch(tour)


def find_and_call(tour: Tour) -> None:
    """Find a plugin by its name, and call it."""
    tour.step(
        "A plugin that is just starting is found by its name and activated; handlers are called.",
        'plugin = manager.get("directories", wait=10)',
        "manager.scan()",
        "plugin.manifest.implements",
    )
    tour.step(
        "A typed driver calls the plugin.",
        'volumes = manager.driver("directories", VolumeDriver)',
        'volumes.create("photos")',
        'volumes.mount("photos", id="me")',
        'volumes.get("photos")',
        'volumes.unmount("photos", id="me")',
        "[volume.name for volume in volumes.list()]",
    )


def add_broken_plugins(tour: Tour, sockets: Path) -> None:
    """Two broken plugins do not affect the good one."""
    with left_over_socket(sockets / "dead.sock"), silent_socket(sockets / "hung.sock"):
        tour.step(
            "Two more plugins, one dead and one that never responds, cost no more than the deadline.",
            "manager.scan()",
            "[plugin.name for plugin in manager.get_all(VolumeDriver, timeout=1)]",
            "for failure in manager.failures(): print(failure)",
        )


def show_errors(tour: Tour) -> None:
    """Show the plugin's own error and extframe's."""
    tour.step("A plugin's error has the plugin's own message. A missing plugin fails at once.")
    tour.fail('volumes.mount("letters", id="me")')
    tour.fail('manager.get("directory")')


def watch(tour: Tour) -> None:
    """Activate plugins in the background, and log their lifecycle."""
    tour.step(
        "A manager that watches activates plugins by itself. Lifecycle hooks are notified.",
        "manager.register(event_log, name='event log')",
        "watch = manager.watch()",
        "event_log.wait_for('directories')",
    )


@contextlib.contextmanager
def plugin(path: Path, volumes: Path) -> Iterator[None]:
    """Run the plugin in a separate process; it listens on the socket ``path``."""
    location = ["--name", path.stem, "--directory", path.parent]
    process = subprocess.Popen([sys.executable, PLUGIN, volumes, *location], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def silent_socket(path: Path) -> Iterator[None]:
    """Listen, but never respond."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield
    path.unlink()


@contextlib.contextmanager
def left_over_socket(path: Path) -> Iterator[None]:
    """Leave a socket file behind that has no listener."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    yield
    path.unlink()


if __name__ == "__main__":
    main()
