"""Find plugins in DNS: PTR records list them, SRV records say where their instances listen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from ..concurrency.deadlines import check_timeout
from ..errors import ConnectError, ExtframeError, PluginNotFound, SpecError
from ..logs import get_logger
from ..protocol import Address, Endpoint, PluginSpec, TLSConfig, check_name
from .base import never_waits
from .refreshing_cache import CacheChanges, RefreshingCache

if TYPE_CHECKING:
    from .dns_lookup import DNSLookup, Instance

GRACE = 3.0  # seconds after their TTL in which the names are refreshed in the background: a watch never waits for DNS
_ALL = ""  # the key of the list of plugins, as no plugin has this name

logger = get_logger(__name__)


class DNSRegistry:
    """Plugins whose instances are announced in DNS, as by Kubernetes, Consul or a zone of your own.

    ::

        pm = extframe.PluginManager(extframe.DNSRegistry("plugins.example"))
        pm.driver("rclone", extframe.VolumeDriver).list()

    The SRV records of ``rclone.plugins.example`` are the instances of the plugin rclone: of those with the lowest
    priority each is called in proportion to its weight; the others are called only if none of these is left. The PTR
    records of ``plugins.example`` list the plugins: ``rclone.plugins.example``, ... That is DNS-SD (RFC 6763) for the
    domain ``_acme._tcp.plugins.example``.

    Records are cached for their TTL, at least for a second, and refreshed in the background when they have expired.
    While DNS does not answer, the last records are used. After a refused connection DNS is asked again before the TTL
    has passed.

    Args:
        domain: where the PTR records are.
        service: the names of SRV records before the domain, with ``{name}`` for the plugin's name. Also
            ``_{name}._tcp`` (RFC 2782), or ``_plugin._tcp.{name}`` for a port of a Kubernetes service.
        names: plugins that ``scan`` lists in addition, for a server that has no PTR records.
        tls: how instances are verified, by the names in their SRV records; plain TCP if None.
        nameservers: the DNS servers, ``10.0.0.2`` or ``127.0.0.1:8600``; those of the system if there are none. They
            are asked for the addresses of instances, too, but not with ``tls``.
        timeout: seconds for a lookup.

    Raises:
        SpecError: the domain, the service, a name or a server is invalid.
        ExtframeError: dnspython is not installed (``pip install 'extframe[dns]'``), or the system has no DNS server.
    """

    def __init__(
        self,
        domain: str,
        *,
        service: str = "{name}",
        names: Sequence[str] = (),
        tls: TLSConfig | None = None,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
    ) -> None:
        from .dns_lookup import DNSLookup

        if isinstance(names, str) or isinstance(nameservers, str):
            raise TypeError("names= and nameservers= are sequences, such as ['rclone'] and ['127.0.0.1:8600']")
        self.domain = domain
        self._names = tuple(_lower(check_name(name)) for name in names)
        self._tls = tls
        self._lookup: DNSLookup = DNSLookup(
            domain, service, nameservers, check_timeout(timeout), resolve_hosts=bool(nameservers) and tls is None
        )
        self._cache: RefreshingCache[tuple[object, ...]] = RefreshingCache(
            # Names that do not exist are not looked up over and over.
            self._load,
            "extframe dns",
            keeps_fresh=lambda key, found: key == _ALL or bool(found),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.domain!r})"

    def scan(self) -> list[str]:
        """Return the names in the domain's PTR records and those that were given, in lower case, sorted.

        Raises:
            ExtframeError: DNS does not answer, and never has.
        """
        try:
            found = self._cache.get(_ALL, grace=GRACE)
        except ExtframeError as error:
            error.message = f"cannot list plugins: {error.message}"
            raise
        return sorted({*self._names, *map(str, found)})

    def find(self, name: str) -> PluginSpec:
        """Return where the instances of a plugin listen. Its name is in lower case.

        Raises:
            PluginNotFound: there are no SRV records, or they say that it is not available.
            SpecError: the name is invalid.
            ExtframeError: DNS does not answer, and never has.
        """
        name = _lower(check_name(name))
        owner = self._lookup.owner(name)
        try:
            instances = self._cache.get(name)
        except ExtframeError as error:
            error.plugin, error.message = name, f"cannot find plugin {name!r}: {error.message}"
            raise
        if not instances:
            raise PluginNotFound(f"no plugin {name!r}: looked for SRV records of {owner}", plugin=name)
        endpoints = _endpoints(instances, self._tls)  # type: ignore[arg-type] # `_load` made them
        if not endpoints:
            raise SpecError(f"no SRV record of {owner} has a host and port", plugin=name, source=f"SRV {owner}")
        return PluginSpec(
            name, endpoints[0].address, self._tls, source=f"SRV {owner}", stamp=instances, endpoints=endpoints
        )

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the instances of a plugin as they were last seen; None if it had none.

        Does not wait: records that have expired are refreshed in the background. After a refused connection it differs
        from ``spec.stamp``, so that `find` asks DNS.
        """
        return "refused" if self._cache.is_invalid(spec.name) else self._cache.peek(spec.name) or None

    def changes(self) -> CacheChanges:
        """Return an object whose ``fileno()`` is readable after records have changed. They are refreshed until its end.

        Raises:
            ExtframeError: the system has no thread for it.
        """
        return CacheChanges(self._cache, "extframe dns changes")

    def why(self, spec: PluginSpec, error: Exception) -> str | None:
        """Note that an instance refused a connection: DNS is asked again at the next use. Returns None."""
        if isinstance(error, ConnectError):
            self._cache.invalidate(spec.name)
        return None

    def _load(self, key: str) -> tuple[tuple[object, ...], float]:
        found = self._lookup.plugins() if key == _ALL else self._lookup.instances(key)
        return found.values, found.ttl


def _lower(name: str) -> str:
    """Return a name as DNS compares names: ASCII letters in lower case."""
    return name.encode().lower().decode()


def _endpoints(instances: Sequence[Instance], tls: TLSConfig | None) -> tuple[Endpoint, ...]:
    """Return the endpoints for SRV records, the first the best."""
    scheme = "tcp" if tls is None else "https"
    first = instances[0].priority
    found: dict[str, Endpoint] = {}
    for each in instances:
        host = f"[{each.host}]" if ":" in each.host else each.host
        try:
            address = str(Address.parse(f"{scheme}://{host}:{each.port}"))
        except SpecError as wrong:
            logger.warning("an SRV record is ignored: %s", wrong)
            continue
        # An instance with another priority is called only if none with the first is left: so is one that drains.
        found.setdefault(address, Endpoint(address, tls, weight=max(1, each.weight), draining=each.priority != first))
    return tuple(found.values())
