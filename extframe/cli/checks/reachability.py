"""Check that each plugin answers the handshake, and how. Makes no other call."""

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
from ...text import text_of
from ..exit_codes import root_cause
from ..shell import as_root, as_user_of, group_name, remove, shell_command
from .context import CheckContext
from .diagnosis import Diagnosis, ok, problem
from .directories import closed_parent
from .handshakes import Handshake
from .socket_owner import socket_owner

Remedy = tuple[str, str]  # in words, and as a command


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check the outcome of each handshake. A TLSConfig that cannot be used is left to the check of certificates."""
    for handshake in context.handshakes:
        if isinstance(root_cause(handshake.error or ExtframeError()), SpecError):
            continue
        if handshake.error is not None:
            yield _failed(context, handshake, handshake.error)
        elif not handshake.implements:
            yield problem(
                handshake.spec.name,
                "responds, but implements no extension point, so that no host can use it",
                where=handshake.spec.source,
                remedy="if it was still starting, run this again; to see its response",
                command=context.command("call", plugin=handshake.spec.name, method="Plugin.Activate"),
            )
        else:
            points = ", ".join(handshake.implements)
            yield ok(handshake.spec.name, f"responds; implements {points}", where=handshake.spec.source)


def _failed(context: CheckContext, handshake: Handshake, error: ExtframeError) -> Diagnosis:
    reason = root_cause(error)
    symptom = next(
        each for each in _SYMPTOMS if isinstance(reason, each.error) and isinstance(reason.__cause__, each.cause)
    )
    address = handshake.spec.address
    where = "there" if address == f"unix://{handshake.spec.source}" else f"at {address}"
    message = getattr(reason, "message", "") or text_of(reason)
    what = symptom.what.format(where=where, message=message, timeout=f"{context.timeout:g}")
    remedy, command = symptom.remedy(context, handshake)
    if symptom.error is CallTimeout:
        owner = socket_owner(Address.parse(address).path)
        what += f"; {owner} listens on its socket" if owner else ""
    return problem(handshake.spec.name, what, where=handshake.spec.source, remedy=remedy, command=command)


# --- remedies -----------------------------------------------------------------------------------------


def _start_or_remove(context: CheckContext, handshake: Handshake) -> Remedy:
    if handshake.spec.name in context.hosted_plugins:
        return "its host starts it again; to see what it wrote", context.command("logs", plugin=handshake.spec.name)
    return "start the plugin, or remove the file if the plugin is no longer used", remove(handshake.spec.source)


def _give_access(context: CheckContext, handshake: Handshake) -> Remedy:
    path = Address.parse(handshake.spec.address).path
    closed = closed_parent(path)
    if closed:
        command = as_user_of(closed, context.command("doctor"))
        return f"this user cannot enter {closed}; to see what its owner sees", command
    try:
        status = os.stat(path)
    except OSError:  # removed since the handshake
        return _start_or_remove(context, handshake)
    if status.st_gid and status.st_mode & stat.S_IWGRP:
        group = group_name(status.st_gid)
        command = shell_command("usermod -aG", group)
        return (
            f"join the group {group}, whose members can do what the plugin can do, and log in again",
            as_root(f'{command} "$(id -un)"') if command else "",
        )
    remedy = "run the host as the owner of the socket; to see what the owner sees"
    return remedy, as_user_of(path, context.command("doctor"))


def _allow_more_time(context: CheckContext, handshake: Handshake) -> Remedy:
    longer = f"{10 * context.timeout:g}"
    return "restart it, or allow more time if it is only slow", context.command("doctor", "--timeout", longer)


def _check_conformance(context: CheckContext, handshake: Handshake) -> Remedy:
    command = context.command("check", plugin=handshake.spec.name)
    return "if it is meant to be a plugin, check its conformance to the protocol", command


def _call_again(context: CheckContext, handshake: Handshake) -> Remedy:
    command = context.command("call", plugin=handshake.spec.name, method="Plugin.Activate")
    return "read its log, and repeat the handshake", command


class _Symptom(NamedTuple):
    error: type[BaseException]
    cause: type  # of the error's __cause__
    what: str
    remedy: Callable[[CheckContext, Handshake], Remedy]


_SYMPTOMS: Sequence[_Symptom] = (
    _Symptom(ConnectError, ConnectionRefusedError, "nothing listens {where}: connection refused", _start_or_remove),
    _Symptom(ConnectError, FileNotFoundError, "nothing listens {where}: no such socket", _start_or_remove),
    _Symptom(ConnectError, PermissionError, "this user cannot connect {where}: permission denied", _give_access),
    _Symptom(ConnectError, object, "cannot be reached {where}: {message}", _call_again),
    _Symptom(CallTimeout, object, "does not respond within {timeout} s", _allow_more_time),
    _Symptom(ConnectionLost, object, "accepts the handshake but does not respond: {message}", _check_conformance),
    _Symptom(ProtocolError, object, "its response is not a plugin's: {message}", _check_conformance),
    _Symptom(RemoteError, object, "the handshake returned an error: {message}", _call_again),
    _Symptom(BaseException, object, "the handshake failed: {message}", _call_again),
)
