"""Write the async mirror of an interface: ``python -m extframe.interface.mirror MODULE:INTERFACE``."""

from __future__ import annotations

import argparse
import enum
import inspect
import sys
import types
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .async_interface import AsyncInterface
from .declarations import Declaration, Interface
from .methods import Method

WIDTH = 120


def mirror_source(interface: type[Interface]) -> str:
    """Return the source of a module with the async mirror of ``interface``, formatted as ruff formats it.

    Raises:
        TypeError: ``interface`` is not a class that declares an interface.
    """
    declared: Declaration | None = vars(interface).get("__declares__")
    if declared is None or not issubclass(interface, Interface):
        raise TypeError(f"{interface!r} is not a class that declares an Interface")
    imports = _Imports()
    methods = [_method(method, imports) for method in declared.methods]
    name = interface.__name__
    head = [
        f'"""The async mirror of {name}, written by ``python -m extframe.interface.mirror``. Knows no transport."""',
        "",
        "from __future__ import annotations",
        "",
        *imports.lines(interface),
        "",
        "",
        f"class Async{name}(AsyncInterface, mirrors={name}):",
        f'    """The async mirror of `{name}`: the base of async plugins and the type of async drivers."""',
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(methods) + "\n"


class _Imports:
    """The names that a module uses, by the module they come from."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}

    def add(self, module: str, name: str) -> str:
        """Import a name, or the outermost class of a nested one, and return it."""
        if module != "builtins":
            self._names.setdefault(module, set()).add(name.partition(".")[0])
        return name

    def lines(self, interface: type) -> Iterable[str]:
        """Yield the import statements, the standard library's first."""
        self.add(interface.__module__, interface.__name__)
        is_ours = interface.__module__.startswith("extframe.")
        self.add(AsyncInterface.__module__ if is_ours else "extframe", AsyncInterface.__name__)
        blocks: dict[int, list[str]] = {0: [], 1: [], 2: []}
        for module in sorted(self._names, key=lambda module: (not module.startswith("extframe.interface"), module)):
            package = module.partition(".")[0]
            block = 0 if package in sys.stdlib_module_names else 1 if package == "extframe" else 2
            blocks[block].append(self._line(module, is_ours))
        yield "\n\n".join("\n".join(lines) for lines in blocks.values() if lines)

    def _line(self, module: str, is_ours: bool) -> str:
        names = ", ".join(sorted(self._names[module], key=lambda name: (not name.isupper(), name)))
        return f"from {_relative(module) if is_ours else module} import {names}"


def _relative(module: str) -> str:
    """Return a module as a module of extframe.subsystems imports it."""
    package, _, name = module.rpartition(".")
    if package == "extframe.subsystems":
        return f".{name}"
    return f"..{module.removeprefix('extframe.')}" if module.startswith("extframe.") else module


def _method(method: Method, imports: _Imports) -> str:
    hints = get_type_hints(method.function)
    result, keyword = hints.pop("return"), "async def"
    if method.stream is None:
        returned = _type(result, imports)
    else:
        keyword = "def"
        imports.add("collections.abc", "AsyncIterator")
        returned = f"AsyncIterator[{', '.join(_type(each, imports) for each in get_args(result))}]"
    parameters = list(inspect.signature(method.function).parameters.values())[1:]
    written = ["self"]
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in written:
            written.append("*")
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default, imports)}"
        written.append(f"{parameter.name}: {_type(hints[parameter.name], imports)}{default}")
    return _definition(f"    {keyword} {method.name}(", written, f") -> {returned}:") + _BODY


_BODY = "\n        raise NotImplementedError"


def _definition(head: str, parameters: list[str], tail: str) -> str:
    joined = ", ".join(parameters)
    if len(head + joined + tail) <= WIDTH:
        return head + joined + tail
    if len(joined) + 8 <= WIDTH:
        return f"{head}\n        {joined}\n    {tail}"
    return head + "".join(f"\n        {each}," for each in parameters) + f"\n    {tail}"


def _type(kind: Any, imports: _Imports) -> str:
    """Return a type as source."""
    origin, members = get_origin(kind), get_args(kind)
    if kind is types.NoneType:
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(_type(member, imports) for member in members)
    if origin is Literal:
        return f"{imports.add('typing', 'Literal')}[{', '.join(_default(member, imports) for member in members)}]"
    if kind is Any:
        return imports.add("typing", "Any")
    if origin is not None:
        inner = ", ".join("..." if member is ... else _type(member, imports) for member in members)
        return f"{imports.add(origin.__module__, origin.__qualname__)}[{inner}]"
    return imports.add(kind.__module__, kind.__qualname__)


def _default(value: Any, imports: _Imports) -> str:
    """Return a default as source."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return f"{imports.add(kind.__module__, kind.__qualname__)}.{value.name}"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bytes):
        return "b" + _quoted(value)
    if kind.__module__ == "builtins":
        return repr(value)
    name = imports.add(kind.__module__, kind.__qualname__)
    return f"{name}()" if value == kind() else repr(value)


def _quoted(value: str | bytes) -> str:
    """Return a literal without its prefix, in double quotes where ruff prefers them."""
    text = repr(value).lstrip("b")
    return text if '"' in text else f'"{text[1:-1]}"'


def main() -> None:
    """Print the mirror of the interface that is named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m extframe.interface.mirror", description="Print a module with the async mirror of an interface."
    )
    parser.add_argument("interface", metavar="MODULE:INTERFACE", help="for example acme_backup:Backup")
    given = parser.parse_args().interface
    module, _, name = given.partition(":")
    sys.path.insert(0, "")
    try:
        source = mirror_source(getattr(import_module(module), name))
    except (ImportError, AttributeError, TypeError, ValueError) as wrong:
        parser.error(f"{given}: {wrong}")
    sys.stdout.write(source)


if __name__ == "__main__":
    main()
