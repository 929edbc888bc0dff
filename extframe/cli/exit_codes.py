"""Map errors to exit codes. Prints nothing."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from ..errors import ActivationError, PluginNotFound, ProtocolError, RemoteError, TransportError


class ExitCode(enum.IntEnum):
    """The exit codes of the command."""

    OK = 0
    FAILURE = 1
    USAGE = 2  # click's own
    NOT_FOUND = 3
    REMOTE_ERROR = 4
    UNREACHABLE = 5
    INTERRUPTED = 130  # 128 + SIGINT, as in shells


_CODES: Sequence[tuple[type[Exception], ExitCode]] = (
    (PluginNotFound, ExitCode.NOT_FOUND),
    (RemoteError, ExitCode.REMOTE_ERROR),
    (ProtocolError, ExitCode.FAILURE),  # a TransportError, but something did respond
    (TransportError, ExitCode.UNREACHABLE),
)


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code for an error; for a failed handshake, the one for its cause."""
    reason = root_cause(error)
    return next((code for kind, code in _CODES if isinstance(reason, kind)), ExitCode.FAILURE)


def root_cause(error: BaseException) -> BaseException:
    """Return why a handshake failed. Any other error is its own cause."""
    return error.__cause__ if isinstance(error, ActivationError) and error.__cause__ else error
