"""Driver proxies, the host's side of an interface: methods that call the plugin. Knows anything with ``call``."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol, TypeVar

import msgspec

from ..errors import ProtocolError, RemoteError
from .markers import StreamCodec
from .methods import Method

T = TypeVar("T")


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


class _Declaration(Protocol):
    """What a proxy needs of an interface's declaration."""

    @property
    def interface(self) -> type: ...

    @property
    def methods(self) -> tuple[Method, ...]: ...


class Proxy:
    """The base of proxy classes. Its own names begin with an underscore, as the names of remote methods never do."""

    _interface_name = ""

    def _bind(self, client: Any, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout

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
            cls.__proxy__ = made = _make_proxy_class(cls, cls.__extframe__)  # type: ignore[attr-defined]
    return made


def _make_proxy_class(cls: type, declarations: Sequence[_Declaration]) -> type:
    namespace = {"__doc__": cls.__doc__, "__module__": cls.__module__, "_interface_name": cls.__name__}
    if [each.interface for each in declarations] == [cls]:
        made = type(f"Remote{cls.__name__}", (Proxy, cls), namespace)
        for method in declarations[0].methods:
            setattr(made, method.name, _remote_function(method))
        return made
    # Methods that a subclass overrides come before the proxy's in the MRO; super() reaches the proxy's.
    bases = (cls, *(_proxy_class(each.interface) for each in declarations))
    return type(f"Remote{cls.__name__}", bases, namespace)


def _remote_function(method: Method) -> Callable[..., Any]:
    make = _calling if method.rpc.stream is None else functools.partial(_streaming, codec=method.rpc.stream)
    return functools.wraps(method.function, updated=())(make(method))


def _calling(method: Method) -> Callable[..., Any]:
    wire, rpc = method.wire, method.rpc

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = method.encode_arguments(*args, **kwargs)
        client, timeout = self._client, rpc.timeout if self._timeout is None else self._timeout
        try:
            reply = client.call(wire, arguments, reply=msgspec.Raw, timeout=timeout, idempotent=rpc.idempotent)
            return method.decode_reply(bytes(reply))
        except (ProtocolError, RemoteError) as error:
            _add_context(error, client, wire)
            if rpc.fallback is None:
                raise
            return rpc.fallback(error)

    return remote


def _streaming(method: Method, codec: StreamCodec) -> Callable[..., Any]:
    wire, rpc = method.wire, method.rpc

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = method.encode_arguments(*args, **kwargs)
        client, timeout = self._client, rpc.timeout if self._timeout is None else self._timeout
        records = _records(client.stream(wire, arguments, timeout=timeout), codec, client, wire)
        next(records)  # sends the request, so that the call raises its errors; from now on close() ends the stream
        return records

    return remote


def _records(opened: AbstractContextManager[BinaryIO], codec: StreamCodec, client: object, wire: str) -> Iterator[Any]:
    with opened as stream:
        yield None
        try:
            yield from codec.unpack(stream)
        except ProtocolError as error:
            _add_context(error, client, wire)
            raise


def _identity(client: object) -> tuple[str | None, str | None]:
    return getattr(client, "plugin", None), getattr(client, "address", None)


def _add_context(error: ProtocolError | RemoteError, client: object, wire: str) -> None:
    """Set plugin, address and method of ``error`` where they are not set yet."""
    plugin, address = _identity(client)
    error.plugin = error.plugin or plugin
    error.address = error.address or address
    error.method = error.method or wire
