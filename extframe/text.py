"""Make text from others safe to show in a message or a log line, and estimate what decoding JSON would need."""

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


# --- what decoding JSON would need in memory ----------------------------------------------------------

UNCHECKED = 1 << 20  # bytes; smaller JSON cannot need much
MEMORY_LIMIT = 192 << 20  # bytes for decoded JSON of up to 16 MiB: a value for every 5 bytes, an object for every 20
_MEMORY_PER_BYTE = 12  # of larger JSON, which is accepted only where its limit was raised
_WINDOW = 1 << 16  # bytes that are looked at before other threads may run


def memory_limit(size: int) -> int:
    """Return the bytes of memory that decoding ``size`` bytes of JSON may need."""
    return max(MEMORY_LIMIT, _MEMORY_PER_BYTE * size)


def needs_more_than(body: bytes | bytearray, memory: int) -> bool:
    """Return whether decoding ``body`` would need more than ``memory`` bytes; False for 1 MiB of JSON and less.

    16 MiB of ``[],[],[]`` become 400 MiB of lists.
    """
    if len(body) <= UNCHECKED:
        return False
    return _memory(body, body.count(b'"') // 2) > memory and _is_precisely_more(body, memory)


def _memory(json: bytes | bytearray, strings: int) -> int:
    """Return the bytes that the values in ``json`` need. One number, string, list or object has a comma."""
    return 40 * json.count(b",") + 24 * strings + 32 * json.count(b"[") + 152 * json.count(b"{")


def _is_precisely_more(body: bytes | bytearray, memory: int) -> bool:
    """Count without what strings contain, and without keys, which are not decoded more than once."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # now every quote begins or ends a string
    found = quotes = keys = 0
    for start in range(0, len(plain), _WINDOW):
        pieces = plain[start : start + _WINDOW].split(b'"')
        outside = b"".join(pieces[quotes % 2 :: 2])
        quotes += len(pieces) - 1
        keys += outside.count(b":")
        found += _memory(outside, 0)
        if found + 24 * (quotes // 2 - keys) > memory:
            return True
    return False
