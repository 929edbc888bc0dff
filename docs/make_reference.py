"""Write docs/reference.md from the declarations in extframe.subsystems: ``python docs/make_reference.py``."""

from __future__ import annotations

import pkgutil
import types
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from extframe import subsystems
from extframe.interface import Declaration, Interface, declaration
from extframe.interface.docstrings import argument_descriptions, split_docstring
from extframe.interface.messages import Message
from extframe.interface.methods import Method
from extframe.protocol import hook_name

REFERENCE = Path(__file__).with_name("reference.md")

HEAD = """# Reference: Docker's extension points

<!-- Written by docs/make_reference.py from the declarations; change those. -->

Each extension point is a class in `extframe.subsystems`. A host calls `remote(client)` to get a driver with these
methods; a plugin subclasses the class and overrides them. For async code each has an async mirror with these methods.
[Extension points](extension-points.md) describes what all of them have in common.

- **Deadline**: the default timeout of a call; `remote(client, timeout=...)` overrides it. "The client's" is 60 s unless
  the client was created with another timeout. An open stream has no deadline.
- **Idempotent**: whether the call is retried if the connection is lost after it was sent.
- **Optional**: a plugin may omit the method. The description says how a host handles that.
- In replies every field may be missing or null, and keys are case-insensitive.
"""


def reference() -> str:
    """Return the whole page."""
    declarations = sorted(declared(), key=lambda found: found.interface.__name__)
    sections = [_interface_section(found) for found in declarations]
    return "\n".join([HEAD, *sections])


def declared() -> Iterator[Declaration]:
    """Yield the declarations of all of Docker's extension points."""
    for found in pkgutil.iter_modules(subsystems.__path__):
        module = import_module(f"{subsystems.__name__}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Interface) and value.__module__ == module.__name__:
                yield declaration(value)


def _interface_section(found: Declaration) -> str:
    text, _ = split_docstring(found.interface)
    meanings = argument_descriptions(found)
    name = found.interface.__name__
    path = f"`{found.interface.__module__}.{name}`, for async code `extframe.Async{name}`"
    names = f"manifest entry `{found.implements}`, hook `{hook_name(found.implements)}`, calls `{found.prefix}.*`"
    lines = [
        f"## {name}",
        "",
        f"{path}: {names}.",
        "",
        text,
        "",
        *_table(
            ("method", "wire name", "deadline", "idempotent", "optional"),
            (
                (
                    f"`{each.name}`",
                    f"`{each.wire}`",
                    _deadline(each),
                    _yes(each.rpc.idempotent),
                    _yes(each.rpc.optional),
                )
                for each in found.methods
            ),
        ),
        *(line for method in found.methods for line in _method_section(method, meanings(method))),
        *(line for message in messages(found) for line in _message_section(message)),
    ]
    return "\n".join(lines)


def _method_section(method: Method, meanings: Mapping[str, str]) -> Iterator[str]:
    text, _ = split_docstring(method.function)
    yield from (f"### `{method.wire}`", "", text, "")
    if method.signature.parameters:
        yield from _table(("argument", "key", "type", "default", "meaning"), _field_rows(method.request, meanings))
    yield from (f"Reply: {_reply(method)}.", "")


def _reply(method: Method) -> str:
    kind = type_name(method.result)
    if method.rpc.ignore_reply:
        return "ignored, only its status counts"
    if method.stream is not None:
        return f"a stream of `{kind}`"
    if method.rpc.returns:
        return f"`{method.rpc.returns}`, a `{kind}`"
    return "nothing" if method.result is types.NoneType else f"the fields of `{kind}`"


def messages(found: Declaration) -> list[type[Message]]:
    """Return the classes of arguments and results, in the order of their module."""
    module = import_module(found.interface.__module__)
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Message)]
    return [each for each in classes if each is not Message]


def _message_section(message: type[msgspec.Struct]) -> Iterator[str]:
    text, meanings = split_docstring(message)
    yield from (f"### `{message.__name__}`", "", text, "")
    yield from _table(("field", "key", "type", "default", "meaning"), _field_rows(message, meanings))


def _field_rows(struct: type[msgspec.Struct], meanings: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(struct):
        meaning = meanings.get(field.name, "").rstrip(".")
        yield (
            f"`{field.name}`",
            f"`{field.encode_name}`",
            _cell(f"`{type_name(field.type)}`"),
            _default(field),
            _cell(meaning),
        )


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return ""
    return f"`{field.default!r}`" if field.default is not msgspec.NODEFAULT else f"`{field.default_factory()!r}`"


def type_name(kind: Any) -> str:
    """Return a type as Python source without module names."""
    origin, members = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_name(members[0])
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(member) for member in members)
    if origin is not None:
        return f"{origin.__name__}[{', '.join(type_name(member) for member in members)}]"
    return "None" if kind is types.NoneType else "Any" if kind is Any else str(kind.__name__)


def _deadline(method: Method) -> str:
    return "the client's" if method.rpc.timeout is None else f"{method.rpc.timeout:g} s"


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


if __name__ == "__main__":
    REFERENCE.write_text(reference())
