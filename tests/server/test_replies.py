"""What a plugin sends, so that engines understand it."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import datetime, timedelta, timezone

import pytest
from lab import AsyncLab
from wire import Wire, post

from extframe import Authz, AuthzResponse, Volume, VolumeDriver
from extframe.interface.messages import format_time
from extframe.server import serving
from extframe.subsystems.authz import AuthzChain, AuthzRequest


class Volumes(VolumeDriver):
    def __init__(self, created_at) -> None:
        self.created_at = created_at

    def get(self, name: str) -> Volume:
        return Volume(name=name, mountpoint="/mnt/a", created_at=self.created_at)

    def list(self) -> list[Volume]:
        return [Volume(name="good"), self.get("a")]


@pytest.mark.parametrize(
    "created_at",
    [
        "",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.123456789+02:00",
        format_time(datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc)),
        datetime(2026, 1, 2, tzinfo=timezone.utc),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
@pytest.mark.parametrize("method", ["Get", "List"])
def test_a_time_that_docker_can_parse_is_sent(created_at, method):
    with serving(Volumes(created_at)) as plugin:
        assert post(plugin.address, f"VolumeDriver.{method}", {"Name": "a"}).status == 200


@pytest.mark.parametrize(
    "created_at",
    ["2026-02-03T04:05:06.789", datetime(2026, 2, 3, 4, 5, 6), "yesterday", "2026-02-31T00:00:00Z", 5, None],
)
@pytest.mark.parametrize("method", ["Get", "List"])
def test_a_time_that_docker_cannot_parse_is_an_error_that_names_format_time(created_at, method):
    with serving(Volumes(created_at)) as plugin:
        answer = post(plugin.address, f"VolumeDriver.{method}", {"Name": "a"})
        assert answer.status == 500
        assert "format_time()" in answer.json["Err"]


class Failing(Authz):
    def authz_req(self, **request: object) -> AuthzResponse:
        return AuthzResponse(allow=True, err="the policy cannot be read")


class Forgetful(Authz):
    def authz_req(self, **request: object) -> AuthzResponse:
        return None


class Exiting(Authz):
    def authz_req(self, **request: object) -> AuthzResponse:
        raise SystemExit(3)


def test_an_err_of_an_authz_plugin_goes_out_as_status_500():
    with serving(Failing()) as plugin:
        answer = post(plugin.address, "AuthZPlugin.AuthZReq", {"RequestMethod": "GET"})
    assert (answer.status, answer.json["Err"]) == (500, "the policy cannot be read")


def test_a_method_that_forgot_its_return_says_so():
    with serving(Forgetful()) as plugin:
        answer = post(plugin.address, "AuthZPlugin.AuthZReq", {"RequestMethod": "GET"})
    assert (answer.status, "expected AuthzResponse, got None" in answer.json["Err"]) == (500, True)


@pytest.mark.parametrize("driver", [Forgetful(), Exiting()])
def test_a_chain_denies_when_a_driver_returns_nothing_or_exits(driver):
    verdict = AuthzChain({"policy": driver}).check_request(AuthzRequest(request_method="GET"))
    assert not verdict.allow
    assert "plugin policy failed" in verdict.msg


def test_a_base_exception_of_a_driver_is_a_500():
    class Worst(BaseException):
        pass

    class Raising(Authz):
        def authz_req(self, **request: object) -> AuthzResponse:
            raise Worst("worst")

    with serving(Raising()) as plugin:
        answer = post(plugin.address, "AuthZPlugin.AuthZReq", {"RequestMethod": "GET"})
    assert (answer.status, answer.json["Err"]) == (500, "worst")


class FailingAsItStarts(AsyncLab):
    async def records(self, name: str = ""):
        time.sleep(0.05)  # the time at which the stream starts without a record passes
        for _ in range(int(name)):
            await asyncio.sleep(0)
        raise ValueError("no such container")
        yield ""


def test_a_stream_that_fails_while_its_start_is_planned_sends_the_error_and_nothing_after_it(monkeypatch):
    monkeypatch.setattr("extframe.server.streams.START_AFTER", 0.01)
    with serving(FailingAsItStarts()) as plugin:
        for turns in range(5):
            with Wire(plugin.address) as wire:
                records = b"POST /Lab.Records HTTP/1.1\r\nContent-Length: 13\r\n\r\n" + b'{"Name": "%d"}' % turns
                received = wire.send_bytes(records + b"POST /Lab.Rest HTTP/1.1\r\nConnection: close\r\n\r\n")
                # If the start was first, the stream is incomplete, and the connection closed.
                assert re.findall(rb"HTTP/1.1 (\d+)", received) in ([b"500", b"200"], [b"200"])
