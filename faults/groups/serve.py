"""Hostile clients of a plugin that ``serve`` runs: its process stays small, and others are served meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import attacks
from fault import Fault
from outcome import Outcome
from scene import Scene

TITLE = "Hostile clients of `serve`"
PLUGIN = Path(__file__).parent.parent / "attacked_plugin.py"
LIMIT = 64  # MiB of memory over idle
PATIENCE = 10.0  # seconds for another client's call

Attack = Callable[[str, int], AbstractContextManager[object]]


def sent(attack: Callable[[str, int], int], size: int, short: int) -> Attack:
    """Return an attack that sends up to ``size`` MiB, and is over when the plugin closes the connection."""

    @contextmanager
    def attacking(path: str, shorter: int) -> Iterator[None]:
        attack(path, (short if shorter else size) * attacks.MIB)
        yield

    return attacking


def held(attack: Callable[[str, int], AbstractContextManager[object]], count: int, short: int) -> Attack:
    """Return an attack with ``count`` connections that stay open."""

    @contextmanager
    def attacking(path: str, shorter: int) -> Iterator[None]:
        with attacks.many_descriptors(), attack(path, short if shorter else count):
            yield

    return attacking


ATTACKS = {
    "200 MiB of header lines": sent(attacks.header_lines, 200, 20),
    "one header of 120 MiB": sent(attacks.one_header, 120, 20),
    "200 MiB of trailers": sent(attacks.trailers, 200, 20),
    "a chunk header of 100 MiB": sent(attacks.chunk_extensions, 100, 20),
    "100 MiB of pipelined requests": sent(attacks.pipelined, 100, 20),
    "40 bodies of 16 MiB, one byte short of their end": held(attacks.bodies_without_end, 40, 5),
    "30 responses of 10 MiB that are not read": held(attacks.unread_responses, 30, 10),
    "1,100 silent connections": held(attacks.silent_connections, 1100, 1100),
}


def attacked(attack: Attack, scene: Scene, python: str = sys.executable) -> Outcome:
    """Attack a plugin in a process of its own, and call it as another client meanwhile."""
    path = str(scene.directory / "lab.sock")
    command = [python, str(PLUGIN), str(scene.directory)]
    with subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as plugin:
        try:
            deadline = time.monotonic() + 60
            while not answers(path) and time.monotonic() < deadline:
                time.sleep(0.05)
            usage, started = attacks.Usage(plugin.pid), time.monotonic()
            with attack(path, scene.short):
                served = answers(path)
                seconds = time.monotonic() - started
                grown, cpu = usage.grown, usage.cpu
        finally:
            plugin.kill()
    others = "others are served" if served else f"others are not served within {PATIENCE:g} s"
    memory = f"memory grows by less than {LIMIT} MiB" if grown < LIMIT else f"memory grows by {grown:,.0f} MiB"
    return Outcome(f"{others}; {memory}", seconds, f"{grown:,.0f} MiB, {cpu:.1f} s of CPU")


def answers(path: str) -> bool:
    """Return whether a call of another client is answered in time."""
    try:
        with attacks.dial(path, PATIENCE) as connection:
            connection.sendall(b"POST /Lab.Rest HTTP/1.1\r\nHost: lab\r\nContent-Length: 2\r\n\r\n{}")
            return connection.recv(100).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


FAULTS = tuple(
    Fault(
        what,
        f"others are served; memory grows by less than {LIMIT} MiB",
        partial(attacked, attack),
        before=partial(attacked, attack),
    )
    for what, attack in ATTACKS.items()
)
