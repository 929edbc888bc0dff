"""BaseTransport: what the transports of threads and of event loops share. Never waits; knows no JSON and no plugins."""

from __future__ import annotations

import errno
import math
import os
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from ..errors import ConnectError, ConnectionLost, ExtframeError
from ..logs import get_logger
from ..protocol import Address, TLSConfig
from .connection import START, Connection, late
from .connection_pool import ConnectionPool, IdleConnections
from .exchange import READ, BaseExchange, ExchangeRecord
from .http1 import STATUS_LINE, UNIX_HOST, Limits, RequestWriter
from .keep_alive import KeepAlive
from .sockets import connecting

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

    from .steps import Steps

E = TypeVar("E", bound=BaseExchange)

CONNECT_WITHIN = 3.0
"""Seconds in which an instance has to accept a connection: a host that is gone does not refuse it."""


logger = get_logger(__name__)

PIECE_SIZE = 64 * 1024  # bytes of a file that are sent at a time
LOOK_AFTER = 0.001  # seconds of idleness after which a connection is looked at before it carries any request


class BaseTransport:
    """The connections to one address, and which of them is used, kept or closed.

    Args:
        address: of the plugin.
        tls: how an ``https://`` address is verified; its files are read when the first connection is made.
        limits: the largest accepted response.
        pool: where idle connections are kept; one of its own where None.
        keep_alive: whether connections are kept for reuse, until the plugin turns out to close them.
        peer_uids: the users that may listen at a unix socket, in addition to root and this user; None for all.
    """

    def __init__(
        self,
        address: Address,
        tls: TLSConfig | None = None,
        *,
        limits: Limits | None = None,
        pool: ConnectionPool | None = None,
        keep_alive: bool = True,
        peer_uids: Collection[int] | None = None,
    ) -> None:
        self.address = address
        self._tls = tls
        self._limits = limits or Limits()
        self._pool = ConnectionPool() if pool is None else pool
        self._idle = IdleConnections()
        self._keep_alive = KeepAlive(keep_alive)
        self.peer_uids = peer_uids
        self._writer = RequestWriter(UNIX_HOST if address.path else address.host_header, gzip=not address.path)
        self._context: ssl.SSLContext | None = None
        self.connect_within = math.inf
        """The most seconds for connecting, name lookup and TLS included."""

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Keep the connection of an exchange that has ended, if it can be reused, or close it."""
        if reusable and connection.in_step and self._keep_alive.keeps:
            self._pool.put(self._idle, connection)
        else:
            connection.close()

    def abandon(self, exchange: BaseExchange, failure: BaseException | None = None) -> None:
        """Close the connection of an exchange that has no response; ``failure`` gets the address."""
        connection = exchange.connection
        if isinstance(failure, ConnectionLost) and connection.uses and exchange.phase is STATUS_LINE:
            self._record_close(connection)
        connection.close()
        if failure is not None:
            self.describe(failure)

    def describe(self, failure: BaseException) -> None:
        """Add the address to an error."""
        if isinstance(failure, ExtframeError):
            failure.address = self.address.text

    def close(self) -> None:
        """Close the idle connections. Requests under way go on to their end; later ones raise ConnectError."""
        self._pool.close(self._idle)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, created on first use; None if the address is not ``https://``.

        Raises:
            SpecError: a file of the TLS configuration cannot be used.
        """
        if not self.address.tls:
            return None
        if self._context is None:
            from .tls import client_context  # ssl is slow to import, and most plugins have a unix socket

            self._context = client_context(self._tls)
        return self._context

    # The steps of a request.

    def _is_open(self, deadline: float) -> bool:
        return not self._idle.closed and monotonic() < deadline

    def _check_open(self, deadline: float) -> None:
        if self._idle.closed:
            raise closed()
        if monotonic() >= deadline:
            raise late(START)

    def _reuse(self, kind: type[E], request: bytes, look: bool, record: ExchangeRecord | None) -> E | None:
        """Send a request over a kept connection, as far as possible without waiting; return None if there is none.

        Args:
            kind: of the exchange that is returned. If it wants to write, the rest has to be sent.
            request: the whole of it.
            record: of the call, if it is observed.
            look: whether to find out first if the plugin has closed the connection. That is always done after a while
                of idleness. A request that may be sent again need not be looked after in any other case.
        """
        while (connection := self._pool.take(self._idle)) is not None:
            exchange = kind(connection, request, self._limits, record)
            is_fresh = not look and monotonic() - connection.idle_since <= LOOK_AFTER
            if (is_fresh or connection.is_usable()) and (not exchange.send() or exchange.sent):
                return exchange
            self._drop(connection)
        return None

    def _start(self, kind: type[E], connection: Connection, request: bytes, record: ExchangeRecord | None) -> E:
        """Send a request over a new connection, as `_reuse` does over a kept one."""
        self._pool.add(self._idle, connection)
        exchange = kind(connection, request, self._limits, record)
        exchange.send()
        return exchange

    def _connecting(self, deadline: float) -> Steps[Connection]:
        """Connect; the result is an operation that yields what it waits for."""
        context = self.tls_context()
        deadline = min(deadline, monotonic() + self.connect_within)
        sock = yield from connecting(self.address, deadline, self.peer_uids)
        if context is None:
            return Connection(sock)
        from . import tls

        return (yield from tls.shaking_hands(sock, context, self.address.host.partition("%")[0], deadline))

    def _drop(self, connection: Connection) -> None:
        """Close a kept connection that cannot be used."""
        if not connection.is_inherited:
            self._record_close(connection)
        connection.close()

    def _record_close(self, connection: Connection) -> None:
        opened, last_used, uses = connection.opened, connection.idle_since, connection.uses
        if self._keep_alive.record_close(monotonic(), opened=opened, last_used=last_used, uses=uses):
            logger.debug("the plugin at %s closes its connections after each response: none is kept", self.address)


def is_sent(exchange: BaseExchange) -> bool:
    """Return whether it is time to read the response: the plugin took the request, or a part before it responded."""
    return exchange.wants is READ and exchange.sent > 0


def closed() -> ConnectError:
    """Return the error for a request after `BaseTransport.close`."""
    return ConnectError("the client is closed")


def refusal(connection: Connection) -> ConnectError:
    """Return the error for a new connection that took nothing; over TLS the plugin may have said why."""
    try:
        connection.has_answered()
    except ConnectError as said:
        return said
    except ConnectionLost:
        pass
    finally:
        connection.close()
    refused = ConnectError("the plugin closed the connection before it took any of the request")
    refused.__cause__ = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return refused
