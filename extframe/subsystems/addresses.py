"""Checks of the addresses in plugins' replies, as Docker's engine makes them. Knows no messages and no transport."""

from __future__ import annotations

import ipaddress
import re

_MAC = re.compile(
    r"[0-9a-f]{2}(?P<separator>[:-])[0-9a-f]{2}(?:(?P=separator)[0-9a-f]{2}){4}(?:(?:(?P=separator)[0-9a-f]{2}){2})?"
    r"|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2,3}",
    re.IGNORECASE,
)


def check_cidr(key: str, text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """Return the address and network of ``text``, such as ``10.0.0.1/24``.

    Raises:
        ValueError: it is not in CIDR notation.
    """
    try:
        if text.rpartition("/")[2].isdigit() and "/" in text and "%" not in text:
            return ipaddress.ip_interface(text)
    except ValueError:
        pass
    raise ValueError(f"Expected `{key}` in CIDR notation, got {text!r}")


def check_ip(key: str, text: str) -> None:
    """Check that ``text`` is an IP address without a prefix length.

    Raises:
        ValueError: it is not.
    """
    try:
        is_valid = "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(f"Expected `{key}` to be an IP address, got {text!r}")


def check_mac(key: str, text: str) -> None:
    """Check that ``text`` is a MAC address with colons, hyphens or dots.

    Raises:
        ValueError: it is not.
    """
    if not _MAC.fullmatch(text):
        raise ValueError(f"Expected `{key}` to be a MAC address such as 02:42:0a:00:00:02, got {text!r}")
