"""The installed handlers: entry points that fail, hooks that nobody calls, names that are blocked. Calls no handler."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ...handlers.entry_points import origin
from ...handlers.hooks import LIFECYCLE
from ...protocol import hook_name
from ..handlers import subject
from .case import Case
from .commands import quoted
from .diagnosis import Diagnosis, counted, ok, problem, warning

if TYPE_CHECKING:
    from pluggy import HookImpl

    from ...handlers.entry_points import EntryPoint

_BLOCKED = "EXTFRAME_DISABLE"


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine what packages offer, as a host loads it."""
    yield from _loaded(case)
    yield from _failed(case)
    yield from _unspecified(case)
    yield from _blocked(case)


def _loaded(case: Case) -> Iterator[Diagnosis]:
    counts = Counter((each.project_name, each.version) for _, each in case.manager.list_plugin_distinfo())
    for (name, version), number in counts.items():
        yield ok(f"{name} {version}", f"{counted(number, 'handler')} loaded")


# --- entry points that fail ---------------------------------------------------------------------------


def _failed(case: Case) -> Iterator[Diagnosis]:
    failures = {(each.what, each.distribution, each.version): each.exception for each in case.manager.failures()}
    for offer in case.offers:
        package, version = origin(offer.distribution)
        error = failures.get((subject(offer), package, version))
        if error is not None:
            yield _failure(case, offer, error)


def _failure(case: Case, offer: EntryPoint, error: BaseException) -> Diagnosis:
    package, version = origin(offer.distribution)
    who = f"{offer.name} of {package} {version}" if package else offer.name
    first = _first_of_that_name(case, offer)
    if str(error).startswith("another handler is named"):
        what = f"is never called: {' '.join(map(str, first))} brings a handler named {offer.name!r}, too"
        return problem(who, what, remedy="remove one of the two packages:", command=_pip("uninstall", package))
    what = f"cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, ModuleNotFoundError) or offer.name == "*":
        again = "install the package again, with what it needs:"
        return problem(who, what, remedy=again, command=_pip("install --force-reinstall", package))
    return problem(
        who,
        what,
        remedy="look for a newer version (`extframe handlers -v` shows the traceback), or leave it out:",
        command=_export([*_blocked_names(), offer.name]),
    )


def _first_of_that_name(case: Case, offer: EntryPoint) -> tuple[str | None, str | None]:
    same = (each for each in case.offers if each.name == offer.name and each is not offer)
    return next((origin(each.distribution) for each in same), (None, None))


def _pip(act: str, package: str | None) -> str:
    return f"{quoted(sys.executable)} -m pip {act} {shlex.quote(package)}" if package else ""


# --- hooks that nobody calls --------------------------------------------------------------------------


def _unspecified(case: Case) -> Iterator[Diagnosis]:
    """Tell of hookimpls without a hookspec, less those that say so themselves, or that a plugin does reach."""
    reached = {hook_name(point) for visit in case.visits for point in visit.implements}
    for handler, distribution in case.manager.list_plugin_distinfo():
        for caller in case.manager.get_hookcallers(handler) or ():
            if caller.has_spec() or caller.name in reached or caller.name in LIFECYCLE:
                continue
            for impl in caller.get_hookimpls():
                if impl.plugin is handler and not impl.optionalhook:
                    yield _unknown_hook(case, f"{impl.plugin_name} of {distribution.project_name}", caller.name, impl)


def _unknown_hook(case: Case, who: str, hook: str, impl: HookImpl) -> Diagnosis:
    specified = [name for name, caller in vars(case.manager.hook).items() if caller.has_spec()]
    close = get_close_matches(hook, specified, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return warning(
        who,
        f"implements the hook {hook!r}, which nothing specifies and no plugin here reaches{meant}",
        where=_place(impl),
        remedy="correct the name; or bring an Interface or a hookspec for it; or mark it hookimpl(optionalhook=True)",
    )


def _place(impl: HookImpl) -> str:
    code = getattr(impl.function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


# --- names that are blocked ---------------------------------------------------------------------------


def _blocked(case: Case) -> Iterator[Diagnosis]:
    known = [offer.name for offer in case.offers]
    names = _blocked_names()
    for name in names:
        if name in known:
            yield ok(name, f"is left out, and not even imported: {_BLOCKED} blocks it")
            continue
        close = get_close_matches(name, known, n=1)
        yield warning(
            name,
            f"is blocked by {_BLOCKED}, and names nobody" + (f"; did you mean {close[0]!r}?" if close else ""),
            remedy="correct it:" if close else "leave it out:",
            command=_export([*(each for each in names if each != name), *close]),
        )


def _blocked_names() -> list[str]:
    return [name.strip() for name in os.environ.get(_BLOCKED, "").split(",") if name.strip()]


def _export(names: list[str]) -> str:
    return f"export {_BLOCKED}={shlex.quote(','.join(dict.fromkeys(names)))}" if names else f"unset {_BLOCKED}"
