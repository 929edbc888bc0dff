"""``extframe explain``: show what an extension point and its methods mean. Opens no connection."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExtframeError
from .options import output_formats, verbose_option
from .output import printable, terminal_width, write_data, write_text

if TYPE_CHECKING:
    from ..interface.declarations import Declaration
    from ..interface.methods import Method
    from .explanation import Field, Messages

EPILOG = """\b
Examples:
  extframe explain VolumeDriver
  extframe explain VolumeDriver.Mount
  extframe explain acme_backup:Backup.Run -o json
"""
_WIDEST = 100  # columns of a paragraph


def complete_target(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the extension points, and after a dot the methods, that start with ``incomplete``."""
    from .interfaces import known_interfaces

    points = known_interfaces()
    names = [*points, *(f"{point}.{_short(each)}" for point, found in points.items() for each in found.methods)]
    return [name for name in names if name.startswith(incomplete) and ("." in incomplete or "." not in name)]


@click.command(epilog=EPILOG)
@click.argument("target", metavar="POINT[.METHOD]", shell_complete=complete_target)
@output_formats("text", "json", "yaml")
@verbose_option
def explain(target: str, output: str) -> None:
    """Explain an extension point, or one of its methods.

    POINT is an extension point of Docker or of an installed package, as in a manifest, or MODULE:INTERFACE. With METHOD
    it shows the signature, the request and the reply, each with an example.
    """
    from .explanation import Messages

    found, method = _find(target)
    messages = Messages(found)
    explained = _explain_point(found) if method is None else _explain_method(method, messages)
    if output != "text":
        write_data(explained, output)
        return
    width = min(terminal_width() or 80, _WIDEST)
    lines = _point_lines(explained, width) if method is None else _method_lines(explained, width)
    write_text("\n".join(printable(line) for line in lines))


# --- find it ------------------------------------------------------------------------------------------


def _find(target: str) -> tuple[Declaration, Method | None]:
    point, _, name = target.rpartition(".") if ":" not in target else _split_class(target)
    if ":" in target:
        found = _load(point)
        return found, _find_method(found, name) if name else None
    exact = _find_point(target)
    if exact is not None:
        return exact, None
    outer = _find_point(point) if point else None
    if outer is not None:
        return outer, _find_method(outer, name)
    raise _unknown_point(point or target)


def _split_class(target: str) -> tuple[str, str, str]:
    module, _, names = target.partition(":")
    name, dot, method = names.partition(".")
    return f"{module}:{name}", dot, method


def _load(target: str) -> Declaration:
    from ..interface.declarations import declaration
    from ..text import text_of
    from .driver_loader import load

    try:
        return declaration(load(target, parameter="POINT[.METHOD]"))
    except TypeError as wrong:
        raise ExtframeError(f"{target} is not an interface: {text_of(wrong)}") from wrong


def _find_point(name: str) -> Declaration | None:
    """Return the extension point of a name: in a manifest, on the wire or as a hook, in any case."""
    from .interfaces import docker_interfaces, known_interfaces

    for interfaces in (docker_interfaces, known_interfaces):  # the packages are imported only if they are needed
        for found in interfaces().values():
            if name.lower() in _names(found):
                return found
    return None


def _names(found: Declaration) -> set[str]:
    from ..protocol import hook_name

    return {found.implements.lower(), found.prefix.lower(), hook_name(found.implements)}


def _find_method(found: Declaration, name: str) -> Method:
    from difflib import get_close_matches

    by_name = {each.lower(): method for method in found.methods for each in (_short(method), method.name)}
    method = by_name.get(name.lower())
    if method is not None:
        return method
    close = get_close_matches(name.lower(), by_name, n=1)
    advice = (
        f"did you mean {_short(by_name[close[0]])}?" if close else f"it has {', '.join(map(_short, found.methods))}"
    )
    raise ExtframeError(f"{found.implements} has no method {name!r}; {advice}")


def _unknown_point(name: str) -> ExtframeError:
    from difflib import get_close_matches

    from .interfaces import known_interfaces

    points = known_interfaces()
    lower = {point.lower(): point for point in points}
    close = get_close_matches(name.lower(), lower, n=1)
    advice = f"did you mean {lower[close[0]]!r}?" if close else f"known are {', '.join(points)}"
    return ExtframeError(f"no extension point {name!r} is known here; {advice}")


def _short(method: Method) -> str:
    return method.wire.partition(".")[2]


# --- explain it ---------------------------------------------------------------------------------------


def _explain_point(found: Declaration) -> dict[str, Any]:
    from ..interface.docstrings import split_docstring
    from ..protocol import hook_name

    return {
        "point": found.implements,
        "hook": hook_name(found.implements),
        "interface": f"{found.interface.__module__}:{found.interface.__qualname__}",
        "versions": list(found.accepts),
        "description": _text(split_docstring(found.interface)[0]),
        "methods": [{"method": each.wire, "summary": _summary(each)} for each in found.methods],
    }


def _explain_method(method: Method, messages: Messages) -> dict[str, Any]:
    from ..interface.docstrings import split_docstring
    from .explanation import signature_of

    request, reply = messages.request(method), messages.reply(method)
    example = None if request is None else messages.example(request)
    readable = method.rpc.stream is None  # others have an encoding of their own
    return {
        "method": method.wire,
        "signature": signature_of(method),
        "description": _text(split_docstring(method.function)[0]),
        "optional": method.rpc.optional,
        "idempotent": method.rpc.idempotent,
        "content_type": None if method.stream is None else method.stream.content_type,
        "request": [] if request is None else [asdict(each) for each in messages.fields(request)],
        "reply": [asdict(each) for each in messages.fields(reply)],
        "example": {"request": example, "reply": messages.example(reply) if readable else None},
    }


def _summary(method: Method) -> str:
    return _text(method.doc.partition("\n\n")[0])


def _text(doc: str) -> str:
    paragraphs = (" ".join(each.split()) for each in doc.split("\n\n"))
    return "\n\n".join(paragraphs).replace("``", "`")


# --- show it ------------------------------------------------------------------------------------------


def _point_lines(point: Mapping[str, Any], width: int) -> Iterator[str]:
    yield f"{point['point']} (hook {point['hook']})"
    yield ""
    yield from _paragraphs(point["description"], width)
    yield f"Interface: {point['interface']}"
    if point["versions"] != [1]:
        yield f"Versions: {', '.join(map(str, point['versions']))}"
    yield ""
    yield "Methods:"
    column = max((len(each["method"]) for each in point["methods"]), default=0) + 4
    for each in point["methods"]:
        yield from textwrap.wrap(
            each["summary"] or "-",
            max(width, column + 20),
            initial_indent=f"  {each['method']}".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )


def _method_lines(method: Mapping[str, Any], width: int) -> Iterator[str]:
    yield method["method"]
    yield from textwrap.wrap(
        method["signature"], width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
    )
    yield ""
    yield from _paragraphs(method["description"], width)
    if method["optional"]:
        yield from ["A plugin may omit it, and then answers with status 404.", ""]
    yield "Request:" if method["request"] else "Request: empty"
    yield from _field_lines(method["request"], width)
    kind = f" a stream of {method['content_type']}" if method["content_type"] else ""
    yield ""
    yield f"Reply:{kind or ('' if method['reply'] else ' an empty object')}"
    yield from _field_lines(method["reply"], width)
    yield ""
    yield "Example:"
    yield f"  $ {_command(method)}"
    if method["example"]["reply"] is not None:
        yield f"  {_json(method['example']['reply'])}"


def _command(method: Mapping[str, Any]) -> str:
    from .shell import quote

    request = method["example"]["request"]
    return " ".join(["extframe call NAME", method["method"], *([] if request is None else [quote(_json(request))])])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _paragraphs(text: str, width: int) -> Iterator[str]:
    for paragraph in filter(None, text.split("\n\n")):
        yield from textwrap.wrap(paragraph, width, break_on_hyphens=False)
        yield ""


def _field_lines(fields: Sequence[Mapping[str, Any] | Field], width: int, indent: str = "  ") -> Iterator[str]:
    for each in fields:
        field: Any = each
        yield f"{indent}{field['key']}  {field['type']}{', required' if field['required'] else ''}"
        if field["description"]:
            inner = f"{indent}    "
            yield from textwrap.wrap(
                field["description"], width, initial_indent=inner, subsequent_indent=inner, break_on_hyphens=False
            )
        yield from _field_lines(field["fields"], width, f"{indent}  ")
