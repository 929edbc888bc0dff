"""Check how a plugin takes settings, with requests that it must refuse. Knows none of its settings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..client.http1 import Response
from ..interface.settings import DOCKER_POINTS
from ..protocol import CONFIGURE, Manifest, excerpt
from .check import Check
from .raw_client import RawClient
from .responses import assess_malformed, field_in
from .rules import Outcome, failed, noted, passed, warned

_MALFORMED = {
    "no body": b"",
    "a list instead of an object": b"[]\n",
    "settings that are a list": b'{"Settings": []}\n',
}


def settings_checks(handshake: Response) -> Iterator[Check]:
    """Yield the checks of a plugin that lists ``Settings`` in its response to the handshake; none for others."""
    listed = field_in(handshake, "settings")
    if listed is None:
        return
    manifest = Manifest.parse(handshake.body)
    yield Check("names in Settings", "settings-points", partial(_assess_points, listed, manifest))
    if manifest.settings:
        body = b'{"Settings": {"ExtframeCheck": [1]}}\n'
        yield Check(f"{CONFIGURE}: an unknown key", "settings", partial(_call_unknown, body))
        for name, malformed in _MALFORMED.items():
            yield Check(f"{CONFIGURE}: {name}", "settings", partial(_call_malformed, malformed))


def _assess_points(listed: Any, manifest: Manifest, client: RawClient) -> Outcome:
    if not isinstance(listed, list):
        return noted("Settings is not a list: hosts send no settings")
    docker = sorted(DOCKER_POINTS.intersection(manifest.settings))
    if docker:
        return warned(f"{', '.join(docker)}: Docker's engine sends no settings, and no interface of extframe has any")
    others = [name for name in listed if name not in manifest.implements]
    if others:
        return warned(f"{others[0]!r} is not in Implements: hosts ignore it")
    return passed(", ".join(manifest.settings))


def _call_unknown(body: bytes, client: RawClient) -> Outcome:
    response = client.call(CONFIGURE, body)
    if response.status == 404:
        return failed(f"{CONFIGURE} is not implemented: no host can use the plugin")
    if response.status == 200:
        return failed(f"accepted settings that it does not know, which are mistakes: {excerpt(response.body, 80)}")
    return assess_malformed(response)


def _call_malformed(body: bytes, client: RawClient) -> Outcome:
    return assess_malformed(client.call(CONFIGURE, body))
