"""Whether each plugin answers, and what it says it implements. Knows no calls but the handshake."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ...errors import (
    CallTimeout,
    ConnectError,
    ConnectionLost,
    ExtframeError,
    ProtocolError,
    RemoteError,
    SpecError,
)
from ...protocol import Address
from ..exits import cause
from .case import Case
from .commands import as_root, as_user_of, group_name, quoted, remove
from .diagnosis import Diagnosis, ok, problem
from .directories import closed_above
from .listener import listener
from .visits import Visit


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine what came of asking each plugin; what its TLSConfig lacks is another examination's."""
    for visit in case.visits:
        if isinstance(cause(visit.error or ExtframeError()), SpecError):
            continue
        if visit.error is not None:
            yield _silent(case, visit, visit.error)
        elif not visit.implements:
            yield problem(
                visit.spec.name,
                "answers, and implements nothing: no host can use it",
                where=visit.spec.source,
                remedy="if it was only starting, look again; see what it says:",
                command=case.command("call", visit.spec.name, "Plugin.Activate"),
            )
        else:
            yield ok(visit.spec.name, f"answers; it implements {', '.join(visit.implements)}", where=visit.spec.source)


def _silent(case: Case, visit: Visit, error: ExtframeError) -> Diagnosis:
    reason = cause(error)
    sign = next(sign for sign in _SIGNS if isinstance(reason, sign.error) and isinstance(reason.__cause__, sign.below))
    words = getattr(reason, "message", "") or str(reason)
    address = visit.spec.address
    where = "there" if address == f"unix://{visit.spec.source}" else f"at {address}"
    what = sign.what.format(where=where, words=words, timeout=f"{case.timeout:g}")
    remedy, command = sign.advise(case, visit)
    if sign.error is CallTimeout:
        what += listener(Address.parse(address).path)
    return problem(visit.spec.name, what, where=visit.spec.source, remedy=remedy, command=command)


# --- what helps: in words, and as a command ------------------------------------------------------------


def _start_or_remove(case: Case, visit: Visit) -> tuple[str, str]:
    return "start the plugin; or, if it is gone for good, remove what it left behind:", remove(visit.spec.source)


def _let_in(case: Case, visit: Visit) -> tuple[str, str]:
    path = Address.parse(visit.spec.address).path
    closed = closed_above(path)
    if closed:
        return f"this user may not enter {closed}; see what its owner sees:", as_user_of(closed, case.command("doctor"))
    try:
        status = os.stat(path)
    except OSError:  # it has gone since
        return _start_or_remove(case, visit)
    if status.st_gid and status.st_mode & stat.S_IWGRP:
        group = quoted(group_name(status.st_gid))
        return (
            f"join the group {group}, and log in anew; whoever is in it may do what the plugin may:",
            as_root(f'usermod -aG {group} "$(id -un)"'),
        )
    words = "let the host run as the user to whom the socket belongs; see what that user sees:"
    return words, as_user_of(path, case.command("doctor"))


def _more_time(case: Case, visit: Visit) -> tuple[str, str]:
    longer = f"{10 * case.timeout:g}"
    return "restart it; or, if it is only slow, look again with more time:", case.command("doctor", "--timeout", longer)


def _hold_against_the_rules(case: Case, visit: Visit) -> tuple[str, str]:
    return "if it is meant to be a plugin, see which rules it breaks:", case.command("check", visit.spec.name)


def _ask_again(case: Case, visit: Visit) -> tuple[str, str]:
    return "see what its own log says, and ask it again:", case.command("call", visit.spec.name, "Plugin.Activate")


class _Sign(NamedTuple):
    error: type[BaseException]
    below: type  # what the error was raised from
    what: str
    advise: Callable[[Case, Visit], tuple[str, str]]


_SIGNS: Sequence[_Sign] = (
    _Sign(ConnectError, ConnectionRefusedError, "nobody listens {where}: connection refused", _start_or_remove),
    _Sign(ConnectError, FileNotFoundError, "nobody listens {where}: there is no such socket", _start_or_remove),
    _Sign(ConnectError, PermissionError, "this user may not connect {where}: permission denied", _let_in),
    _Sign(ConnectError, object, "cannot be reached {where}: {words}", _ask_again),
    _Sign(CallTimeout, object, "does not answer within {timeout} s", _more_time),
    _Sign(ConnectionLost, object, "takes the handshake and does not answer it: {words}", _hold_against_the_rules),
    _Sign(ProtocolError, object, "does not answer as a plugin does: {words}", _hold_against_the_rules),
    _Sign(RemoteError, object, "answers the handshake with an error: {words}", _ask_again),
    _Sign(BaseException, object, "cannot be asked: {words}", _ask_again),
)
