"""Make text from plugins and other packages safe to show in a message or a log line."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return ``text`` on one line, with every character that is not printable replaced by its escape sequence.

    >>> printable("two\nlines, \x1b[31mred")
    'two\\nlines, \\x1b[31mred'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def quoted(text: object, limit: int = 300) -> str:
    """Return ``repr(text)``, cut after ``limit`` characters."""
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
    """Return the text of any exception, even if its ``__str__`` raises."""
    try:
        return str(error)
    except Exception as wrong:  # noqa: BLE001 - anything may be in there
        return f"(its text is not available: __str__ raised {type(wrong).__name__})"
