"""A requests session bound to one plugin, for what calls do not cover. Alone knows requests; knows no deadlines."""

from __future__ import annotations

import copy
import errno
import os
import socket
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.exceptions import InvalidURL
from requests_unixsocket.adapters import UnixAdapter, UnixHTTPConnection, UnixHTTPConnectionPool
from urllib3.connectionpool import HTTPConnectionPool

from ..concurrency.system import HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS
from .connection import ClosedWhenCollected
from .http1 import ACCEPT, UNIX_HOST
from .sockets import check_peer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Mapping

    from ..protocol import Address

KEPT_CONNECTIONS = 10  # as many as requests keeps per host


class PluginSession(requests.Session):
    """A ``requests.Session`` whose URLs are relative to one plugin: ``session.post("VolumeDriver.List")``.

    It does all that requests does, with these differences. Nothing comes from the environment: no proxies, no
    netrc, no certificates. Redirects are followed only where a request says ``allow_redirects=True``. A URL
    that leads anywhere else raises ``requests.exceptions.InvalidURL``, be it the target of a redirect. TLS is
    as the plugin's spec says; ``verify`` and ``cert`` change nothing. A request without a timeout has the
    session's; ``timeout=(None, None)`` means none.

    Timeouts are requests' own, for each connect and each read and not for the whole. Errors are requests' own.
    Replies have no limit here, and gzip is unpacked to whatever it holds: ``stream=True`` gives them in pieces.

    Args:
        address: where the plugin listens.
        tls: the context for an ``https://`` address.
        timeout: seconds, for requests that do not give their own.
        peer_uids: as for `Client`.
        admit: is called with the path of each request, without its leading slash; raises if it may not be sent.
    """

    def __init__(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float,
        peer_uids: Collection[int] | None = None,
        admit: Callable[[str], object] = lambda path: None,
    ) -> None:
        super().__init__()
        self._admit = admit
        self.trust_env = False  # a proxy from the environment must never divert a local socket
        self.timeout = timeout
        self.base = _base(address)
        self.headers["Accept"] = ACCEPT
        if address.path:
            self.headers["Host"] = UNIX_HOST
            self.mount(self.base, _SocketAdapter(address.path, peer_uids))
        else:
            self.mount(self.base, HTTPAdapter() if tls is None else _TLSAdapter(tls))
        # Sockets warn when they are collected open, and in a cycle they may be collected before their pool.
        weakref.finalize(self, _close_all, self.adapters)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Make a request ready to be sent; its URL may be a path or a method of the plugin."""
        request = copy.copy(request)
        request.url = self._absolute(request.url)
        return super().prepare_request(request)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a prepared request; without a redirect and with the session's timeout where nothing is said."""
        kwargs.setdefault("allow_redirects", False)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout
        self._admit(str(request.url)[len(self.base) :])
        return super().send(request, **kwargs)

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, with the arguments of ``requests.Session.request``."""
        kwargs.setdefault("allow_redirects", False)
        return super().request(method, url, *args, **kwargs)

    def get(self, url: Any, **kwargs: Any) -> requests.Response:
        """Send a GET request, which follows redirects no more than any other."""
        return self.request("GET", url, **kwargs)

    def options(self, url: Any, **kwargs: Any) -> requests.Response:
        """Send an OPTIONS request, which follows redirects no more than any other."""
        return self.request("OPTIONS", url, **kwargs)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a redirect leads, or None; relative to the plugin where it names no host."""
        target = super().get_redirect_target(resp)
        if target is None or urlsplit(target).netloc:
            return target
        # Left to urljoin, it would be joined to no scheme but those that urljoin knows.
        return self._absolute(urljoin(urlsplit(resp.url).path, target))

    def get_adapter(self, url: Any) -> BaseAdapter:
        """Return the adapter for a URL of this plugin."""
        if not url.lower().startswith(self.base.lower()):
            raise InvalidURL(f"{url!r} is not below {self.base}, and this session is bound to that plugin")
        return super().get_adapter(url)

    def _absolute(self, url: Any) -> str:
        text = str(url)
        return text if "://" in text.partition("?")[0] else self.base + text.removeprefix("/")


def _close_all(adapters: Mapping[str, BaseAdapter]) -> None:
    for adapter in adapters.values():
        adapter.close()


def _base(address: Address) -> str:
    if address.path:  # the form that requests-unixsocket gave to such URLs
        return f"http+unix://{quote(os.fsencode(os.path.abspath(address.path)), safe='')}/"
    return f"{'https' if address.tls else 'http'}://{address.authority}/"


# --- adapters -----------------------------------------------------------------------------------------


class _TLSAdapter(HTTPAdapter):
    """Uses one TLS context for all, where requests' own takes the certificates of certifi or of the environment."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """The context knows."""


class _SocketAdapter(UnixAdapter):  # type: ignore[misc]  # it has no types
    """requests-unixsocket's adapter for one socket. In 0.4.1 each URL, and so each method, had a pool of its own."""

    def __init__(self, path: str, peer_uids: Collection[int] | None) -> None:
        super().__init__()
        self._pool = _SocketPool(path, peer_uids)

    def get_connection(self, url: str, proxies: Any = None) -> HTTPConnectionPool:
        return self._pool

    def close(self) -> None:
        super().close()
        self._pool.close()


class _SocketPool(UnixHTTPConnectionPool):  # type: ignore[misc]  # it has no types
    def __init__(self, path: str, peer_uids: Collection[int] | None) -> None:
        # Not the parent's own, whose timeout would be an int where urllib3 expects a Timeout.
        HTTPConnectionPool.__init__(self, UNIX_HOST, maxsize=KEPT_CONNECTIONS)
        self.socket_path = path
        self.peer_uids = peer_uids

    def _new_conn(self) -> UnixHTTPConnection:
        connection = _SocketConnection(self.socket_path)
        connection.peer_uids = self.peer_uids
        return connection


class _SocketConnection(UnixHTTPConnection):  # type: ignore[misc]  # it has no types
    peer_uids: Collection[int] | None

    def connect(self) -> None:
        if not HAS_UNIX_SOCKETS:
            raise OSError(errno.EAFNOSUPPORT, NO_UNIX_SOCKETS)
        sock = ClosedWhenCollected(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)  # by now that of the request
            sock.connect(self.unix_socket_url)
        except BaseException:
            sock.close()
            raise
        self.sock = check_peer(sock, self.unix_socket_url, self.peer_uids)
