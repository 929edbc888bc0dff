"""Read when the certificates in a PEM file expire. Parses only as much DER (X.690) and X.509 as that needs."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from datetime import datetime, timezone

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION = 0xA0  # the tag of the only optional field before the validity
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # UTCTime, GeneralizedTime
_LIMIT = 4 << 20  # bytes: larger than a bundle of all public authorities


def expiry_dates(path: str) -> list[datetime]:
    """Return when each certificate in a file expires; an empty list if the file has none or cannot be read."""
    try:
        with open(path, "rb") as file:
            blocks = _PEM.findall(file.read(_LIMIT))
    except (OSError, ValueError):
        return []
    return [expiry for block in blocks for expiry in _expiry(block)]


def _expiry(block: bytes) -> Iterator[datetime]:
    try:
        yield _not_after(binascii.a2b_base64(block))
    except (ValueError, IndexError, KeyError):  # OpenSSL reports what is wrong with it
        return


def _not_after(certificate: bytes) -> datetime:
    (_, signed), *_ = _elements(certificate)
    (_, content), *_ = _elements(signed)
    fields = [element for element in _elements(content) if element[0] != _VERSION]
    _, validity = fields[3]  # after serial number, algorithm and issuer
    _, (tag, expiry) = _elements(validity)
    return datetime.strptime(expiry.decode("ascii"), _TIMES[tag]).replace(tzinfo=timezone.utc)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and content of each element of a sequence."""
    while content:
        tag, length, begin = content[0], content[1], 2
        if length & 0x80:  # the long form: the number of bytes that hold the length
            begin += length & 0x7F
            length = int.from_bytes(content[2:begin], "big")
        yield tag, content[begin : begin + length]
        content = content[begin + length :]
