"""A plugin behind real uWSGI, whose ``--http-socket`` closes each connection after its response without saying so."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from extframe import AsyncClient, Client, ConnectionLost

CALLS = 4_000
LEARNING = 10  # calls after which no connection is kept

PLUGIN = """
import json

def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    reply = json.dumps({"Echo": json.loads(body or b"null"), "Err": ""}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(reply)))])
    return [reply]
"""


@pytest.fixture(params=["unix", "tcp"])
def address(request, need, start, short_path: Path) -> str:
    need("uwsgi")
    (short_path / "plugin.py").write_text(PLUGIN)
    listen = str(short_path / "plugin.sock") if request.param == "unix" else "127.0.0.1:0"
    uwsgi = start(
        "uwsgi", "--plugin", "python3", "--http-socket", listen, "--wsgi-file", short_path / "plugin.py",
        "--master", "--processes", "2", "--disable-logging", "--die-on-term", "--chmod-socket=600",
    )  # fmt: skip
    bound = uwsgi.wait_for(r"uwsgi socket 0 bound to (?:UNIX|TCP) address (\S+)")[1]
    uwsgi.wait_for(r"spawned uWSGI worker 2")
    return f"unix://{bound}" if request.param == "unix" else f"tcp://{bound}"


def test_no_call_that_must_not_be_repeated_is_lost_after_the_first_ten(address, caplog):
    lost = []
    with caplog.at_level(logging.DEBUG, "extframe"), Client(address) as client:
        for number in range(CALLS):
            try:
                assert client.call("Lab.Work", {"Number": number})["Echo"] == {"Number": number}
            except ConnectionLost:  # noqa: PERF203 - it is counted
                lost.append(number)
    assert [number for number in lost if number >= LEARNING] == []
    assert [record.levelname for record in caplog.records if "none is kept" in record.message] == ["DEBUG"]


def test_no_call_in_an_event_loop_is_lost_after_the_first_ten(address):
    async def calls() -> list[int]:
        lost = []
        async with AsyncClient(address) as client:
            for number in range(CALLS):
                try:
                    assert (await client.call("Lab.Work", {"Number": number}))["Echo"] == {"Number": number}
                except ConnectionLost:  # noqa: PERF203 - it is counted
                    lost.append(number)
        return lost

    assert [number for number in asyncio.run(calls()) if number >= LEARNING] == []


def test_with_keep_alive_off_no_call_at_all_is_lost(address):
    with Client(address, keep_alive=False) as client:
        for number in range(CALLS // 10):
            assert client.call("Lab.Work", {"Number": number})["Echo"] == {"Number": number}
