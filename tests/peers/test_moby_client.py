"""The engine's own client, moby's pkg/plugins, finds, activates and calls plugins in Python."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority
from engines import SOCKETS
from lab import BOTH, SyncLab

from extframe import LocalRegistry
from extframe.errors import RemoteError
from extframe.protocol import TLSConfig
from extframe.server import ServerTLS, serving

SPECS = Path("/etc/docker/plugins")  # the client has no option for it

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may write into the engine's directories"),
    pytest.mark.parametrize("lab", BOTH),
]


@pytest.fixture(scope="module")
def moby(need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """A function that calls a plugin and returns the lines that came of it."""
    sources = Path("/usr/share/gocode")
    if not (sources / "src/github.com/docker/docker/pkg/plugins").exists():
        pytest.skip("needs golang-github-docker-docker-dev, which is not on this machine")
    directory = tmp_path_factory.mktemp("moby")
    settings = {"GOPATH": str(sources), "GO111MODULE": "off", "GOFLAGS": ""}
    command = [need("go"), "build", "-o", directory / "moby", Path(__file__).with_name("go") / "moby" / "main.go"]
    subprocess.run(command, env={**os.environ, **settings, "HOME": str(directory)}, check=True, timeout=300)

    def call(name: str, *calls: tuple[str, object], point: str = "Lab") -> list[str]:
        words = [word for method, arguments in calls for word in (method, json.dumps(arguments))]
        done = subprocess.run(
            [directory / "moby", name, point, *words], capture_output=True, text=True, timeout=180, check=False
        )
        assert "panic" not in done.stderr
        return done.stdout.splitlines()

    return call


@pytest.fixture
def name() -> str:
    return f"ef-{uuid.uuid4().hex[:10]}"


def test_it_activates_and_calls_a_plugin_at_a_unix_socket(moby, name, lab):
    calls = [("Lab.Work", {"Name": str(number)}) for number in range(20)]
    with serving(lab(), name=name, directory=SOCKETS):
        assert moby(name, *calls) == [f'{{"Result":"{number}"}}' for number in range(20)]


def test_it_finds_a_plugin_at_tcp_by_its_spec_file(moby, name, lab):
    with serving(lab(), name=name, address="tcp://127.0.0.1:0", spec_directory=SPECS):
        assert moby(name, ("Lab.Work", {"Name": "a"}), ("Lab.Rest", {})) == ['{"Result":"a"}', "{}"]
    assert not (SPECS / f"{name}.spec").exists()


def test_it_verifies_a_plugin_over_tls_and_shows_its_certificate(moby, name, lab, short_path):
    authority, stranger = Authority(short_path), Authority(short_path, "stranger")
    server, client = authority.issue("server", "127.0.0.1"), authority.issue("client")
    other = stranger.issue("other")
    place = {
        "name": name,
        "address": "https://127.0.0.1:0",
        "spec_directory": SPECS,
        "tls": ServerTLS(server.cert_file, server.key_file, client_ca_file=authority.ca_file),
    }
    trusted = TLSConfig(ca_file=authority.ca_file, cert_file=client.cert_file, key_file=client.key_file)
    with serving(lab(), **place, host_tls=trusted):
        assert moby(name, ("Lab.Work", {"Name": "a"})) == ['{"Result":"a"}']
    wrong = TLSConfig(ca_file=stranger.ca_file, cert_file=other.cert_file, key_file=other.key_file)
    if lab is SyncLab:  # its retries take 15 s
        with serving(lab(), **place, host_tls=wrong):
            (said,) = moby(name, ("Lab.Work", {"Name": "a"}))
        assert said.startswith("error:")
        assert "certificate" in said


def test_what_a_driver_raises_is_what_the_engine_says(moby, name, lab):
    def fail():
        raise RemoteError("no such volume: a", status=404)

    with serving(lab(fail), name=name, directory=SOCKETS):
        said = moby(name, ("Lab.Work", {"Name": "a"}), ("Lab.Work", {"Name": 5}), ("Lab.Nothing", {}))
    assert said[0] == "error: Lab.Work: no such volume: a"
    assert "Expected `str`, got `int` - at `$.Name`" in said[1]
    assert said[2] == "error: Lab.Nothing: Lab.Nothing is not implemented by this plugin"


def test_an_extension_point_that_it_lacks_is_known_from_the_handshake(moby, name, lab):
    with serving(lab(), name=name, directory=SOCKETS):
        assert moby(name, point="VolumeDriver") == ["error: Plugin does not implement the requested driver"]


@pytest.mark.parametrize(
    "rest", ["", " and more", '{"Addr": "tcp://127.0.0.1:1"}', "\0"], ids=["nothing", "text", "another", "NUL"]
)
def test_the_first_value_in_a_json_spec_file_counts_for_both(moby, name, lab, short_path, rest):
    with serving(lab(), name=name, address="tcp://127.0.0.1:0", spec_directory=short_path) as plugin:
        spec = SPECS / f"{name}.json"
        SPECS.mkdir(parents=True, exist_ok=True)
        spec.write_text(json.dumps({"Name": name, "Addr": plugin.address}) + rest)
        try:
            assert moby(name, ("Lab.Work", {"Name": "a"})) == ['{"Result":"a"}']
            assert LocalRegistry(short_path, [SPECS]).find(name).address == plugin.address
        finally:
            spec.unlink()
