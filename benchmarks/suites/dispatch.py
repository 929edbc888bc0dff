"""Dispatch: 50 handlers, each called exactly once and isolated, compared with a plain pluggy call of the same 50."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import pluggy
from bench import Bench, Report
from measure import Round, alternate, ratio

from extframe import hookimpl
from extframe.handlers.hook_calls import HookCalls
from extframe.handlers.hooks import ExtensionPoints

HANDLERS = 50


class Handler:
    """A handler that does almost nothing, so that the dispatch is measured."""

    @hookimpl
    def volume_driver(self, name: str, client: object) -> object:
        """Return a driver."""
        return self


def run(bench: Bench) -> Report:
    """Run the suite."""
    manager = pluggy.PluginManager("extframe")
    manager.add_hookspecs(ExtensionPoints)
    for _ in range(HANDLERS):
        manager.register(Handler())
    caller = manager.hook.volume_driver
    arguments = {"name": "photos", "client": object()}

    def deliver() -> None:
        HookCalls(caller).run(arguments)

    def call() -> None:
        caller(**arguments)

    rounds = alternate({"delivery": _timed(deliver), "pluggy": _timed(call)}, bench.several(100))
    report = Report()
    words = f"{HANDLERS} handlers, each called exactly once and isolated / a pluggy hook call"
    report.add(ratio(words, rounds, "delivery", "pluggy", at_most=3.0))
    return report


def _timed(function: Callable[[], object]) -> Callable[[], Round]:
    def contender() -> Round:
        times = []
        for _ in range(50):
            before = perf_counter_ns()
            function()
            times.append(perf_counter_ns() - before)
        return Round(times)

    return contender
