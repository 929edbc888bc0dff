"""get(wait=...): what is waited for, with which pauses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from faultserver import eventually

from extframe import (
    ActivationError,
    ConnectError,
    ConnectionLost,
    LocalRegistry,
    PluginManager,
    PluginNotFound,
    ProtocolError,
    SpecError,
)
from extframe.host.pauses import LONGEST_PAUSE, POLL, Pauses
from extframe.testing import FakePlugin


def failed(cause: Exception, origin: Exception | None = None) -> ActivationError:
    error = ActivationError("not activated")
    error.__cause__, cause.__cause__ = cause, origin
    return error


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        (PluginNotFound("no file"), True),
        (SpecError("half a file", source="/x.spec"), True),
        (SpecError("not a name"), False),
        (failed(ConnectError("refused"), ConnectionRefusedError()), True),
        (failed(ConnectError("no socket"), FileNotFoundError()), True),
        (failed(ConnectError("reset"), ConnectionResetError()), True),
        (failed(ConnectionLost("closed")), True),
        (failed(ConnectError("not allowed"), PermissionError()), False),
        (failed(ProtocolError("not JSON")), False),
    ],
    ids=lambda value: str(value),
)
def test_waiting_is_for_plugins_that_are_not_up_yet(failure, waits):
    assert (Pauses().after(failure, 60.0) is not None) == waits


@pytest.mark.parametrize(
    "failure", [failed(ConnectionLost("closed")), failed(ConnectError("reset"), ConnectionResetError())], ids=str
)
def test_pauses_grow_between_attempts_at_a_plugin_that_closes_its_connections(failure):
    pauses = Pauses()
    closed = [pauses.after(failure, 60.0) for _ in range(10)]
    assert closed == sorted(closed)
    assert (closed[0], closed[-1]) == (POLL, LONGEST_PAUSE)
    assert pauses.after(PluginNotFound("no file"), 60.0) == POLL
    assert pauses.after(failure, 0.5) == 0.25  # or the last attempt would come long before the end of the wait
    assert pauses.after(failure, POLL) is None


@contextmanager
def forwarder(path: Path, accepted: list[float]) -> Iterator[None]:
    """Accept connections and close them at once, as a forwarder does whose plugin is not up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            while True:
                connection, _ = listener.accept()
                accepted.append(monotonic())
                with connection:
                    if connection.recv(1) == b"q":
                        return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
                last.sendall(b"q")
            thread.join(30)


def test_a_plugin_behind_a_forwarder_is_waited_for_with_pauses(short_path: Path) -> None:
    accepted: list[float] = []
    ready = threading.Event()
    found: list[str] = []
    with PluginManager(LocalRegistry(short_path, []), groups=()) as pm:

        def get() -> None:
            found.append(pm.get("photos", wait=60, timeout=60).name)

        with forwarder(short_path / "photos.sock", accepted):
            with pytest.raises(ActivationError):
                pm.get("photos")  # not without being asked to
            before = len(accepted)
            getter = threading.Thread(target=get)
            began = monotonic()
            getter.start()
            assert eventually(lambda: len(accepted) > before, 30)
            ready.wait(1.0)
            tries = (len(accepted) - before) / 3  # an attempt is retried twice
            assert tries < 10 + (monotonic() - began) / LONGEST_PAUSE  # without pauses some thousand
        (short_path / "photos.sock").unlink()
        with FakePlugin(short_path, "photos", ["VolumeDriver"]):
            getter.join(60)
            assert found == ["photos"]
