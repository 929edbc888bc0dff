"""AsyncClient: calls to a plugin that are awaited. JSON, streams and files; knows no sockets and no HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from ..concurrency.deadlines import check_timeout
from ..errors import TransportError
from ..protocol import ACTIVATE, Manifest, encode_json
from .async_base import AsyncClientBase
from .async_files import Source, check_source, pieces_of
from .async_transport import AsyncTransport
from .attempts import Attempts
from .method_path import path_of
from .observation import observe
from .replies import ERROR_PAGE_LIMIT, UNTYPED, decoded, reader_of, refusal
from .request_options import HTTPMethod, RequestOptions
from .stream_rules import StreamRules

if TYPE_CHECKING:
    from .async_streams import AsyncResponseStream
    from .failover import Failover
    from .instances import Instance
else:
    from ..concurrency.late_types import late

    AsyncResponseStream = late("extframe.client.async_streams", "AsyncResponseStream")

T = TypeVar("T")


class AsyncClient(AsyncClientBase):
    """Calls one plugin from tasks of one event loop: asyncio's or uvloop's.

    ::

        async with AsyncClient("unix:///run/docker/plugins/rclone.sock") as client:
            await client.call("VolumeDriver.Get", {"Name": "photos"})  # {'Volume': {'Name': 'photos', ...}, 'Err': ''}

    The arguments, results, errors, deadlines, retries and the circuit breaker are those of ``Client``. A call whose
    task is cancelled ends at once; the plugin may still execute it. ``asyncio.timeout`` around a call works, but note
    that CallTimeout is a TimeoutError too.

    Args:
        address, tls, timeout, plugin, limits, retry, breaker, pool, listener, keep_alive, peer_uids, observers,
            endpoints, choose: as for ``Client``.

    Raises:
        SpecError: the address is invalid.
    """

    @overload
    async def call(
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
    async def call(
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
    async def call(
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
    async def call(
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
    async def call(
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
            method, arguments, reply, timeout, idempotent, headers, http_method: as for ``Client.call``.

        Raises:
            ExtframeError, TypeError, ValueError: as ``Client.call``.
            RuntimeError: the client was first used in another event loop; nothing was sent.
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
        look = not (idempotent and endpoint.retry.lost)
        attempts: Attempts | Failover | None = None
        try:
            attempts = (
                Attempts(endpoint, method, seconds, idempotent, now)
                if endpoint.failover is None
                else self._attempts(method, seconds, idempotent)
            )
            response = await self._attempt(attempts, None, AsyncTransport.exchange, path, body, look, options)
            result = decoded(response, read, now + seconds)
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end()
        return result

    @overload
    async def get(
        self, path: str, *, reply: type[T], timeout: float | None = None, headers: Mapping[str, str] | None = None
    ) -> T: ...
    @overload
    async def get(
        self,
        path: str,
        *,
        reply: object = Any,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...
    async def get(
        self,
        path: str,
        *,
        reply: Any = Any,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a GET request and return the reply.

        Args:
            path, reply, timeout, headers: as for ``Client.get``.

        Raises:
            ExtframeError, TypeError, ValueError, RuntimeError: as `call`.
        """
        return await self.call(path, reply=reply, timeout=timeout, idempotent=True, headers=headers, http_method="GET")

    async def handshake(self, seconds: float) -> Manifest:
        """Make the handshake, as ``Client.handshake`` does.

        Raises:
            ExtframeError: as `call`.
        """
        if self.endpoint.instances is not None:
            return await self._shake_all_hands(self.endpoint.instances, monotonic() + seconds)
        response = await self.call(ACTIVATE, reply=msgspec.Raw, timeout=seconds, idempotent=True)
        return Manifest.parse(bytes(response))

    async def call_each(self, method: str, arguments: object = None, *, timeout: float | None = None) -> None:
        """Call a method of the plugin, of each of its instances if it has several, as ``Client.call_each`` does.

        Raises:
            ExtframeError: as `call`: an instance responded with an error, or none could be reached.
        """
        instances = self.endpoint.instances
        if instances is None or not instances.is_any_ready:
            await self.call(method, arguments, reply=None, timeout=timeout, idempotent=True)
            return
        body = encode_json(arguments, method)
        seconds = self.endpoint.timeout if timeout is None else check_timeout(timeout)
        unreached: TransportError | None = None
        is_reached = False
        for instance in instances.ready:
            try:
                await self._call_at(instance, method, body, seconds)
                is_reached = True
            except TransportError as failure:  # noqa: PERF203 - it is rare, and the loop short
                unreached = failure
        if unreached is not None and not is_reached:
            raise unreached

    async def _call_at(self, instance: Instance, method: str, body: bytes, seconds: float) -> None:
        attempts = None
        observed = observe(self.endpoint, method)
        try:
            attempts = self._attempts_at(instance, method, seconds)
            path = path_of(method)
            response = await self._attempt(attempts, None, AsyncTransport.exchange, path, body, True, observed)
            decoded(response, reader_of(None), attempts.deadline)
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        arguments: object = None,
        *,
        timeout: float | None = None,
        follow: bool = False,
        headers: Mapping[str, str] | None = None,
        http_method: HTTPMethod = "POST",
    ) -> AsyncIterator[AsyncResponseStream]:
        """Send ``arguments`` as JSON to ``method`` and return the reply as a stream of bytes.

        ::

            config = {"Tail": 10, "Follow": True}
            async with client.stream("LogDriver.ReadLogs", {"Info": info, "Config": config}, follow=True) as records:
                await records.read(4)  # up to 4 bytes, as soon as there are any; b"" at the end
                async for piece in records:
                    ...

        Leaving the block closes the stream, whether it was read to its end or not. So does ``close``, in any task and
        in any thread: a task that is reading then gets a ValueError at once.

        Args:
            method, arguments, timeout, follow, headers, http_method: as for ``Client.stream``.

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
            stream = await self._attempt(attempts, rules, AsyncTransport.open, path, body, rules, options)
            try:
                if observed is not None:
                    observed.is_open = True
                if follow:
                    with self._closed_with_client(stream):
                        yield stream
                else:
                    if stream.status != 200:
                        raise refusal(stream.status, stream.header("Location"), await _error_page(stream))
                    yield stream
            finally:
                stream.close()
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end(rules.failure)

    @overload
    async def send_file(
        self,
        method: str,
        data: Source,
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]: ...
    @overload
    async def send_file(
        self,
        method: str,
        data: Source,
        *,
        reply: type[T],
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T: ...
    @overload
    async def send_file(
        self,
        method: str,
        data: Source,
        *,
        reply: None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    async def send_file(
        self,
        method: str,
        data: Source,
        *,
        reply: object,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...
    async def send_file(
        self,
        method: str,
        data: Source,
        *,
        reply: Any = UNTYPED,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a file from its current position to its end, or the bytes of an async iterable, and return the reply.

        It is sent in chunks, never held in memory as a whole, and never retried.

        Args:
            method: as for ``Client.send_file``.
            data: a binary file, which is read in threads; an object whose ``read(size)`` is awaited; or an async
                iterable of bytes. An async generator is closed afterwards.
            reply, timeout: as for ``Client.send_file``. The wait for ``data`` ends at the deadline, and when the plugin
                responds before it has all.
            headers: as for ``Client.call``.

        Raises:
            ExtframeError: as `call`; and whatever ``data`` raises.
        """
        path = path_of(method)
        check_source(data)
        read = reader_of(reply)
        options = None if headers is None else RequestOptions("POST", headers)
        seconds = self.endpoint.timeout if timeout is None else check_timeout(timeout)
        now = monotonic()
        observed = observe(self.endpoint, method, options)
        options = observed or options
        attempts = None
        try:
            attempts = self._attempts(method, seconds, is_file=True)
            pieces = partial(pieces_of, data)
            response = await self._attempt(attempts, None, AsyncTransport.upload, path, pieces, options)
            result = decoded(response, read, now + seconds)
        except BaseException as failure:
            self._fail(failure, method, seconds, observed, attempts)
            raise
        if observed is not None:
            observed.end()
        return result


async def _error_page(stream: AsyncResponseStream) -> bytes:
    page = b""
    while len(page) < ERROR_PAGE_LIMIT and (piece := await stream.read(ERROR_PAGE_LIMIT - len(page))):
        page += piece
    return page
