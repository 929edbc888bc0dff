"""Which headers and bodies of a host's HTTP API authorization plugins are shown, as in Docker. No transport.

The rules are those of moby ``pkg/authorization/authz.go`` (2026): a plugin sees JSON bodies only, none of the endpoint
that takes passwords, and no header with credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

if TYPE_CHECKING:
    import ssl

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields: a mapping, or pairs in the order of the message."""

_CREDENTIALS = ("authorization", "x-registry-config", "x-registry-auth")
# Go's server removes these from a request's headers (net/http readRequest, fixTrailer, transfer.go).
_OF_THE_CONNECTION = ("host", "transfer-encoding", "trailer")

_AUTH_ENDPOINT = re.compile(rb"[^/]*/(v[0-9][0-9.]*/)?auth")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TOKEN_ONLY = re.compile(_TOKEN)
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})\s*=\s*({_TOKEN}|"(?:[^"\\\r\n]|\\[^\r\n])*")')
_JSON = re.compile(r"\s*application/json\s*(?=;|\Z)", re.IGNORECASE)


def is_body_shown(uri: str, headers: Headers) -> bool:
    """Return whether plugins are shown the body of a request or of its response.

    They are if its ``Content-Type`` is ``application/json``, parameters allowed, unless the request is for the endpoint
    ``/auth``, whose bodies have passwords.

    Args:
        uri: of the request, as the client sent it: path and query.
        headers: of the message that has the body.
    """
    return not _is_auth_endpoint(uri) and _is_json(headers)


def shown_headers(headers: Headers, *, of_response: bool = False) -> dict[str, str]:
    """Return the header fields that plugins are shown: names in Go's spelling, the last value of each.

    Those with credentials are left out (``Authorization``, ``X-Registry-Auth``, ``X-Registry-Config``); those of a
    request that Go's server takes out of the headers (``Host``, ``Transfer-Encoding``, ``Trailer``), too.

    Args:
        headers: of a request or of a response.
        of_response: whether they are those of a response.
    """
    hidden = _CREDENTIALS if of_response else _CREDENTIALS + _OF_THE_CONNECTION
    return {canonical(name): value for name, value in _pairs(headers) if name.lower() not in hidden}


def canonical(name: str) -> str:
    """Return the name of a header field as Go spells it: ``x-registry-auth`` is ``X-Registry-Auth``."""
    if not _TOKEN_ONLY.fullmatch(name):
        return name
    return "-".join(word[:1].upper() + word[1:].lower() for word in name.split("-"))


def peer_certificates(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that a client presented, PEM, its own first; empty if it presented none.

    Before Python 3.13 that is the client's own certificate only, without those of intermediate authorities.
    """
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return []
    from ssl import DER_cert_to_PEM_cert  # slow to import; programs that get here have done so

    get_chain = getattr(tls, "get_unverified_chain", None)  # Python 3.13
    chain: list[bytes] = list(get_chain()) if get_chain is not None else [own]
    return [DER_cert_to_PEM_cert(certificate).encode() for certificate in chain]


def common_name(tls: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Return the common name of a client's certificate; "" if there is none."""
    certificate = tls.getpeercert() or {}
    subject: Iterable[Iterable[tuple[str, str]]] = certificate.get("subject", ())  # type: ignore[assignment]
    names = [value for attributes in subject for name, value in attributes if name == "commonName"]
    return names[-1] if names else ""


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    return headers.items() if isinstance(headers, Mapping) else headers


def _is_auth_endpoint(uri: str) -> bool:
    """Return whether a request is for the endpoint that takes passwords, or for an invalid URI."""
    if _CONTROL.search(uri):  # which urlsplit would remove
        return True
    try:
        path = urlsplit(uri).path
    except ValueError:
        return True
    return _BROKEN_ESCAPE.search(path) is not None or _AUTH_ENDPOINT.match(unquote_to_bytes(path)) is not None


def _is_json(headers: Headers) -> bool:
    """Return whether the first Content-Type is JSON, with parameters that are valid and not contradictory."""
    content_type = next((value for name, value in _pairs(headers) if name.lower() == "content-type"), "")
    found = _JSON.match(content_type)
    if found is None:
        return False
    parameters: dict[str, str] = {}
    position = found.end()
    while (parameter := _PARAMETER.match(content_type, position)) is not None:
        name, value = parameter.groups()
        if parameters.setdefault(name.lower(), value) != value:
            return False
        position = parameter.end()
    return content_type[position:].strip() in ("", ";")
