"""Drivers as an ASGI application: the protocol's rules for requests and responses. Opens no socket."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Hashable
from typing import Any

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import declarations
from ..interface.drivers import routes
from ..interface.methods import Method
from ..logs import get_logger
from ..protocol import ACTIVATE, CONFIGURE, NOT_CONFIGURED, encode_json
from ..text import needs_more_than, text_of
from .asgi import CLOSE, Disconnected, Receive, Scope, Send, TooLarge, read_body, send_error, send_json
from .configuration import SETTINGS_LIMIT, WAITING, Configuration, Refused
from .disconnect import DisconnectWatcher
from .executor import Executor, Saturated
from .keyed_lock import KeyedLock
from .log_limit import LimitedLogger
from .streams import StreamReply, send_records

MEMORY_PER_BYTE = 2  # of the limit of a body, for a decoded one
BODY_LIMIT = 16 << 20  # bytes: authz requests carry bodies of up to 4 MiB twice, in base64
THREADS = 64
QUEUE_TIMEOUT = 30.0  # seconds

logger = get_logger(__name__)


def asgi_app(
    *drivers: object,
    serialize: str | None = None,
    threads: int = THREADS,
    queue_timeout: float = QUEUE_TIMEOUT,
    limit: int = BODY_LIMIT,
) -> PluginApp:
    """Return ``drivers`` as an ASGI application for any server that speaks HTTP/1.1.

    Args:
        drivers: objects of classes that subclass an interface, or that ``@implements`` marks. ``async def`` methods
            run in the event loop, all others in threads.
        serialize: the name of a parameter, such as ``name``: calls with the same value of it run one after the
            other, in the order in which they arrived; all others run concurrently.
        threads: how many methods that are not async may run at a time.
        queue_timeout: how many seconds a call waits for a thread, or for its turn under ``serialize``, before it is
            answered with status 503.
        limit: bytes of a request body.

    Raises:
        TypeError: a driver lacks methods or has other parameters, two have the same extension point, or no
            method has the parameter that ``serialize`` names.
    """
    return PluginApp(drivers, serialize=serialize, executor=Executor(threads, queue_timeout), limit=limit)


class PluginApp:
    """An ASGI application that answers for drivers.

    Attributes:
        implements: their extension points, as the manifest lists them.
        methods: the wire names of their methods.
    """

    def __init__(self, drivers: tuple[object, ...], *, serialize: str | None, executor: Executor, limit: int) -> None:
        if not drivers:
            raise TypeError("no driver to serve")
        points = (found.implements for driver in drivers for found in declarations(driver))
        self.implements = tuple(dict.fromkeys(points))
        self._limit = limit
        self._executor = executor
        calls = {f"/{wire}": _Call(*route) for wire, route in routes(*drivers).items()}
        self._configuration = Configuration(drivers)
        self._waiting = {path: call for path, call in calls.items() if self._configuration.covers(call.method.wire)}
        self._calls = {path: call for path, call in calls.items() if path not in self._waiting}
        self.methods = frozenset(path.lstrip("/") for path in calls)
        self._manifest = encode_json(_manifest(self.implements, drivers, self._configuration.points))
        self._locks = KeyedLock()
        self._serialize = serialize
        self._log = LimitedLogger(logger)
        known = {parameter for call in calls.values() for parameter in call.method.signature.parameters}
        if serialize is not None and serialize not in known:
            raise TypeError(f"serialize={serialize!r}: no method has such a parameter")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI 3 defines it."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise NotImplementedError(f"plugins do not support {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """Let the threads end, each after its calls. Servers that support ASGI's lifespan do this."""
        self._executor.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        call = self._calls.get(path)
        if _is_from_browser(scope):
            self._log.warning("refused a request from a web page: it has an Origin or Sec-Fetch header")
            await send_error(send, 403, "requests from web pages are refused (they have Origin or Sec-Fetch headers)")
        elif scope["method"] != "POST":
            await send_error(send, 405, f"{scope['method']} is not supported; calls are POST", (b"allow", b"POST"))
        elif call is not None:
            await self._call(call, receive, send)
        elif path == f"/{ACTIVATE}":
            await self._activate(send)
        elif path == f"/{CONFIGURE}" and self._configuration.points:
            await self._configure(receive, send)
        elif path in self._waiting:
            await send_error(send, NOT_CONFIGURED, WAITING)
        else:
            await send_error(send, 404, f"{path[1:200]} is not implemented by this plugin")

    async def _activate(self, send: Send) -> None:
        if self._executor.saturated:
            await send_error(send, 503, f"the plugin is stuck: {self._executor.busy}")
        else:
            await send_json(send, 200, self._manifest)

    async def _configure(self, receive: Receive, send: Send) -> None:
        limit = min(self._limit, SETTINGS_LIMIT)
        try:
            body = await read_body(receive, limit)
            await self._configuration.receive(body, self._executor)
        except Disconnected:
            return
        except TooLarge:
            await send_error(send, 413, f"the request body has more than {limit} bytes, or too many JSON values", CLOSE)
        except Refused as refused:
            await send_error(send, refused.status, str(refused))
        else:
            self._calls.update(self._waiting)
            await send_json(send, 200, b"{}\n")

    async def _call(self, call: _Call, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive, self._limit)
            if needs_more_than(body, MEMORY_PER_BYTE * self._limit):
                raise TooLarge
            arguments = call.method.decode_request(body)
        except Disconnected:
            return
        except TooLarge:
            message = (
                f"the request body has more than {self._limit} bytes, the plugin's limit=, or too many JSON values"
            )
            await send_error(send, 413, message, CLOSE)
        except ProtocolError as wrong:
            logger.info("%s: refused a request: %s", call.method.wire, wrong)
            await send_error(send, 400, str(wrong))
        else:
            await self._execute(call, arguments, receive, send)

    async def _execute(self, call: _Call, arguments: dict[str, Any], receive: Receive, send: Send) -> None:
        watcher = DisconnectWatcher(receive)
        method, codec = call.method, call.method.stream
        reply = None if codec is None else StreamReply(send, codec)
        try:
            result = await self._run(call, arguments)
            if reply is None:
                await send_json(send, _status_of(result), _encode(method, result))
            else:
                await send_records(reply, result, watcher, self._executor)
        except GeneratorExit:
            raise
        # A method that calls sys.exit() fails alone, and one that shutdown interrupts reports it.
        except BaseException as error:
            if reply is None or not reply.started:
                await send_error(send, *self._failure(method, error))
            elif reply.reports_errors and not watcher.gone:
                _, message = self._failure(method, error)
                await reply.fail(message)
            else:
                raise  # the server closes the connection, so the host notices that the stream is incomplete
        finally:
            watcher.stop()

    async def _run(self, call: _Call, arguments: dict[str, Any]) -> Any:
        key = arguments.get(self._serialize) if self._serialize is not None else None
        if key is None:
            return await call(arguments, self._executor)
        key = key if isinstance(key, Hashable) else repr(key)
        try:
            await self._locks.acquire(key, self._executor.queue_timeout)
        except TimeoutError:
            seconds = self._executor.queue_timeout
            raise Saturated(
                f"calls with the same {self._serialize} have taken {seconds:g} seconds (serialize=, queue_timeout=)"
            ) from None
        return await call(arguments, self._executor, lambda: self._locks.release(key))

    def _failure(self, method: Method, error: BaseException) -> tuple[int, str]:
        """Return the status and message for what a driver raised, and log it."""
        if isinstance(error, Saturated):
            self._log.warning("refused a call: %s", error)
            return 503, f"{method.wire} was not called: {error}"
        if isinstance(error, RemoteError):  # raised on purpose, to choose message and status
            logger.info("%s: answered with an error: %s", method.wire, error.message)
            return error.status if 400 <= error.status <= 599 else 500, error.message or "failed"
        if isinstance(error, NotImplementedError):
            return 404, text_of(error) or f"{method.wire} is not implemented by this plugin"
        if isinstance(error, asyncio.CancelledError):
            logger.warning("%s: cancelled", method.wire)
            return 500, "the plugin stopped before the call had ended"
        logger.error("%s: %s", method.wire, text_of(error), exc_info=error)
        # The text of a KeyError is only the key, and many others have none: the class says what they mean.
        message = "" if isinstance(error, KeyError) else text_of(error)
        return 500, message or repr(error)


def _manifest(implements: tuple[str, ...], drivers: tuple[object, ...], settings: tuple[str, ...]) -> dict[str, object]:
    """Return the response to the handshake; with keys that Docker's engine ignores only where they matter."""
    found = (each for driver in drivers for each in declarations(driver))
    versions = {each.implements: each.accepts for each in found if each.accepts != (1,)}
    return {
        "Implements": implements,
        **({"Versions": versions} if versions else {}),
        **({"Settings": settings} if settings else {}),
    }


class _Call:
    """A method, and the driver's function for it."""

    def __init__(self, method: Method, function: Callable[..., Any]) -> None:
        self.method = method
        self._function = function
        self._is_stream = inspect.isasyncgenfunction(function)
        on_loop = self._is_stream or inspect.iscoroutinefunction(function)
        self._run = self._run_on_loop if on_loop else self._run_in_thread

    def __call__(
        self, arguments: dict[str, Any], executor: Executor, on_end: Callable[[], object] | None = None
    ) -> Any:
        """Return an awaitable of what the driver returns. ``on_end`` is called when its function has ended."""
        return self._run(arguments, executor, on_end)

    async def _run_on_loop(
        self, arguments: dict[str, Any], executor: Executor, on_end: Callable[[], object] | None
    ) -> Any:
        try:
            result = self._function(**arguments)
            return result if self._is_stream else await result
        finally:
            if on_end is not None:
                on_end()

    async def _run_in_thread(
        self, arguments: dict[str, Any], executor: Executor, on_end: Callable[[], object] | None
    ) -> Any:
        result = await executor.run(lambda: self._function(**arguments), on_end)
        if inspect.iscoroutine(result):  # from under a decorator that hides it
            result.close()
            raise TypeError(f"{self.method.name} returned a coroutine but is not an async def")
        return result


def _encode(method: Method, result: Any) -> bytes:
    """Return the reply for a result, after the checks that only what is sent must pass: hosts are more lenient."""
    for message in result if isinstance(result, list) else (result,):
        check = getattr(message, "_check_sent", None)
        if check is not None:
            check()
    return method.encode_reply(result)


def _status_of(result: object) -> int:
    # As every other SDK does it: the engine reads Err only where the status is an error, and then fails closed.
    return 500 if getattr(result, "err", "") else 200


def _is_from_browser(scope: Scope) -> bool:
    # Browsers send Origin with every POST. A page must not call a plugin on TCP (CSRF, DNS rebinding).
    return any(name == b"origin" or name.startswith(b"sec-fetch-") for name, _ in scope["headers"])
