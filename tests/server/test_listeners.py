"""How a plugin says where it listens: the socket's name, and spec files that are seen whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from program import Program

from extframe import Client, Interface, SpecError, TLSConfig, rpc
from extframe.registry.local import LocalRegistry
from extframe.server import ServerTLS, listeners, serving
from extframe.server.listeners import listen


def test_a_plugin_is_found_where_it_listens(short_path):
    listener = listen("photos", directory=short_path)
    assert (
        LocalRegistry(short_path, []).find("photos").address == listener.address == f"unix://{short_path}/photos.sock"
    )
    listener.close()
    assert [*short_path.iterdir()] == []


def test_an_address_may_be_the_path_of_a_socket(short_path):
    listener = listen("photos", address=f"unix://{short_path}/other.sock", mode=0o600)
    assert listener.address == f"unix://{short_path}/other.sock"
    assert (short_path / "other.sock").stat().st_mode & 0o777 == 0o600
    listener.close()


def test_tcp_writes_a_spec_file_that_hosts_find(short_path):
    listener = listen("photos", address="tcp://127.0.0.1:0", spec_directory=short_path / "plugins")
    spec = LocalRegistry(short_path / "none", [short_path / "plugins"]).find("photos")
    assert spec.address == listener.address
    assert (short_path / "plugins" / "photos.spec").read_text() == listener.address + "\n"
    assert [*(short_path / "plugins").iterdir()] == [short_path / "plugins" / "photos.spec"]
    assert (short_path / "plugins" / "photos.spec").stat().st_mode & 0o777 == 0o644
    listener.close()
    assert [*(short_path / "plugins").iterdir()] == []


def test_the_host_of_one_directory_finds_what_is_served_there_over_tcp(short_path):
    listener = listen("photos", address="tcp://127.0.0.1:0", directory=short_path)
    assert LocalRegistry(short_path).find("photos").address == listener.address
    listener.close()


def test_tls_writes_a_json_file_with_what_a_host_needs(short_path):
    host = TLSConfig(ca_file="/etc/photos/ca.pem", cert_file="/etc/photos/host.pem", key_file="/etc/photos/host.key")
    listener = listen(
        "photos",
        address="https://127.0.0.1:0",
        advertise="https://photos.example:8443",
        spec_directory=short_path,
        tls=ServerTLS("server.pem", "server.key"),
        host_tls=host,
    )
    assert json.loads((short_path / "photos.json").read_text()) == {
        "Name": "photos",
        "Addr": "https://photos.example:8443",
        "TLSConfig": {
            "CAFile": "/etc/photos/ca.pem",
            "CertFile": "/etc/photos/host.pem",
            "KeyFile": "/etc/photos/host.key",
        },
    }
    spec = LocalRegistry(short_path / "none", [short_path]).find("photos")
    assert (spec.address, spec.tls) == ("https://photos.example:8443", host)
    listener.close()
    assert not (short_path / "photos.json").exists()


def test_a_spec_file_that_hides_the_json_is_reported(short_path, caplog):
    (short_path / "photos.spec").write_text("tcp://127.0.0.1:1\n")
    listen("photos", address="https://127.0.0.1:0", spec_directory=short_path, tls=ServerTLS("a", "b")).close()
    assert "photos.spec hides photos.json" in caplog.text


def test_a_spec_file_that_was_left_over_is_replaced(short_path):
    (short_path / "photos.spec").write_text("tcp://127.0.0.1:1\n")
    listener = listen("photos", address="tcp://127.0.0.1:0", spec_directory=short_path)
    assert (short_path / "photos.spec").read_text() == listener.address + "\n"
    listener.close()


def test_a_spec_file_that_somebody_else_wrote_meanwhile_is_left_to_him(short_path):
    listener = listen("photos", address="tcp://127.0.0.1:0", spec_directory=short_path)
    (short_path / "new").write_text("tcp://127.0.0.1:1\n")
    (short_path / "new").replace(short_path / "photos.spec")
    listener.close()
    assert (short_path / "photos.spec").read_text() == "tcp://127.0.0.1:1\n"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "x" * 256])
def test_a_name_that_is_no_name_is_refused(short_path, name):
    with pytest.raises(SpecError, match="cannot be a plugin's name"):
        listen(name, directory=short_path)
    assert [*short_path.iterdir()] == []


@pytest.mark.parametrize(
    "place",
    [
        {"address": "https://127.0.0.1:0"},
        {"address": "tcp://127.0.0.1:0", "tls": ServerTLS("a", "b")},
        {"address": "tcp://127.0.0.1:0", "advertise": "https://photos.example"},
        {"tls": ServerTLS("a", "b")},
        {"address": "npipe:////./pipe/photos"},
    ],
    ids=repr,
)
def test_tls_and_the_address_must_fit(short_path, place):
    with pytest.raises(SpecError):
        listen("photos", **{"directory": short_path, "spec_directory": short_path, **place})
    assert [*short_path.iterdir()] == []


def test_a_directory_that_is_not_ours_to_write_says_what_to_do(short_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    with pytest.raises(PermissionError, match="directory= names another place"):
        listen("photos", directory="/proc/plugins")


def test_a_draft_that_cannot_be_written_leaves_nothing(short_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device.*photos.spec"):
        listen("photos", address="tcp://127.0.0.1:0", spec_directory=short_path)
    assert [*short_path.iterdir()] == []


@pytest.fixture
def full_disk(short_path):
    """A directory on a file system of its own without a free byte."""
    directory = short_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", directory], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs to mount a small tmpfs: {mounted.stderr.decode().strip()}")
    try:
        with contextlib.suppress(OSError), (directory / "filler").open("wb", buffering=0) as filler:
            filler.write(b"x" * 4096)
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_on_a_full_disk_no_half_of_a_spec_file_is_left(full_disk):
    (full_disk / "photos.spec").symlink_to("old")
    with pytest.raises(OSError, match="No space left") as full:
        listen("photos", address="tcp://127.0.0.1:0", spec_directory=full_disk)
    assert full.value.filename == str(full_disk / "photos.spec")
    assert {path.name for path in full_disk.iterdir()} == {"filler", "photos.spec"}


def test_where_no_file_may_grow_serve_ends_with_an_error_and_no_file(short_path):
    program = """
        import resource, signal, sys
        from lab import SyncLab
        import extframe.server
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))
        extframe.server.serve(SyncLab(), name="photos", address="tcp://127.0.0.1:0", spec_directory=sys.argv[1])
    """
    with Program(program, short_path) as started:
        code, said = started.end()
    assert code == 1
    assert "File too large" in said
    assert "photos.spec" in said
    assert [*short_path.iterdir()] == []


def test_no_directory_means_the_default_one(short_path, monkeypatch):
    monkeypatch.setattr(listeners, "SOCKETS", str(short_path))
    listener = listen("photos", directory=None)
    try:
        assert listener.address == f"unix://{short_path}/photos.sock"
    finally:
        listener.close()


@pytest.mark.parametrize("address", ["tcp://a b:0", "tcp://127.0.0.1:65536", "tcp://:0", "udp://h:0"])
def test_an_error_about_an_address_shows_the_address_that_was_given(short_path, address):
    with pytest.raises(SpecError, match=f"^{re.escape(repr(address))} is not a plugin address"):
        listen("photos", address=address, spec_directory=short_path)


def test_port_0_is_for_servers_only(short_path):
    listener = listen("photos", address="tcp://127.0.0.1:0", spec_directory=short_path)
    listener.close()
    assert not listener.address.endswith(":0")
    with pytest.raises(SpecError, match="its port is 0; expected a number from 1 to 65535"):
        Client("tcp://127.0.0.1:0")


class Greeter(Interface, implements="Greeter"):
    @rpc("Greet", returns="Text")
    def greet(self, name: str) -> str:
        raise NotImplementedError


class English(Greeter):
    def greet(self, name: str) -> str:
        return f"Hello, {name}."


def zoned_addresses() -> list[str]:
    """Return this machine's IPv6 addresses that need a zone, and the loopback address, which may have one."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().split("\n")
    except OSError:
        return []
    found = []
    for number, index, _, scope, _, interface in filter(None, map(str.split, lines)):
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(number))
        if address == "::1":
            found.append(f"::1%25{int(index, 16)}")
        elif scope == "20":  # link-local
            found.append(f"{address}%25{interface}")
    return found


@pytest.mark.skipif(not zoned_addresses(), reason="this machine has no IPv6 addresses")
def test_ipv6_addresses_have_zones(short_path):
    for host in zoned_addresses():
        with serving(English(), name="en", address=f"tcp://[{host}]:0", spec_directory=short_path) as plugin:
            assert plugin.address.startswith(f"tcp://[{host}]:")
            assert (short_path / "en.spec").read_text().strip() == plugin.address
            with Client(LocalRegistry(short_path).find("en").address) as client:
                assert Greeter.remote(client).greet("Ada") == "Hello, Ada."
