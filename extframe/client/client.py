"""Calls to a plugin: JSON, streams and files over a transport. Knows no sockets and no HTTP."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, overload

import msgspec

from ..concurrency.deadlines import check_timeout
from ..errors import TransportError
from ..protocol import ACTIVATE, Manifest, encode_json
from .attempts import Attempts
from .method_path import path_of
from .observation import observe
from .pending_call import PendingCall
from .replies import ERROR_PAGE_LIMIT, UNTYPED, decoded, reader_of, refusal, whole
from .request_options import HTTPMethod, RequestOptions
from .stream_rules import StreamRules
from .sync_base import SyncClientBase

if TYPE_CHECKING:
    from .failover import Failover
    from .instances import Instance

T = TypeVar("T")


class Client(SyncClientBase):
    """Calls one plugin. Thread-safe; a forked child shares no connection with its parent.

    ::

        with Client("unix:///run/docker/plugins/rclone.sock") as client:
            client.call("VolumeDriver.Get", {"Name": "photos"})  # {'Volume': {'Name': 'photos', ...}, 'Err': ''}

    Args:
        address: ``unix:///path``, ``tcp://host:port`` or ``https://host:port``.
        tls: how an ``https://`` plugin is verified.
        timeout: seconds for a whole call, from connecting to the last byte of the reply, retries included.
        plugin: the name that errors carry.
        limits: the largest accepted reply.
        retry: what is retried; by default an idempotent call whose connection was lost, twice, at once.
        breaker: when the circuit breaker opens; never where None.
        pool: connections shared with other clients; by default this client has its own.
        listener: is notified of refused connections; for the owner of the plugin.
        keep_alive: whether connections are kept for reuse. Where True, a plugin that closes them after each response
            is noticed, and its connections are not kept.
        peer_uids: the users whose process may listen at a ``unix://`` address, in addition to root and this user.
            Another user's is a ConnectError, before anything is sent. None allows every user.
        observers: are notified of each call, see `Observer`.
        endpoints: the instances of a plugin that has several; they are called in place of ``address``.
        choose: which of them a call goes to: `RoundRobin` if None, `LeastOutstanding`, `SameZoneFirst`.

    Raises:
        SpecError: an address is invalid.
    """

    @overload
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
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
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
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
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
    ) -> None: ...
    @overload  # unions, Annotated, Literal, which type checkers do not accept as type[T]
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: object,
        timeout: float | None = None,
        idempotent: bool = False,
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
    ) -> Any: ...
    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: Any = UNTYPED,
        timeout: float | None = None,
        idempotent: bool = False,
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
    ) -> Any:
        """Send ``arguments`` as JSON to ``method`` and return the reply.

        Args:
            method: ``VolumeDriver.Mount``; a leading slash is allowed.
            arguments: anything that msgspec writes as JSON; None sends an empty body.
            reply: the type of the reply, which is the first JSON value in the body.

                - not given: a dict with the keys as received; ``{}`` for null and for an empty body.
                - a msgspec Struct, dataclass, TypedDict or any other type that msgspec knows: validated,
                  keys matched exactly; an empty body is an error.
                - None: the reply is ignored, except for its ``Err``.
                - ``msgspec.Raw``: the bytes as received, empty or not, neither decoded nor searched for ``Err``.
            timeout: seconds for the whole call; the client's own where None, ``math.inf`` for no deadline.
            idempotent: whether the call may be retried after its connection was lost.
            headers: sent in addition to the client's own, such as ``Authorization``. ``User-Agent`` and ``Accept``
                replace those of the client. Errors and log lines never quote them.
            http_method: ``GET`` for other HTTP APIs, for which there is `get`; without arguments.

        Raises:
            RemoteError: the plugin reported an error: a status other than 200, or ``Err`` in the reply.
            ConnectError: nothing was sent.
            ConnectionLost: something was sent; it may have been executed.
            CallTimeout: the deadline passed.
            ProtocolError: the reply is not HTTP, not JSON, too large or not of the type ``reply``.
            SpecError: ``method`` is not a valid path, a header is invalid, or a TLS file cannot be used; nothing was
                sent.
            TypeError, ValueError: ``arguments``, ``reply`` or ``timeout`` is invalid; nothing was sent.
        """
        path = path_of(method)
        options = None
        if headers is not None or http_method != "POST":
            options = RequestOptions(http_method, headers, arguments)
            method = options.name_of(path)
        read = reader_of(reply)
        body = encode_json(arguments, method)
        endpoint = self.endpoint
        seconds = endpoint.timeout if timeout is None else check_timeout(timeout)
        now = monotonic()
        observed = observe(endpoint, method, options)
        options = observed or options
        attempts: Attempts | Failover | None = None
        try:
            attempts = (
                Attempts(endpoint, method, seconds, idempotent, now)
                if endpoint.failover is None
                else self._attempts(method, seconds, idempotent)
            )
            response = self._attempt(
                attempts, lambda transport, deadline: whole(transport.exchange(path, body, deadline, options))
            )
            result = decoded(response, read, now + seconds)
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end()
        return result

    @overload
    def get(
        self, path: str, *, reply: type[T], timeout: float | None = None, headers: Mapping[str, str] | None = None
    ) -> T: ...
    @overload
    def get(
        self,
        path: str,
        *,
        reply: object = Any,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...
    def get(
        self,
        path: str,
        *,
        reply: Any = Any,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a GET request and return the reply.

        ::

            client.get("/health")  # {'health': 'true', 'reason': ''}
            client.get("/plugins?filters=%7B%7D", reply=list[Installed], headers={"Authorization": f"Bearer {token}"})

        Plugins are called with POST; this is for other HTTP APIs, such as those of Docker's engine and of etcd. The
        request is idempotent: it is retried if its connection is lost.

        Args:
            path: with its query; quote the values yourself. A missing leading slash is added.
            reply: as in `call`; any JSON value where not given.
            timeout, headers: as in `call`.

        Raises:
            ExtframeError, TypeError, ValueError: as `call`. The errors' ``method`` is ``GET /health``.
        """
        return self.call(path, reply=reply, timeout=timeout, idempotent=True, headers=headers, http_method="GET")

    def handshake(self, seconds: float) -> Manifest:
        """Make the handshake within some seconds, with each instance if there are several; return the manifest.

        Raises:
            ExtframeError: as `call`.
        """
        if self.endpoint.instances is not None:
            return self._shake_all_hands(self.endpoint.instances, monotonic() + seconds)
        return Manifest.parse(bytes(self.call(ACTIVATE, reply=msgspec.Raw, timeout=seconds, idempotent=True)))

    def call_each(self, method: str, arguments: object = None, *, timeout: float | None = None) -> None:
        """Call a method of the plugin, of each of its instances if it has several. The call is idempotent.

        Instances that cannot be reached are left out.

        Args:
            method, arguments: as in `call`.
            timeout: seconds for each instance.

        Raises:
            ExtframeError: as `call`: an instance responded with an error, or none could be reached.
        """
        instances = self.endpoint.instances
        if instances is None or not instances.is_any_ready:
            self.call(method, arguments, reply=None, timeout=timeout, idempotent=True)
            return
        body = encode_json(arguments, method)
        seconds = self.endpoint.timeout if timeout is None else check_timeout(timeout)
        unreached: TransportError | None = None
        is_reached = False
        for instance in instances.ready:
            try:
                self._call_at(instance, method, body, seconds)
                is_reached = True
            except TransportError as failure:  # noqa: PERF203 - it is rare, and the loop short
                unreached = failure
        if unreached is not None and not is_reached:
            raise unreached

    def _call_at(self, instance: Instance, method: str, body: bytes, seconds: float) -> None:
        path = path_of(method)
        attempts = None
        observed = observe(self.endpoint, method)
        try:
            attempts = self._attempts_at(instance, method, seconds)
            response = self._attempt(
                attempts, lambda transport, deadline: whole(transport.exchange(path, body, deadline, observed))
            )
            decoded(response, reader_of(None), attempts.deadline)
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end()

    def begin(self, method: str) -> PendingCall | None:
        """Send a call without arguments, without waiting; None if that would have to wait.

        That is so where connecting has to wait, and where there are several instances.

        The call is treated as idempotent and bypasses the circuit breaker: it is meant for handshakes.

        Raises:
            ExtframeError: as `call`, except CallTimeout. The errors do not carry plugin and method.
        """
        if self.endpoint.instances is not None:
            return None
        call = PendingCall(self.endpoint, self._transport, method)
        return call if call.send() else None

    @contextmanager
    def stream(
        self,
        method: str,
        arguments: object = None,
        *,
        timeout: float | None = None,
        follow: bool = False,
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
    ) -> Iterator[BinaryIO]:
        """Send ``arguments`` as JSON to ``method`` and return the reply as a binary stream.

        ::

            config = {"Tail": 10, "Follow": True}
            with client.stream("LogDriver.ReadLogs", {"Info": info, "Config": config}, follow=True) as records:
                records.read(4)

        Leaving the block closes the stream, whether it was read to its end or not. So does ``close`` in any other
        thread, at any time: a thread that is reading then gets a ValueError at once.

        Args:
            method, arguments: as in `call`.
            timeout: seconds for the whole call. Where None, the client's own applies until the reply begins, and
                reading has no deadline: a plugin may keep a stream open for as long as it likes.
            follow: whether the plugin may be silent for as long as it likes, as when a log is followed. Then the
                timeout covers connecting and sending only, and the block is entered once the request is sent; the
                first read waits for the reply, and raises what the plugin answered. The silence of such a stream does
                not count for the circuit breaker. `close` of the client closes it.
            headers: as in `call`.
            http_method: ``GET`` for the streams of other HTTP APIs, such as the events of Docker's engine; ``method``
                is the path then, and there are no arguments.

        Raises:
            ExtframeError: as `call`, also while reading.
            ValueError: a GET request was given arguments.
        """
        path = path_of(method)
        options = None
        if headers is not None or http_method != "POST":
            options = RequestOptions(http_method, headers, arguments)
            method = options.name_of(path)
        body = encode_json(arguments, method)
        seconds = self.endpoint.timeout if timeout is None else check_timeout(timeout)
        observed = observe(self.endpoint, method, options, is_stream=True)
        options = observed or options
        attempts = None
        try:
            attempts = self._attempts(method, seconds)
            rules = StreamRules(attempts.deadline, seconds, whole=timeout is not None, follow=follow, attempts=attempts)
            with self._attempt(
                attempts, lambda transport, deadline: transport.open(path, body, deadline, rules, options), rules
            ) as stream:
                if observed is not None:
                    observed.is_open = True
                if follow:
                    with self._closed_with_client(stream):
                        yield stream
                else:
                    if stream.status != 200:
                        raise refusal(stream.status, stream.header("Location"), stream.read(ERROR_PAGE_LIMIT))
                    yield stream
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end(rules.failure)

    @overload
    def send_file(
        self, method: str, data: BinaryIO, *, timeout: float | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]: ...
    @overload
    def send_file(
        self,
        method: str,
        data: BinaryIO,
        *,
        reply: type[T],
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T: ...
    @overload
    def send_file(
        self,
        method: str,
        data: BinaryIO,
        *,
        reply: None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    def send_file(
        self,
        method: str,
        data: BinaryIO,
        *,
        reply: object,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...
    def send_file(
        self,
        method: str,
        data: BinaryIO,
        *,
        reply: Any = UNTYPED,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a file, from its current position to its end, and return the reply.

        It is sent in chunks, never held in memory as a whole, and never retried.

        Args:
            method: may carry a query, as in ``GraphDriver.ApplyDiff?id=1&parent=2``; quote the values yourself.
            data: a binary file, or any object whose ``read(size)`` returns bytes.
            reply: as in `call`.
            timeout: seconds for the whole call, sending included; as in `call`.
            headers: as in `call`.

        Raises:
            ExtframeError: as `call`; and whatever ``data.read`` raises.
        """
        path = path_of(method)
        check_binary(data)
        read = reader_of(reply)
        options = None if headers is None else RequestOptions("POST", headers)
        seconds = self.endpoint.timeout if timeout is None else check_timeout(timeout)
        now = monotonic()
        observed = observe(self.endpoint, method, options)
        options = observed or options
        attempts = None
        try:
            attempts = self._attempts(method, seconds, is_file=True)
            response = self._attempt(
                attempts, lambda transport, deadline: whole(transport.upload(path, data, deadline, options))
            )
            result = decoded(response, read, now + seconds)
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end()
        return result


# --- arguments of calls -------------------------------------------------------------------------------


def check_binary(data: object) -> None:
    """Check that ``data`` is a file of bytes.

    Raises:
        TypeError: it is not.
    """
    if isinstance(data, io.TextIOBase) or not hasattr(data, "read"):
        raise TypeError(f"data is {data!r}; expected a file of bytes, as open(path, 'rb') gives")
