"""What is known of plugins, with and without asking them. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import CallTimeout, ExtframeError, PluginNotFound, SpecError
from .exits import cause

if TYPE_CHECKING:
    from ..concurrency.threads import Worker
    from ..protocol import Manifest, PluginSpec
    from ..registry.local import Registry

AT_ONCE = 200  # plugins that are asked side by side: each takes a thread and a descriptor
GRACE = 0.1  # seconds that a thread has to report that its deadline has passed


@dataclass(frozen=True)
class Finding:
    """One plugin: where it listens, and what came of asking it.

    Args:
        name: its name.
        spec: what its file says; None where that cannot be used.
        implements: its manifest; None where it was not asked, or did not say.
        error: why its file cannot be used, or why the handshake failed.
    """

    name: str
    spec: PluginSpec | None = None
    implements: tuple[str, ...] | None = None
    error: Exception | None = None

    @property
    def state(self) -> str:
        """What `extframe.host.plugin.State` calls it: new where nobody asked it."""
        if self.error is not None:
            return "failed"
        return "new" if self.implements is None else "active"

    @property
    def address(self) -> str:
        """Where it listens, or nothing."""
        return self.spec.address if self.spec else ""

    @property
    def source(self) -> str:
        """The file that says so, or that cannot be used; or nothing."""
        if self.spec is None:
            return (self.error.source or "") if isinstance(self.error, SpecError) else ""
        return self.spec.source

    @property
    def next_try(self) -> str:
        """When a host tries it again of itself. Nobody but a host that watches does."""
        return "" if self.error is None else "on use"

    @property
    def reason(self) -> str:
        """The heart of what went wrong, without the name, the source and the address that stand beside it."""
        if self.error is None:
            return ""
        reason = cause(self.error)
        words = reason.message if isinstance(reason, ExtframeError) else str(reason)
        return words.removeprefix(f"{self.source}: ") if self.source else words

    def as_json(self) -> dict[str, object]:
        """Return it for a program to read; None is what is not known."""
        return {
            "name": self.name,
            "source": self.source or None,
            "address": self.address or None,
            "state": self.state,
            "implements": None if self.implements is None else list(self.implements),
            "next_try": self.next_try or None,
            "reason": None if self.error is None else str(self.error),
        }


def find_all(registry: Registry) -> list[Finding]:
    """Return every plugin that the registry sees. Contacts none of them."""
    found = (_find(registry, name) for name in registry.scan())
    return [finding for finding in found if finding is not None]


def _find(registry: Registry, name: str) -> Finding | None:
    try:
        return Finding(name, registry.find(name))
    except PluginNotFound:  # it went away meanwhile
        return None
    except ExtframeError as error:
        return Finding(name, error=error)


def ask(findings: Sequence[Finding], timeout: float) -> Iterator[Finding]:
    """Yield the findings with what each plugin says it implements. One that hangs costs the others nothing.

    Args:
        findings: those whose file cannot be used are passed on as they are.
        timeout: seconds for each handshake.
    """
    from ..concurrency import deadlines

    for start in range(0, len(findings), AT_ONCE):
        deadline = deadlines.after(timeout)
        asked = [(each, _start(each, deadline)) for each in findings[start : start + AT_ONCE]]
        for finding, worker in asked:
            yield finding if worker is None else _answered(finding, worker, deadline + GRACE)


def _start(finding: Finding, deadline: float) -> Worker[Manifest] | None:
    from ..concurrency.threads import Worker
    from ..host.plugin import Plugin

    spec = finding.spec
    if spec is None:
        return None

    def shake_hands() -> Manifest:
        plugin = Plugin(spec)
        try:
            plugin.activate(deadline)
            return plugin.manifest
        finally:
            plugin.close()

    return Worker(shake_hands, f"extframe plugin {finding.name}")


def _answered(finding: Finding, worker: Worker[Manifest], deadline: float) -> Finding:
    try:
        return replace(finding, implements=worker.result(deadline).implements)
    except ExtframeError as error:
        return replace(finding, error=error)
    except TimeoutError:  # in what knows no deadlines, such as the resolver
        late = CallTimeout("the plugin could not be reached in time", plugin=finding.name, address=finding.address)
        return replace(finding, error=late)
