"""What is recorded of one call for its observers. Used by the clients of threads and of event loops.

A call that is not observed has no `ObservedCall`. An observed one should be hardly slower: little is computed before an
observer asks for it, and no object refers to itself, which would be left to the garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from logging import DEBUG
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ExtframeError
from ..logs import get_logger
from .http1 import Headers, Response, ResponseParser
from .request_options import RequestOptions, encode_headers

if TYPE_CHECKING:
    from ..protocol import Address

logger = get_logger(__name__)

_is_logged = logger.isEnabledFor

PHASES = ("earlier", "connect", "send", "wait", "receive", "decode")


class CallObservers(Protocol):
    """Are notified of calls, and never raise."""

    started: tuple[Callable[[ObservedCall], object], ...]
    ended: tuple[Callable[[ObservedCall, CallOutcome], object], ...]

    def report(self, act: object, error: Exception) -> None:
        """Log that an observer failed."""


class _Endpoint(Protocol):
    """What is known about the plugin that is called."""

    @property
    def plugin(self) -> str | None: ...
    @property
    def address(self) -> Address: ...
    @property
    def next_try(self) -> float | None: ...
    @property
    def observers(self) -> CallObservers | None: ...


class ObservedCall(RequestOptions):
    """A call that is about to be made, or has ended: the same object for `call_started` and `call_ended`.

    Attributes:
        method: ``VolumeDriver.Mount``; ``Plugin.Activate`` for the handshake, ``GET /health`` for a GET request.
        is_stream: whether the reply is read while it arrives. Such a call ends when its stream is closed.
    """

    # A client drives it like this:
    #
    #     observed = observe(endpoint, method, options)
    #     try:
    #         ...  # every attempt with `observed or options` as its options
    #     except BaseException as failure:
    #         if observed is not None:
    #             observed.end(failure)
    #         raise
    #     if observed is not None:
    #         observed.end()

    __slots__ = (
        "_address", "_attempt", "_attempted", "_begun", "_connected", "_endpoint", "_headers", "_is_connection_reused",
        "_is_ended", "_received", "_received_bytes", "_request", "_sent", "_sent_bytes", "_started", "is_open",
        "is_stream", "method", "response",
    )  # fmt: skip

    def __init__(self, endpoint: _Endpoint, method: str, options: RequestOptions | None, is_stream: bool) -> None:
        self._started = monotonic()
        self._endpoint = endpoint
        self._address: Address | None = None
        self.method = method if method[0] != "/" else method.lstrip("/")
        self.is_stream = is_stream
        self.is_open = False  # set once a stream is open: an error of the code that reads it is not the call's
        self._is_ended = False
        self._headers: dict[str, str] | None = None
        self._attempt = self._sent_bytes = self._received_bytes = 0
        self._is_connection_reused = False
        self._request = b""
        self.response: Response | ResponseParser | None = None
        # When each phase of the last attempt ended. 0 if it did not.
        self._attempted = self._connected = self._sent = self._begun = self._received = 0.0
        if options is None:
            self.http_method = "POST"
            self.encoded_headers = ()
            self.is_plain = True
        else:
            self.http_method = options.http_method
            self.encoded_headers = options.encoded_headers
            self.is_plain = False
        observers = endpoint.observers
        if observers is not None:
            for call_started in observers.started:
                try:
                    call_started(self)
                except Exception as error:  # noqa: BLE001, PERF203 - an observer never breaks a call
                    observers.report(call_started, error)
            if self._headers:
                self._add_headers(self._headers, observers)

    @property
    def plugin(self) -> str | None:
        """The name of the plugin, if it has one."""
        return self._endpoint.plugin

    @property
    def address(self) -> str:
        """``unix:///path``, ``tcp://host:port`` or ``https://host:port``; at the end, that of the last attempt."""
        return (self._address or self._endpoint.address).text

    @property
    def headers(self) -> dict[str, str]:
        """What an observer puts here in `call_started` is sent with every attempt of the call.

        A header that the caller gave takes precedence. An invalid one is logged and left out.
        """
        if self._headers is None:
            self._headers = {}
        return self._headers

    def __repr__(self) -> str:
        return f"<ObservedCall {self.method} on {self.plugin or self.address}>"

    def begin_attempt(self, address: Any) -> ObservedCall:
        """Begin an attempt at an address, and return this call, which records it."""
        self._address = address
        if self._attempt:
            self._connected = self._sent = self._begun = self._received = 0.0
            self._attempted = monotonic()
        self._attempt += 1
        return self

    def record_connection(self, is_reused: bool, request: bytes) -> None:
        """Record that there is a connection for the request."""
        self._is_connection_reused = is_reused
        self._request = request
        self._connected = monotonic()

    def record_sent(self, size: int, is_done: bool) -> None:
        """Record that bytes of the request were sent, or all that is going to be."""
        self._sent_bytes += size
        if is_done:
            self._sent = monotonic()

    def record_received(self, size: int) -> None:
        """Record that bytes of the response arrived; none at the end of the connection."""
        self._received = now = monotonic()
        if not self._begun:
            self._begun = now
        self._received_bytes += size

    def end(self, failure: BaseException | None = None) -> None:
        """Notify the observers that the call has ended; does nothing if they know."""
        if self._is_ended:
            return
        self._is_ended = True
        if failure is not None and self.is_open and not isinstance(failure, ExtframeError):
            failure = None
        outcome = CallOutcome(self, failure, monotonic())
        observers = self._endpoint.observers
        if observers is not None:
            for call_ended in observers.ended:
                try:
                    call_ended(self, outcome)
                except Exception as error:  # noqa: BLE001, PERF203 - an observer never breaks a call
                    observers.report(call_ended, error)
        if _is_logged(DEBUG):
            _log(self, outcome)

    def _add_headers(self, added: Mapping[str, str], observers: CallObservers) -> None:
        given = {name.lower() for name, _ in self.encoded_headers}
        for name, value in added.items():
            try:
                ((key, encoded),) = encode_headers({name: value})
            except (ExtframeError, TypeError) as error:  # noqa: PERF203 - most observers add one header or none
                observers.report(f"the header {name!r}", error)
            else:
                if key.lower() not in given:
                    self.encoded_headers += ((key, encoded),)
                    self.is_plain = False

    def _phases(self, ended: float) -> dict[str, float]:
        if not self._attempt:
            return {}
        times = (self._attempted or self._started, self._connected, self._sent, self._begun, self._received, ended)
        found: dict[str, float] = {}
        before = self._started
        for phase, time in zip(PHASES, times, strict=True):
            is_last = not time or (self.is_stream and phase == "receive")  # in which the call ended
            end = ended if is_last else time
            if phase != "earlier" or self._attempt > 1:
                found[phase] = end - before
                before = end
            if is_last:
                break
        return found


def observe(
    endpoint: _Endpoint, method: str, options: RequestOptions | None = None, is_stream: bool = False
) -> ObservedCall | None:
    """Return what records a call that is about to be made, and has its options; None if nothing observes or logs it."""
    if endpoint.observers is None and not _is_logged(DEBUG):
        return None
    return ObservedCall(endpoint, method, options, is_stream)


class CallOutcome:
    """How a call ended. All durations are seconds.

    Attributes:
        error: what the caller gets: an `ExtframeError`, or CancelledError or KeyboardInterrupt; None for a success.
    """

    __slots__ = ("_call", "_ended", "error")

    def __init__(self, call: ObservedCall, error: BaseException | None, ended: float) -> None:
        self._call = call
        self._ended = ended
        self.error = error

    @property
    def attempt(self) -> int:
        """The number of the last attempt: 1 unless the call was retried, 0 if the circuit breaker refused it."""
        return self._call._attempt

    @property
    def status(self) -> int | None:
        """The HTTP status of the response; None if there was none."""
        response = self._call.response
        return None if response is None else response.status

    @property
    def bytes_sent(self) -> int:
        """Bytes that the plugin took, heads included, in all attempts."""
        return self._call._sent_bytes

    @property
    def bytes_received(self) -> int:
        """Bytes that arrived, heads included, in all attempts."""
        return self._call._received_bytes

    @property
    def seconds(self) -> float:
        """The duration of the call, retries and decoding included."""
        return self._ended - self._call._started

    @property
    def phases(self) -> dict[str, float]:
        """The seconds of each phase that the call entered, in their order.

        ``earlier`` (attempts that failed and the pauses after them, if there were any), ``connect`` (with name lookup
        and TLS; next to nothing over a connection that was kept), ``send``, ``wait`` (for the first byte), ``receive``
        and ``decode``; of a stream, ``receive`` is the last. Their sum is ``seconds``, unless there was no attempt.
        """
        return self._call._phases(self._ended)

    @property
    def is_connection_reused(self) -> bool:
        """Whether the last attempt used a connection that was kept."""
        return self._call._is_connection_reused

    @property
    def is_circuit_open(self) -> bool:
        """Whether the circuit breaker of the plugin is open now; of all instances, if it has several."""
        return self._call._endpoint.next_try is not None

    @property
    def request_head(self) -> bytes:
        """The request line and headers of the last attempt, as sent. May have secrets; b"" if there was no attempt."""
        return self._call._request.partition(b"\r\n\r\n")[0]

    @property
    def response_headers(self) -> Headers:
        """Pairs of a name in lower case and a value, in the order received."""
        response = self._call.response
        return () if response is None else response.headers

    def __str__(self) -> str:
        result = "no response" if self.status is None else f"status {self.status}"
        if self.error is not None:
            result = f"{type(self.error).__name__}, {result}"
        retried = f", attempt {self.attempt}" if self.attempt != 1 else ""
        kept = ", kept connection" if self.is_connection_reused else ""
        phases = ", ".join(f"{phase} {_milliseconds(seconds)}" for phase, seconds in self.phases.items())
        return (
            f"{result}{retried}, {self.bytes_sent} bytes sent, {self.bytes_received} received{kept}, "
            f"{_milliseconds(self.seconds)} ms ({phases})"
        )


def _log(call: ObservedCall, outcome: CallOutcome) -> None:
    """Log a call that has ended, in one line without its arguments and headers."""
    plugin = f"plugin {call.plugin!r} at " if call.plugin else ""
    with suppress(Exception):  # of a log handler of the host's: the call itself did not fail
        logger.debug("%s on %s%s: %s", call.method, plugin, call.address, outcome)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
