"""Driver proxies, the host's side of an interface: methods that call the plugin. Knows anything with ``call``."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import msgspec

from ..errors import DoesNotImplement, ProtocolError, RemoteError
from ..protocol import NOT_CONFIGURED
from .markers import StreamCodec
from .methods import Method
from .records import RecordIterator
from .versions import OlderMethod, spoken_version

if TYPE_CHECKING:
    from .streams import Readable

T = TypeVar("T")

_Translation = Callable[[Any, Callable[[str], str]], Any]  # as `rpc.paths`


class SupportsCall(Protocol):
    """What a proxy needs of a client. ``extframe.Client`` has it; so does a stub of three lines."""

    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: type[T],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> T:
        """Send ``arguments`` as JSON and return the reply as a ``reply``; ``msgspec.Raw`` asks for its bytes."""
        raise NotImplementedError


class SupportsAsyncCall(Protocol):
    """What an async proxy needs of a client. ``extframe.AsyncClient`` has it."""

    async def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: type[T],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> T:
        """Send ``arguments`` as JSON and return the reply as a ``reply``; ``msgspec.Raw`` asks for its bytes."""
        raise NotImplementedError


class _Declaration(Protocol):
    """The part of a ``Declaration`` that proxies need."""

    @property
    def methods(self) -> tuple[Method, ...]: ...
    @property
    def implements(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def accepts(self) -> tuple[int, ...]: ...


def is_async(client: object) -> bool:
    """Return whether the calls of a client are awaited."""
    return inspect.iscoroutinefunction(getattr(client, "call", None))


class Proxy:
    """The base of proxy classes. Its own names begin with an underscore, as the names of remote methods never do."""

    _interface_name = ""

    def _bind(self, client: Any, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout
        points = getattr(client, "points", None)
        if points is not None:
            points.update(
                (declared.prefix, declared.implements) for declared in getattr(type(self), "__extframe__", ())
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied, as its connections belong to this process: send the plugin's name "
            f"or address, and create the driver there: {self._interface_name}.remote(Client(address))"
        )

    def __repr__(self) -> str:
        plugin, address = _identity(self._client)
        owner = f"plugin {plugin!r}" if plugin else address or repr(self._client)
        return f"<{self._interface_name} of {owner}>"


_lock = threading.RLock()  # re-entrant: a class may have an __init_subclass__ that makes proxies


def make_proxy(cls: type[T], client: Any, timeout: float | None) -> T:
    """Return an instance of the proxy class of ``cls`` that is bound to ``client``; ``__init__`` is not called."""
    proxy_class: Any = _proxy_class(cls)
    proxy = proxy_class.__new__(proxy_class)
    proxy._bind(client, timeout)
    return proxy  # type: ignore[no-any-return]


def _proxy_class(cls: type) -> type:
    """Return the proxy class of ``cls``, which is created on first use and kept in it."""
    if issubclass(cls, Proxy):
        return cls
    with _lock:
        made: type | None = vars(cls).get("__proxy__")
        if made is None:
            cls.__proxy__ = made = _make_proxy_class(cls)  # type: ignore[attr-defined]
    return made


def _make_proxy_class(cls: Any) -> type:
    namespace = {"__doc__": cls.__doc__, "__module__": cls.__module__, "_interface_name": cls.__name__}
    declared: _Declaration | None = vars(cls).get("__declares__")
    if declared is not None:
        made = type(f"Remote{cls.__name__}", (Proxy, cls), namespace)
        for method in declared.methods:
            function = functools.wraps(getattr(cls, method.name, method.function), updated=())
            setattr(made, method.name, function(_versioned_function(declared, method, cls.__is_async__)))
        return made
    # Methods that a subclass overrides come before the proxy's in the MRO; super() reaches the proxy's.
    bases = (cls, *(_proxy_class(_declaring(cls, each)) for each in cls.__extframe__))
    return type(f"Remote{cls.__name__}", bases, namespace)


def _declaring(cls: type, declaration: _Declaration) -> type:
    """Return the base class of ``cls`` whose methods are those of a declaration."""
    return next(each for each in cls.__mro__ if vars(each).get("__declares__") == declaration)


def _versioned_function(declared: _Declaration, method: Method, is_async: bool) -> Callable[..., Any]:
    """Return a remote function that asks for the plugin's version, where it matters to the method."""
    current = _remote_function(method, is_async)
    if method.newest <= declared.accepts[0]:
        return current

    @functools.cache
    def older(version: int) -> Callable[..., Any]:
        return _remote_function(OlderMethod(method, declared.implements, version), is_async)

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            version = spoken_version(declared, self._client)
            function = current if version >= method.newest else older(version)
            return function(self, *args, **kwargs)
        except DoesNotImplement as missing:
            missing.plugin, missing.address = _identity(self._client)
            raise

    if is_async and method.stream is None:

        async def remote_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await remote(self, *args, **kwargs)

        return remote_async
    return remote


def _remote_function(method: Method, is_async: bool) -> Callable[..., Any]:
    if method.stream is None and method.rpc.paths is not None:
        return (_translating_async if is_async else _translating)(method.rpc.paths, method)
    if method.stream is None:
        return (_calling_async if is_async else _calling)(method)
    return (_streaming_async if is_async else _streaming)(method, method.stream)


def _opened(proxy: Any, method: Method, request: msgspec.Struct | None) -> Any:
    """Return the stream of a call, a context manager."""
    timeout = method.rpc.timeout if proxy._timeout is None else proxy._timeout
    options = {"follow": True} if method.follows(request) else {}  # stubs that follow nothing need not know it
    return proxy._client.stream(method.wire, request, timeout=timeout, **options)


def _recovered(error: ProtocolError | RemoteError, client: object, method: Method) -> Any:
    """Return the result that the interface declares for an error, or raise the error with its context."""
    _add_context(error, client, method.wire)
    if method.rpc.fallback is None:
        raise error
    return method.rpc.fallback(error)


def _waits_for_settings(error: ProtocolError | RemoteError, client: object) -> bool:
    """Return whether a plugin refused a call because it has restarted, and its manager can send the settings again."""
    return getattr(error, "status", None) == NOT_CONFIGURED and getattr(client, "configurator", None) is not None


def _identity(client: object) -> tuple[str | None, str | None]:
    return getattr(client, "plugin", None), getattr(client, "address", None)


def _add_context(error: ProtocolError | RemoteError, client: object, wire: str) -> None:
    """Set plugin, address and method of ``error`` where they are not set yet."""
    plugin, address = _identity(client)
    error.plugin = error.plugin or plugin
    error.address = error.address or address
    error.method = error.method or wire


# --- synchronous --------------------------------------------------------------------------------------


def _calling(method: Method) -> Callable[..., Any]:
    wire, idempotent, declared = method.wire, method.rpc.idempotent, method.rpc.timeout

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = method.encode_arguments(*args, **kwargs)
        client, timeout = self._client, declared if self._timeout is None else self._timeout
        try:
            reply = client.call(wire, arguments, reply=msgspec.Raw, timeout=timeout, idempotent=idempotent)
            return method.decode_reply(bytes(reply))
        except (ProtocolError, RemoteError) as error:
            if not _waits_for_settings(error, client):
                return _recovered(error, client, method)
        client.configurator.send_again(client)
        try:
            reply = client.call(wire, arguments, reply=msgspec.Raw, timeout=timeout, idempotent=idempotent)
            return method.decode_reply(bytes(reply))
        except (ProtocolError, RemoteError) as error:
            return _recovered(error, client, method)

    return remote


def _translating(paths: _Translation, method: Method) -> Callable[..., Any]:
    calling = _calling(method)

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = calling(self, *args, **kwargs)
        return paths(result, self._client.host_path) if getattr(self._client, "paths", ()) else result

    return remote


def _streaming(method: Method, codec: StreamCodec) -> Callable[..., Any]:
    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        client, arguments = self._client, method.encode_arguments(*args, **kwargs)

        def open_again(error: RemoteError) -> Any:
            if not _waits_for_settings(error, client):
                return None
            client.configurator.send_again(client)
            return _opened(self, method, arguments)

        opened = _opened(self, method, arguments)
        return RecordIterator(opened, codec, lambda error: _add_context(error, client, method.wire), open_again)

    return remote


# --- asynchronous -------------------------------------------------------------------------------------


def _calling_async(method: Method) -> Callable[..., Any]:
    wire, idempotent, declared = method.wire, method.rpc.idempotent, method.rpc.timeout

    async def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = method.encode_arguments(*args, **kwargs)
        client, timeout = self._client, declared if self._timeout is None else self._timeout
        try:
            reply = await client.call(wire, arguments, reply=msgspec.Raw, timeout=timeout, idempotent=idempotent)
            return method.decode_reply(bytes(reply))
        except (ProtocolError, RemoteError) as error:
            if not _waits_for_settings(error, client):
                return _recovered(error, client, method)
        await client.configurator.send_again_async(client)
        try:
            reply = await client.call(wire, arguments, reply=msgspec.Raw, timeout=timeout, idempotent=idempotent)
            return method.decode_reply(bytes(reply))
        except (ProtocolError, RemoteError) as error:
            return _recovered(error, client, method)

    return remote


def _translating_async(paths: _Translation, method: Method) -> Callable[..., Any]:
    calling = _calling_async(method)

    async def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await calling(self, *args, **kwargs)
        return paths(result, self._client.host_path) if getattr(self._client, "paths", ()) else result

    return remote


def _streaming_async(method: Method, codec: StreamCodec) -> Callable[..., Any]:
    def remote(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        arguments = method.encode_arguments(*args, **kwargs)
        return _records_async(lambda: _opened(self, method, arguments), codec, self._client, method.wire)

    return remote


async def _records_async(
    open_stream: Callable[[], AbstractAsyncContextManager[Readable]], codec: StreamCodec, client: Any, wire: str
) -> AsyncIterator[Any]:
    try:
        async for record in _records_of(open_stream(), codec, client, wire):
            yield record
        return
    except RemoteError as error:  # which comes before the first record
        if not _waits_for_settings(error, client):
            raise
    await client.configurator.send_again_async(client)
    async for record in _records_of(open_stream(), codec, client, wire):
        yield record


async def _records_of(
    opened: AbstractAsyncContextManager[Readable], codec: StreamCodec, client: object, wire: str
) -> AsyncIterator[Any]:
    from .streams import unpack_async

    async with opened as stream:
        try:
            async for record in unpack_async(codec, stream):
                yield record
        except ValueError:
            if not getattr(stream, "closed", False):  # with the client
                raise
        except (ProtocolError, RemoteError) as error:
            _add_context(error, client, wire)
            raise
