"""Interfaces: an extension point declared once, as a class, for both sides of the wire. No sockets, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from .markers import WORD
from .messages import Message
from .methods import Method
from .proxies import SupportsCall, is_async, make_proxy
from .settings import check_settings
from .versions import check_versions

T = TypeVar("T", bound="Interface")


@dataclass(frozen=True)
class Declaration:
    """What an ``Interface`` or ``AsyncInterface`` declares.

    Args:
        interface: the class; of an async mirror it is the interface that it mirrors.
        implements: the extension point, as plugins name it in their manifest.
        prefix: the part of a call's wire name before the dot.
        methods: the remote methods, in the order of the class.
        version: the version of the interface.
        accepts: the versions that it can speak, ascending; the last is ``version``.
        lenient: whether a plugin ignores arguments that it does not know.
        settings: the message that holds the settings of a plugin; None if the interface has none.
    """

    interface: type[Any]
    implements: str
    prefix: str
    methods: tuple[Method, ...]
    version: int = 1
    accepts: tuple[int, ...] = (1,)
    lenient: bool = False
    settings: type[Message] | None = None


class Interface:
    """The base class of every extension point. Its methods under ``@rpc`` are the plugin's remote methods.

    Subclass it with ``implements=``, the extension point's name in a plugin's manifest, and with ``prefix=`` if
    calls have another name before the dot; each is one ASCII word. A host calls ``remote(client)``; a plugin
    subclasses the interface again and overrides the methods.

    ``version=`` is the version of the interface, 1 by default, and ``accepts=`` lists the versions that it can speak,
    by default only its own: host and plugin use the highest version that both accept. With ``lenient=True`` plugins
    ignore arguments that they do not know, instead of refusing the call. ``settings=`` is a ``Message`` that holds the
    settings of a plugin; a plugin that takes them has a method ``configure(settings)``.

    >>> from extframe import rpc
    >>> class Backup(Interface, implements="Backup"):
    ...     @rpc("Start", returns="JobID", timeout=10.0)
    ...     def start(self, path: str) -> str:
    ...         raise NotImplementedError
    """

    __extframe__: ClassVar[tuple[Declaration, ...]] = ()
    __is_async__: ClassVar[bool] = False
    __mirror__: ClassVar[type[Any] | str | None] = None
    """The async mirror: its class, or ``MODULE:CLASS`` to import it on first use."""

    def __init_subclass__(
        cls,
        *,
        implements: str | None = None,
        prefix: str | None = None,
        version: int | None = None,
        accepts: Iterable[int] | None = None,
        lenient: bool | None = None,
        settings: type[Message] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        declare(cls, implements, prefix, version=version, accepts=accepts, lenient=lenient, settings=settings)

    # cls: type[T] instead of Self, so that Jedi (IPython's completion) knows the methods of the result.
    @classmethod
    def remote(cls: type[T], client: SupportsCall, *, timeout: float | None = None) -> T:
        """Return a driver whose methods call the plugin that ``client`` is bound to.

        Methods that a subclass overrides stay overridden; their ``super()`` calls the plugin. ``__init__`` is not
        called.

        Args:
            client: an ``extframe.Client``, or any object with its ``call``.
            timeout: the deadline of every call in seconds; overrides those that the interface declares.
        """
        if is_async(client):
            mirror = cls.__mirror__ if "__mirror__" in vars(cls) else None
            name = (mirror.rpartition(":")[2] if isinstance(mirror, str) else mirror.__name__) if mirror else ""
            raise TypeError(
                f"{cls.__name__}.remote takes a Client, and {client!r} is an async client: use "
                + (f"{name}.remote(client) or " if name else "")
                + f"extframe.remote({cls.__name__}, client)"
            )
        return make_proxy(cls, client, timeout)


def declare(
    cls: Any,
    implements: str | None,
    prefix: str | None,
    *,
    version: int | None = None,
    accepts: Iterable[int] | None = None,
    lenient: bool | None = None,
    settings: type[Message] | None = None,
) -> None:
    """Set the declarations of a new class: its own, or those that it inherits."""
    inherited = merged(cls.__bases__)
    functions = list(_rpc_functions(cls))
    is_plain = all(option is None for option in (implements, prefix, version, accepts, lenient, settings))
    if is_plain and not functions:
        cls.__extframe__ = inherited
        return
    declared = _declare(cls, inherited, implements, prefix, functions, (version, accepts, lenient))
    base = inherited[0].settings if inherited else None
    cls.__declares__ = replace(declared, settings=check_settings(cls, declared, settings or base))
    cls.__extframe__ = (cls.__declares__,)


def _rpc_functions(cls: type) -> Iterator[Callable[..., Any]]:
    for name, value in vars(cls).items():
        if hasattr(value, "__rpc__"):
            yield value
        # The function inside a property, a cached_property or a partialmethod.
        elif hasattr(getattr(value, "fget", None) or getattr(value, "func", None), "__rpc__"):
            raise TypeError(f"{cls.__name__}.{name}: @rpc declares a method; remove {type(value).__name__} from it")


def _declare(
    cls: Any,
    inherited: tuple[Declaration, ...],
    implements: str | None,
    prefix: str | None,
    functions: list[Callable[..., Any]],
    options: tuple[int | None, Iterable[int] | None, bool | None],
) -> Declaration:
    if len(inherited) > 1:
        raise TypeError(f"{cls.__name__}: an interface extends one other interface, not {_listed(inherited)}")
    base = inherited[0] if inherited else None
    if implements is None and base is None:
        raise TypeError(f'{cls.__name__}: name its extension point with implements="..."')
    point = base.implements if implements is None else implements  # type: ignore[union-attr]
    if prefix is None:
        prefix = base.prefix if base and implements is None else point
    _check_word(cls, "implements", point)
    _check_word(cls, "prefix", prefix)
    declared = {method.name: method.function for method in base.methods} if base else {}
    declared.update((function.__name__, function) for function in functions)
    version, accepts, lenient = _versions(cls, base, *options)
    methods = tuple(
        Method(function, prefix, is_async=cls.__is_async__, version=version, lenient=lenient)
        for function in declared.values()
    )
    _check_names(cls, methods)
    return Declaration(cls, point, prefix, methods, version, accepts, lenient)


def _versions(
    cls: type, base: Declaration | None, version: int | None, accepts: Iterable[int] | None, lenient: bool | None
) -> tuple[int, tuple[int, ...], bool]:
    """Return version, accepted versions and leniency; those of the base class where they are not given."""
    if version is None and accepts is None and base is not None:
        version, accepts = base.version, base.accepts
    try:
        checked = check_versions(1 if version is None else version, accepts)
    except TypeError as wrong:
        raise TypeError(f"{cls.__name__}: {wrong}") from None
    return (*checked, (base is not None and base.lenient) if lenient is None else lenient)


def _check_word(cls: type, key: str, word: object) -> None:
    if not (isinstance(word, str) and WORD.fullmatch(word)):
        example = f'{key}="VolumeDriver"'
        raise TypeError(f"{cls.__name__}: {key} is {word!r}; expected one ASCII word without a slash, as in {example}")


def _check_names(cls: type, methods: tuple[Method, ...]) -> None:
    by_wire: dict[str, Method] = {}
    for method in methods:
        if method.name.startswith("_") or method.name in vars(Interface):
            raise TypeError(f"{cls.__name__}.{method.name}: the name is reserved; choose another for {method.wire}")
        other = by_wire.setdefault(method.wire, method)
        if other is not method:
            raise TypeError(f"{cls.__name__}: {other.name} and {method.name} have the same wire name, {method.wire}")


def merged(classes: tuple[type, ...]) -> tuple[Declaration, ...]:
    """Return the declarations of all ``classes``, each once.

    Raises:
        TypeError: two of them have a method of the same name, so that one object cannot implement both.
    """
    found = tuple(dict.fromkeys(each for cls in classes for each in getattr(cls, "__extframe__", ())))
    owners: dict[str, Declaration] = {}
    for each in found:
        for method in each.methods:
            if owners.setdefault(method.name, each) is not each:
                both = _listed((owners[method.name], each))
                raise TypeError(f"{both} both have a method {method.name!r}; write one driver class for each")
    with_settings = tuple(each for each in found if each.settings is not None)
    if len(with_settings) > 1:
        raise TypeError(f"{_listed(with_settings)} both have settings; write one driver class for each")
    return found


def _listed(declarations: tuple[Declaration, ...]) -> str:
    return " and ".join(each.interface.__name__ for each in declarations)


def declaration(interface: type) -> Declaration:
    """Return what ``interface`` declares.

    Raises:
        TypeError: it is not an interface, or it combines several.
    """
    found = declarations(interface)
    if len(found) != 1:
        raise TypeError(f"{interface!r} combines several interfaces: {_listed(found)}")
    return found[0]


def declarations(driver: object) -> tuple[Declaration, ...]:
    """Return the declarations of the interfaces that ``driver``, an object or its class, implements.

    Raises:
        TypeError: it implements none.
    """
    found: tuple[Declaration, ...] = getattr(driver, "__extframe__", ())
    if not found:
        raise TypeError(
            f"{driver!r} is not a driver: subclass an Interface or an AsyncInterface, or decorate an async class with "
            "@implements(...)"
        )
    return found
