"""Format results: as tables for a terminal, and as a page with plots. Measures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from machine import measured_on
from plot import svg

NOTES = Path(__file__).parent / "notes.md"
TITLES = {
    "call": "Calls",
    "asynchronous": "Calls from an event loop",
    "many": "Many plugins",
    "start": "Startup",
    "dispatch": "Dispatch",
    "decode": "Large replies",
    "served": "Plugins in Python",
    "supervised": "Plugins that the host starts",
    "endurance": "Plugins that the host starts, again and again",
    "steps": "Where the time of a call goes",
}
INTRODUCTION = """# Benchmarks

Each ratio compares two contenders whose rounds alternate in one run (A B A B): it is the median of the ratios of all
rounds, with the quartiles in brackets. Figures with a unit are not ratios. Clients and servers run in separate
processes. The server is a plugin in Go of a few lines ([source](../benchmarks/go/server/main.go)) that implements
`VolumeDriver.Get`, over a unix socket unless the row says otherwise. moby's client is `pkg/plugins` of Docker's engine,
as packaged by Debian; unlike extframe's calls, its calls have no timeout here.

`tox -e bench` generates this page from [`benchmarks/results/record.json`](../benchmarks/results/record.json).
"""


def as_text(suite: str, result: dict[str, Any]) -> str:
    """Return one suite's results for a terminal."""
    lines = [f"== {TITLES[suite]}"]
    lines += [f"{each['name']:60} {_value(each):>34}  {_target(each)}" for each in result["figures"]]
    lines += [f"{step['step']:60} {step['us']:>34.2f}" for step in result["steps"]]
    lines += [f"not measured: {what}: {why}" for what, why in result["skipped"].items()]
    return "\n".join(lines)


def write_page(results: dict[str, dict[str, Any]], page: Path) -> None:
    """Write the page, and its plots to a directory of the same name."""
    plots = page.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION]
    for suite, result in results.items():
        parts.append(f"## {TITLES[suite]}\n")
        parts.append(_table(result["figures"]) if result["figures"] else _steps(result["steps"]))
        for plot in result["plots"]:
            file = plots / f"{plot['name']}.svg"
            file.write_text(svg(plot))
            parts.append(f"![{plot['title']}]({plots.name}/{file.name})\n")
        parts += [f"{note}\n" for note in result["notes"]]
        parts += [f"Not measured: {what}: {why}.\n" for what, why in result["skipped"].items()]
        parts.append(measured_on(result["machine"]))
    parts.append(NOTES.read_text())
    page.write_text("\n".join(parts))


def _table(figures: list[dict[str, Any]]) -> str:
    rows = ["| | measured | target | | denominator |", "| --- | --- | --- | --- | --- |"]
    verdicts = {True: "met", False: "**missed**", None: ""}
    rows += [
        f"| {each['name']} | {_value(each)} | {_target(each)} | {verdicts[each['met']]} | {each['base']} |"
        for each in figures
    ]
    return "\n".join(rows) + "\n"


def _steps(steps: list[dict[str, Any]]) -> str:
    rows = ["| step | us | where |", "| --- | --- | --- |"]
    rows += [f"| {each['step']} | {each['us']:.2f} | {each['where']} |" for each in steps]
    return "\n".join(rows) + "\n"


def _value(figure: dict[str, Any]) -> str:
    unit = {"x": "", "": ""}.get(figure["unit"], f" {figure['unit']}")
    value = _number(figure["value"])
    spread = f" [{_number(figure['low'])} to {_number(figure['high'])}]" if figure["rounds"] > 1 else ""
    return f"{value}{unit}{spread}"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _target(figure: dict[str, Any]) -> str:
    if figure["at_most"] is not None:
        return f"at most {figure['at_most']:g}"
    return "" if figure["at_least"] is None else f"at least {figure['at_least']:g}"
