"""Every exception that extframe raises, in one tree. Does not know plugins, sockets or handlers."""

from __future__ import annotations


class ExtframeError(Exception):
    """The base class of all extframe errors.

    ``message`` describes the error and how to fix it. ``plugin`` (a name), ``method``
    (``VolumeDriver.Mount``) and ``address`` are set if they are known; ``str()`` includes them.
    """

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.plugin = plugin
        self.method = method
        self.address = address

    def __str__(self) -> str:
        return self.message


class PluginNotFound(ExtframeError, LookupError):
    """No plugin has this name. The message lists every place that was searched."""


class SpecError(ExtframeError, ValueError):
    """An unusable name, address or spec file: the message names the file, line or key, and what was expected.

    ``source`` is the path of the file, if a file is at fault; ``remedy`` is a shell command that fixes it, if
    there is one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
        source: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, plugin=plugin, method=method, address=address)
        self.source = source
        self.remedy = remedy


class DoesNotImplement(ExtframeError):
    """The plugin is active and lacks the extension point. The message lists what it does implement."""


class ActivationError(ExtframeError):
    """The handshake with a plugin failed. ``__cause__`` is the reason."""


class HandlerError(ExtframeError):
    """A handler raised. Names the handler and the distribution that brought it; ``__cause__`` is what it raised."""

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
        handler: str | None = None,
        distribution: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(message, plugin=plugin, method=method, address=address)
        self.handler = handler
        self.distribution = distribution
        self.version = version


class _CallError(ExtframeError):
    """An error of one call: its text begins with the call and the plugin."""

    def __str__(self) -> str:
        plugin = f"plugin {self.plugin!r}" if self.plugin else None
        where = " at ".join(part for part in (plugin, self.address) if part)
        call = " on ".join(part for part in (self.method, where) if part)
        return ": ".join(part for part in (call, self.message) if part)


class TransportError(_CallError, OSError):
    """The bytes did not go there and back."""


class ConnectError(TransportError):
    """No connection came about; nothing was sent, so the call may safely be made again."""


class PluginUnavailable(ConnectError):
    """A call that was not made, as those before it failed. ``retry_after``: seconds until one is let through.

    ``__cause__`` is the last failure.
    """

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, plugin=plugin, method=method, address=address)
        self.retry_after = retry_after


class ConnectionLost(TransportError):
    """The connection ended after something was sent; the plugin may have carried the call out."""


class CallTimeout(TransportError, TimeoutError):
    """A deadline passed. ``timeout`` is the time that was given, in seconds; ``phase`` is what was being waited for."""

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
        timeout: float | None = None,
        phase: str | None = None,
    ) -> None:
        super().__init__(message, plugin=plugin, method=method, address=address)
        self.timeout = timeout
        self.phase = phase


class ProtocolError(TransportError):
    """The answer is not HTTP, not JSON, too large or of the wrong shape. The message gives the place in it."""


class RemoteError(_CallError):
    """The plugin answered an error. ``message`` is the plugin's own words; ``status`` is HTTP's, 0 if not known."""

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(message, plugin=plugin, method=method, address=address)
        self.status = status

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.status in (0, 200) else f"{text} (status {self.status})"

    @property
    def not_found(self) -> bool:
        """Whether the status is 404, which the protocol also uses for "not implemented"."""
        return self.status == 404
