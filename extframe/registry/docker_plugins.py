"""Find Docker's managed plugins, those of ``docker plugin install``. Only reads: it enables and changes none."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Hashable, Sequence
from contextlib import suppress

from ..errors import ActivationError, ConnectError, PluginNotFound, SpecError
from ..protocol import Address, Manifest, PluginSpec, check_name
from .base import never_waits
from .docker_engine import DEFAULT_ENGINE, DockerEngine, ManagedPlugin
from .docker_events import DockerEvents
from .ownership import check_writers
from .search_errors import UNREACHABLE, is_access_denied, text_of_os_error
from .sources import stamp_of

StrPath = str | os.PathLike[str]

SOCKETS = "/run/docker/plugins"  # no option of the engine changes it (moby daemon/daemon_linux.go)
LOOKS = 5  # at a plugin whose socket is created while the engine is asked for its configuration
SHORT_ID = 12  # characters of an id that `docker plugin ls` shows

_POINTS = {
    "volumedriver": "VolumeDriver",
    "networkdriver": "NetworkDriver",
    "ipamdriver": "IpamDriver",
    "logdriver": "LogDriver",
    "authz": "authz",
    "metricscollector": "MetricsCollector",
    "secretprovider": "secretprovider",
    "graphdriver": "GraphDriver",
}
"""The extension point of each type with the prefix "docker"."""
_PROTOCOLS = ("", "moby.plugins.http/v1")


class DockerPlugins:
    """The enabled managed plugins of Docker's engine, those that ``docker plugin install`` installs.

    ::

        pm = extframe.PluginManager(extframe.DockerPlugins())
        pm.driver("vieux/sshfs", extframe.VolumeDriver).list()

    A plugin's name is the engine's, with its tag: ``vieux/sshfs:latest``. ``find`` also accepts the name without the
    tag, which means ``latest``, or the only tag that there is; the id; and its first 12 characters or more.

    - What a plugin implements is in its configuration (``docker.volumedriver/1.0``), so it needs no handshake, and is
      sent none. A type with another prefix than ``docker`` is an extension point of that name: ``acme.Backup/2.0`` is
      version 2 of ``Backup``.
    - Its mount points are paths inside the plugin. ``PluginSpec.paths`` says where they are on the host, and typed
      drivers return the host's paths.
    - ``changes`` follows the engine's events, so that ``PluginManager.watch`` notices plugins that are enabled,
      disabled and upgraded at once.

    Only root may enter the directory of the plugins' sockets.

    Args:
        engine: the address of the engine, which runs on this machine.
        sockets: the directory of the plugins' sockets, for an engine in a mount namespace of its own;
            ``/run/docker/plugins`` if None.

    Raises:
        SpecError: the address is invalid.
    """

    def __init__(self, engine: str = DEFAULT_ENGINE, *, sockets: StrPath | None = None) -> None:
        self._engine = DockerEngine(engine)
        self._sockets = os.path.abspath(SOCKETS if sockets is None else sockets)
        self._found: dict[str, PluginSpec] = {}

    def __repr__(self) -> str:
        sockets = "" if self._sockets == SOCKETS else f", sockets={self._sockets!r}"
        return f"{type(self).__name__}({self.engine!r}{sockets})"

    @property
    def engine(self) -> str:
        """The address of the engine."""
        return self._engine.address.text

    def scan(self) -> list[str]:
        """Return the names of the enabled plugins, each with its tag, sorted.

        Raises:
            ExtframeError: the engine cannot be asked.
        """
        return sorted(plugin.name for plugin in self._engine.plugins("list plugins") if plugin.enabled)

    def find(self, name: str) -> PluginSpec:
        """Return where a plugin listens, what it implements, and where its files are on the host.

        Raises:
            PluginNotFound: the engine does not have it, or it is disabled; the message has the command that enables it.
            SpecError: its socket is in a directory that this user may not enter, or that other users can write; or it
                speaks another protocol.
            ActivationError: it is enabled, but has no socket.
            ExtframeError: the engine cannot be asked.
        """
        known = self._found.get(name)
        if known is not None and self.stamp(known) == known.stamp:
            return known
        plugin, spec, is_certain = self._look(name)
        for _ in range(LOOKS - 1):
            if is_certain:
                break
            plugin, spec, is_certain = self._look(name)
        if name in (plugin.name, plugin.id, plugin.name.removesuffix(":latest")):
            self._found[name] = spec
        return spec

    def _look(self, name: str) -> tuple[ManagedPlugin, PluginSpec, bool]:
        """Return a plugin, and whether its socket existed before the engine was asked.

        If not, its configuration may be that of the process before, as in an upgrade.
        """
        act = f"find plugin {name!r}"
        before = self._stamps()
        plugin = self._resolve(name, self._engine.plugins(act))
        spec = self._spec(plugin, self._engine.root(act))
        return plugin, spec, spec.stamp in before

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the identity of a plugin and of its socket, which the engine creates whenever it starts the plugin."""
        path = spec.address.removeprefix("unix://")
        try:
            return _stamp(path, os.stat(path))
        except OSError as error:
            return None if error.errno in UNREACHABLE else spec.stamp

    def changes(self) -> DockerEvents:
        """Return an object whose ``fileno()`` is readable after a plugin was enabled, disabled, upgraded or removed.

        Raises:
            ExtframeError: the system has no thread for it.
        """
        return DockerEvents(self._engine.plugin_events)

    def why(self, spec: PluginSpec, error: Exception) -> str | None:
        """Return why a plugin could not be used, as the predicate of a sentence; None while it has its socket."""
        if self.stamp(spec) is not None:
            return None
        return f"is disabled, removed or restarting: it has no socket; enable it with: {self._command(spec.name)}"

    def close(self) -> None:
        """Close the connections to the engine."""
        self._engine.close()

    def _resolve(self, name: str, plugins: Sequence[ManagedPlugin]) -> ManagedPlugin:
        found = _matching(name, plugins)
        if not found:
            enabled = ", ".join(sorted(plugin.name for plugin in plugins if plugin.enabled)) or "none"
            where = f"looked for a managed plugin in Docker's engine at {self.engine}; enabled there: {enabled}"
            raise self._not_found(name, where)
        if len(found) > 1:
            names = ", ".join(sorted(plugin.name for plugin in found))
            raise self._not_found(name, f"Docker's engine at {self.engine} has several: {names}; name one of them")
        plugin = found[0]
        if not plugin.enabled:
            command = self._command(plugin.name)
            raise self._not_found(name, f"the managed plugin {plugin.name} is disabled; enable it with: {command}")
        return plugin

    def _not_found(self, name: str, reason: str) -> PluginNotFound:
        return PluginNotFound(f"no plugin {name!r}: {reason}", plugin=name)

    def _command(self, name: str) -> str:
        host = "" if self.engine == DEFAULT_ENGINE else f"--host {shlex.quote(self.engine)} "
        return f"docker {host}plugin enable {shlex.quote(name)}"

    def _spec(self, plugin: ManagedPlugin, root: str) -> PluginSpec:
        socket, status = self._socket(plugin)
        directory = os.path.join(root, "plugins", plugin.id)
        paths = [("/", os.path.join(directory, "rootfs"))]
        if plugin.config.propagated_mount:
            paths.append((plugin.config.propagated_mount, os.path.join(directory, "propagated-mount")))
        return PluginSpec(
            plugin.name,
            str(Address.parse(f"unix://{socket}")),
            source=self.engine,
            stamp=_stamp(socket, status),
            manifest=manifest_of(plugin.config.interface.types or ()),
            peer_uids=frozenset({status.st_uid}),
            paths=tuple(paths),
        )

    def _stamps(self) -> set[Hashable]:
        """Return the stamps of all plugins that have a socket."""
        found = set()
        for path in glob.iglob(os.path.join(glob.escape(self._sockets), "*", "*")):
            with suppress(OSError):
                found.add(_stamp(path, os.stat(path)))
        return found

    def _socket(self, plugin: ManagedPlugin) -> tuple[str, os.stat_result]:
        """Return the path of a plugin's socket and its status.

        Raises:
            SpecError, ActivationError: as `find`.
        """
        interface = plugin.config.interface
        if interface.protocol_scheme not in _PROTOCOLS:
            raise self._unusable(plugin, f"it speaks {interface.protocol_scheme}; expected {_PROTOCOLS[1]}")
        directory = os.path.join(self._sockets, plugin.id)
        path = os.path.join(directory, interface.socket)
        try:
            check_name(interface.socket)
            status = os.stat(path)
            check_writers(directory, os.stat(directory))
        except SpecError as unsafe:
            raise self._unusable(plugin, str(unsafe)) from unsafe
        except OSError as error:
            if is_access_denied(error):
                reason = f"only root may enter {self._sockets} (its mode is 0700): run as root to use managed plugins"
                raise self._unusable(plugin, reason) from error
            missing = ConnectError(text_of_os_error(error), plugin=plugin.name, address=f"unix://{path}")
            missing.__cause__ = error  # `get(wait=...)` waits for it: the engine may be starting it
            raise ActivationError(
                f"plugin {plugin.name!r} is enabled in Docker's engine, but its socket {path} cannot be used: "
                f"{missing.message}; the log of the engine says why",
                plugin=plugin.name,
            ) from missing
        return path, status

    def _unusable(self, plugin: ManagedPlugin, reason: str) -> SpecError:
        return SpecError(f"managed plugin {plugin.name}: {reason}", plugin=plugin.name, source=self.engine)


def _matching(name: str, plugins: Sequence[ManagedPlugin]) -> list[ManagedPlugin]:
    """Return the plugins that a name may mean; several only if it is ambiguous. An exact match comes first."""
    exact = [plugin for plugin in plugins if plugin.id == name or plugin.name in (name, f"{name}:latest")]
    if exact or not name:
        return exact[:1]
    tagged = [plugin for plugin in plugins if plugin.name.rpartition(":")[0] == name]
    enabled = [plugin for plugin in tagged if plugin.enabled]
    by_id = [plugin for plugin in plugins if len(name) >= SHORT_ID and plugin.id.startswith(name)]
    return enabled or tagged or by_id


def manifest_of(types: Sequence[object]) -> Manifest:
    """Return what a managed plugin implements, for the types in its configuration: ``docker.volumedriver/1.0``."""
    points: dict[str, set[int]] = {}
    for each in types:
        name, _, version = each.partition("/") if isinstance(each, str) else ("", "", "")
        prefix, _, capability = name.rpartition(".")
        if not capability:
            continue
        if prefix == "docker":
            points.setdefault(_POINTS.get(capability.lower(), capability), set()).add(1)
        else:
            major = version.partition(".")[0]
            points.setdefault(capability, set()).add(int(major) if major.isascii() and major.isdigit() else 1)
    versions = ((point, tuple(sorted(numbers - {0}) or (1,))) for point, numbers in points.items())
    return Manifest(tuple(points), tuple((point, numbers) for point, numbers in versions if numbers != (1,)))


def _stamp(path: str, status: os.stat_result) -> Hashable:
    # The path contains the plugin's id.
    return path, stamp_of(status)
