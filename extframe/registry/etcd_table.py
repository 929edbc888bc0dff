"""The plugins that etcd lists: keys and values in, `PluginSpec` out. Decides; sends nothing.

The layout is that of etcd's own ``naming/endpoints``, which Go's gRPC clients read: ``PREFIX/PLUGIN/INSTANCE`` has the
value ``{"Op": 0, "Addr": "10.0.0.7:7070", "Metadata": {"zone": "eu-1"}}``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import msgspec

from ..concurrency.locks import signal_safe_lock
from ..errors import SpecError
from ..logs import get_logger
from ..protocol import Address, Endpoint, PluginSpec, TLSConfig, is_name
from .etcd_gateway import KeyValue

logger = get_logger(__name__)


class Metadata(msgspec.Struct, omit_defaults=True):
    """What extframe says about an instance. Others may say more."""

    zone: str = ""
    weight: int = 1
    draining: bool = False
    tls: bool = False


class Value(msgspec.Struct, rename="pascal"):
    """The value of an instance's key."""

    addr: str = ""
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    op: int = 0


class EtcdTable:
    """The instances of each plugin.

    Args:
        prefix: of the keys; ends with a slash.
        source: the URL, for messages.
        tls: how instances are verified; None for what their address says, with the defaults.
    """

    def __init__(self, prefix: str, source: str, tls: TLSConfig | None) -> None:
        self._prefix = prefix
        self._source = source.rstrip("/")
        self._tls = tls
        self._plugins: dict[str, dict[str, tuple[str, Endpoint]]] = {}  # by name and key: the revision, the instance
        self._specs: dict[str, PluginSpec] = {}
        self._lock = signal_safe_lock()  # else a spec that is made during a change would be kept after it

    def __len__(self) -> int:
        return len(self._plugins)

    def names(self) -> list[str]:
        """Return the names of the plugins that have an instance, sorted."""
        return sorted(self._plugins)

    def spec(self, name: str) -> PluginSpec | None:
        """Return where the instances of a plugin listen; None if there are none."""
        spec = self._specs.get(name)
        if spec is None:
            with self._lock:
                found = self._plugins.get(name)
                if found is not None:
                    spec = self._specs[name] = self._made(name, found)
        return spec

    def _made(self, name: str, found: dict[str, tuple[str, Endpoint]]) -> PluginSpec:
        entries = sorted(found.items())
        endpoints = tuple(dict.fromkeys(endpoint for _, (_, endpoint) in entries))
        return PluginSpec(
            name,
            endpoints[0].address,
            endpoints[0].tls,
            source=f"{self._source}/{name}",
            stamp=tuple((key, revision) for key, (revision, _) in entries),
            peer_uids=frozenset(),
            endpoints=endpoints,
        )

    def stamp(self, name: str) -> Hashable:
        """Return what changes with the instances of a plugin; None if there are none."""
        spec = self._specs.get(name) or self.spec(name)
        return None if spec is None else spec.stamp

    def replace(self, found: Iterable[KeyValue]) -> None:
        """Use a whole list."""
        new = EtcdTable(self._prefix, self._source, self._tls)
        for each in found:
            new.put(each)
        with self._lock:
            self._plugins, self._specs = new._plugins, {}

    def put(self, found: KeyValue) -> None:
        """Add or change an instance. One whose value cannot be used is logged and removed."""
        key = _text(found.key)
        name = self._name_of(key)
        if name is None:
            return
        try:
            endpoint = self._endpoint(found.value)
        except (msgspec.DecodeError, SpecError, ValueError, RecursionError) as wrong:
            logger.warning("%s: the key %s is ignored: %s", self._source, key, wrong)
            self.remove(found)
            return
        with self._lock:
            self._plugins.setdefault(name, {})[key] = found.mod_revision, endpoint
            self._specs.pop(name, None)

    def remove(self, found: KeyValue) -> None:
        """Remove an instance."""
        key = _text(found.key)
        name = self._name_of(key)
        if name is None:
            return
        with self._lock:
            instances = self._plugins.get(name, {})
            if instances.pop(key, None) is not None:
                self._specs.pop(name, None)
                if not instances:
                    del self._plugins[name]

    def _name_of(self, key: str) -> str | None:
        name, slash, _ = key.removeprefix(self._prefix).partition("/")
        return name if slash and is_name(name) else None

    def _endpoint(self, value: bytes) -> Endpoint:
        found = msgspec.json.decode(value, type=Value)
        meta = _metadata(found.metadata)
        address = found.addr
        if "://" not in address:
            address = f"{'https' if meta.tls else 'tcp'}://{address}"
        parsed = Address.parse(address)
        if self._tls is not None and not parsed.path:  # etcd must not be able to turn it off
            parsed = Address.parse(f"https://{parsed.authority}")
        tls = self._tls if parsed.tls else None
        return Endpoint(str(parsed), tls, meta.zone, max(1, meta.weight), meta.draining)


def _text(key: bytes) -> str:
    return key.decode(errors="replace")


def _metadata(raw: msgspec.Raw) -> Metadata:
    """Return what is known of the metadata of an instance; gRPC programs may have something else there."""
    try:
        return msgspec.json.decode(raw, type=Metadata | None) or Metadata()
    except msgspec.ValidationError:
        return Metadata()


def value_of(endpoint: Endpoint) -> bytes:
    """Return the value that announces an instance."""
    parsed = Address.parse(endpoint.address)
    meta = Metadata(endpoint.zone, endpoint.weight, endpoint.draining, parsed.tls)
    addr = endpoint.address if parsed.path else parsed.authority
    return msgspec.json.encode(Value(addr, msgspec.Raw(msgspec.json.encode(meta))))
