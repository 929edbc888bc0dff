"""pytest fixtures and a fake plugin, for tests of hosts, handlers and plugins. Imports nothing heavy at import time.

pytest loads this module as a plugin. `plugin_dir` is an empty plugin directory, `serve_plugin` serves drivers in it,
`fake_plugin` creates plugins with scripted responses, and `plugin_manager` is a host that searches this directory only;
`async_plugin_manager` is one for async tests, under pytest-asyncio or anyio.

Under freezegun, extframe keeps using the real clock: deadlines and pauses would otherwise never end.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from typing_extensions import Self

    from .host.async_manager import AsyncPluginManager
    from .host.manager import PluginManager
    from .server import Served
else:
    from .concurrency.late_types import Self, late

    AsyncPluginManager = late("extframe.host.async_manager", "AsyncPluginManager")
    PluginManager = late("extframe.host.manager", "PluginManager")
    Served = late("extframe.server", "Served")

__all__ = ["Call", "Error", "FakePlugin", "Fault", "MakeFakePlugin", "ServePlugin"]


# --- the fake plugin ----------------------------------------------------------------------------------


class Fault(Enum):
    """What a fake plugin does instead of answering."""

    HANG = "reads the request and never answers"
    SLOW = "sends its response one byte at a time, every 0.2 s"
    TRUNCATED = "sends half of its response and closes the connection"
    GARBAGE = "sends bytes that are not HTTP and closes the connection"
    CLOSE = "closes the connection without a response"
    DRIP = SLOW  # the names in version 0.1
    HALF = TRUNCATED


@dataclass(frozen=True)
class Error:
    """A response that reports an error.

    Args:
        words: the value of ``Err``.
        status: the HTTP status.
    """

    words: str
    status: int = 500


@dataclass(frozen=True)
class Call:
    """A call that a fake plugin received.

    Args:
        method: the wire name: ``VolumeDriver.Mount``.
        body: the request's body, unchanged.
        headers: the request's headers, with names in lower case.
    """

    method: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def arguments(self) -> Any:
        """The value of the JSON body, None if the body is empty."""
        return json.loads(self.body) if self.body else None


class FakePlugin:
    """A plugin with scripted responses. A method without a response gets status 404.

    ::

        fake.answer("VolumeDriver.Get", {"Volume": {"Name": "a"}})  # always
        fake.answer("VolumeDriver.Mount", Fault.CLOSE, {"Mountpoint": "/mnt/a"})  # closes once, then answers
        fake.answer("VolumeDriver.Remove", Error("in use"))
        ...
        fake.assert_called("VolumeDriver.Mount", {"Name": "a", "ID": "c1"})
        assert [call.method for call in fake.calls] == ["Plugin.Activate", "VolumeDriver.Mount"]

    Attributes:
        calls: every `Call` received, the oldest first, handshakes included.
        errors: what functions given to `answer` have raised. Leaving a ``with`` block, and the fixture
            ``fake_plugin``, raise the first of them.

    Args:
        directory: where its socket is created.
        name: its name, and the socket's.
        implements: the extension points in its manifest.
    """

    def __init__(self, directory: str | os.PathLike[str], name: str = "fake", implements: Sequence[str] = ()) -> None:
        self.name = name
        self.path = Path(directory, f"{name}.sock")
        self.address = f"unix://{self.path}"
        self.calls: list[Call] = []
        self.errors: list[Exception] = []
        self._scripts: dict[str, list[object]] = {}
        self._lock = threading.Lock()
        self.answer("Plugin.Activate", {"Implements": list(implements)})
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self.accept()

    def answer(self, method: str, *answers: object) -> None:
        """Answer ``method`` with each of ``answers`` once, and with the last from then on.

        An answer is a JSON value (messages, datetimes and paths included, encoded as `serve` does), bytes for the body
        as it is, an `Error`, a `Fault`, or a function from a `Call` to one of these. A function that raises, or returns
        a value that cannot be encoded, gives status 500 and fails the test: see `errors`.

        Args:
            method: ``VolumeDriver.Mount``, with or without a leading slash.
            answers: one or more.

        Raises:
            TypeError: there is no answer, or one that cannot be encoded as JSON.
        """
        if not answers:
            raise TypeError(f"{method}: give at least one answer")
        script = [answer if callable(answer) else _encoded(answer, method) for answer in answers]
        with self._lock:
            self._scripts[method.lstrip("/")] = script

    def calls_of(self, method: str) -> list[Call]:
        """Return the calls of one method, the oldest first."""
        return [call for call in list(self.calls) if call.method == method.lstrip("/")]

    def assert_called(self, method: str, arguments: object = ..., *, times: int | None = None) -> None:
        """Check that ``method`` was called.

        Args:
            method: ``VolumeDriver.Mount``, with or without a leading slash.
            arguments: what at least one call had as arguments, compared as JSON; a message is encoded first. Any if
                omitted.
            times: how many calls had them; one or more if None.

        Raises:
            AssertionError: there were no such calls, or another number; lists the calls of the method.
        """
        calls = self.calls_of(method)
        expected = arguments if arguments is ... or arguments is None else json.loads(_body(arguments, method))
        count = len([call for call in calls if expected is ... or call.arguments == expected])
        if count == times or (times is None and count):
            return
        wanted = "" if expected is ... else f" with {expected!r}"
        received = "; ".join(repr(call.arguments) for call in calls) or "no calls of it"
        often = "" if times is None else f" {times} times, but {count}"
        raise AssertionError(f"{self.name}: {method} was not called{often}{wanted}; received {received}")

    def refuse(self) -> None:
        """Refuse connections and close the open ones, until `accept`. The socket file remains, as after kill -9."""
        with self._lock:
            listening, self._listening = self._listening, None
            ended = [*self._open, *([] if listening is None else [listening])]
        for each in ended:
            _end(each)

    def accept(self) -> None:
        """Accept connections at a new socket, as a restarted plugin does."""
        if self._listening is not None:
            return
        # Renamed into place: a host that watches must see neither a missing socket nor one that refuses connections.
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        from .concurrency.system import require_unix

        require_unix("FakePlugin")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(draft))
        draft.chmod(0o660)
        listening.listen(128)
        draft.replace(self.path)
        self._listening = listening
        threading.Thread(target=self._serve, args=(listening,), name=f"fake plugin {self.name}", daemon=True).start()

    def close(self) -> None:
        """Close every connection and remove the socket."""
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
        if error is None and self.errors:
            raise self.errors[0]

    # One thread accepts connections, and each connection has a thread of its own.

    def _serve(self, listening: socket.socket) -> None:
        with listening, suppress(OSError):
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError as failed:
                    if failed.errno not in (errno.EMFILE, errno.ENFILE):
                        raise
                    time.sleep(0.01)  # until the process has file descriptors again
                    continue
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
        """Answer a call, or fail as scripted. Return whether the connection stays open."""
        answer = self._next_answer(call)
        if not isinstance(answer, Fault):
            connection.sendall(_reply(answer))
            return True
        data = _reply(b'{"Err": "", "Result": "truncated"}')
        if answer is Fault.HANG:
            self._closing.wait()
        elif answer is Fault.SLOW:
            for byte in data:
                connection.sendall(bytes([byte]))
                if self._closing.wait(0.2):
                    break
        elif answer is not Fault.CLOSE:
            connection.sendall(
                data[: len(data) - 10] if answer is Fault.TRUNCATED else b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n"
            )
        return False

    def _next_answer(self, call: Call) -> object:
        with self._lock:
            script = self._scripts.get(call.method)
            if script is None:
                return Error(f"{call.method} has no answer in this script", status=404)
            answer = script.pop(0) if len(script) > 1 else script[0]
        if not callable(answer):
            return answer
        try:
            return _encoded(answer(call), call.method)
        except Exception as error:  # noqa: BLE001 - raised in the test's thread
            self.errors.append(error)
            return Error(f"the answer's function raised {type(error).__name__}: {error}")


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


def _encoded(answer: object, method: str) -> object:
    return answer if isinstance(answer, bytes | Error | Fault) else _body(answer, method)


def _body(value: object, method: str) -> bytes:
    from .interface.messages import encode

    try:
        return encode(value)
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"{method}: the answer {value!r} cannot be encoded as JSON: {wrong}") from wrong


def _reply(answer: object) -> bytes:
    status = 200
    if isinstance(answer, Error):
        status, answer = answer.status, _body({"Err": answer.words}, "Err")
    assert isinstance(answer, bytes)
    return b"HTTP/1.1 %d Scripted\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it


# --- fixtures -----------------------------------------------------------------------------------------


class ServePlugin(Protocol):
    """The type of the fixture ``serve_plugin``."""

    def __call__(self, *drivers: object, **options: Any) -> Served:
        """Serve drivers until the test ends, with the options of `extframe.serving`."""


class MakeFakePlugin(Protocol):
    """The type of the fixture ``fake_plugin``."""

    def __call__(self, name: str = "fake", implements: Sequence[str] = ()) -> FakePlugin:
        """Create a fake plugin, which is closed when the test ends."""


def pytest_configure() -> None:
    """Keep extframe on the real clock under freezegun, whose decorators read the configuration while tests load."""
    with suppress(ImportError):
        import freezegun

        freezegun.configure(extend_ignore_list=["extframe"])


@pytest.fixture
def plugin_dir() -> Iterator[Path]:
    """An empty plugin directory, with a path that is short enough for unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="plugins-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def serve_plugin(plugin_dir: Path) -> Iterator[ServePlugin]:
    """A function that serves drivers in ``plugin_dir`` until the test ends: ``serve_plugin(Photos(), name="photos")``.

    It takes the arguments of ``extframe.serving``.
    """
    from .server import serving

    with ExitStack() as stack:

        def serve(*drivers: object, **options: Any) -> Served:
            return stack.enter_context(serving(*drivers, **{"directory": plugin_dir, **options}))

        yield serve


@pytest.fixture
def fake_plugin(plugin_dir: Path) -> Iterator[MakeFakePlugin]:
    """A function that creates a ``FakePlugin`` in ``plugin_dir``: ``fake_plugin("photos", ["VolumeDriver"])``."""
    with ExitStack() as stack:

        def make(name: str = "fake", implements: Sequence[str] = ()) -> FakePlugin:
            return stack.enter_context(FakePlugin(plugin_dir, name, implements))

        yield make


@pytest.fixture
def plugin_manager(plugin_dir: Path) -> Iterator[PluginManager]:
    """A ``PluginManager`` that finds the plugins in ``plugin_dir``, with the installed handlers."""
    from .host.manager import PluginManager
    from .registry.local import LocalRegistry

    with PluginManager(LocalRegistry(plugin_dir)) as manager:
        yield manager


@pytest.fixture
def async_plugin_manager(plugin_dir: Path) -> Iterator[AsyncPluginManager]:
    """An ``AsyncPluginManager`` that finds the plugins in ``plugin_dir``, with the installed handlers.

    It belongs to the event loop of the test's first await, and is closed at the end. As the fixture itself is not
    async, it needs no plugin of pytest's, and works with each.
    """
    from .host.async_manager import AsyncPluginManager
    from .registry.local import LocalRegistry

    manager = AsyncPluginManager(LocalRegistry(plugin_dir))
    yield manager
    manager._close_from_outside()
