"""What others say, made fit for a message or a line of a log. Knows neither plugins nor logging."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return ``text`` on one line and safe to show: what does not print is written as an escape.

    >>> printable("two\nlines, \x1b[31mred")
    'two\\nlines, \\x1b[31mred'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def quoted(text: object, limit: int = 300) -> str:
    """Return ``repr(text)``, cut after ``limit`` characters: an error about a megabyte does not quote all of it."""
    shown = repr(text[: limit + 1] if isinstance(text, str) else text)
    return shown if len(shown) <= limit else shown[:limit] + "..."


def cut(text: str, limit: int) -> str:
    """Return ``text``, or its beginning and end if it is longer than ``limit`` characters.

    >>> cut("abcdefghij", 4)
    'ab... (6 characters omitted) ...ij'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}... ({len(text) - 2 * half} characters omitted) ...{text[-half:]}"


def text_of(error: BaseException) -> str:
    """Return the text of an exception that others wrote: their ``__str__`` may itself raise."""
    try:
        return str(error)
    except Exception as wrong:  # noqa: BLE001 - anything may be in there
        return f"(its text cannot be had: __str__ raised {type(wrong).__name__})"
