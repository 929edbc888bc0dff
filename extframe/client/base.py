"""BaseClient: what clients of threads and of event loops share. Makes no call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from ..concurrency.deadlines import check_timeout
from ..errors import ExtframeError
from ..protocol.host_paths import host_path
from .attempts import Attempts
from .base_transport import CONNECT_WITHIN, BaseTransport
from .endpoint import PluginEndpoint

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..protocol import Endpoint, Manifest, TLSConfig
    from .choice import Choice
    from .circuit_breaker import Breaker
    from .connection_pool import ConnectionPool
    from .endpoint import ClientListener
    from .failover import Failover
    from .http1 import Limits
    from .instance_handshake import InstanceHandshake
    from .instances import Instance, Instances
    from .observation import ObservedCall
    from .observers import Observer, Observers
    from .retry import Retry
else:
    from ..concurrency.late_types import Self, late

    Endpoint = late("extframe.protocol", "Endpoint")
    Manifest = late("extframe.protocol", "Manifest")
    TLSConfig = late("extframe.protocol", "TLSConfig")
    Choice = late("extframe.client.choice", "Choice")
    Breaker = late("extframe.client.circuit_breaker", "Breaker")
    ConnectionPool = late("extframe.client.connection_pool", "ConnectionPool")
    ClientListener = late("extframe.client.endpoint", "ClientListener")
    Limits = late("extframe.client.http1", "Limits")
    Observer = late("extframe.client.observers", "Observer")
    Observers = late("extframe.client.observers", "Observers")
    Retry = late("extframe.client.retry", "Retry")

AnyTransport = TypeVar("AnyTransport", bound=BaseTransport)


class SupportsClose(Protocol):
    """A stream, of a thread or of a task."""

    def close(self) -> None:
        """Close it; its reader gets an error."""


class BaseClient:
    """One plugin, at an endpoint that several clients may share. For the arguments see ``extframe.Client``."""

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
        pool: ConnectionPool | None = None,
        listener: ClientListener | None = None,
        keep_alive: bool = True,
        peer_uids: Collection[int] | None = None,
        observers: Iterable[Observer] | Observers = (),
        endpoints: Sequence[Endpoint] = (),
        choose: Choice | None = None,
    ) -> None:
        endpoint = PluginEndpoint(
            address,
            tls=tls,
            timeout=timeout,
            plugin=plugin,
            limits=limits,
            retry=retry,
            breaker=breaker,
            listener=listener,
            keep_alive=keep_alive,
            peer_uids=peer_uids,
            observers=observers,
            endpoints=endpoints,
            choose=choose,
        )
        self._attach(endpoint, pool)

    @classmethod
    def on(cls, endpoint: PluginEndpoint, *, pool: ConnectionPool | None = None) -> Self:
        """Return a client that shares ``endpoint`` with other clients, of threads or of tasks."""
        client = cls.__new__(cls)
        client._attach(endpoint, pool)
        return client

    def _attach(self, endpoint: PluginEndpoint, pool: ConnectionPool | None) -> None:
        self.endpoint = endpoint
        self._pool = pool
        self._following: set[SupportsClose] = set()
        self._are_streams_closed = False
        retargets = endpoint.retargets
        self._open()
        endpoint.follow(self._reconnect)
        if endpoint.retargets != retargets:  # another thread, which did not find this client yet
            self._reconnect()

    def _open(self) -> None:
        """Make a transport to the address of the endpoint."""
        raise NotImplementedError

    def _new_transport(self, kind: type[AnyTransport], instance: Instance | None = None) -> AnyTransport:
        endpoint = self.endpoint
        where = endpoint if instance is None else instance
        transport = kind(
            where.address,
            where.tls,
            limits=endpoint.limits,
            pool=self._pool,
            keep_alive=endpoint.keep_alive,
            peer_uids=endpoint.peer_uids,
        )
        if instance is not None:
            transport.connect_within = CONNECT_WITHIN
        return transport

    def _reconnect(self) -> None:
        """Use the new address of the endpoint."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """The address of the plugin."""
        return self.endpoint.address.text

    @property
    def manifest(self) -> Manifest | None:
        """The plugin's response to the handshake; None until a manager has activated it."""
        return self.endpoint.manifest

    @manifest.setter
    def manifest(self, manifest: Manifest | None) -> None:
        self.endpoint.manifest = manifest

    @property
    def configurator(self) -> Any:
        """What sends a plugin that waits for its settings those of its manager; None without a manager."""
        return self.endpoint.configurator

    @property
    def paths(self) -> Sequence[tuple[str, str]]:
        """Where directories of the plugin are on the host, as ``PluginSpec.paths``; a manager sets it."""
        return self.endpoint.paths

    @paths.setter
    def paths(self, paths: Sequence[tuple[str, str]]) -> None:
        self.endpoint.paths = paths

    def host_path(self, path: str) -> str:
        """Return the host's path of a file that the plugin names.

        It differs from ``path`` only for plugins with a root file system of their own, such as Docker's managed
        plugins. The methods of typed drivers return the host's paths already.
        """
        return host_path(path, self.endpoint.paths)

    @property
    def points(self) -> dict[str, str]:
        """The prefixes of methods of drivers that use this client, each with its extension point."""
        return self.endpoint.points

    @property
    def plugin(self) -> str | None:
        """The name of the plugin, which errors carry."""
        return self.endpoint.plugin

    @property
    def timeout(self) -> float:
        """The seconds for a whole call that does not give its own. Can be set.

        Raises:
            TypeError, ValueError: on setting something other than a positive number of seconds, or math.inf.
        """
        return self.endpoint.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self.endpoint.timeout = check_timeout(seconds)

    @property
    def last_error(self) -> Exception | None:
        """The failure that opened the circuit breaker; None while it is closed."""
        return self.endpoint.last_error

    @property
    def next_try(self) -> float | None:
        """When the open circuit breaker lets a call through, a ``time.monotonic()`` value; None while it is closed."""
        return self.endpoint.next_try

    def retarget(
        self,
        address: str,
        *,
        tls: TLSConfig | None = None,
        peer_uids: Collection[int] | None = None,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        """Use another address from now on, or other instances. Calls under way end where they began.

        Args:
            address, tls, peer_uids, endpoints: as for `Client`.

        Raises:
            SpecError: an address is invalid.
        """
        self.endpoint.retarget(address, tls, peer_uids, endpoints)

    # Calls.

    def _attempts(
        self, method: str, seconds: float, idempotent: bool = False, *, is_file: bool = False
    ) -> Attempts | Failover:
        failover = self.endpoint.failover
        if failover is None:
            return Attempts(self.endpoint, method, seconds, idempotent, monotonic())
        self._shake_due_hands()
        return failover(self.endpoint, method, seconds, idempotent, monotonic(), is_file=is_file)

    def _attempts_at(self, instance: Instance, method: str, seconds: float) -> Failover:
        from .failover import Failover

        return Failover(self.endpoint, method, seconds, True, monotonic(), only=instance)

    def _shake_due_hands(self) -> None:
        """Begin the handshakes with instances that are due, in the background."""
        instances, now = self.endpoint.instances, monotonic()
        if instances is not None and instances.next_handshake <= now:
            self._begin_due(instances)

    def _begin_due(self, instances: Instances, *, everyone: bool = False) -> None:
        """Begin the handshakes that are due, as `Instances.due` says."""
        for instance in instances.due(monotonic(), everyone=everyone):
            self._begin_handshake(instance)

    def _new_handshake(self, instance: Instance) -> InstanceHandshake:
        from .instance_handshake import InstanceHandshake

        if self.endpoint.instances is None:
            raise ValueError("the plugin has one instance")
        return InstanceHandshake(self.endpoint, self.endpoint.instances, instance, monotonic())

    def _close_outdated(self, transports: dict[Instance, AnyTransport]) -> None:
        """Close and remove the transports that are not used any more."""
        for instance, transport in list(transports.items()):
            if self._is_outdated(instance, transport):
                transports.pop(instance, None)
                transport.close()

    def _is_outdated(self, instance: Instance, transport: BaseTransport) -> bool:
        instances = self.endpoint.instances or ()
        return instance not in instances or transport.peer_uids != self.endpoint.peer_uids

    def _begin_handshake(self, instance: Instance) -> None:
        """Begin a handshake with one instance, in the background."""
        raise NotImplementedError

    def _fail(
        self,
        failure: BaseException,
        method: str,
        seconds: float,
        observed: ObservedCall | None,
        attempts: Attempts | Failover | None = None,
    ) -> None:
        """Add to an error what it was about, and end the call for its observers."""
        if isinstance(failure, ExtframeError):
            instance = None if attempts is None else attempts.instance
            self.endpoint.describe(failure, method, seconds, instance)
        if observed is not None:
            observed.end(failure)

    @contextmanager
    def _closed_with_client(self, stream: SupportsClose) -> Iterator[None]:
        """Have `_close_streams` close a stream that follows, whose reader would wait forever."""
        self._following.add(stream)
        try:
            if self._are_streams_closed:
                stream.close()
            yield
        finally:
            self._following.discard(stream)

    def _close_streams(self) -> None:
        self._are_streams_closed = True
        for stream in tuple(self._following):
            stream.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied, as its connections belong to this process: send its address, "
            f"{self.address!r}, and create the {type(self).__name__} there"
        )

    def __repr__(self) -> str:
        name = f"{self.plugin!r} at " if self.plugin else ""
        return f"<{type(self).__name__} {name}{self.address}>"
