"""Check that a handler exists for what plugins implement. Calls none."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from ...errors import ExtframeError
from ...protocol import hook_name
from ...text import text_of
from .context import CheckContext
from .diagnosis import Diagnosis, warning
from .handshakes import Handshake


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check each entry of each manifest."""
    for handshake in context.handshakes:
        for fault in handshake.faults:
            yield _without_hook(context, handshake, fault)
        for point in handshake.implements:
            if not _has_fault(handshake, point) and not _handlers_of(context, hook_name(point)):
                yield _without_handler(context, handshake, point)


def _handlers_of(context: CheckContext, hook: str) -> list[str]:
    caller = getattr(context.manager.hook, hook, None)
    return [] if caller is None else [impl.plugin_name for impl in caller.get_hookimpls()]


def _has_fault(handshake: Handshake, point: str) -> bool:
    return any(text_of(fault).startswith(f"{point!r} ") for fault in handshake.faults)


def _without_hook(context: CheckContext, handshake: Handshake, fault: BaseException) -> Diagnosis:
    return warning(
        handshake.spec.name,
        fault.message if isinstance(fault, ExtframeError) else text_of(fault),
        where=handshake.spec.source,
        remedy="its author can fix the manifest; to see what is wrong with it",
        command=context.command("check", plugin=handshake.spec.name),
    )


def _without_handler(context: CheckContext, handshake: Handshake, point: str) -> Diagnosis:
    name, source, hook = handshake.spec.name, handshake.spec.source, hook_name(point)
    builtin = f"extframe.{hook}"
    what = f"implements {point}, but no installed handler has the hook {hook!r}"
    refusals = {each.name: context.manager.refusal(each) for each in context.entry_points}
    if refusal := refusals.get(builtin):
        return warning(name, f"{what}: {builtin!r} {refusal}", where=source, remedy="remove it from this list")
    handled = [each for each in vars(context.manager.hook) if _handlers_of(context, each)]
    close = get_close_matches(hook, handled, n=1)
    meant = f"; its author may have meant {close[0]!r}" if close else ""
    return warning(
        name,
        what + meant,
        where=source,
        remedy="install a package with a handler for it; to list the installed hooks",
        command="extframe handlers",
    )
