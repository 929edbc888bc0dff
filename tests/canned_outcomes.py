"""The outcome of calls that get canned answers: recorded from moby's client, and observed from extframe's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec
from canned_answers import Answer
from faultserver import FaultServer, Peer

from extframe import AsyncClient, Client
from extframe.errors import ExtframeError, RemoteError

RECORDED = Path(__file__).with_name("canned_moby.json")


class Outcome(NamedTuple):
    """The reply of the first call, as JSON, or its error; ``kept`` is whether the second used the same connection."""

    reply: str = ""
    error: str = ""
    kept: bool = False
    by_plugin: bool = False  # the error is the plugin's


class CannedPlugin(FaultServer):
    """A plugin that gives the same answer to each request; ``kept`` is whether a connection had two of them."""

    kept = False


def plugin_that_answers(answer: Answer) -> CannedPlugin:
    """Return the plugin, which listens already."""

    def behave(peer: Peer) -> None:
        asked = 0
        while peer.read_request():
            asked += 1
            plugin.kept = plugin.kept or asked > 1
            peer.send(answer.data)
            if answer.closes:
                return

    plugin = CannedPlugin(behave, kind=answer.over)
    return plugin


def recorded() -> dict[str, Outcome]:
    """Return the outcomes of moby's client by the answer's key."""
    return {key: Outcome(**outcome) for key, outcome in json.loads(RECORDED.read_text()).items()}


def observed(answers: Iterable[Answer]) -> dict[str, Outcome]:
    """Return the outcomes of extframe's client by the answer's key."""
    answers = list(answers)
    with ThreadPoolExecutor(8) as threads:
        return dict(zip((answer.key for answer in answers), threads.map(observe, answers), strict=True))


def observe(answer: Answer) -> Outcome:
    with plugin_that_answers(answer) as plugin, Client(plugin.address, timeout=30) as client:
        outcome = call(client)
        if outcome.reply:
            call(client)
        return outcome._replace(kept=plugin.kept)


def call(client: Client) -> Outcome:
    try:
        return _replied(client.call("VolumeDriver.Get", {"Name": "photos"}))
    except ExtframeError as error:
        return _failed(error)


def observed_by_tasks(answers: Iterable[Answer]) -> dict[str, Outcome]:
    """Return the outcomes of extframe's AsyncClient by the answer's key."""

    async def observe_all() -> dict[str, Outcome]:
        keys = [answer.key for answer in answers]
        return dict(zip(keys, await asyncio.gather(*map(observe_by_task, answers)), strict=True))

    return asyncio.run(observe_all())


async def observe_by_task(answer: Answer) -> Outcome:
    with plugin_that_answers(answer) as plugin:
        async with AsyncClient(plugin.address, timeout=30) as client:
            outcome = await call_by_task(client)
            if outcome.reply:
                await call_by_task(client)
            return outcome._replace(kept=plugin.kept)


async def call_by_task(client: AsyncClient) -> Outcome:
    try:
        return _replied(await client.call("VolumeDriver.Get", {"Name": "photos"}))
    except ExtframeError as error:
        return _failed(error)


def _replied(reply: object) -> Outcome:
    return Outcome(reply=msgspec.json.encode(reply, order="sorted").decode()[:200])


def _failed(error: ExtframeError) -> Outcome:
    return Outcome(error=error.message, by_plugin=isinstance(error, RemoteError))
