"""Call a plugin: JSON, streams and files over a transport, and errors with names. Knows no sockets and no HTTP."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, overload

from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..errors import CallTimeout, ConnectError, ExtframeError, SpecError, TransportError
from ..protocol import ACTIVATE, Address, TLSConfig, encode_json
from .circuit_breaker import Breaker, Circuit
from .replies import UNTYPED, body_of, reader_of, refusal, whole
from .retry import Retry
from .transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self

    from .http1 import Limits
    from .session import PluginSession
    from .transport import ConnectionPool, Exchange

R = TypeVar("R")
T = TypeVar("T")

ERROR_PAGE_LIMIT = 64 * 1024  # bytes that are read of an error where the reply would be a stream


class Client:
    """A plugin as something to call. Many threads may use one; a child process shares no connection with its parent.

    ::

        with Client("unix:///run/docker/plugins/rclone.sock") as client:
            client.call("VolumeDriver.Get", {"Name": "photos"})  # {'Volume': {'Name': 'photos', ...}, 'Err': ''}

    Args:
        address: ``unix:///path``, ``tcp://host:port`` or ``https://host:port``.
        tls: how an ``https://`` plugin is verified.
        timeout: seconds for a whole call, from connecting to the last byte of the reply, retries included.
        plugin: the name that errors give.
        limits: how large a reply may be.
        retry: what is sent again; by default an idempotent call whose connection was lost, twice, at once.
        breaker: when calls fail at once, as those before them failed; never where None.
        pool: connections shared with other clients; by default this client has its own.

    Raises:
        SpecError: the address cannot be used.
    """

    refused: Callable[[float], object] | None = None
    """Called when the plugin refused a connection, which is one sign that it was restarted.

    With the ``time.monotonic()`` value at which the attempt began.
    """

    was_active = False
    """Whether the plugin has been active: where nobody listens then, calls wait for a restart (`Retry.restart`)."""

    def __init__(
        self,
        address: str,
        *,
        tls: TLSConfig | None = None,
        timeout: float = 60.0,
        plugin: str | None = None,
        limits: Limits | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        pool: ConnectionPool | None = None,
    ) -> None:
        self.timeout = check_timeout(timeout)
        self.plugin = plugin
        self.retry = retry or Retry()
        self._limits = limits
        self._pool = pool
        self._circuit = Circuit(breaker)
        self._closed = Event()
        self._sessions: dict[int, PluginSession] = {}  # by process
        self._transport = self._transport_to(address, tls)

    def _transport_to(self, address: str, tls: TLSConfig | None) -> Transport:
        return Transport(Address.parse(address), tls, limits=self._limits, pool=self._pool)

    @property
    def address(self) -> str:
        """Where the plugin listens."""
        return self._transport.address.text

    @property
    def last_error(self) -> Exception | None:
        """Why calls fail at once for now; None where they do not."""
        return self._circuit.last_error

    @property
    def next_try(self) -> float | None:
        """When a call is let through, as ``time.monotonic()`` has it; None where all are."""
        return self._circuit.next_try

    # Calls.

    @overload
    def call(
        self, method: str, arguments: object = None, *, timeout: float | None = None, idempotent: bool = False
    ) -> dict[str, Any]: ...
    @overload
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: type[T],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> T: ...
    @overload
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: None,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> None: ...
    @overload  # unions, Annotated, Literal, which are no type[T] to type checkers
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: object,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Any: ...
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: Any = UNTYPED,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Any:
        """Send ``arguments`` as JSON to ``method`` and return the reply.

        Args:
            method: ``VolumeDriver.Mount``; a leading slash is allowed.
            arguments: anything that msgspec writes as JSON; None sends an empty body.
            reply: what the reply is to be.

                - not given: a dict, keys as they came; ``{}`` for null and for an empty body.
                - a msgspec Struct, dataclass, TypedDict or any other type that msgspec knows: validated,
                  keys matched to the letter; an empty body is an error.
                - None: nothing is expected, what comes is not read, but for its ``Err``.
                - ``msgspec.Raw``: the bytes as they came, empty or not, neither read nor searched for ``Err``.
            timeout: seconds for all of it; the client's own where None, ``math.inf`` for no end.
            idempotent: whether the call may be sent again after a connection that was lost on the way.

        Raises:
            RemoteError: the plugin said that it failed: a status other than 200, or ``Err`` in the reply.
            ConnectError: nothing was sent.
            ConnectionLost: something was sent; it may have been carried out.
            CallTimeout: the time is over.
            ProtocolError: the reply is not HTTP, not JSON, too large or not of the type ``reply``.
            SpecError: ``method`` cannot stand in a request, or a TLS file cannot be used; nothing was sent.
            TypeError, ValueError: ``arguments``, ``reply`` or ``timeout`` cannot be used; nothing was sent.
        """
        path = _path(method)
        read = reader_of(reply)
        body = encode_json(arguments, method)
        seconds = self.timeout if timeout is None else check_timeout(timeout)
        try:
            response = self._persist(
                method, lambda deadline: whole(self._transport.exchange(path, body, deadline)), seconds, idempotent
            )
            return read(body_of(response))
        except ExtframeError as failure:
            self._name(failure, method, seconds)
            raise

    def begin(self, method: str) -> PendingCall | None:
        """Send a call without arguments, and return at once; None where that would mean to wait for a connection.

        The call is taken to be idempotent, and passes the breaker: it is meant for handshakes.

        Raises:
            as `call`, but for CallTimeout. Errors do not say whose they are.
        """
        call = PendingCall(self, method)
        return call if call.send() else None

    @contextmanager
    def stream(self, method: str, arguments: object = None, *, timeout: float | None = None) -> Iterator[BinaryIO]:
        """Send ``arguments`` as JSON to ``method`` and give the reply as bytes to read while they come.

        ::

            with client.stream("LogDriver.ReadLogs", {"Info": info, "Config": {"Follow": True}}) as records:
                records.read(4)

        Leaving the block ends the reply, read to its end or not.

        Args:
            method, arguments: as in `call`.
            timeout: seconds for all of it. Where None the client's own holds until the reply begins, and
                reading has no end: the plugin may keep a stream open for as long as it likes.

        Raises:
            as `call`, and so does reading.
        """
        path = _path(method)
        body = encode_json(arguments, method)
        seconds = self.timeout if timeout is None else check_timeout(timeout)
        body_deadline = math.inf if timeout is None else None
        try:
            with self._persist(
                method,
                lambda deadline: self._transport.open(path, body, deadline, body_deadline=body_deadline),
                seconds,
            ) as stream:
                if stream.status != 200:
                    raise refusal(stream.status, stream.header("Location"), stream.read(ERROR_PAGE_LIMIT))
                yield stream
        except ExtframeError as failure:
            self._name(failure, method, seconds)
            raise

    @overload
    def send_file(self, method: str, data: BinaryIO, *, timeout: float | None = None) -> dict[str, Any]: ...
    @overload
    def send_file(self, method: str, data: BinaryIO, *, reply: type[T], timeout: float | None = None) -> T: ...
    @overload
    def send_file(self, method: str, data: BinaryIO, *, reply: None, timeout: float | None = None) -> None: ...
    @overload
    def send_file(self, method: str, data: BinaryIO, *, reply: object, timeout: float | None = None) -> Any: ...
    def send_file(self, method: str, data: BinaryIO, *, reply: Any = UNTYPED, timeout: float | None = None) -> Any:
        """Send what ``data`` holds, from where it stands to its end, and return the reply.

        It goes out in chunks, is never held in memory as a whole, and is never sent twice.

        Args:
            method: may carry a query, as in ``GraphDriver.ApplyDiff?id=1&parent=2``; quote what you put into it.
            data: a file, or anything whose ``read(size)`` gives bytes.
            reply: as in `call`.
            timeout: seconds for all of it, sending included; the client's own where None, ``math.inf`` for no end.

        Raises:
            as `call`; and what ``data.read`` raises.
        """
        path = _path(method)
        _check_binary(data)
        read = reader_of(reply)
        seconds = self.timeout if timeout is None else check_timeout(timeout)
        try:
            response = self._persist(
                method, lambda deadline: whole(self._transport.upload(path, data, deadline)), seconds
            )
            return read(body_of(response))
        except ExtframeError as failure:
            self._name(failure, method, seconds)
            raise

    def _persist(self, method: str, attempt: Callable[[float], R], seconds: float, idempotent: bool = False) -> R:
        """Return what ``attempt`` returns, which takes a deadline, after as many attempts as `Retry` allows.

        A handshake passes the breaker, in failure too, and waits for no restart: by it a restart is noticed.
        """
        started = monotonic()
        circuit = self._circuit
        probe = circuit.is_open and not _is_handshake(method) and circuit.enter()
        failed: list[type[TransportError]] = []
        began = started
        try:
            while True:
                transport = self._transport
                try:
                    result = attempt(started + seconds)
                except TransportError as failure:
                    if isinstance(failure, ConnectError) and self._transport is not transport:
                        continue  # `retarget` closed the way as it was about to be taken
                    self._tell_of_refusal(failure, began)
                    failed.append(type(failure))
                    if not self._wait_after(failure, failed, method, started, seconds, idempotent):
                        self._name(failure, method, seconds)
                        self._count(failure, method, started, probe)
                        raise
                    began = monotonic()
                else:
                    if circuit.failures:
                        circuit.answered()
                    return result
        finally:
            if probe:
                circuit.leave()

    def _count(self, failure: TransportError, method: str, started: float, probe: bool) -> None:
        if not _is_handshake(method):  # who waits for a plugin makes one after the other, and calls wait beside
            self._circuit.failed(failure, started, probe=probe)

    def _tell_of_refusal(self, failure: TransportError, began: float) -> None:
        if self.refused is not None and isinstance(failure.__cause__, ConnectionRefusedError | FileNotFoundError):
            self.refused(began)

    def _wait_after(
        self,
        failure: TransportError,
        failed: Sequence[type[TransportError]],
        method: str,
        started: float,
        seconds: float,
        idempotent: bool,
    ) -> bool:
        """Return True after the wait that `Retry` has for this failure, False where there is to be no attempt."""
        elapsed = monotonic() - started
        was_active = self.was_active and not _is_handshake(method)
        attempts = failed.count(type(failure))
        wait = self.retry.wait_after(failure, attempts, elapsed, idempotent=idempotent, was_active=was_active)
        if wait is not None and elapsed + wait < seconds and not self._closed.wait(wait):
            elapsed = monotonic() - started
            if elapsed < seconds:  # on a busy machine a wait may take longer
                return True
        _tell_attempts(failure, len(failed), elapsed)
        return False

    def _name(self, failure: ExtframeError, method: str, seconds: float) -> None:
        """Say in an error whose it is; one that another client raised inside our `stream` says so already."""
        if failure.method is None:
            failure.plugin, failure.method, failure.address = self.plugin, method.lstrip("/"), self.address
        if isinstance(failure, CallTimeout) and failure.timeout is None:
            failure.timeout = seconds
            failure.message += f"; the timeout was {seconds:.3g} s"

    # Everything else HTTP can do.

    @property
    def session(self) -> PluginSession:
        """A ``requests.Session`` bound to this plugin, for what calls do not cover: hooks, auth, adapters, GET.

        ::

            client.session.post("VolumeDriver.List").json()  # {'Volumes': []}

        Its timeouts are requests' own, per connect and per read, and no deadline for the whole; its errors are
        requests' own too. requests is imported when this is first used.
        """
        if self._closed.is_set():
            raise ConnectError("the client is closed", plugin=self.plugin, address=self.address)
        process = os.getpid()
        session = self._sessions.get(process)
        if session is None:
            from .session import PluginSession

            transport = self._transport
            session = PluginSession(transport.address, tls=transport.tls_context(), timeout=self.timeout)
            session = self._sessions.setdefault(process, session)
        return session

    # Its life.

    def retarget(self, address: str, *, tls: TLSConfig | None = None) -> None:
        """Call the plugin somewhere else from now on. Calls under way end where they began.

        Raises:
            SpecError: the address cannot be used.
        """
        before, self._transport = self._transport, self._transport_to(address, tls)
        before.close()
        self._close_session()
        if self._closed.is_set():
            self._transport.close()

    def close(self) -> None:
        """Close the connections. Waiting between attempts ends at once; later calls raise ConnectError."""
        self._closed.set()
        self._transport.close()
        self._close_session()

    def _close_session(self) -> None:
        session = self._sessions.pop(os.getpid(), None)
        if session is not None:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        name = f"{self.plugin!r} at " if self.plugin else ""
        return f"<{type(self).__name__} {name}{self.address}>"


class PendingCall:
    """A call that was sent, made by `Client.begin`: look at it when ``fileno()`` is readable. One thread at a time."""

    _exchange: Exchange

    def __init__(self, client: Client, method: str) -> None:
        self._client = client
        self._path = _path(method)
        self._started = monotonic()
        self._failed: list[type[TransportError]] = []

    def fileno(self) -> int:
        """Return the file descriptor to wait for. It may be another one after `advance`."""
        return self._exchange.fileno()

    @property
    def phase(self) -> str:
        """What is being waited for, in the words of CallTimeout."""
        return self._exchange.phase

    def advance(self) -> bytes | None:
        """Read what came, and return the body of the answer once all of it is there.

        Raises:
            as `Client.begin`.
        """
        try:
            response = self._exchange.advance()
            if response is None:
                return None
            whole(response)
        except TransportError as failure:
            if self._is_repeated(failure) and self.send():
                return None
            raise
        self._client._circuit.answered()
        return body_of(response)

    def abandon(self) -> None:
        """Wait no longer for the answer."""
        self._exchange.abandon()

    def send(self) -> bool:
        """Whether the call was sent, which it is not where a connection had to be waited for."""
        while True:
            try:
                exchange = self._client._transport.begin(self._path, b"")
            except TransportError as failure:  # noqa: PERF203 - it is rare, and the loop short
                if not self._is_repeated(failure):
                    raise
            else:
                if exchange is not None:
                    self._exchange = exchange
                return exchange is not None

    def _is_repeated(self, failure: TransportError) -> bool:
        self._failed.append(type(failure))
        attempts, elapsed = self._failed.count(type(failure)), monotonic() - self._started
        if self._client.retry.wait_after(failure, attempts, elapsed, idempotent=True) == 0:
            return True
        _tell_attempts(failure, len(self._failed), elapsed)
        return False


# --- attempts that failed -----------------------------------------------------------------------------


def _tell_attempts(failure: TransportError, attempts: int, elapsed: float) -> None:
    if attempts > 1:
        failure.message += f"; {attempts} attempts in {elapsed:.1f} s"


# --- what callers give --------------------------------------------------------------------------------


def _path(method: object) -> str:
    if not (isinstance(method, str) and method):
        raise SpecError(f"{method!r} cannot be called: a method is text such as VolumeDriver.List")
    return method if method.startswith("/") else "/" + method


def _is_handshake(method: str) -> bool:
    return method.lstrip("/") == ACTIVATE


def _check_binary(data: object) -> None:
    if isinstance(data, io.TextIOBase) or not hasattr(data, "read"):
        raise TypeError(f"data is {data!r}; expected a file of bytes, as open(path, 'rb') gives")
