"""Until when the certificates in a PEM file are valid. Knows as much of DER (X.690) and X.509 as that takes."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from datetime import datetime, timezone

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION = 0xA0  # the one field before the validity that may be missing
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # UTCTime, GeneralizedTime
_LIMIT = 4 << 20  # bytes: more than the bundles of all authorities have


def ends_of_validity(path: str) -> list[datetime]:
    """Return when each certificate in a file ends; none where there is no such file, or nothing of the kind in it."""
    try:
        with open(path, "rb") as file:
            blocks = _PEM.findall(file.read(_LIMIT))
    except (OSError, ValueError):
        return []
    return [end for block in blocks for end in _ends(block)]


def _ends(block: bytes) -> Iterator[datetime]:
    try:
        yield _end(binascii.a2b_base64(block))
    except (ValueError, IndexError, KeyError):  # OpenSSL says what is wrong with it
        return


def _end(certificate: bytes) -> datetime:
    (_, signed), *_ = _elements(certificate)
    (_, content), *_ = _elements(signed)
    fields = [element for element in _elements(content) if element[0] != _VERSION]
    _, validity = fields[3]  # after serial number, algorithm and issuer
    _, (tag, end) = _elements(validity)
    return datetime.strptime(end.decode("ascii"), _TIMES[tag]).replace(tzinfo=timezone.utc)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what stands in a row: each element's tag and its content."""
    while content:
        tag, length, begin = content[0], content[1], 2
        if length & 0x80:  # then it says how many bytes the length has
            begin += length & 0x7F
            length = int.from_bytes(content[2:begin], "big")
        yield tag, content[begin : begin + length]
        content = content[begin + length :]
