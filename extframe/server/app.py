"""Drivers as an ASGI application: the protocol's rules for requests and answers. Opens no socket."""

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
from ..protocol import ACTIVATE, encode_json
from ..text import text_of
from .asgi import CLOSE, Gone, Receive, Scope, Send, TooLarge, read_body, send_error, send_json
from .caller import Caller
from .streams import StreamReply, send_records
from .turns import Turns
from .workers import Workers

REQUEST_LIMIT = 16 << 20  # bytes: authz's requests carry bodies of up to 4 MiB twice, in base64
THREADS = 64

logger = get_logger(__name__)


def asgi_app(
    *drivers: object, serialize: str | None = None, threads: int = THREADS, limit: int = REQUEST_LIMIT
) -> PluginApp:
    """Return ``drivers`` as an ASGI application, for any server that speaks HTTP/1.1.

    Args:
        drivers: objects of classes that subclass an interface, or that ``@implements`` marks. Methods under
            ``async def`` run in the event loop, others each in a thread.
        serialize: the name of a parameter, such as ``name``: calls with the same value go in turn, in the order
            in which they came; others go side by side.
        threads: how many methods that are not async may run at a time; further ones wait.
        limit: how many bytes a request's body may have.

    Raises:
        TypeError: a driver lacks methods or has other parameters, two have the same extension point, or no
            method has the parameter that ``serialize`` names.
    """
    return PluginApp(drivers, serialize=serialize, threads=threads, limit=limit)


class PluginApp:
    """An ASGI application that answers for drivers.

    Attributes:
        implements: their extension points, as the manifest gives them.
    """

    def __init__(self, drivers: tuple[object, ...], *, serialize: str | None, threads: int, limit: int) -> None:
        if not drivers:
            raise TypeError("there is no driver to serve")
        points = (found.implements for driver in drivers for found in declarations(driver))
        self.implements = tuple(dict.fromkeys(points))
        self._limit = limit
        self._workers = Workers(threads)
        self._calls = {f"/{wire}": _Call(*route) for wire, route in routes(*drivers).items()}
        self._manifest = encode_json({"Implements": self.implements})
        self._turns = Turns()
        self._serialize = serialize
        known = {parameter for call in self._calls.values() for parameter in call.method.signature.parameters}
        if serialize is not None and serialize not in known:
            raise TypeError(f"serialize={serialize!r}: no method has such a parameter")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI 3 has it."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            raise NotImplementedError(f"a plugin does not speak {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """End the threads, each when it has done its work. A server that speaks ASGI's lifespan does this."""
        self._workers.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await send_error(send, 405, f"{scope['method']} is not understood; calls are POST", (b"allow", b"POST"))
            return
        call = self._calls.get(scope["path"])
        if scope["path"] == f"/{ACTIVATE}":
            await send_json(send, 200, self._manifest)
        elif call is None:
            await send_error(send, 404, f"{scope['path'][1:200]} is not implemented by this plugin")
        else:
            await self._call(call, receive, send)

    async def _call(self, call: _Call, receive: Receive, send: Send) -> None:
        try:
            arguments = call.method.decode_request(await read_body(receive, self._limit))
        except Gone:
            return
        except TooLarge:
            words = f"the request's body has more than {self._limit} bytes; the plugin's limit= allows no more"
            await send_error(send, 413, words, CLOSE)
        except ProtocolError as wrong:
            logger.info("%s: refused a request: %s", call.method.wire, wrong)
            await send_error(send, 400, str(wrong))
        else:
            await self._carry_out(call, arguments, receive, send)

    async def _carry_out(self, call: _Call, arguments: dict[str, Any], receive: Receive, send: Send) -> None:
        caller = Caller(receive)
        method, codec = call.method, call.method.rpc.stream
        reply = None if codec is None else StreamReply(send, codec)
        try:
            result = await self._run(call, arguments)
            if reply is None:
                await send_json(send, 200, method.encode_reply(result))
            else:
                await send_records(reply, result, caller, self._workers)
        # A method that calls sys.exit() fails alone, and one that the end of the server cuts off says so.
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if reply is not None and reply.begun:
                raise  # the server ends the connection, which is how the host learns that this is not the end
            await send_error(send, *_failure(method, error))
        finally:
            caller.answered()

    async def _run(self, call: _Call, arguments: dict[str, Any]) -> Any:
        key = arguments.get(self._serialize) if self._serialize is not None else None
        if key is None:
            return await call(arguments, self._workers)
        key = key if isinstance(key, Hashable) else repr(key)
        await self._turns.take(key)
        return await call(arguments, self._workers, lambda: self._turns.give(key))


class _Call:
    """A method, and the driver's function that carries it out."""

    def __init__(self, method: Method, function: Callable[..., Any]) -> None:
        self.method = method
        self._function = function
        self._is_stream = inspect.isasyncgenfunction(function)
        on_loop = self._is_stream or inspect.iscoroutinefunction(function)
        self._run = self._run_on_loop if on_loop else self._run_in_thread

    def __call__(self, arguments: dict[str, Any], workers: Workers, then: Callable[[], object] | None = None) -> Any:
        """Return an awaitable of what the driver returns; ``then`` is called when its function has ended."""
        return self._run(arguments, workers, then)

    async def _run_on_loop(self, arguments: dict[str, Any], workers: Workers, then: Callable[[], object] | None) -> Any:
        try:
            result = self._function(**arguments)
            return result if self._is_stream else await result
        finally:
            if then is not None:
                then()

    async def _run_in_thread(
        self, arguments: dict[str, Any], workers: Workers, then: Callable[[], object] | None
    ) -> Any:
        result = await workers.run(lambda: self._function(**arguments), then)
        if inspect.iscoroutine(result):  # from under a decorator that hides it
            result.close()
            raise TypeError(f"{self.method.name} returned a coroutine, but is no async def")
        return result


def _failure(method: Method, error: BaseException) -> tuple[int, str]:
    """Return the status and the words of an answer that reports what a driver raised, and log it."""
    if isinstance(error, RemoteError):  # raised on purpose, to choose the words and the status
        logger.info("%s: answered an error: %s", method.wire, error.message)
        return error.status if 400 <= error.status <= 599 else 500, error.message or "failed"
    if isinstance(error, NotImplementedError):
        return 404, text_of(error) or f"{method.wire} is not implemented by this plugin"
    if isinstance(error, asyncio.CancelledError):
        logger.warning("%s: cut off", method.wire)
        return 500, "the plugin stopped before the call had ended"
    logger.error("%s: %s", method.wire, text_of(error), exc_info=error)
    # The text of a KeyError is the key, and that of many others is empty: the class says what they mean.
    words = "" if isinstance(error, KeyError) else text_of(error)
    return 500, words or repr(error)
