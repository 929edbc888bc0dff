"""The engine's own code, moby's pkg/authorization, and ours show plugins the same of the same HTTP requests."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from extframe import AuthzRequest

SOURCES = Path("/usr/share/gocode")

URIS = ("/v1.41/info", "/v1.41/containers/auth", "/info?path=/auth", "http://localhost/v1.41/info", "/%41", "*")
TYPES = (
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/json;charset=utf-8;",
    'application/json; profile="a;b\\"c"',
    "application/json; charset",
    "application/json; =utf-8",
    'application/json; charset="utf-8',
    "application/json, text/plain",
    "application/json-patch",
    "application/x-tar",
    "text/json",
    "",
)
NAMES = ("x-registry-auth", "X-REGISTRY-CONFIG", "authorization", "x-meta", "X-Meta", "Cookie", "content-md5", "Accept")


def requests(count: int) -> list[tuple[str, list[tuple[str, str]], bytes]]:
    """Return requests with every type, every URI and random headers."""
    draw = random.Random(20261129)
    made = []
    for number in range(count):
        uri, content_type = URIS[number % len(URIS)], TYPES[number % len(TYPES)]
        headers = [(draw.choice(NAMES), f"value {draw.randrange(10)}") for _ in range(draw.randrange(6))]
        body = b'{"number":%d}' % number
        headers += [("Host", "localhost"), ("Content-Length", str(len(body)))]
        headers += [("Content-Type", content_type)] if content_type else []
        draw.shuffle(headers)
        made.append((uri, headers, body))
    return made


@pytest.fixture(scope="module")
def moby(need, tmp_path_factory):
    """A function that returns what moby shows plugins of requests, given their bytes."""
    if not (SOURCES / "src/github.com/docker/docker/pkg/authorization").exists():
        pytest.skip("needs golang-github-docker-docker-dev, which is not on this machine")
    directory = tmp_path_factory.mktemp("authz")
    settings = {"GOPATH": str(SOURCES), "GO111MODULE": "off", "GOFLAGS": ""}
    command = [need("go"), "build", "-o", directory / "authz", Path(__file__).with_name("go") / "authz" / "main.go"]
    subprocess.run(command, env={**os.environ, **settings, "HOME": str(directory)}, check=True, timeout=300)

    def shown(requests: list[bytes]) -> list[dict]:
        sent = json.dumps([base64.b64encode(request).decode() for request in requests])
        done = subprocess.run([directory / "authz"], input=sent, capture_output=True, text=True, timeout=60, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return shown


def test_moby_and_we_show_the_same_of_each_request(moby):
    made = requests(500)
    raw = [
        b"\r\n".join([f"POST {uri} HTTP/1.1".encode(), *(f"{k}: {v}".encode() for k, v in headers), b"", body])
        for uri, headers, body in made
    ]
    for (uri, headers, body), theirs in zip(made, moby(raw), strict=True):
        ours = AuthzRequest.from_http("POST", uri, headers, body)
        assert theirs["RequestUri"] == ours.request_uri
        assert theirs["RequestHeaders"] == ours.request_headers, headers
        assert base64.b64decode(theirs.get("RequestBody") or "") == ours.request_body, (uri, headers)
