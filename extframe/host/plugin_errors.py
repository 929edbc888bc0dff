"""The errors of plugins: why one cannot be used. Decides nothing."""

from __future__ import annotations

from typing import Any

from ..errors import ActivationError, ActivationVetoed, ConnectError, DoesNotImplement, ExtframeError, RemoteError
from ..protocol import ACTIVATE, CONFIGURE, PluginSpec
from .settings import is_settings_error


def left_out_error(plugin: Any, point: str) -> DoesNotImplement:
    """Return the error for an extension point that a handler left out."""
    has = ", ".join(plugin.manifest.implements)
    return DoesNotImplement(
        f"plugin {plugin.name!r} may not be used as {point!r}: {plugin.left_out[point]} left it out, and allows {has}",
        plugin=plugin.name,
        address=plugin.address,
    )


def cause_of(failure: Exception) -> BaseException | None:
    """Return what is chained to the error that `PluginBase` raises for a failed handshake."""
    return failure.__cause__ if is_own_error(failure) else failure


def is_own_error(failure: Exception) -> bool:
    """Return whether callers get this failure of a handshake itself: the plugin is not to blame."""
    return isinstance(failure, ActivationVetoed) or is_settings_error(failure)


def does_not_implement(plugin: Any, point: str) -> DoesNotImplement:
    """Return the error for an extension point that a plugin lacks."""
    has = ", ".join(plugin.manifest.implements) or "nothing"
    return DoesNotImplement(
        f"plugin {plugin.name!r} does not implement {point!r}; it implements {has}",
        plugin=plugin.name,
        address=plugin.address,
    )


def activation_error(spec: PluginSpec, cause: Exception, reason: str | None = None) -> ActivationError:
    """Return the error for a handshake that failed. The caller chains the cause, which then names the plugin too.

    Args:
        spec: of the plugin.
        cause: what failed.
        reason: what the registry says about it, as the predicate of a sentence.
    """
    act, failed = ACTIVATE, "was not activated"
    if isinstance(cause, ExtframeError):
        if cause.method == CONFIGURE:
            act, failed = CONFIGURE, "refused its settings" if isinstance(cause, RemoteError) else "got no settings"
        cause.plugin, cause.method, cause.address = spec.name, act, spec.address
    why = cause.message if isinstance(cause, ExtframeError) else str(cause)
    remedy = ""
    if isinstance(cause, ConnectError) and isinstance(cause.__cause__, ConnectionRefusedError):
        remedy = f" If not, start it, or remove {spec.source}" if spec.source.startswith("/") else ""
    if isinstance(cause, RemoteError) and cause.not_found and act == ACTIVATE:
        remedy = (
            "; it has no handshake. If it is a managed plugin of Docker's, which needs none, find it with the registry "
            f"DockerPlugins(), or name what it implements: PluginManager(implements={{{spec.name!r}: [...]}})"
        )
    return ActivationError(
        f"plugin {spec.name!r} {reason or f'at {spec.address} {failed}: {why}{remedy}'}",
        plugin=spec.name,
        method=act,
        address=spec.address,
    )


def closed_error(name: str) -> ExtframeError:
    """Return the error for a plugin that is used after its manager was closed."""
    return ExtframeError(f"plugin {name!r} is closed because its PluginManager is closed", plugin=name)
