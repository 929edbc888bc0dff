"""Estimate what decoding JSON would need in memory, before it is decoded."""

from __future__ import annotations

import re

UNCHECKED = 1 << 20  # bytes; smaller bodies cannot need much
BYTES_PER_VALUE = 32  # of the limit for a body; a decoded value takes twice as much
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def has_too_many_values(body: bytes | bytearray, limit: int) -> bool:
    """Whether ``body`` has more than one JSON value per 32 bytes of ``limit``.

    16 MiB of ``[],[],[]`` would become 400 MiB of lists. Bodies of 1 MiB and less are never too large.
    """
    if len(body) <= UNCHECKED:
        return False
    allowed = limit // BYTES_PER_VALUE
    return _weight(body) > allowed and _weight(_STRING.sub(b"", body)) > allowed


def _weight(body: bytes | bytearray) -> int:
    return body.count(b",") + body.count(b"[") + 3 * body.count(b"{")  # an empty map is as large as three lists
