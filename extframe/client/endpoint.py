"""PluginEndpoint: what the clients of one plugin share. Opens no connection and never waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..concurrency.deadlines import check_timeout
from ..errors import CallTimeout, ConnectError, ConnectionLost, ExtframeError
from ..protocol import CONFIGURE, Address, Endpoint, Manifest, TLSConfig
from .circuit_breaker import Breaker, Circuit
from .http1 import Limits
from .method_path import is_handshake
from .observers import Observer, Observers
from .retry import Retry

if TYPE_CHECKING:
    from .choice import Choice
    from .failover import Failover
    from .instances import Instance, Instances

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

    def manifest_changed(self) -> object:
        """Handle that the instances of the plugin together implement something else than before."""


class PluginEndpoint:
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
        endpoints: the instances of a plugin that has several; they are called in place of ``address``.
        choose: which instance a call goes to; `RoundRobin` where None.

    Raises:
        SpecError: an address is invalid.
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
        endpoints: Sequence[Endpoint] = (),
        choose: Choice | None = None,
    ) -> None:
        self.timeout = check_timeout(timeout)
        self.plugin = plugin
        self.limits = limits or Limits()
        self.retry = retry or Retry()
        self.circuit = Circuit(breaker)
        self.listener = listener
        self.keep_alive = keep_alive
        self.observers = Observers.of(observers)
        self.manifest: Manifest | None = None
        self.configurator: Any = None  # what sends the settings again, and hides them
        # Called with the method and deadline of each attempt where the owner admits calls; they raise if it does not.
        self.guard: Callable[[str, float], object] | None = None
        self.async_guard: Callable[[str, float], Awaitable[object]] | None = None
        self.points: dict[str, str] = {}  # the prefixes of methods of drivers, each with its extension point
        self.paths: Sequence[tuple[str, str]] = ()  # where directories of the plugin are on the host
        self.instances: Instances | None = None
        """The instances, once there have been several."""
        self.failover: type[Failover] | None = None
        """What makes the attempts of a call where there are ``instances``."""
        self._breaker = breaker
        self._choose = choose
        self._followers: list[Callable[[], object]] = []
        self.retargets = 0
        """Changes with each `retarget`."""
        self.retarget(address, tls, peer_uids, endpoints)

    def follow(self, changed: Callable[[], object]) -> None:
        """Have ``changed`` called after each `retarget`, in the thread that calls it."""
        self._followers.append(changed)

    def unfollow(self, changed: Callable[[], object]) -> None:
        """Call ``changed`` no longer."""
        self._followers.remove(changed)

    def retarget(
        self,
        address: str,
        tls: TLSConfig | None,
        peer_uids: Collection[int] | None,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        """Use another address from now on, or new connections to the same one.

        Instances that were there before keep their connections, and what is known of them.

        Raises:
            SpecError: an address is invalid.
        """
        if len(endpoints) == 1:
            address, tls = endpoints[0].address, endpoints[0].tls
        parsed = Address.parse(address)
        if self.instances is not None:
            self.instances.update(endpoints or (Endpoint(address, tls),))
        elif len(endpoints) > 1:
            self._become_several(endpoints)
        self.address, self.tls, self.peer_uids = parsed, tls, peer_uids
        self.retargets += 1
        for changed in tuple(self._followers):
            changed()

    def _become_several(self, endpoints: Sequence[Endpoint]) -> None:
        from .failover import Failover  # most plugins have one instance
        from .instances import Instances

        changed = None if self.listener is None else self.listener.manifest_changed
        self.instances = Instances(
            endpoints, breaker=self._breaker, choose=self._choose, changed=changed, points=self.points
        )
        self.failover = Failover

    @property
    def last_error(self) -> Exception | None:
        """The failure that opened the circuit breaker, or those of all instances; None while it is closed."""
        return self.circuit.last_error if self.instances is None else self.instances.last_error

    @property
    def next_try(self) -> float | None:
        """When the open circuit breaker lets a call through, a ``time.monotonic()`` value; None while it is closed."""
        return self.circuit.next_try if self.instances is None else self.instances.next_try

    def describe(self, failure: ExtframeError, method: str, seconds: float, instance: Instance | None = None) -> None:
        """Add plugin, method, address and timeout to an error; one raised by another client has them already.

        Settings that the plugin repeats are removed.
        """
        if self.configurator is not None and method == CONFIGURE:
            self.configurator.hide(failure)
        if failure.method is None:
            failure.plugin, failure.method = self.plugin, method.lstrip("/")
            failure.address = (instance or self).address.text
            if isinstance(failure, _UNREACHED) and self.listener is not None and not is_handshake(method):
                reason = self.listener.why(failure)
                failure.message = f"the plugin {reason}" if reason else failure.message
        if isinstance(failure, CallTimeout) and failure.timeout is None:
            failure.timeout = getattr(seconds, "timeout", seconds)  # of `Remaining`
            failure.message += f"; the timeout was {failure.timeout:g} s"
