"""Split docstrings into their text and the descriptions of arguments, for documents made from declarations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .declarations import Declaration
    from .methods import Method

_ARGUMENT = re.compile(r"^ {4}(\w+(?:, \w+)*): ((?:.+\n?(?: {8}.*\n?)*))", re.MULTILINE)
_SECTIONS = re.compile(r"\n(?:Args|Returns|Yields|Raises):\n")


def split_docstring(documented: object) -> tuple[str, Mapping[str, str]]:
    """Return the text of a docstring before its sections, and the descriptions of its arguments by their names."""
    doc = inspect.getdoc(documented) or ""
    text = _SECTIONS.split(doc, maxsplit=1)[0]
    arguments = _SECTIONS.split(doc.partition("\nArgs:\n")[2], maxsplit=1)[0]
    found = _ARGUMENT.findall(arguments)
    return text.strip(), {name: " ".join(words.split()) for names, words in found for name in names.split(", ")}


def argument_descriptions(found: Declaration) -> Callable[[Method], Mapping[str, str]]:
    """Return the function that finds the descriptions of a method's arguments.

    They are in its docstring, or else in that of the first method with an argument of that name.
    """
    documented: dict[str, str] = {}
    for method in reversed(found.methods):
        documented.update(split_docstring(method.function)[1])
    return lambda method: {**documented, **split_docstring(method.function)[1]}
