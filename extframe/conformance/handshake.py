"""Check the handshake. Knows which extension points there are, and none of their methods."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..client.http1 import Response
from ..errors import ProtocolError
from ..protocol import ACTIVATE, Manifest, decode_json, excerpt
from .check import Check
from .line import Line
from .rules import Outcome, failed, passed, warned

GRAPH_DRIVER = "GraphDriver"  # in engines before 28.0


def judge_manifest(answer: Response) -> Outcome:
    """Judge the answer to ``Plugin.Activate``."""
    if answer.status != 200:
        return failed(f"status {answer.status}: {excerpt(answer.body, 80)}")
    try:
        implements = Manifest.parse(answer.body).implements
    except ProtocolError as wrong:
        return failed(wrong.message)
    if not implements:
        return failed("Implements is empty: the engine never asks again, and uses the plugin for nothing")
    listed = _listed(answer)
    if len(listed) != len(implements):
        return warned("Implements has a name twice, or null: the engine calls its handlers for each")
    return passed(", ".join(implements))


def _listed(answer: Response) -> list[Any]:
    reply: dict[str, Any] = {key.lower(): value for key, value in decode_json(answer.body).items()}
    return list(reply["implements"])


def judge_names(implements: Collection[str], known: Collection[str]) -> Outcome:
    """Judge the names of extension points."""
    spellings = {name.lower(): name for name in known}
    for name in implements:
        meant = spellings.get(name.lower())
        if meant is not None and meant != name:
            return failed(f"{name!r} is not {meant!r} to any host")
    others = [name for name in implements if name not in known]
    if others:
        return warned(f"{', '.join(others)}: no extension point of an engine; only its calls' form is checked")
    return passed()


def judge_metrics(implements: Collection[str]) -> Outcome:
    """Judge whether an engine survives the plugin's activation."""
    if "MetricsCollector" in implements:
        return warned("MetricsCollector is for managed plugins alone")
    return passed()


def _activate_again(line: Line) -> Outcome:
    first = next(answer for path, answer in line.answers if path == ACTIVATE)
    again = line.call(ACTIVATE)
    if (again.status, Manifest.parse(again.body)) != (first.status, Manifest.parse(first.body)):
        return failed(f"the second answer is another: {excerpt(again.body, 80)}")
    return passed()


AGAIN = Check("handshake, a second time", "handshake-again", _activate_again)
