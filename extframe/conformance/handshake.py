"""Check the handshake. Knows the extension points by name, and none of their methods."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from ..client.http1 import Response
from ..errors import ProtocolError
from ..protocol import ACTIVATE, Manifest, decode_json, excerpt
from .check import Check
from .raw_client import RawClient
from .rules import Outcome, failed, noted, passed, warned

GRAPH_DRIVER = "GraphDriver"  # in engines before 28.0


def assess_manifest(response: Response) -> Outcome:
    """Assess the response to ``Plugin.Activate``."""
    if response.status != 200:
        hint = "; a managed plugin needs no handshake: check it with --implements NAME" * (response.status == 404)
        return failed(f"status {response.status}: {excerpt(response.body, 80)}{hint}")
    try:
        implements = Manifest.parse(response.body).implements
    except ProtocolError as wrong:
        return failed(wrong.message)
    if not implements:
        return failed("Implements is empty: the engine keeps that until it restarts, and does not use the plugin")
    if len(_listed(response)) != len(implements):
        return warned("Implements has a name twice, or null: the engine calls its handlers for each")
    return passed(", ".join(implements))


def _listed(response: Response) -> list[Any]:
    reply: dict[str, Any] = {key.lower(): value for key, value in decode_json(response.body).items()}
    return list(reply["implements"])


def compare_manifest(response: Response, implements: Collection[str]) -> Outcome:
    """Compare the response to ``Plugin.Activate`` with what the plugin is said to implement."""
    shown = f"checked as {', '.join(implements)}"
    if response.status != 200:
        return noted(f"status {response.status}; {shown}")
    try:
        found = Manifest.parse(response.body).implements
    except ProtocolError as wrong:
        return noted(f"{wrong.message}; {shown}")
    return passed(shown) if set(found) == set(implements) else noted(f"Implements is {', '.join(found)}; {shown}")


def assess_names(implements: Collection[str], known: Collection[str]) -> Outcome:
    """Assess the names of extension points."""
    spellings = {name.lower(): name for name in known}
    others = [name for name in implements if name not in known]
    for name in others:
        if name.lower() in spellings:
            return failed(f"{name!r}: no host reads this as {spellings[name.lower()]!r}")
    for name in others:
        if similar := get_close_matches(name, known, 1, 0.75):
            return warned(f"{name!r} is not an extension point of Docker's engine; is {similar[0]!r} meant?")
    if others:
        return noted(f"{', '.join(others)}: not an extension point of Docker's engine; its methods are not checked")
    return passed()


def assess_metrics(implements: Collection[str]) -> Outcome:
    """Assess whether an engine survives the plugin's activation."""
    if "MetricsCollector" in implements:
        return warned("MetricsCollector is for managed plugins only")
    return passed()


def _activate_again(client: RawClient) -> Outcome:
    first = next(response for path, response in client.responses if path == ACTIVATE)
    again = client.handshake()
    if again.status != first.status:
        return failed(f"the second status is {again.status}, the first was {first.status}")
    if again.status == 200 and Manifest.parse(again.body) != Manifest.parse(first.body):
        return failed(f"the second response differs: {excerpt(again.body, 80)}")
    return passed()


AGAIN = Check("handshake, a second time", "handshake-again", _activate_again)
