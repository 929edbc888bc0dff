"""Declare an extension point once, for both ends of the wire. Knows anything with ``call``; no sockets, no HTTP."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol, TypeVar

import msgspec

from ..errors import ProtocolError, RemoteError
from .methods import WORD, Method, StreamCodec

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
Class = TypeVar("Class", bound=type)


class Caller(Protocol):
    """What a proxy needs of a client. ``extframe.Client`` is one; a stub of three lines is another."""

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


# --- declaring ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Declaration:
    """What an ``Interface`` says of its extension point.

    Args:
        interface: the class.
        implements: the extension point, as it stands in a plugin's manifest.
        prefix: what stands before the dot in a call.
        methods: in the order of the class.
    """

    interface: type[Interface]
    implements: str
    prefix: str
    methods: tuple[Method, ...]


class Interface:
    """The base of every extension point: a class whose methods, under ``@rpc``, are those of the plugin.

    Subclass it with ``implements=``, the name in a plugin's manifest, and ``prefix=`` where calls have another
    name before the dot; each is one word in ASCII. ``remote(client)`` is the host's end; a plugin subclasses the
    interface once more and overrides the methods.

    >>> from extframe import rpc
    >>> class Backup(Interface, implements="Backup"):
    ...     @rpc("Start", returns="JobID", timeout=10.0)
    ...     def start(self, path: str) -> str:
    ...         raise NotImplementedError
    """

    __extframe__: ClassVar[tuple[Declaration, ...]] = ()

    def __init_subclass__(cls, *, implements: str | None = None, prefix: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = _merged(cls.__bases__)
        functions = list(_rpc_functions(cls))
        if implements is not None or prefix is not None or functions:
            cls.__extframe__ = (_declare(cls, inherited, implements, prefix, functions),)
        else:
            cls.__extframe__ = inherited

    @classmethod
    def remote(cls, client: Caller, *, timeout: float | None = None) -> Self:
        """Return a driver whose methods call the plugin that ``client`` is bound to.

        What a subclass overrides stays overridden, and ``super()`` reaches the plugin. Its ``__init__`` is not called.

        Args:
            client: an ``extframe.Client``, or anything with its ``call``.
            timeout: the deadline of every call in seconds, in the place of those that the interface declares.
        """
        remote_class: Any = _remote_class(cls)
        driver = remote_class.__new__(remote_class)
        driver._bind(client, timeout)
        return driver  # type: ignore[no-any-return]


def _rpc_functions(cls: type) -> Iterator[Callable[..., Any]]:
    for name, value in vars(cls).items():
        if hasattr(value, "__rpc__"):
            yield value
        # What a property, a cached_property or a partialmethod is made of.
        elif hasattr(getattr(value, "fget", None) or getattr(value, "func", None), "__rpc__"):
            raise TypeError(f"{cls.__name__}.{name}: a method under @rpc is called; take {type(value).__name__} off it")


def _declare(
    cls: type[Interface],
    inherited: tuple[Declaration, ...],
    implements: str | None,
    prefix: str | None,
    functions: list[Callable[..., Any]],
) -> Declaration:
    if len(inherited) > 1:
        raise TypeError(f"{cls.__name__}: an interface extends one other, not {_listed(inherited)}")
    base = inherited[0] if inherited else None
    if implements is None and base is None:
        raise TypeError(f'{cls.__name__}: say which extension point it is, with implements="..."')
    point = base.implements if implements is None else implements  # type: ignore[union-attr]
    if prefix is None:
        prefix = base.prefix if base and implements is None else point
    _check_word(cls, "implements", point)
    _check_word(cls, "prefix", prefix)
    declared = {method.name: method.function for method in base.methods} if base else {}
    declared.update((function.__name__, function) for function in functions)
    methods = tuple(Method(function, prefix) for function in declared.values())
    _check_names(cls, methods)
    return Declaration(cls, point, prefix, methods)


def _check_word(cls: type, key: str, word: object) -> None:
    if not (isinstance(word, str) and WORD.fullmatch(word)):
        example = f'{key}="VolumeDriver"'
        raise TypeError(
            f"{cls.__name__}: {key} is {word!r}; expected one word in ASCII without a slash, as in {example}"
        )


def _check_names(cls: type, methods: tuple[Method, ...]) -> None:
    wires: dict[str, Method] = {}
    for method in methods:
        if method.name.startswith("_") or method.name in vars(Interface):
            raise TypeError(f"{cls.__name__}.{method.name}: the name is taken; choose another for {method.wire}")
        other = wires.setdefault(method.wire, method)
        if other is not method:
            raise TypeError(f"{cls.__name__}: {other.name} and {method.name} are both {method.wire}")


def _merged(classes: tuple[type, ...]) -> tuple[Declaration, ...]:
    """Return the declarations of all ``classes``, each once.

    Raises:
        TypeError: two of them have a method of the same name, so that one object cannot be both.
    """
    merged = tuple(dict.fromkeys(found for each in classes for found in getattr(each, "__extframe__", ())))
    owners: dict[str, Declaration] = {}
    for found in merged:
        for method in found.methods:
            if owners.setdefault(method.name, found) is not found:
                both = _listed((owners[method.name], found))
                raise TypeError(f"{both} both have a method {method.name!r}; make a driver for each")
    return merged


def _listed(declarations: tuple[Declaration, ...]) -> str:
    return " and ".join(each.interface.__name__ for each in declarations)


def declaration(interface: type[Interface]) -> Declaration:
    """Return what ``interface`` declares.

    Raises:
        TypeError: it is no interface, or several.
    """
    found = declarations(interface)
    if len(found) != 1:
        raise TypeError(f"{interface!r} is several interfaces: {_listed(found)}")
    return found[0]


def declarations(driver: object) -> tuple[Declaration, ...]:
    """Return the declarations of the interfaces that ``driver``, an object or its class, implements.

    Raises:
        TypeError: there are none.
    """
    found: tuple[Declaration, ...] = getattr(driver, "__extframe__", ())
    if not found:
        raise TypeError(f"{driver!r} is no driver: subclass an Interface, or put @implements(...) above an async class")
    return found


# --- the host's end -----------------------------------------------------------------------------------


class _Remote:
    """What every proxy class has beside its methods. Its own names begin with an underscore, theirs never do."""

    _shown = ""

    def _bind(self, client: Caller, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout

    def __repr__(self) -> str:
        plugin, address = _identity(self._client)
        whose = f"plugin {plugin!r}" if plugin else address or repr(self._client)
        return f"<{self._shown} of {whose}>"


_making = threading.RLock()  # a class may have an __init_subclass__ that makes proxies


def _remote_class(cls: type[Interface]) -> type[Interface]:
    """Return the proxy class of ``cls``, made at its first use and kept in it."""
    with _making:
        made: type[Interface] | None = vars(cls).get("__remote__")
        if made is None:
            cls.__remote__ = made = _make_remote_class(cls)  # type: ignore[attr-defined]
    return made


def _make_remote_class(cls: type[Interface]) -> type[Interface]:
    namespace = {"__doc__": cls.__doc__, "__module__": cls.__module__, "_shown": cls.__name__}
    found = declarations(cls)
    if [each.interface for each in found] == [cls]:
        made = type(f"Remote{cls.__name__}", (_Remote, cls), namespace)
        for method in found[0].methods:
            setattr(made, method.name, _remote_function(method))
        return made
    # What a subclass overrides stands before the proxy's methods, which super() reaches.
    bases = (cls, *(_remote_class(each.interface) for each in found))
    return type(f"Remote{cls.__name__}", bases, namespace)


def _remote_function(method: Method) -> Callable[..., Any]:
    make = _caller if method.rpc.stream is None else functools.partial(_streamer, codec=method.rpc.stream)
    return functools.wraps(method.function, updated=())(make(method))


def _caller(method: Method) -> Callable[..., Any]:
    wire, rpc = method.wire, method.rpc

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = method.encode_arguments(*args, **kwargs)
        client, timeout = self._client, rpc.timeout if self._timeout is None else self._timeout
        try:
            reply = client.call(wire, arguments, reply=msgspec.Raw, timeout=timeout, idempotent=rpc.idempotent)
            return method.decode_reply(bytes(reply))
        except (ProtocolError, RemoteError) as error:
            _name(error, client, wire)
            if rpc.fallback is None:
                raise
            return rpc.fallback(error)

    return remote


def _streamer(method: Method, codec: StreamCodec) -> Callable[..., Any]:
    wire, rpc = method.wire, method.rpc

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = method.encode_arguments(*args, **kwargs)
        client, timeout = self._client, rpc.timeout if self._timeout is None else self._timeout
        records = _records(client.stream(wire, arguments, timeout=timeout), codec, client, wire)
        next(records)  # sends the request, so that an error is the call's; and from now on close() ends the stream
        return records

    return remote


def _records(opened: AbstractContextManager[BinaryIO], codec: StreamCodec, client: object, wire: str) -> Iterator[Any]:
    with opened as stream:
        yield None
        try:
            yield from codec.unpack(stream)
        except ProtocolError as error:
            _name(error, client, wire)
            raise


def _identity(client: object) -> tuple[str | None, str | None]:
    return getattr(client, "plugin", None), getattr(client, "address", None)


def _name(error: ProtocolError | RemoteError, client: object, wire: str) -> None:
    """Say in ``error`` who was called for what, where nobody has yet."""
    plugin, address = _identity(client)
    error.plugin = error.plugin or plugin
    error.address = error.address or address
    error.method = error.method or wire


# --- the plugin's end ---------------------------------------------------------------------------------


def implements(*interfaces: type[Interface]) -> Callable[[Class], Class]:
    """Mark a class, usually one with ``async def`` methods, as a driver of ``interfaces``.

    Type checkers refuse an ``async def`` that overrides a ``def``, so such a class does not subclass the
    interface. Its methods are checked by their names and parameters when it is served.
    """
    found = _merged(interfaces)

    def mark(cls: Class) -> Class:
        cls.__extframe__ = found  # type: ignore[attr-defined]
        return cls

    return mark


def check_driver(driver: object) -> None:
    """Check that ``driver`` has the methods of its interfaces, with their parameters.

    Raises:
        TypeError: it lacks some, or theirs are others. The message lists all of them.
    """
    methods = [method for found in declarations(driver) for method in found.methods]
    faults = [fault for method in methods for fault in _faults(driver, method)]
    if faults:
        raise TypeError(f"{type(driver).__name__} cannot be served: {'; '.join(faults)}")


def _faults(driver: object, method: Method) -> Iterator[str]:
    function = getattr(driver, method.name, None)
    if function is None:
        if not method.rpc.optional:
            yield f"{method.name} is missing"
        return
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function in C that does not tell; what it takes shows when it is called
        return
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    by_name = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    yield from (
        f"{method.name} does not take {name!r}"
        for name in method.signature.parameters
        if name not in by_name and not takes_any
    )
    yield from (
        f"{method.name} wants {name!r}, which no request has"
        for name, parameter in by_name.items()
        if name not in method.signature.parameters and parameter.default is parameter.empty
    )


def routes(*drivers: object) -> dict[str, tuple[Method, Callable[..., Any]]]:
    """Return what ``drivers`` answer: the name of a call, ``VolumeDriver.Mount`` -> its Method and the bound function.

    Methods that a driver did not override are not in it: the host shall hear that they do not exist.

    Raises:
        TypeError: a driver cannot be served, or two have the same extension point.
    """
    table: dict[str, tuple[Method, Callable[..., Any]]] = {}
    for driver in drivers:
        check_driver(driver)
        for method in (method for found in declarations(driver) for method in found.methods):
            function = getattr(driver, method.name, None)
            if function is None or getattr(function, "__func__", None) is method.function:
                continue
            if method.wire in table:
                raise TypeError(f"{driver!r}: another driver answers {method.wire} already")
            table[method.wire] = (method, function)
    return table
