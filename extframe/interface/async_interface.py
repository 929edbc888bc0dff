"""AsyncInterface: the base of async plugins and the type of async drivers. No sockets, no event loop."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

from . import settings as plugin_settings
from .declarations import Declaration, Interface, declaration, declare
from .json_types import is_async_stream
from .messages import Message
from .methods import Method
from .proxies import SupportsAsyncCall, is_async, make_proxy

T = TypeVar("T", bound="AsyncInterface")


class AsyncInterface:
    """The base class of async drivers and of async plugins.

    The async mirror of an interface repeats its methods with ``async def``, and its streams with
    ``def f() -> AsyncIterator[T]``. The mirror is checked when the class is created; ``python -m
    extframe.interface.mirror MODULE:INTERFACE`` writes it::

        class AsyncBackup(AsyncInterface, mirrors=Backup):
            async def start(self, path: str) -> str:
                raise NotImplementedError

    An interface that is only ever async is declared once, like an ``Interface``: with ``implements=``, ``prefix=`` and
    ``@rpc`` above each ``async def``.
    """

    __extframe__: ClassVar[tuple[Declaration, ...]] = ()
    __is_async__: ClassVar[bool] = True

    def __init_subclass__(
        cls,
        *,
        mirrors: type[Interface] | None = None,
        implements: str | None = None,
        prefix: str | None = None,
        version: int | None = None,
        accepts: Iterable[int] | None = None,
        lenient: bool | None = None,
        settings: type[Message] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if "__declares__" in vars(cls):  # an untyped mirror
            return
        if mirrors is None:
            declare(cls, implements, prefix, version=version, accepts=accepts, lenient=lenient, settings=settings)
            return
        if any(option is not None for option in (implements, prefix, version, accepts, lenient, settings)):
            raise TypeError(
                f"{cls.__name__}: omit implements=, prefix=, version=, accepts=, lenient= and settings=; a mirror has "
                f"those of {mirrors.__name__}"
            )
        _mirror(cls, mirrors)

    # cls: type[T] instead of Self, so that Jedi (IPython's completion) knows the methods of the result.
    @classmethod
    def remote(cls: type[T], client: SupportsAsyncCall, *, timeout: float | None = None) -> T:
        """Return a driver whose methods call the plugin that ``client`` is bound to, and are awaited.

        Methods that a subclass overrides stay overridden; their ``super()`` calls the plugin. ``__init__`` is not
        called.

        Args:
            client: an ``extframe.AsyncClient``, or any object with its ``call``.
            timeout: the deadline of every call in seconds; overrides those that the interface declares.
        """
        if not is_async(client):
            known = [each.interface for each in cls.__extframe__ if issubclass(each.interface, Interface)]
            other = f": use {known[0].__name__}.remote(client)" if known else ""
            raise TypeError(f"{cls.__name__}.remote takes an AsyncClient, and {client!r} is not one{other}")
        return make_proxy(cls, client, timeout)


def untyped_mirror(interface: type[Interface]) -> type[AsyncInterface]:
    """Return an async mirror that type checkers know nothing of, for an interface without one."""
    with _lock:
        made: type[AsyncInterface] | None = vars(interface).get("__untyped_mirror__")
        if made is None:
            declared = declaration(interface)
            namespace = {"__extframe__": (declared,), "__declares__": declared, "__doc__": interface.__doc__}
            made = type(f"Async{interface.__name__}", (AsyncInterface,), namespace)
            interface.__untyped_mirror__ = made  # type: ignore[attr-defined]
    return made


_lock = threading.RLock()  # as that of `proxies`


def _mirror(cls: Any, interface: type) -> None:
    declared: Declaration | None = vars(interface).get("__declares__")
    if declared is None or not issubclass(interface, Interface):
        raise TypeError(f"{cls.__name__}: mirrors={interface!r} is not a class that declares an Interface")
    mismatches = [each for method in declared.methods for each in _mismatches(cls, method)]
    known = {method.name for method in declared.methods} | set(vars(AsyncInterface))
    if declared.settings is not None:
        known.add(plugin_settings.METHOD)
    extra = [name for name, value in vars(cls).items() if inspect.isroutine(value) and name not in known]
    mismatches += [f"{name} is not a method of {interface.__name__}" for name in extra if not name.startswith("__")]
    if mismatches:
        raise TypeError(f"{cls.__name__} does not mirror {interface.__name__}: {'; '.join(mismatches)}")
    for method in declared.methods:
        function: Any = _function(cls, method.name)
        function.__mirrors__ = method.function
        function.__doc__ = function.__doc__ or method.function.__doc__
    cls.__declares__ = declared
    cls.__extframe__ = (declared,)
    if vars(interface).get("__mirror__") is None:
        interface.__mirror__ = cls


def _function(cls: type, name: str) -> Callable[..., Any] | None:
    return next((vars(each)[name] for each in cls.__mro__ if name in vars(each)), None)


def _mismatches(cls: type, method: Method) -> Iterator[str]:
    """Yield the differences between a method of the interface and that of its mirror."""
    function = _function(cls, method.name)
    if not inspect.isfunction(function):
        yield f"{method.name} is missing" if function is None else f"{method.name} is not a function"
        return
    is_stream = method.stream is not None
    if is_stream == inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        expected = "def, with the result AsyncIterator[...]" if is_stream else "async def"
        yield f"{method.name} must be declared with {expected}"
        return
    try:
        here, there = _typed(function), _typed(method.function)
    except NameError as unknown:
        yield f"{method.name}: {unknown}"
        return
    yield from _parameter_mismatches(method.name, here, there)
    wanted, found = there.return_annotation, here.return_annotation
    if is_stream:
        wanted = AsyncIterator[get_args(wanted)]  # type: ignore[misc]
        found = AsyncIterator[get_args(found)] if is_async_stream(found) else found  # type: ignore[misc]
    if wanted != found:
        yield f"the result of {method.name} is {_shown(found)}, not {_shown(wanted)}"


def _parameter_mismatches(name: str, here: inspect.Signature, there: inspect.Signature) -> Iterator[str]:
    if list(here.parameters) != list(there.parameters):
        yield f"{name} takes ({', '.join(here.parameters)}), not ({', '.join(there.parameters)})"
        return
    for key, wanted in there.parameters.items():
        found = here.parameters[key]
        if found.kind != wanted.kind:
            yield f"{name}: {key} is {found.kind.description}, not {wanted.kind.description}"
        if found.default != wanted.default:
            yield f"{name}: the default of {key} is {_default(found)}, not {_default(wanted)}"
        if found.annotation != wanted.annotation:
            yield f"{name}: {key} is {_shown(found.annotation)}, not {_shown(wanted.annotation)}"


def _typed(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a method without self, with types but without keys."""
    hints = get_type_hints(function)
    signature = inspect.signature(function)
    parameters = [
        each.replace(annotation=hints.get(name, each.empty)) for name, each in list(signature.parameters.items())[1:]
    ]
    return signature.replace(parameters=parameters, return_annotation=hints.get("return", signature.empty))


def _default(parameter: inspect.Parameter) -> str:
    return "missing" if parameter.default is parameter.empty else repr(parameter.default)


def _shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
