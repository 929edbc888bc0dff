"""The markers and the hook specifications. Calls nothing, and knows no plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..client.client import Client
    from ..errors import ExtframeError
    from ..host.plugin import Plugin

PROJECT = "extframe"

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a hook specification: a new extension point, or any hook that handlers may implement."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a handler's implementation of a hook."""


ARGUMENTS = ("name", "client")
"""What every extension point's hook is called with."""


class HookSpec(Protocol):
    """What pluggy knows of a hook's specification, as ``HookCaller.spec`` gives it."""

    @property
    def opts(self) -> Any:
        """The options of its marker."""

    @property
    def argnames(self) -> Sequence[str]:
        """The names of its arguments, without self."""
        raise NotImplementedError


class ExtensionPoints:
    """Docker's extension points. Each hook is called once for each plugin that implements it.

    Args:
        name: the plugin's name.
        client: calls the plugin; it goes on working when the plugin is restarted.

    Returns:
        The driver that the handler made, or None.
    """

    @hookspec
    def volume_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``VolumeDriver``: it creates and mounts volumes."""

    @hookspec
    def network_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``NetworkDriver``: it connects containers to networks."""

    @hookspec
    def ipam_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``IpamDriver``: it hands out addresses."""

    @hookspec
    def authz(self, name: str, client: Client) -> object:
        """A plugin implements ``authz``: it allows or denies requests to an API."""

    @hookspec
    def log_driver(self, name: str, client: Client) -> object:
        """A plugin implements ``LogDriver``: it takes log entries, and may give them back."""

    @hookspec
    def metrics_collector(self, name: str, client: Client) -> object:
        """A plugin implements ``MetricsCollector``: it reads the host's metrics."""

    @hookspec
    def secretprovider(self, name: str, client: Client) -> object:
        """A plugin implements ``secretprovider``: it gives the values of secrets."""


class Lifecycle:
    """Hooks that tell what becomes of plugins, rather than take an extension point.

    They are called one after the other, in the order in which things happened, in a thread of their own while there
    is something to tell: nothing waits for them, and they may call any method of the manager. What they return is
    dropped; one that raises stops no other and stands in ``failures()``. One that takes over ten seconds is left
    behind: what happens next is told without it.

    Args:
        name: the plugin's name.
        plugin: the plugin, which may have gone further by now.
    """

    @hookspec
    def plugin_activated(self, name: str, plugin: Plugin) -> None:
        """A handshake was made: the first, or a new one after the plugin was restarted or changed."""

    @hookspec
    def plugin_failed(self, name: str, error: ExtframeError) -> None:
        """A plugin could not be activated, for another reason than when that was last told; ``error`` is the reason."""

    @hookspec
    def plugin_lost(self, name: str, plugin: Plugin, reason: str) -> None:
        """An active plugin refused a connection, or its source changed or went. It may be back at any time."""

    @hookspec
    def plugin_removed(self, name: str) -> None:
        """No file names the plugin any more."""


LIFECYCLE = frozenset(name for name in vars(Lifecycle) if name.startswith("plugin_"))
"""The hooks that no entry of a manifest reaches."""


class FunctionHandler:
    """A handler made of one function, which is called with the plugin's name and client.

    Args:
        hook: the hook that it implements.
        function: returns a driver or None.
        trylast: call it after the handlers that do not say so.
    """

    def __init__(self, hook: str, function: Callable[[str, Client], object], *, trylast: bool = False) -> None:
        @hookimpl(specname=hook, trylast=trylast)
        def call(name: str, client: Client) -> object:
            return function(name, client)

        self.call = call  # on the instance, where pluggy 1.7 looks too
        self._function = function

    def __repr__(self) -> str:
        return f"<handler {self._function!r}>"


def make_hookspec(hook: str, doc: str | None = None) -> type:
    """Return a namespace with the specification of one more extension point, for ``add_hookspecs``."""

    def specification(name: str, client: Client) -> object:
        return None

    specification.__name__ = hook
    specification.__doc__ = doc
    return type(hook, (), {hook: staticmethod(hookspec(specification)), "__doc__": doc})


def spec_fault(spec: HookSpec) -> str | None:
    """Return why a hook cannot be an extension point's, or None if it can.

    Results are gathered from every handler, one by one, as plugins come: a hook that stops at the first
    result, or replays old calls, means something else.
    """
    for option in ("firstresult", "historic"):
        if spec.opts.get(option):
            return f"its hookspec has {option}=True; the hookspec of an extension point has no options"
    unknown = [name for name in spec.argnames if name not in ARGUMENTS]
    if unknown:
        return f"its hookspec takes {', '.join(unknown)}; that of an extension point takes {', '.join(ARGUMENTS)}"
    return None


def is_extension_point(spec: HookSpec | None) -> bool:
    """Return whether a hook's specification has the arguments of an extension point's."""
    return spec is not None and set(spec.argnames) == set(ARGUMENTS)
