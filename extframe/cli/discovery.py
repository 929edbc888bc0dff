"""List plugins, and activate them concurrently. Prints nothing, and calls no handler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import CallTimeout, ExtframeError, PluginNotFound, SpecError
from ..text import text_of
from .exit_codes import root_cause

if TYPE_CHECKING:
    from ..concurrency.deadlines import Deadline
    from ..concurrency.threads import Worker
    from ..host.plugin import Plugin
    from ..protocol import Manifest, PluginSpec
    from ..registry.local import Registry
    from .hosted_plugins import HostedPlugin

CONCURRENCY = 200  # plugins that are activated at a time: each takes a thread and a file descriptor
GRACE = 0.1  # seconds after the deadline for a thread to report that it passed


@dataclass(frozen=True)
class PluginStatus:
    """One plugin: where it listens, and the outcome of its handshake.

    Args:
        name: its name.
        spec: the contents of its source; None if that cannot be used.
        implements: its manifest; None if no handshake was made, or it failed.
        error: why its source cannot be used, or why the handshake failed.
        versions: the versions of those extension points that are not in version 1 alone.
        settings: those for which the plugin takes settings.
        hosted: what is known about it if hosts start it. Without a process it has no spec, so that it is not started.
    """

    name: str
    spec: PluginSpec | None = None
    implements: tuple[str, ...] | None = None
    error: Exception | None = None
    versions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    settings: tuple[str, ...] = ()
    hosted: HostedPlugin | None = None

    @property
    def state(self) -> str:
        """The state as in `extframe.host.plugin.State`; new, or that of its process, if no handshake was made."""
        if self.error is not None:
            return "waiting" if self.hosted is not None and self.hosted.state == "waiting" else "failed"
        if self.implements is not None:
            return "active"
        return "new" if self.hosted is None else self.hosted.state

    @property
    def address(self) -> str:
        """Where it listens; empty if that is not known."""
        return self.spec.address if self.spec else ""

    @property
    def source(self) -> str:
        """The socket, the spec file or the configuration that it was found by; empty if that is not known."""
        if self.hosted is not None:
            return self.hosted.source
        if self.spec is None:
            return (self.error.source or "") if isinstance(self.error, SpecError) else ""
        return self.spec.source

    @property
    def next_try(self) -> str:
        """When a host activates it again. Only hosts that watch do so before the next use."""
        if self.error is None:
            return ""
        return "on change" if self.hosted is not None and self.hosted.state == "failed" else "on use"

    @property
    def reason(self) -> str:
        """The error without the name, source and address, which a table shows in their own columns."""
        if self.error is None:
            return ""
        reason = root_cause(self.error)
        message = reason.message if isinstance(reason, ExtframeError) else text_of(reason)
        return message.removeprefix(f"{self.source}: ") if self.source else message

    def as_json(self) -> dict[str, object]:
        """Return it for JSON; what is not known is None."""
        return {
            "name": self.name,
            "source": self.source or None,
            "address": self.address or None,
            "state": self.state,
            "implements": None if self.implements is None else list(self.implements),
            "next_try": self.next_try or None,
            "reason": None if self.error is None else text_of(self.error),
            **({} if self.hosted is None else self.hosted.as_json()),
        }


def find_all(registry: Registry, names: Iterable[str]) -> list[PluginStatus]:
    """Return plugins of the registry. Opens no connection."""
    found = (_find(registry, name) for name in names)
    return [status for status in found if status is not None]


def status_of(plugin: HostedPlugin | PluginSpec) -> PluginStatus:
    """Return the status of a plugin as it is without a handshake."""
    from ..protocol import PluginSpec

    if isinstance(plugin, PluginSpec):
        return PluginStatus(plugin.name, plugin)
    return PluginStatus(plugin.name, plugin.spec if plugin.runs else None, error=plugin.error, hosted=plugin)


def _find(registry: Registry, name: str) -> PluginStatus | None:
    try:
        return PluginStatus(name, registry.find(name))
    except PluginNotFound:  # removed since the scan
        return None
    except ExtframeError as error:
        return PluginStatus(name, error=error)


def activate_all(plugins: Sequence[PluginStatus], timeout: float) -> Iterator[PluginStatus]:
    """Yield the plugins with their manifests. A plugin that hangs does not delay the others.

    Args:
        plugins: plugins whose source cannot be used are yielded unchanged.
        timeout: seconds for each handshake.
    """
    from ..concurrency import deadlines
    from ..host.plugin import Plugin  # before the deadline is computed, as it takes a while

    for start in range(0, len(plugins), CONCURRENCY):
        deadline = deadlines.after(timeout)
        started = [(each, _start_handshake(Plugin, each, deadline)) for each in plugins[start : start + CONCURRENCY]]
        for plugin, worker in started:
            yield plugin if worker is None else _with_outcome(plugin, worker, deadline)


def _start_handshake(made: type[Plugin], status: PluginStatus, deadline: Deadline) -> Worker[Manifest] | None:
    from ..concurrency.threads import Worker

    spec = status.spec
    if spec is None:
        return None

    def shake_hands() -> Manifest:
        plugin = made(spec)
        try:
            plugin.activate(deadline)
            return plugin.manifest
        finally:
            plugin.close()

    return Worker(shake_hands, f"extframe plugin {status.name}")


def _with_outcome(status: PluginStatus, worker: Worker[Manifest], deadline: Deadline) -> PluginStatus:
    try:
        manifest = worker.result(deadline + GRACE)
        return replace(status, implements=manifest.implements, versions=manifest.versions, settings=manifest.settings)
    except ExtframeError as error:
        return replace(status, error=error)
    except TimeoutError:  # in something without a deadline, such as the resolver
        reason = f"timed out connecting to the plugin; the timeout was {deadline.timeout:g} s"
        late = CallTimeout(reason, plugin=status.name, address=status.address, timeout=deadline.timeout)
        return replace(status, error=late)
