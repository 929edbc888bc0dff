"""etcd over its own JSON gateway (``/v3``): requests, lists, watches and authentication. Knows no plugins."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO, TypeVar

import msgspec

from ..client.circuit_breaker import Breaker
from ..client.client import Client
from ..client.retry import Retry
from ..errors import ExtframeError, RemoteError, SpecError
from ..protocol import Address, Endpoint, TLSConfig
from ..text import quoted

T = TypeVar("T")

PAGE = 1000  # keys per request of a list
DEFAULT_PREFIX = "extframe/"
_PORT = 2379
_SCHEMES = {"etcd": "tcp", "etcds": "https"}


Number = Annotated[str, msgspec.Meta(pattern="^-?[0-9]{1,20}$")]
"""An integer as the gateway sends it: as text, because JSON has no integers of 64 bits."""


class Header(msgspec.Struct):
    """What comes with every response."""

    cluster_id: str = ""
    revision: Number = "0"


class KeyValue(msgspec.Struct):
    """A key and its value, which are base64 in JSON."""

    key: bytes
    value: bytes = b""
    mod_revision: Number = "0"


class Page(msgspec.Struct):
    """Some of the keys of a list."""

    header: Header = msgspec.field(default_factory=Header)
    kvs: list[KeyValue] = []
    more: bool = False


class Change(msgspec.Struct):
    """A change of a key."""

    kv: KeyValue
    type: str = "PUT"


class WatchResult(msgspec.Struct):
    """Changes; or that the watch was created, or ended because what it asked for was compacted."""

    header: Header = msgspec.field(default_factory=Header)
    canceled: bool = False
    cancel_reason: str = ""
    events: list[Change] = []


class _WatchLine(msgspec.Struct):
    result: WatchResult | None = None
    error: dict[str, Any] | None = None


class _Token(msgspec.Struct):
    token: str = ""


_line_decoder = msgspec.json.Decoder(_WatchLine)


class EtcdURL:
    """``etcd://HOST:PORT,HOST:PORT/PREFIX/``, or ``etcds://`` for TLS.

    Args:
        text: the URL.

    Raises:
        SpecError: it is something else.
    """

    def __init__(self, text: str) -> None:
        scheme, found, rest = text.partition("://")
        hosts, _, path = rest.partition("/")
        if "@" in hosts:
            raise SpecError("an etcd URL has no user and password; expected the arguments user= and password=")
        if not found or scheme not in _SCHEMES or not hosts:
            raise SpecError(f"{quoted(text)} is not an etcd URL; expected etcd://HOST:2379,HOST:2379/extframe/")
        self.text = text
        self.prefix = f"{path.strip('/')}/" if path.strip("/") else DEFAULT_PREFIX
        self.hosts = [host if ":" in host.rpartition("]")[2] else f"{host}:{_PORT}" for host in hosts.split(",")]
        self._scheme = _SCHEMES[scheme]

    def nodes(self, tls: TLSConfig | None) -> list[Endpoint]:
        """Return the nodes of the cluster."""
        scheme = self._scheme if tls is None else "https"
        return [Endpoint(str(Address.parse(f"{scheme}://{host}")), tls) for host in self.hosts]

    def __str__(self) -> str:
        return self.text


class EtcdGateway:
    """One cluster. A request goes to any node, and to another if that cannot be reached. Connects at the first one.

    Args:
        url: its nodes.
        tls: how they are verified, and the client certificate.
        user, password: for a cluster that requires authentication.
        timeout: seconds for a request.
    """

    def __init__(
        self, url: EtcdURL, *, tls: TLSConfig | None, user: str | None, password: str | None, timeout: float
    ) -> None:
        nodes = url.nodes(tls)
        self._client = Client(
            nodes[0].address,
            tls=tls,
            timeout=timeout,
            retry=Retry(restart=0),
            breaker=Breaker(failures=1, initial_delay=1.0, max_delay=5.0) if len(nodes) > 1 else None,
            endpoints=nodes,
        )
        self._user, self._password = user, password
        self._token = ""

    def call(self, path: str, arguments: Mapping[str, Any], reply: type[T], *, idempotent: bool = True) -> T:
        """Send a request, such as ``kv/range``, and return the reply.

        Raises:
            ExtframeError: etcd cannot be asked, or refuses.
        """
        with self._authorized() as headers:
            return self._client.call(f"/v3/{path}", arguments, reply=reply, idempotent=idempotent, headers=headers)

    def pages(self, prefix: str) -> list[Page]:
        """Return the keys below a prefix as they are at one revision.

        Raises:
            ExtframeError: as `call`.
        """
        request = {"key": encode(prefix), "range_end": encode(end_of(prefix)), "limit": str(PAGE)}
        pages = [self.call("kv/range", request, Page)]
        while pages[-1].more and pages[-1].kvs:
            request["key"] = base64.b64encode(pages[-1].kvs[-1].key + b"\0").decode()
            request["revision"] = pages[0].header.revision
            pages.append(self.call("kv/range", request, Page))
        return pages

    @contextmanager
    def watch(self, prefix: str, revision: int) -> Iterator[BinaryIO]:
        """Open a stream of the changes below a prefix, from a revision on; `read_line` reads its lines.

        Raises:
            ExtframeError: as `call`; so does reading the stream.
        """
        request = {"key": encode(prefix), "range_end": encode(end_of(prefix)), "start_revision": str(revision)}
        with (
            self._authorized() as headers,
            self._client.stream("/v3/watch", {"create_request": request}, headers=headers) as stream,
        ):
            yield stream

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _authorized(self) -> Iterator[Mapping[str, str] | None]:
        """Give the headers of a request; forget the token if etcd refuses it, as it does once it has expired."""
        if self._user is not None and not self._token:
            arguments = {"name": self._user, "password": self._password or ""}
            self._token = self._client.call("/v3/auth/authenticate", arguments, reply=_Token, idempotent=True).token
        try:
            yield {"Authorization": self._token} if self._token else None
        except RemoteError as error:
            if error.status == 401 or "auth token" in error.message:
                self._token = ""
            raise


def read_line(line: bytes) -> WatchResult:
    """Return what a line of a watch says.

    Raises:
        ExtframeError: it is an error, or something else.
    """
    try:
        found = _line_decoder.decode(line)
    except msgspec.DecodeError as wrong:
        raise ExtframeError(f"etcd sent a change that cannot be read: {wrong}") from wrong
    if found.result is None:
        raise ExtframeError(f"etcd ended the watch: {(found.error or {}).get('message', 'it gave no reason')}")
    return found.result


def encode(key: str) -> str:
    """Return a key as the gateway expects it."""
    return base64.b64encode(key.encode()).decode()


def end_of(prefix: str) -> str:
    """Return the first key that is not below a prefix: its last character plus one."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
