"""Hook markers and hook specifications. Calls nothing; knows no plugin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from ..client.client import Client
    from ..errors import ExtframeError
    from ..host.plugin import Plugin
    from ..protocol import Manifest, PluginSpec
else:
    from ..concurrency.late_types import late

    Client = late("extframe.client.client", "Client")
    ExtframeError = late("extframe.errors", "ExtframeError")
    Plugin = late("extframe.host.plugin", "Plugin")
    Manifest = late("extframe.protocol", "Manifest")
    PluginSpec = late("extframe.protocol", "PluginSpec")

PROJECT = "extframe"

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a hook specification: a new extension point, or any hook that handlers may implement."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a handler's implementation of a hook."""


ARGUMENTS = ("name", "client")
"""The arguments of every extension point's hook."""


class HookSpec(Protocol):
    """A hook specification, as in ``HookCaller.spec``."""

    @property
    def opts(self) -> Any:
        """The options of its marker."""

    @property
    def argnames(self) -> Sequence[str]:
        """The names of its arguments without self."""
        raise NotImplementedError


class ExtensionPoints:
    """The hooks of Docker's extension points. Each is called once for each plugin that implements its extension point.

    Every manager has them, except one with ``project=``, which gets them by ``pm.add_hookspecs(ExtensionPoints)``.

    Args:
        name: the plugin's name.
        client: the plugin's client, an ``AsyncClient`` in an async host; it keeps working when the plugin restarts.

    Returns:
        The driver that the handler created, or None.
    """

    @hookspec
    def volume_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``VolumeDriver``: it creates and mounts volumes."""

    @hookspec
    def network_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``NetworkDriver``: it connects containers to networks."""

    @hookspec
    def ipam_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``IpamDriver``: it assigns addresses."""

    @hookspec
    def authz(self, name: str, client: Client) -> object:
        """A plugin implements ``authz``: it allows or denies requests to an API."""

    @hookspec
    def log_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``LogDriver``: it stores log entries and may read them back."""

    @hookspec
    def metrics_collector(self, name: str, client: Client) -> object:
        """A plugin implements ``MetricsCollector``: it collects the host's metrics."""

    @hookspec
    def secretprovider(self, name: str, client: Client) -> object:
        """A plugin implements ``secretprovider``: it provides the values of secrets."""


class LifecycleHooks:
    """The lifecycle hooks: notifications of what happens to plugins.

    Every manager has them, except one with ``project=``, which gets them by ``pm.add_hookspecs(LifecycleHooks)``.

    `plugin_activating` is the exception: the plugin waits for it, and what it raises or returns counts. The others
    are called serially in a background thread, or in tasks of an async host, in the order of the events: nothing
    waits for them, and they may call any method of the manager. Their results are ignored. One that raises does not
    stop the others and is recorded in ``failures()``. One that runs longer than ten seconds is abandoned, and later
    events are delivered without it.

    Args:
        name: the plugin's name.
        plugin: the plugin; its state may have changed since the event.
    """

    @hookspec
    def plugin_activating(self, name: str, manifest: Manifest, spec: PluginSpec) -> Sequence[str] | None:
        """Decide whether a plugin may be used, after its handshake and before anything else is called for it.

        The plugin waits for the decision: this hook is called in a thread of its own, or in a task, for the first
        handshake and for every later one. A handler that raises, or that has not returned at the deadline, vetoes the
        activation: `ActivationVetoed`. It must not use the plugin.

        Args:
            name: the plugin's name.
            manifest: what the plugin declared.
            spec: where it was found: its address and source.

        Returns:
            None, or the extension points that the plugin may be used as; the others are left out.
        """

    @hookspec
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        """A handshake succeeded: the first, or another one after the plugin restarted or changed."""

    @hookspec
    def plugin_failed(self, name: str, error: ExtframeError) -> None:
        """Activating a plugin failed, for another reason than in the last notification; ``error`` is the reason."""

    @hookspec
    def plugin_lost(self, name: str, plugin: Plugin, reason: str) -> None:
        """An active plugin refused a connection, or its source changed or disappeared. It may recover at any time."""

    @hookspec
    def plugin_removed(self, name: str) -> None:
        """The plugin's source was removed from the registry."""


LIFECYCLE = frozenset(name for name in vars(LifecycleHooks) if name.startswith("plugin_"))
"""The hooks that are not extension points, whatever a manifest says."""


def is_lifecycle_hook(caller: pluggy.HookCaller | None) -> bool:
    """Return whether this is extframe's lifecycle hook, and not a host's hook of the same name."""
    return caller is not None and caller.spec is not None and caller.spec.namespace is LifecycleHooks


class FunctionHandler:
    """A handler that calls one function with the plugin's name and client.

    Args:
        hook: the hook that it implements.
        function: returns a driver or None.
        trylast: call it after the handlers without this option.
        name: its ``__name__``, which pluggy's plugins have.
    """

    def __init__(
        self, hook: str, function: Callable[[str, Client], object], *, trylast: bool = False, name: str = ""
    ) -> None:
        def call(name: str, client: Client) -> object:
            return function(name, client)

        async def call_async(name: str, client: Client) -> object:
            return await function(name, client)  # type: ignore[misc]

        is_async = inspect.iscoroutinefunction(function)
        self.call = hookimpl(specname=hook, trylast=trylast)(
            call_async if is_async else call
        )  # on the instance, where pluggy 1.7 finds it as well
        self._function = function
        self.__name__ = name

    @property
    def is_quick(self) -> bool:
        """Whether an event loop may call it in its own thread, which costs less than another thread."""
        return False

    def __repr__(self) -> str:
        return f"<handler {self._function!r}>"


def make_hookspec(hook: str, doc: str | None = None) -> type:
    """Return a namespace with the hook specification of an extension point, for ``add_hookspecs``."""

    def specification(name: str, client: Client) -> object:
        return None

    specification.__name__ = hook
    specification.__doc__ = doc
    return type(hook, (), {hook: staticmethod(hookspec(specification)), "__doc__": doc})


def spec_fault(spec: HookSpec) -> str | None:
    """Return why a hook cannot be an extension point, or None if it can.

    The results of all handlers are collected, one call per plugin: a hook that stops at the first result, or replays
    old calls, would mean something else. A manifest is untrusted input and must not call other hooks of the host.
    """
    for option in ("firstresult", "historic"):
        if spec.opts.get(option):
            return f"its hookspec has {option}=True; the hookspec of an extension point has no options"
    if not is_extension_point(spec):
        taken = ", ".join(spec.argnames) or "no arguments"
        return f"its hookspec takes {taken}; that of an extension point takes {', '.join(ARGUMENTS)}"
    return None


def is_extension_point(spec: HookSpec | None) -> bool:
    """Return whether a hook specification has the arguments of an extension point."""
    return spec is not None and set(spec.argnames) == set(ARGUMENTS)
