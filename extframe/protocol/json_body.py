"""JSON bodies: encoded as Docker's engine does, and decoded as leniently, errors included. Knows no plugins. No I/O."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import ProtocolError
from ..text import UNCHECKED, memory_limit, needs_more_than


def as_json(value: object) -> object:
    """Return the JSON form of an object that msgspec cannot encode: a path is text, and a subclass is its base."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for base in (str, int, float):
        if isinstance(value, base):
            return base.__str__(value) if base is str else base(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encoder = msgspec.json.Encoder(enc_hook=as_json)
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def encode_json(arguments: object, method: str = "") -> bytes:
    """Return the body of a request: nothing for None, else compact JSON and a newline, as the engine writes it.

    Raises:
        TypeError: msgspec cannot write such an object.
        ValueError: it contains itself, is nested too deeply, or has text that is not Unicode; begins with ``method``,
            if given.
    """
    try:
        return b"" if arguments is None else _encoder.encode(arguments) + b"\n"
    except RecursionError:
        call = f"{method}: " if method else ""
        raise ValueError(
            f"{call}the arguments contain a circular reference, or are nested too deeply for JSON"
        ) from None
    except UnicodeEncodeError:
        call = f"{method}: " if method else ""
        raise ValueError(
            f"{call}{_not_unicode(arguments)} contains a surrogate, as a file name that is not UTF-8 does; "
            "JSON cannot represent it"
        ) from None


def _not_unicode(arguments: object) -> str:
    """Return the name of the argument that cannot be encoded."""
    items = msgspec.structs.asdict(arguments) if isinstance(arguments, msgspec.Struct) else arguments
    names = items if isinstance(items, dict) else {}
    return next((ascii(name) for name, value in names.items() if not _is_unicode({name: value})), "the text")


def _is_unicode(value: object) -> bool:
    try:
        _encoder.encode(value)
    except UnicodeEncodeError:
        return False
    return True


_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
# Escape sequences in JSON: pairs of surrogates, single ones, and the others.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def decode_json(body: bytes, decoder: msgspec.json.Decoder[Any] = _decoder, *, exact: bool = False) -> Any:
    """Return the first JSON value in ``body``, as Docker's engine does: what follows it is ignored.

    In strings, bytes that are not UTF-8 and half surrogate pairs become U+FFFD, as for the engine.

    Args:
        body: the bytes.
        decoder: of the expected type.
        exact: whether ``body`` must be one JSON value, without leniency.

    Raises:
        ProtocolError: it does not begin with a JSON value, and the message has the position; or decoding it would need
            too much memory.
        msgspec.ValidationError: the value does not have the decoder's type; the message has the position.
    """
    if len(body) > UNCHECKED:
        check_decoded_size(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        if decoder is not _decoder:
            raise
        raise ProtocolError(f"JSON that cannot be read: {wrong}") from None  # an integer of thousands of digits
    except (msgspec.DecodeError, ValueError) as wrong:
        repaired = None if exact else _repair(body, wrong)
        if repaired is None:
            raise ProtocolError(f"not JSON: {_json_fault(body, wrong)}") from None
        return decode_json(repaired, decoder)
    except RecursionError:
        raise ProtocolError("JSON that cannot be read: nested too deeply") from None


def _repair(body: bytes, wrong: Exception) -> bytes | None:
    """Return what the engine reads in place of ``body``, which is not one JSON value; None if it reads nothing else."""
    text = body.decode(errors="replace").encode()
    if text != body and not byte_order_mark(body):  # not UTF-8, for which versions of msgspec differ in the exception
        return text
    following = _TRAILING.search(str(wrong))
    if following is not None:  # msgspec counts bytes from 1
        return body[: min(int(following[1]), len(body)) - 1]
    repaired = _ESCAPES.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], body)
    return None if repaired == body else repaired


def _json_fault(body: bytes, wrong: Exception) -> str:
    mark = byte_order_mark(body)
    if mark:
        return f"it begins with {mark}: {excerpt(body)}"
    if _is_page(body):
        text = _text_of(body[: _PAGE_FACTOR * 200]).encode("utf-8", "replace")
        return f"it is an HTML page: {excerpt(text or body)}"
    return f"{wrong}: {excerpt(body) or 'it is empty'}"


def byte_order_mark(content: bytes) -> str:
    """Return a description of the byte order mark that ``content`` begins with, "" if there is none."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    return "" if encoding is None else f"a byte order mark of {encoding}; write it as UTF-8 without one"


def check_decoded_size(body: bytes) -> None:
    """Check that decoding ``body`` needs at most 192 MiB of memory, or twelve times its size if it is over 16 MiB.

    Raises:
        ProtocolError: it would need more.
    """
    limit = memory_limit(len(body))
    if needs_more_than(body, limit):
        raise ProtocolError(
            f"decoding {len(body)} bytes of JSON with so many values would take over {limit >> 20} MiB of memory, the "
            "limit; request less at a time, or read the reply with stream()"
        )


# --- keys ---------------------------------------------------------------------------------------------


def fold_keys(value: object, table: Mapping[str, Any]) -> Any:
    """Return ``value`` with its keys spelled as in ``table``, whatever their case, and without nulls.

    ``table`` maps a lower-case key to its spelling, or to a pair of its spelling and the table for its value. Other
    keys are unchanged. If two spellings of a key occur, the last wins. Objects in a list are folded; lists in lists are
    not, so that the table limits the recursion.
    """
    if isinstance(value, list):
        return [fold_keys(item, table) if isinstance(item, dict) else item for item in value]
    if not isinstance(value, dict):
        return value
    folded = {}
    for key, item in value.items():
        entry = table.get(key.lower(), key)
        spelling, below = entry if isinstance(entry, tuple) else (entry, None)
        if item is not None:
            folded[spelling] = item if below is None else fold_keys(item, below)
    return folded


# --- errors in replies --------------------------------------------------------------------------------

_ERROR_KEYS = ("err", "error", "message")
_PAGE_FACTOR = 1000  # bytes of HTML searched per character of text: styles and scripts precede it


def excerpt(body: bytes, limit: int = 200) -> str:
    """Return the beginning of ``body`` in one printable line, for a message."""
    text = " ".join(body[: 4 * limit].decode(errors="replace").split())
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return (text[:limit] + "...") if len(text) > limit else text


def error_in(reply: object) -> str:
    """Return the error in a reply with status 200: its ``Err``, or ``Error`` as in IPAM; "" if there is none."""
    return _words(reply, _ERROR_KEYS[:2])


def error_words(body: bytes, *, limit: int | None = None) -> str:
    """Return the plugin's own error message in the body of an error reply.

    That is ``Err``, ``Error`` or ``message`` of a JSON object, unchanged; otherwise the body's text, where an HTML page
    is reduced to its text and text longer than ``limit`` characters is cut.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        words = _words(decode_json(body), _ERROR_KEYS)
    except ProtocolError:
        words = ""
    if words:
        return words
    text = _text_of(body if limit is None else body[: _PAGE_FACTOR * limit])
    return text if limit is None or len(text) <= limit else text[:limit] + "..."


def _words(reply: object, keys: tuple[str, ...]) -> str:
    if not isinstance(reply, dict):
        return ""
    found = {key.lower(): item for key, item in reply.items() if isinstance(item, str)}
    return next((found[key] for key in keys if found.get(key)), "")


# An element or comment that is not closed extends to the end of the page, so that parsing takes linear time. The title
# says what the heading says.
_HTML = re.compile(
    r"<(script|style|head|title)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE
)
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<title")


def _is_page(body: bytes) -> bool:
    return body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE_STARTS)


def _text_of(body: bytes) -> str:
    text = body.decode(errors="replace").lstrip("\ufeff").strip()
    if _is_page(body):
        import html

        text = " ".join(html.unescape(_HTML.sub(" ", text)).split())
    return text
