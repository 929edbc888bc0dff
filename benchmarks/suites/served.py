"""Plugins in Python, called by moby's client, compared with a plugin in Go."""

from __future__ import annotations

import statistics

from bench import Bench, Report, Server
from measure import Rounds, alternate, ratio

PLUGINS = ("extframe_async", "extframe_sync", "flask_waitress")


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    servers = {"go": bench.server(), **_plugins(bench)}
    one = _rounds(bench, servers, 200, 1)
    report.add(
        ratio("an async plugin / a Go server, median", one, "extframe_async", "go", at_most=1.3),
        ratio("a sync plugin / a Go server, median", one, "extframe_sync", "go", at_most=1.8),
    )
    eight = _rounds(bench, servers, 800, 8)
    report.add(
        ratio(
            "async, 8 connections / a Go server, calls per second", eight, "extframe_async", "go", "rate", at_least=0.6
        ),
        ratio(
            "sync, 8 connections / a Go server, calls per second", eight, "extframe_sync", "go", "rate", at_least=0.4
        ),
        ratio(
            "async, 8 connections / Flask under waitress, calls per second",
            *(eight, "extframe_async", "flask_waitress", "rate"),
            at_least=3,
        ),
        ratio(
            "sync, 8 connections / Flask under waitress, calls per second",
            *(eight, "extframe_sync", "flask_waitress", "rate"),
            at_least=3,
        ),
    )
    if eight:
        report.plots.append(_bars(eight))
    return report


def _plugins(bench: Bench) -> dict[str, Server]:
    servers = {plugin: bench.plugin_or_none(plugin) for plugin in PLUGINS}
    return {plugin: server for plugin, server in servers.items() if server is not None}


def _rounds(bench: Bench, servers: dict[str, Server], calls: int, threads: int) -> Rounds:
    load = {name: bench.contender("moby", server, calls, threads) for name, server in servers.items()}
    return alternate({name: each for name, each in load.items() if each is not None}, bench.several(40))


def _bars(rounds: Rounds) -> dict[str, object]:
    rates = {name: statistics.median(each.rate for each in rounds[name]) for name in rounds}
    bars = sorted(((name.replace("_", " "), rate) for name, rate in rates.items()), key=lambda bar: -bar[1])
    return {"name": "served", "title": "Calls per second to a plugin, 8 connections", "bars": bars}
