"""pytest fixtures and a scripted plugin, for tests of hosts, handlers and plugins. Imports nothing heavy at once.

pytest loads this module by itself where extframe is installed. `plugin_dir` is an empty plugin directory,
`serve_plugin` serves drivers there, `fake_plugin` makes plugins whose answers a test writes, and `plugin_manager`
is a host that looks there and nowhere else.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .host.manager import PluginManager
    from .server import Served

__all__ = ["Call", "Error", "FakePlugin", "Fault"]


# --- a plugin by script -------------------------------------------------------------------------------


class Fault(Enum):
    """What a plugin does instead of answering."""

    HANG = "reads the request, and is silent"
    DRIP = "sends its answer a byte at a time, one every 0.2 s"
    HALF = "sends half of its answer, and closes"
    GARBAGE = "sends what is not HTTP, and closes"
    CLOSE = "closes without an answer"


@dataclass(frozen=True)
class Error:
    """An answer that reports an error.

    Args:
        words: what stands in ``Err``.
        status: HTTP's status.
    """

    words: str
    status: int = 500


@dataclass(frozen=True)
class Call:
    """A call that a fake plugin was given.

    Args:
        method: ``VolumeDriver.Mount``.
        body: as it came.
        headers: names in lower case.
    """

    method: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def arguments(self) -> Any:
        """The body's JSON, None where it is empty."""
        return json.loads(self.body) if self.body else None


class FakePlugin:
    """A plugin that answers what a test tells it, in the order of telling. A method without an answer is 404.

    ::

        fake.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})  # from now on
        fake.answer("VolumeDriver.Mount", Fault.CLOSE, {"Mountpoint": "/mnt/a"})  # closes once, then answers
        fake.answer("VolumeDriver.Remove", Error("in use"))
        assert fake.calls[-1].arguments == {"Name": "a"}

    Args:
        directory: where its socket is made.
        name: its name, and the socket's.
        implements: what it answers to ``Plugin.Activate``.
    """

    def __init__(self, directory: str | os.PathLike[str], name: str = "fake", implements: Sequence[str] = ()) -> None:
        self.name = name
        self.path = Path(directory, f"{name}.sock")
        self.address = f"unix://{self.path}"
        self.calls: list[Call] = []
        self._scripts: dict[str, list[object]] = {"Plugin.Activate": [{"Implements": list(implements)}]}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self.accept()

    def answer(self, method: str, *answers: object) -> None:
        """Answer ``method`` with each of ``answers`` in turn, and with the last from then on.

        An answer is an object for the JSON of a 200, bytes for its body as they are, an ``Error``, a ``Fault``,
        or a function from a ``Call`` to one of these.
        """
        if not answers:
            raise TypeError(f"{method}: give at least one answer")
        with self._lock:
            self._scripts[method] = list(answers)

    def refuse(self) -> None:
        """Refuse connections from now on and end those that are open. The socket's file stays, as after kill -9."""
        with self._lock:
            listening, self._listening = self._listening, None
            ended = [*self._open, *([] if listening is None else [listening])]
        for each in ended:
            _end(each)

    def accept(self) -> None:
        """Accept connections, at a new socket, as a plugin does that was restarted."""
        if self._listening is not None:
            return
        # In one step: a host that watches would see a socket that is gone, or one where nobody listens yet.
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(draft))
        draft.chmod(0o660)
        listening.listen(128)
        draft.replace(self.path)
        self._listening = listening
        threading.Thread(target=self._serve, args=(listening,), name=f"fake plugin {self.name}", daemon=True).start()

    def close(self) -> None:
        """End every connection, and take the socket away."""
        self._closing.set()
        self.refuse()
        with suppress(FileNotFoundError):
            self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # One thread accepts, and each connection has its own.

    def _serve(self, listening: socket.socket) -> None:
        with listening, suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with self._lock:
                    if self._listening is not listening:
                        connection.close()
                        return
                    self._open.add(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as stream:
            while (call := _read_call(stream)) is not None:
                self.calls.append(call)
                if not self._act(connection, call):
                    break
        with self._lock:
            self._open.discard(connection)
            connection.close()

    def _act(self, connection: socket.socket, call: Call) -> bool:
        """Answer a call, or do what was asked for instead. Whether the connection goes on."""
        answer = self._next_answer(call)
        if not isinstance(answer, Fault):
            connection.sendall(_reply(answer))
            return True
        data = _reply({"Err": "", "Result": "cut off"})
        if answer is Fault.HANG:
            self._closing.wait()
        elif answer is Fault.DRIP:
            for byte in data:
                connection.sendall(bytes([byte]))
                if self._closing.wait(0.2):
                    break
        elif answer is not Fault.CLOSE:
            connection.sendall(
                data[: len(data) - 10] if answer is Fault.HALF else b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n"
            )
        return False

    def _next_answer(self, call: Call) -> object:
        with self._lock:
            script = self._scripts.get(call.method)
            if script is None:
                return Error(f"{call.method} has no answer in this script", status=404)
            answer = script.pop(0) if len(script) > 1 else script[0]
        return answer(call) if callable(answer) else answer


def _read_call(stream: Any) -> Call | None:
    request = stream.readline().split()
    if len(request) < 2:
        return None
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join(_read_chunks(stream))
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return Call(request[1].decode("latin-1").lstrip("/"), body, headers)


def _read_chunks(stream: Any) -> Iterator[bytes]:
    while size := int(stream.readline().split(b";")[0] or b"0", 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass


def _reply(answer: object) -> bytes:
    status = 200
    if isinstance(answer, Error):
        status, answer = answer.status, {"Err": answer.words}
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return b"HTTP/1.1 %d Scripted\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there, which closes it


# --- fixtures -----------------------------------------------------------------------------------------


@pytest.fixture
def plugin_dir() -> Iterator[Path]:
    """An empty plugin directory, whose name is short enough for the paths of unix sockets."""
    with tempfile.TemporaryDirectory(prefix="plugins-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def serve_plugin(plugin_dir: Path) -> Iterator[Callable[..., Served]]:
    """A function that serves drivers in ``plugin_dir`` until the test ends: ``serve_plugin(Photos(), name="photos")``.

    It takes what ``extframe.serving`` takes.
    """
    from .server import serving

    with ExitStack() as stack:

        def serve(*drivers: object, **options: Any) -> Served:
            return stack.enter_context(serving(*drivers, **{"directory": plugin_dir, **options}))

        yield serve


@pytest.fixture
def fake_plugin(plugin_dir: Path) -> Iterator[Callable[..., FakePlugin]]:
    """A function that makes a ``FakePlugin`` in ``plugin_dir``: ``fake_plugin("photos", ["VolumeDriver"])``."""
    with ExitStack() as stack:

        def make(name: str = "fake", implements: Sequence[str] = ()) -> FakePlugin:
            return stack.enter_context(FakePlugin(plugin_dir, name, implements))

        yield make


@pytest.fixture
def plugin_manager(plugin_dir: Path) -> Iterator[PluginManager]:
    """A ``PluginManager`` that finds the plugins in ``plugin_dir``, with the handlers that are installed."""
    from .host.manager import PluginManager
    from .registry.local import LocalRegistry

    with PluginManager(LocalRegistry(plugin_dir, [plugin_dir])) as manager:
        yield manager
