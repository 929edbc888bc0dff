"""Drivers, the plugin's side of an interface: which methods an object has, and which call reaches which."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .declarations import declarations, merged
from .methods import Method

Class = TypeVar("Class", bound=type)


def implements(*interfaces: type) -> Callable[[Class], Class]:
    """Mark a class, usually one with ``async def`` methods, as a driver of ``interfaces``.

    Type checkers reject an ``async def`` that overrides a ``def``, so such a class does not subclass the
    interface. The names and parameters of its methods are checked when it is served; a subclass of the interface's
    async mirror is checked by type checkers as well.
    """
    found = merged(interfaces)

    def mark(cls: Class) -> Class:
        cls.__extframe__ = found  # type: ignore[attr-defined]
        return cls

    return mark


def check_driver(driver: object) -> None:
    """Check that ``driver`` has the methods of its interfaces, with their parameters.

    Raises:
        TypeError: a method is missing or has other parameters. The message lists every mismatch.
    """
    methods = [method for found in declarations(driver) for method in found.methods]
    mismatches = [mismatch for method in methods for mismatch in _mismatches(driver, method)]
    if mismatches:
        raise TypeError(f"{type(driver).__name__} cannot be served: {'; '.join(mismatches)}")


def _mismatches(driver: object, method: Method) -> Iterator[str]:
    function = getattr(driver, method.name, None)
    if function is None:
        if not method.rpc.optional:
            yield f"{method.name} is missing"
        return
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function in C without a signature: wrong parameters show when it is called
        return
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    by_name = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    yield from (
        f"{method.name} does not take {name!r}"
        for name in method.signature.parameters
        if name not in by_name and not takes_any
    )
    yield from (
        f"{method.name} requires {name!r}, which is not in the request"
        for name, parameter in by_name.items()
        if name not in method.signature.parameters and parameter.default is parameter.empty
    )


def _is_declared_only(function: Callable[..., Any], method: Method) -> bool:
    """Return whether a bound method is that of the interface or of its mirror, not overridden."""
    underlying = getattr(function, "__func__", None)
    return underlying is method.function or getattr(underlying, "__mirrors__", None) is method.function


def routes(*drivers: object) -> dict[str, tuple[Method, Callable[..., Any]]]:
    """Return the calls that ``drivers`` answer: wire name, ``VolumeDriver.Mount`` -> Method and bound function.

    Methods that a driver does not override are left out, so that the host learns that they do not exist.

    Raises:
        TypeError: a driver cannot be served, or two have the same extension point.
    """
    table: dict[str, tuple[Method, Callable[..., Any]]] = {}
    for driver in drivers:
        check_driver(driver)
        for method in (method for found in declarations(driver) for method in found.methods):
            function = getattr(driver, method.name, None)
            if function is None or _is_declared_only(function, method):
                continue
            if method.wire in table:
                raise TypeError(f"{driver!r}: another driver already answers {method.wire}")
            table[method.wire] = (method, function)
    return table
