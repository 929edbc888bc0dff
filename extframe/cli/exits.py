"""From an error to an exit code, and to what may help. Prints nothing, and knows no command."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from ..errors import ActivationError, CallTimeout, PluginNotFound, ProtocolError, RemoteError, TransportError


class Exit(enum.IntEnum):
    """With what the command leaves."""

    OK = 0
    FAILURE = 1
    USAGE = 2  # click's own
    NOT_FOUND = 3
    REMOTE_ERROR = 4
    UNREACHABLE = 5
    INTERRUPTED = 130  # as a shell has it of a program that SIGINT ended


_CODES: Sequence[tuple[type[Exception], Exit]] = (
    (PluginNotFound, Exit.NOT_FOUND),
    (RemoteError, Exit.REMOTE_ERROR),
    (ProtocolError, Exit.FAILURE),  # somebody answered, and in time
    (TransportError, Exit.UNREACHABLE),
)


def exit_code(error: BaseException) -> Exit:
    """Return the exit code for an error; for a handshake that failed, that of its cause."""
    reason = cause(error)
    return next((code for kind, code in _CODES if isinstance(reason, kind)), Exit.FAILURE)


def hint(error: BaseException) -> str | None:
    """Return what the user may try next, where the error itself does not say it."""
    reason = cause(error)
    if isinstance(reason, PluginNotFound):
        return "`extframe ls` lists the plugins that are there"
    if isinstance(reason, CallTimeout):
        return "--timeout SECONDS gives it more time"
    if isinstance(reason, RemoteError) and reason.not_found and not isinstance(error, ActivationError):
        return "`extframe inspect NAME` shows what the plugin implements"
    return None


def cause(error: BaseException) -> BaseException:
    """Return why a handshake failed; any other error is its own reason."""
    return error.__cause__ if isinstance(error, ActivationError) and error.__cause__ else error
