"""Endpoint: what the clients of one plugin share. Opens no connection and never waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from ..concurrency.deadlines import check_timeout
from ..errors import CallTimeout, ConnectError, ConnectionLost, ExtframeError, SpecError
from ..protocol import ACTIVATE, CONFIGURE, Address, Manifest, TLSConfig
from .circuit_breaker import Breaker, Circuit
from .http1 import Limits
from .observers import Observer, Observers
from .retry import Retry

_UNREACHED = (ConnectError, ConnectionLost, CallTimeout)
"""Failures whose reason may be that the plugin's process has ended."""


class ClientListener(Protocol):
    """What a client reports to, and asks, the owner of the plugin. Called in any thread; must return at once."""

    @property
    def was_active(self) -> bool:
        """Whether the plugin has been active: if nothing listens then, it is restarting (`Retry.restart`)."""

    def why(self, failure: Exception) -> str | None:
        """Return why the plugin cannot be reached, as the predicate of a sentence; None if that is not known.

        Called for a call that failed, and may take a moment.
        """

    def connection_refused(self, began: float) -> object:
        """Handle a refused connection, one sign of a restart. The attempt began at this ``time.monotonic()`` value."""


class Endpoint:
    """Address, settings and circuit breaker of one plugin. A sync and an async client of the plugin share one.

    Args:
        address: ``unix:///path``, ``tcp://host:port`` or ``https://host:port``.
        tls: how an ``https://`` plugin is verified.
        timeout: seconds for a whole call, retries included.
        plugin: the name that errors carry.
        limits: the largest accepted response.
        retry: what is retried; `Retry` with its defaults where None.
        breaker: when the circuit breaker opens; never where None.
        listener: is notified of refused connections.
        keep_alive: whether connections are kept for reuse, until the plugin turns out to close them.
        peer_uids: the users that may listen at a unix socket, in addition to root and this user; None for all.
        observers: are notified of each call.

    Raises:
        SpecError: the address is invalid.
        TypeError, ValueError: the timeout or an observer is invalid.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: TLSConfig | None = None,
        timeout: float = 60.0,
        plugin: str | None = None,
        limits: Limits | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        listener: ClientListener | None = None,
        keep_alive: bool = True,
        peer_uids: Collection[int] | None = None,
        observers: Iterable[Observer] | Observers = (),
    ) -> None:
        self.timeout = check_timeout(timeout)
        self.plugin = plugin
        self.limits = limits or Limits()
        self.retry = retry or Retry()
        self.circuit = Circuit(breaker)
        self.listener = listener
        self.address = Address.parse(address)
        self.tls = tls
        self.keep_alive = keep_alive
        self.peer_uids = peer_uids
        self.observers = Observers.of(observers)
        self.manifest: Manifest | None = None
        self.configurator: Any = None  # what sends the settings again
        # Called with the method and deadline of each attempt where the owner admits calls; they raise if it does not.
        self.guard: Callable[[str, float], object] | None = None
        self.async_guard: Callable[[str, float], Awaitable[object]] | None = None
        self.points: dict[str, str] = {}  # the prefixes of methods of drivers, each with its extension point
        self.paths: Sequence[tuple[str, str]] = ()  # where directories of the plugin are on the host
        self._followers: list[Callable[[], object]] = []

    def follow(self, changed: Callable[[], object]) -> None:
        """Have ``changed`` called after each `retarget`, in the thread that calls it."""
        self._followers.append(changed)

    def retarget(self, address: str, tls: TLSConfig | None, peer_uids: Collection[int] | None) -> None:
        """Use another address from now on, or new connections to the same one.

        Raises:
            SpecError: the address is invalid.
        """
        self.address, self.tls, self.peer_uids = Address.parse(address), tls, peer_uids
        for changed in self._followers:
            changed()

    def describe(self, failure: ExtframeError, method: str, seconds: float) -> None:
        """Add plugin, method, address and timeout to an error; one raised by another client has them already."""
        if failure.method is None:
            failure.plugin, failure.method, failure.address = self.plugin, method.lstrip("/"), self.address.text
            if isinstance(failure, _UNREACHED) and self.listener is not None and not is_handshake(method):
                reason = self.listener.why(failure)
                failure.message = f"the plugin {reason}" if reason else failure.message
        if isinstance(failure, CallTimeout) and failure.timeout is None:
            failure.timeout = getattr(seconds, "timeout", seconds)  # of `Remaining`
            failure.message += f"; the timeout was {failure.timeout:g} s"


def path_of(method: object) -> str:
    """Return the path of a method, which may have a leading slash.

    Raises:
        SpecError: ``method`` is not a string, or empty.
    """
    if not (isinstance(method, str) and method):
        raise SpecError(f"{method!r} is not a valid method: expected a non-empty string such as VolumeDriver.List")
    return method if method.startswith("/") else "/" + method


def is_handshake(method: str) -> bool:
    """Return whether a method, which may have a leading slash, is the handshake, or the settings that follow it."""
    return method == ACTIVATE or method.lstrip("/") in (ACTIVATE, CONFIGURE)
