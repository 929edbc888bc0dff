"""Check the installed handlers: entry points that fail, unknown hooks, blocked names. Calls no handler."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ...handlers.access_rules import ALLOW, BLOCK, OLD_BLOCK
from ...handlers.entry_points import origin
from ...handlers.hooks import LIFECYCLE
from ...protocol import hook_name
from ...text import text_of
from ..installed_handlers import error_text, failure_subject
from ..shell import can_quote, quote
from .context import CheckContext
from .diagnosis import Diagnosis, counted, ok, problem, warning
from .environment import pip

if TYPE_CHECKING:
    from pluggy import HookImpl

    from ...handlers.entry_points import EntryPoint

_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # a name (PEP 508), and no option of pip


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check the handlers that packages provide, loaded as a host loads them."""
    yield from _loaded(context)
    yield from _failed(context)
    yield from _unspecified(context)
    yield from _blocked(context)


def _loaded(context: CheckContext) -> Iterator[Diagnosis]:
    counts = Counter(origin(distribution) for _, distribution in context.manager.list_plugin_distinfo())
    for (name, version), number in counts.items():
        yield ok(_distribution(name, version), f"{counted(number, 'handler')} loaded")


def _distribution(name: str | None, version: str | None) -> str:
    return f"{name} {version}" if name else "a package without metadata"


# --- entry points that fail ---------------------------------------------------------------------------


def _failed(context: CheckContext) -> Iterator[Diagnosis]:
    failures = {(each.what, each.distribution, each.version): each.exception for each in context.manager.failures()}
    for entry_point in context.entry_points:
        package, version = origin(entry_point.distribution)
        error = failures.get((failure_subject(entry_point), package, version))
        if error is not None:
            yield _failure(context, entry_point, error)


def _failure(context: CheckContext, entry_point: EntryPoint, error: BaseException) -> Diagnosis:
    package, version = origin(entry_point.distribution)
    who = f"{entry_point.name} of {package} {version}" if package else entry_point.name
    if text_of(error).startswith("another handler is named"):
        other = _distribution(*_first_of_that_name(context, entry_point))
        what = f"is never called: {other} has a handler named {entry_point.name!r}, too"
        return problem(who, what, remedy="remove one of the two packages", command=_pip("uninstall", package))
    what = f"cannot be loaded: {error_text(error)}"
    if isinstance(error, ModuleNotFoundError) or entry_point.name == "*":
        remedy = "reinstall the package with its dependencies"
        return problem(who, what, remedy=remedy, command=_pip("install --force-reinstall", package))
    return problem(
        who,
        what,
        remedy="install a newer version (`extframe handlers -v` shows the traceback), or disable it",
        command=_export(BLOCK, [*_listed(BLOCK), entry_point.name]),
    )


def _first_of_that_name(context: CheckContext, entry_point: EntryPoint) -> tuple[str | None, str | None]:
    same = (each for each in context.entry_points if each.name == entry_point.name and each is not entry_point)
    return next((origin(each.distribution) for each in same), (None, None))


def _pip(act: str, package: str | None) -> str:
    return pip(act, package) if package and _PACKAGE.fullmatch(package) else ""


# --- hooks that are never called ----------------------------------------------------------------------


def _unspecified(context: CheckContext) -> Iterator[Diagnosis]:
    """Yield a warning for each hookimpl without a hookspec, unless it is optional or a plugin implements it."""
    implemented = {hook_name(point) for handshake in context.handshakes for point in handshake.implements}
    for handler, distribution in context.manager.list_plugin_distinfo():
        for caller in context.manager.get_hookcallers(handler) or ():
            if caller.has_spec() or caller.name in implemented or caller.name in LIFECYCLE:
                continue
            for impl in caller.get_hookimpls():
                if impl.plugin is handler and not impl.optionalhook:
                    who = f"{impl.plugin_name} of {origin(distribution)[0]}"
                    yield _unknown_hook(context, who, caller.name, impl)


def _unknown_hook(context: CheckContext, who: str, hook: str, impl: HookImpl) -> Diagnosis:
    specified = [name for name, caller in vars(context.manager.hook).items() if caller.has_spec()]
    close = get_close_matches(hook, specified, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return warning(
        who,
        f"implements the hook {hook!r}, which has no hookspec, and which no plugin here implements{meant}",
        where=_place(impl),
        remedy="correct the name, provide an Interface or a hookspec for it, or use hookimpl(optionalhook=True)",
    )


def _place(impl: HookImpl) -> str:
    code = getattr(impl.function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


# --- names that are blocked ---------------------------------------------------------------------------


def _blocked(context: CheckContext) -> Iterator[Diagnosis]:
    for entry_point in context.entry_points:
        refusal = context.manager.refusal(entry_point)
        if refusal is not None:
            yield ok(entry_point.name, f"{refusal}, and not imported")
    for variable in (ALLOW, BLOCK, OLD_BLOCK):
        names = _listed(variable)
        for name, close in context.manager.unmatched_entries(variable, list(context.sources)):
            meant = f"; did you mean {close!r}?" if close else ""
            yield warning(
                name,
                f"is in {variable}, but matches no handler and no plugin{meant}",
                remedy="correct it" if close else "remove it",
                command=_export(variable, [*(each for each in names if each != name), *([close] if close else [])]),
            )


def _listed(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _export(variable: str, names: list[str]) -> str:
    if not names:
        return f"unset {variable}"
    value = ",".join(dict.fromkeys(names))
    return f"export {variable}={quote(value)}" if can_quote(value) else ""
