"""Whether what plugins implement reaches a handler. Calls none."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from ...errors import ExtframeError
from ...protocol import hook_name
from .case import Case
from .diagnosis import Diagnosis, warning
from .visits import Visit


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine each entry of each manifest that was received."""
    for visit in case.visits:
        for fault in visit.faults:
            yield _lost(case, visit, fault)
        for point in visit.implements:
            if not _is_told(visit, point) and not handlers_of(case, hook_name(point)):
                yield _unhandled(case, visit, point)


def handlers_of(case: Case, hook: str) -> list[str]:
    """Return the names of the installed handlers of a hook."""
    caller = getattr(case.manager.hook, hook, None)
    return [] if caller is None else [impl.plugin_name for impl in caller.get_hookimpls()]


def _is_told(visit: Visit, point: str) -> bool:
    return any(str(fault).startswith(f"{point!r} ") for fault in visit.faults)


def _lost(case: Case, visit: Visit, fault: BaseException) -> Diagnosis:
    return warning(
        visit.spec.name,
        fault.message if isinstance(fault, ExtframeError) else str(fault),
        where=visit.spec.source,
        remedy="its author may mend the manifest; see the rules it breaks:",
        command=case.command("check", visit.spec.name),
    )


def _unhandled(case: Case, visit: Visit, point: str) -> Diagnosis:
    hook = hook_name(point)
    own = f"extframe.{hook}"
    what = f"implements {point}, which nobody handles: no handler that is installed has the hook {hook!r}"
    if case.manager.is_blocked(own):
        what += f", as EXTFRAME_DISABLE blocks {own!r}"
        return warning(visit.spec.name, what, where=visit.spec.source, remedy="take it out of EXTFRAME_DISABLE")
    handled = [each for each in vars(case.manager.hook) if handlers_of(case, each)]
    close = get_close_matches(hook, handled, n=1)
    meant = f"; its author may have meant {close[0]!r}" if close else ""
    return warning(
        visit.spec.name,
        what + meant,
        where=visit.spec.source,
        remedy="install a package with that hook; see which hooks there are:",
        command="extframe handlers",
    )
