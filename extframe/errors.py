"""Every exception that extframe raises, in one tree, and its warning."""

from __future__ import annotations

from collections.abc import Mapping


class ExtframeError(Exception):
    """The base class of extframe's exceptions.

    ``message`` says what failed and how to fix it. ``plugin`` (a name), ``method`` (``VolumeDriver.Mount``) and
    ``address`` are set if they are known; errors of calls include them in ``str()``.
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


class PluginLoadWarning(UserWarning):
    """An entry point failed and was left out. The message names the distribution, the reason and the remedy.

    ``failures()`` of the manager has the exception.
    """


class PluginNotFound(ExtframeError, LookupError):
    """No registry has a plugin of this name. The message lists every place that was searched."""


class PluginBlocked(PluginNotFound):
    """The lists ``allow`` and ``block``, or the environment, refuse the plugin. No registry was searched."""


class SpecError(ExtframeError, ValueError):
    """A name, address or spec file is invalid. The message has the file, line or key, and what was expected.

    ``source`` is the path of the file, if there is one; ``remedy`` is the shell command that fixes it, if one can.
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
    """The plugin is active but does not implement the extension point. The message lists those it implements."""


class ActivationError(ExtframeError):
    """The handshake with a plugin failed. ``__cause__`` is the reason."""


class _HandlerFault(ExtframeError):
    """An error that names a handler, and the distribution and version that it was installed with."""

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


class HandlerError(_HandlerFault):
    """A handler raised ``__cause__``. Names the handler and its distribution."""


class ActivationVetoed(_HandlerFault, ActivationError):
    """A handler of ``plugin_activating`` refused the plugin: it raised ``__cause__``, or did not decide in time."""


class PluginsMissing(ExtframeError):
    """Some of the plugins that were requested by name cannot be used. ``failures`` has the reason for each, by name."""

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        method: str | None = None,
        address: str | None = None,
        failures: Mapping[str, Exception] | None = None,
    ) -> None:
        super().__init__(message, plugin=plugin, method=method, address=address)
        self.failures = dict(failures or {})


class _CallError(ExtframeError):
    """An error of one call. Its text begins with the method and the plugin."""

    def __str__(self) -> str:
        plugin = f"plugin {self.plugin!r}" if self.plugin else None
        where = " at ".join(part for part in (plugin, self.address) if part)
        call = " on ".join(part for part in (self.method, where) if part)
        return ": ".join(part for part in (call, self.message) if part)


class TransportError(_CallError, OSError):
    """The request could not be sent, or its response not be received."""


class ConnectError(TransportError):
    """No connection could be made. Nothing was sent, so the call can safely be retried."""


class PluginUnavailable(ConnectError):
    """The circuit breaker is open: previous calls failed, so this one was not made.

    ``retry_after`` is the number of seconds until a call is let through; ``__cause__`` is the last failure.
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
    """The connection was lost after data was sent. The plugin may have executed the call."""


class CallTimeout(TransportError, TimeoutError):
    """A call timed out after ``timeout`` seconds. ``phase`` is what it was waiting for."""

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
    """The response is not HTTP, not JSON, too large or of the wrong shape. The message has the position."""


class RemoteError(_CallError):
    """The plugin returned an error. ``message`` is the plugin's own; ``status`` is the HTTP status, 0 if unknown."""

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
        """Whether the status is 404, which also means that the plugin does not implement the method."""
        return self.status == 404
