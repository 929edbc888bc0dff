"""Plots as SVG: bars and lines. Does not know what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, TOP = 720, 170, 90, 40
COLOURS = ("#1f6feb", "#d1242f", "#2da44e", "#8250df")
INK = "#57606a"  # legible on white and on black


def svg(plot: dict[str, Any]) -> str:
    """Return a plot: ``title``, and ``bars`` (name, value) or ``lines`` (name -> points), ``log`` for both axes."""
    if "bars" in plot:
        height, parts = _bars(plot["bars"])
    else:
        height, parts = _lines(plot["lines"])
    title = f'<text x="10" y="22" font-size="15">{escape(plot["title"])}</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'{head} font-family="sans-serif" font-size="12" fill="{INK}">\n' + "\n".join([title, *parts, "</svg>\n"])


def _bars(bars: Sequence[tuple[str, float]]) -> tuple[int, list[str]]:
    longest = max(value for _, value in bars)
    parts = []
    for index, (name, value) in enumerate(bars):
        y = TOP + index * 26
        width = (WIDTH - LEFT - RIGHT) * value / longest
        colour = COLOURS[0] if name.startswith("extframe") else INK
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="19" fill="{colour}"/>',
            f'<text x="{LEFT + width + 6:.1f}" y="{y + 14}">{value:,.1f}</text>',
        ]
    return TOP + len(bars) * 26 + 10, parts


def _lines(lines: dict[str, Sequence[tuple[float, float]]]) -> tuple[int, list[str]]:
    height, bottom, left = 330, 290, 70
    lines = {name: points for name, points in lines.items() if points}
    xs = sorted({x for points in lines.values() for x, _ in points})
    ticks = _decades([y for points in lines.values() for _, y in points])

    def across(x: float) -> float:
        span = math.log(xs[-1] / xs[0]) or 1.0
        return left + (WIDTH - left - 170) * math.log(x / xs[0]) / span

    def up(y: float) -> float:
        return bottom - (bottom - TOP) * math.log(y / ticks[0]) / math.log(ticks[-1] / ticks[0])

    parts = []
    for tick in ticks:
        parts.append(f'<line x1="{left}" x2="{WIDTH - 170}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" stroke="#8884"/>')
        parts.append(f'<text x="{left - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    parts += [f'<text x="{across(x):.1f}" y="{bottom + 20}" text-anchor="middle">{x:,g}</text>' for x in xs]
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        drawn = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        x, y = points[-1]
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{across(x) + 8:.1f}" y="{up(y) + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return height, parts


def _decades(values: Sequence[float]) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, from below the least value to above the greatest."""
    steps = [digit * 10.0**power for power in range(-4, 9) for digit in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= min(values))
    last = min(index for index, step in enumerate(steps) if step >= max(values))
    return steps[first : max(last, first + 1) + 1]
