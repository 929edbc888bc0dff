"""The HTTP server: accepts connections, runs the application, and stops gracefully.

It replaces uvicorn, whose httptools protocol has open faults that matter to plugins: a body that follows an ``Upgrade``
header is lost or run as the next request (Kludex/uvicorn#2722), a client that closes its side gets no response
(Kludex/uvicorn#1264), and nothing limits heads, the time of a request, or unread responses. A subclass would have
replaced each of its methods. h11 handles all of these bytes correctly, but takes 55 us per request. httptools for
the head alone with our own framing takes 2 to 6 us.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from ..concurrency.system import HAS_UNIX_SOCKETS
from ..concurrency.threads import start
from ..logs import get_logger
from .asgi import App
from .connection import UNAVAILABLE, Connection
from .connections import Connections
from .limits import ServerLimits
from .sockets import BACKLOG, Listener

ACCEPTED_AT_ONCE = 100
HANDSHAKE_TIMEOUT = 30.0  # seconds, for TLS
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
RETRY_ACCEPT = 0.5  # seconds
CLOSED_FOR_DESCRIPTORS = 10  # silent connections that are closed for each retry
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))

logger = get_logger(__name__)


async def _at_once(hurry: asyncio.Event) -> None:
    """Stop without a delay."""


class HTTPServer:
    """Serves an application at a listener, whose file is removed as soon as a stop begins."""

    def __init__(
        self,
        app: App,
        listener: Listener,
        *,
        tls: ssl.SSLContext | None,
        limits: ServerLimits,
        drain: float,
        before_stop: Callable[[asyncio.Event], Awaitable[None]] = _at_once,
    ) -> None:
        self._app = app
        self._listener = listener
        self._tls = tls
        self._limits = limits
        self._drain = drain
        self._before_stop = before_stop
        self._ready = threading.Event()
        self._stops = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event
        self._hurry: asyncio.Event
        self._connections: Connections
        # Those that were accepted and are not among the connections yet, the oldest first.
        self._handshakes: dict[socket.socket, asyncio.Task[None]] = {}

    def run(self) -> None:
        """Serve until `stop`."""
        loop = _new_event_loop()
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(self._serve(loop))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            self._loop = None
            asyncio.set_event_loop(None)
            loop.close()

    def stop(self) -> None:
        """Begin a graceful shutdown; a second call ends it at once. Threads and signal handlers may call this."""
        self._stops += 1
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._note_stop)

    def _note_stop(self) -> None:
        self._stopped.set()
        if self._stops > 1:
            self._hurry.set()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Let SIGTERM, SIGINT and SIGHUP stop the server. Only the main thread receives signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Serve in a thread while the block runs."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.run()
            except BaseException as failure:  # noqa: BLE001 - raised where it is waited for
                failures.append(failure)
            finally:
                self._ready.set()

        thread = threading.Thread(target=run, name="extframe-server", daemon=True)
        start(thread)
        try:
            self._ready.wait()
            if not failures:
                yield
        finally:
            self.stop()
            thread.join()
        if failures:
            raise failures[0]

    # --- in the event loop

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stopped, self._hurry = asyncio.Event(), asyncio.Event()
        self._connections = Connections(self._app, self._limits, loop)
        self._loop = loop
        if self._stops:
            self._note_stop()
        for each in self._listener.sockets:
            each.setblocking(False)
            loop.add_reader(each, self._accept, each, ACCEPTED_AT_ONCE)
        watch = loop.create_task(self._connections.watch())
        self._ready.set()
        await self._stopped.wait()
        await self._before_stop(self._hurry)
        is_ours = self._listener.is_own  # else the next process accepts the connections that wait at the socket
        self._listener.withdraw()
        for each in self._listener.sockets:
            loop.remove_reader(each)
            if is_ours:
                self._accept(each, BACKLOG)
            each.close()
        if self._tls is None and self._handshakes:
            await asyncio.wait(self._handshakes.values(), timeout=1.0)  # a step or two of the loop
        for handshake in self._handshakes.values():
            handshake.cancel()
        await self._connections.shut_down(self._drain, self._hurry)
        watch.cancel()

    def _accept(self, listening: socket.socket, limit: int) -> None:
        for _ in range(limit):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failed:
                self._pause_accepting(listening, failed)
                return
            if self._has_room():
                self._connect(accepted)
            else:
                _refuse(accepted, encrypted=self._tls is not None)

    def _has_room(self) -> bool:
        """Return whether one more connection fits, ending the oldest TLS handshake or another connection if needed."""
        if self._tls and self._handshakes and self._connections.is_full(len(self._handshakes)):
            self._end_handshakes(1)
            self._connections.log.warning(
                "ended a TLS handshake to accept another connection: all %d connections are taken (connections=)",
                self._limits.connections,
            )
        return self._connections.admit(len(self._handshakes))

    def _end_handshakes(self, count: int) -> None:
        for accepted in list(self._handshakes)[:count]:
            self._handshakes.pop(accepted).cancel()

    def _pause_accepting(self, listening: socket.socket, failed: OSError) -> None:
        if failed.errno not in EXHAUSTED:
            raise failed
        assert self._loop is not None
        self._connections.log.warning("cannot accept connections: %s", failed.strerror)
        self._connections.close_silent(CLOSED_FOR_DESCRIPTORS)
        self._end_handshakes(CLOSED_FOR_DESCRIPTORS)
        self._loop.remove_reader(listening)
        self._loop.call_later(RETRY_ACCEPT, self._resume_accepting, listening)

    def _resume_accepting(self, listening: socket.socket) -> None:
        if self._loop is not None and listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening, ACCEPTED_AT_ONCE)

    def _connect(self, accepted: socket.socket) -> None:
        assert self._loop is not None
        accepted.setblocking(False)
        task = self._loop.create_task(self._shake_hands(accepted))
        task.add_done_callback(lambda task: accepted.close() if task.cancelled() else None)  # before it began
        self._handshakes[accepted] = task

    async def _shake_hands(self, accepted: socket.socket) -> None:
        assert self._loop is not None
        timeout = min(HANDSHAKE_TIMEOUT, self._limits.request_timeout) if self._tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: Connection(self._connections, lambda: self._handshakes.pop(accepted, None)),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=timeout,
            )
        except (OSError, asyncio.CancelledError) as failed:
            accepted.close()
            logger.debug("a connection failed before its first request: %r", failed)
        finally:
            self._handshakes.pop(accepted, None)


def _refuse(accepted: socket.socket, *, encrypted: bool) -> None:
    with accepted, suppress(OSError):
        accepted.setblocking(False)
        if not encrypted:
            accepted.send(UNAVAILABLE)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        # The default loop of Windows does not watch sockets.
        return asyncio.new_event_loop() if HAS_UNIX_SOCKETS else asyncio.SelectorEventLoop()
    return uvloop.new_event_loop()
