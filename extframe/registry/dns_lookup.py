"""SRV and PTR records of plugins, looked up with dnspython, which only this module imports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CallTimeout, ExtframeError, PluginNotFound, SpecError
from ..protocol import is_name
from ..text import text_of

if TYPE_CHECKING:
    import dns.name
    import dns.resolver

_NAME = "{name}"
_NOT_INSTALLED = "DNSRegistry needs dnspython; install it with: pip install 'extframe[dns]'"


class Instance(NamedTuple):
    """One SRV record. Instances with a higher ``priority`` are for when none with a lower one is left."""

    priority: int
    weight: int
    host: str
    port: int


class Found(NamedTuple):
    """What a lookup found, and for how many seconds that holds."""

    values: tuple[Any, ...]
    ttl: float


class DNSLookup:
    """Looks up the records of a domain. Each lookup asks a server.

    Args:
        domain: the domain, without a dot at its end.
        service: the labels of a plugin's SRV records before the domain, with ``{name}`` for the plugin's name.
        nameservers: addresses of servers, ``10.0.0.2`` or ``127.0.0.1:8600``; those of the system if there are none.
        timeout: seconds for one lookup.
        resolve_hosts: whether to look up the addresses of instances at the same servers.

    Raises:
        ExtframeError: dnspython is not installed, or the system has no configuration for DNS.
        SpecError: the domain, the service or a server is invalid.
    """

    def __init__(
        self, domain: str, service: str, nameservers: Sequence[str], timeout: float, *, resolve_hosts: bool
    ) -> None:
        try:
            import dns.exception
            import dns.name
            import dns.rdatatype
            import dns.resolver
        except ImportError as missing:
            raise ExtframeError(_NOT_INSTALLED) from missing
        self._dns = dns
        self._timeout = timeout
        self._resolve_hosts = resolve_hosts
        try:
            self.domain = dns.name.from_text(domain)
        except dns.exception.DNSException as wrong:
            raise SpecError(f"{domain!r} is not a domain: {text_of(wrong)}") from wrong
        self._labels = service.split(".")
        if sum(_NAME in label for label in self._labels) != 1 or not all(self._labels):
            raise SpecError(f"service={service!r} is invalid: expected labels with {_NAME} once, such as _{_NAME}._tcp")
        self._resolver = self._create_resolver(nameservers)

    def _create_resolver(self, nameservers: Sequence[str]) -> dns.resolver.Resolver:
        try:
            resolver = self._dns.resolver.Resolver(configure=not nameservers)
        except self._dns.exception.DNSException as error:
            raise ExtframeError(f"DNS is not configured on this system: {text_of(error)}") from error
        if nameservers:
            resolver.nameservers = [_server(text) for text in nameservers]
        resolver.use_edns(0, 0, 1232)  # so that many instances fit one datagram (DNS flag day 2020)
        return resolver

    def owner(self, plugin: str) -> str:
        """Return the name of a plugin's SRV records, for messages.

        Raises:
            PluginNotFound: DNS cannot have this name.
        """
        return self._owner(plugin).to_text(omit_final_dot=True)

    def _owner(self, plugin: str) -> dns.name.Name:
        # Label by label: a dot in a name must not lead to another domain.
        labels = [label.replace(_NAME, plugin).encode() for label in self._labels]
        try:
            return self._dns.name.Name([*labels, *self.domain.labels])
        except self._dns.exception.DNSException as wrong:
            reason = f"DNS cannot have the name: {text_of(wrong)}"
            raise PluginNotFound(f"no plugin {plugin!r}: {reason}", plugin=plugin) from wrong

    def instances(self, plugin: str) -> Found:
        """Return the `Instance` of each SRV record of a plugin, the best first; none if there are no such records.

        Raises:
            PluginNotFound: as `owner`.
            ExtframeError: no server answers the question.
        """
        answer = self._ask(self._owner(plugin), "SRV")
        if answer is None or answer.rrset is None:
            return Found((), 0.0)
        found: set[Instance] = set()
        ttl = float(answer.rrset.ttl)
        for record in answer.rrset:
            if record.port and record.target != self._dns.name.root:  # "." means: not available here (RFC 2782)
                hosts, seconds = self._hosts(record.target, answer)
                ttl = min(ttl, seconds)
                found.update(Instance(record.priority, record.weight, host, record.port) for host in hosts)
        best_first = sorted(found, key=lambda each: (each.priority, -each.weight, each.host, each.port))
        return Found(tuple(best_first), ttl)

    def plugins(self) -> Found:
        """Return the names of the plugins for which the domain has PTR records, sorted.

        Raises:
            ExtframeError: no server answers the question.
        """
        answer = self._ask(self.domain, "PTR")
        if answer is None or answer.rrset is None:
            return Found((), 0.0)
        names = {self._plugin(record.target) for record in answer.rrset}
        return Found(tuple(sorted(name for name in names if name is not None)), answer.rrset.ttl)

    def _plugin(self, owner: dns.name.Name) -> str | None:
        """Return the plugin whose SRV records have this name; None if no plugin's have."""
        if not owner.is_subdomain(self.domain):
            return None
        labels = owner.relativize(self.domain).labels
        if len(labels) != len(self._labels):
            return None
        found = [_matched(pattern.lower(), label.lower()) for pattern, label in zip(self._labels, labels, strict=True)]
        name = "".join(each for each in found if each)
        return name if None not in found and is_name(name) else None

    def _hosts(self, target: dns.name.Name, answer: dns.resolver.Answer) -> tuple[list[str], float]:
        """Return what to connect to for the host of an SRV record, its name or its addresses, and for how long."""
        if not self._resolve_hosts:
            return [target.to_text(omit_final_dot=True)], math.inf
        for kind in ("A", "AAAA"):
            for rrset in answer.response.additional:
                if rrset.name == target and rrset.rdtype == self._dns.rdatatype.from_text(kind):
                    return [record.address for record in rrset], rrset.ttl
        for kind in ("A", "AAAA"):
            found = self._ask(target, kind)
            if found is not None and found.rrset is not None:
                return [record.address for record in found.rrset], found.rrset.ttl
        return [], 0.0

    def _ask(self, name: dns.name.Name, kind: str) -> dns.resolver.Answer | None:
        """Return the answer to a question; None if there are no such records."""
        resolver = self._dns.resolver
        try:
            return self._resolver.resolve(name, kind, lifetime=self._timeout, search=False)
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return None
        except resolver.LifetimeTimeout as late:
            question = f"{kind} {name.to_text(omit_final_dot=True)}"
            raise CallTimeout(f"DNS did not answer {question} within {self._timeout:g} s", phase="registry") from late
        except (self._dns.exception.DNSException, OSError) as error:
            question = f"{kind} {name.to_text(omit_final_dot=True)}"
            raise ExtframeError(f"DNS could not answer {question}: {text_of(error)}") from error


def _matched(pattern: str, label: bytes) -> str | None:
    """Return what a label has for ``{name}`` in a pattern, "" if that is not in it; None if they do not match."""
    try:
        text = label.decode()
    except UnicodeDecodeError:
        return None
    before, has_name, after = pattern.partition(_NAME)
    if not has_name:
        return "" if text == pattern else None
    is_long_enough = len(text) > len(before) + len(after)
    matches = is_long_enough and text.startswith(before) and text.endswith(after)
    return text[len(before) : len(text) - len(after)] if matches else None


def _server(text: str) -> Any:
    """Return the nameserver at an address: ``10.0.0.2``, ``127.0.0.1:8600``, ``[::1]:53``, ``::1``."""
    import ipaddress

    import dns.nameserver

    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, "53"
    host = host.removeprefix("[").removesuffix("]")
    try:
        if not 0 < int(port) < 1 << 16:
            raise ValueError
        return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(host)), int(port))
    except ValueError:
        raise SpecError(
            f"{text!r} is not the address of a DNS server: expected an IP address such as 10.0.0.2 or 127.0.0.1:8600"
        ) from None
