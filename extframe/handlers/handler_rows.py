"""Rows that describe handlers: what was loaded, what failed and what was refused. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..text import text_of
from .failures import Failures


@dataclass(frozen=True)
class Description:
    """A handler or a plugin, as ``PluginManager.describe`` lists it.

    Args:
        kind: ``handler`` or ``plugin``.
        name: the handler's or the plugin's.
        distribution: the installed distribution that a handler belongs to; None if it belongs to none.
        version: that distribution's version.
        source: the entry point of a handler, the file through which a plugin was found; "" if neither is known.
        hooks: the hooks that a handler implements, or those of the plugin's extension points as far as they are known.
        state: of a handler ``loaded``, ``deferred`` (until its hook is needed), ``failed`` or ``blocked``; of a plugin
            ``blocked`` or a `State`'s value, where ``new`` is one that was not used yet.
        failure: why it failed or is blocked, "" if it did not.
    """

    kind: Literal["handler", "plugin"]
    name: str
    distribution: str | None = None
    version: str | None = None
    source: str = ""
    hooks: tuple[str, ...] = ()
    state: str = ""
    failure: str = ""


def handler_rows(
    registered: Iterable[tuple[str, tuple[str, ...], tuple[str | None, str | None]]],
    refused: Mapping[tuple[str, str, str | None], str],
    failures: Failures,
    deferred: Iterable[tuple[str, str, str, tuple[str | None, str | None]]],
) -> Iterator[Description]:
    """Yield the rows of handlers.

    Args:
        registered: the name of each registered handler, its hooks, and the name and version of its distribution.
        refused: the name, value and distribution of each entry point that was not imported, and why.
        failures: those of the manager.
        deferred: the hook, name, value, and distribution with version, of each entry point that was not imported yet.
    """
    faults: dict[object, BaseException] = {}
    for subject, failure in failures.about("handler"):
        faults.setdefault(subject[1], failure.exception)
    for name, hooks, (distribution, version) in registered:
        text = text_of(faults[name]) if name in faults else ""
        yield Description("handler", name, distribution, version, hooks=hooks, state="loaded", failure=text)
    for subject, failure in failures.about("entry point"):
        _, distribution, version, name, value = subject
        text = text_of(failure.exception)
        yield Description("handler", name, distribution, version, source=value, state="failed", failure=text)
    for hook, name, value, (distribution, version) in deferred:
        yield Description("handler", name, distribution, version, source=value, hooks=(hook,), state="deferred")
    for (name, value, distribution), reason in refused.items():
        yield Description("handler", name, distribution, source=value, state="blocked", failure=f"it {reason}")
