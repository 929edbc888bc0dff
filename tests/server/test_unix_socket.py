"""Sockets in directories of others: no link is followed, no reader can block a start, and errors name the socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
import subprocess
import threading

import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization
from lab import SyncLab

from extframe import SpecError
from extframe.server import ServerTLS, serve, serving, unix_socket
from extframe.server.sockets import inherit
from extframe.server.unix_socket import listen_unix

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_a_directory_that_hosts_would_refuse_is_refused_with_the_remedy(short_path):
    short_path.chmod(0o777)
    with pytest.raises(SpecError, match="hosts would refuse a socket in .*chmod o-w"):
        listen_unix(short_path / "a.sock")
    assert [*short_path.iterdir()] == []
    listen_unix(short_path / "a.sock", allow_unsafe=True).close()


@needs_root
def test_the_directory_of_another_user_is_refused_and_nothing_is_changed(short_path):
    os.chown(short_path, 65534, 65534)
    (short_path / "a.sock").symlink_to("/etc/passwd")
    before = os.stat("/etc/passwd")
    with pytest.raises(SpecError, match="hosts would refuse"):
        listen_unix(short_path / "a.sock", mode=0o666)
    with pytest.raises(FileExistsError):
        listen_unix(short_path / "a.sock", mode=0o666, allow_unsafe=True)
    assert os.stat("/etc/passwd") == before


@needs_root
def test_a_link_that_replaces_the_socket_at_any_moment_is_never_followed(short_path):
    """The owner of the directory replaces whatever appears in it by a link to a file of root's."""
    plugins = short_path / "plugins"
    plugins.mkdir()
    os.chown(plugins, 65534, 65534)
    secret = short_path / "secret"
    secret.write_text("")
    secret.chmod(0o600)
    ended = threading.Event()

    def replace() -> None:
        while not ended.is_set():
            for name in os.listdir(plugins):
                with contextlib.suppress(OSError):
                    os.symlink(secret, plugins / "link")
                    os.rename(plugins / "link", plugins / name)

    attacker = threading.Thread(target=replace)
    attacker.start()
    try:
        for number in range(100):
            with contextlib.suppress(OSError):
                listen_unix(plugins / f"{number}.sock", mode=0o666, group=65534, allow_unsafe=True).close()
    finally:
        ended.set()
        attacker.join()
    found = secret.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, 0, 0)


def test_a_lock_on_the_directory_does_not_stop_a_start(short_path):
    descriptor = os.open(short_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    listen_unix(short_path / "a.sock").close()
    os.close(descriptor)


def test_a_start_that_hangs_is_waited_for_and_named(short_path, monkeypatch):
    monkeypatch.setattr(unix_socket, "LOCK_TIMEOUT", 0.3)
    with (short_path / ".a.sock.lock").open("w") as held:
        held.write("process 12345")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match=r"process 12345 holds \.a\.sock\.lock") as late:
            listen_unix(short_path / "a.sock")
        assert late.value.filename == str(short_path / "a.sock")
    listen_unix(short_path / "a.sock").close()
    assert [*short_path.iterdir()] == []


def test_without_a_umask_no_directory_is_writable_for_others(short_path):
    before = os.umask(0)
    try:
        listen_unix(short_path / "run" / "plugins" / "a.sock").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((short_path / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((short_path / "run" / "plugins").stat().st_mode) == 0o755


def test_a_path_of_107_bytes_is_enough(short_path):
    directory = short_path / ("d" * (99 - len(str(short_path))))
    listener = listen_unix(directory / "a.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / "a.sock"))
    listener.close()


@pytest.fixture
def read_only(short_path):
    """A directory on a read-only file system."""
    directory = short_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", directory], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs to mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", directory], check=True)


def test_a_read_only_file_system_is_an_error_that_names_the_socket(read_only):
    with (
        pytest.raises(OSError, match="choose another directory with directory=.*lab.sock") as refused,
        serving(SyncLab(), name="lab", directory=read_only),
    ):
        pass
    assert refused.value.errno == errno.EROFS


def test_a_connection_in_place_of_a_listening_socket_names_the_setting(short_path):
    first, second = socket.socketpair()
    with first, second, pytest.raises(OSError, match="Accept=no"):
        inherit(first.fileno())
    first.close()


def test_serve_in_an_event_loop_says_what_to_use(short_path):
    async def run() -> None:
        serve(SyncLab(), name="lab", directory=short_path)

    with pytest.raises(RuntimeError, match="serving.*asgi_app"):
        asyncio.run(run())


def test_an_encrypted_key_is_an_error_and_never_a_prompt(short_path):
    certificate = Authority(short_path).issue("server", "127.0.0.1")
    with open(certificate.key_file, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    with open(certificate.key_file, "wb") as file:
        encryption = serialization.BestAvailableEncryption(b"secret")
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write(key.private_bytes(pem, form, encryption))
    tls = ServerTLS(certificate.cert_file, certificate.key_file)
    with (
        pytest.raises(SpecError, match="the key is encrypted; expected one without a password"),
        serving(SyncLab(), address="https://127.0.0.1:0", tls=tls),
    ):
        pass


def test_app_puts_a_plugin_where_the_host_looks(short_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(short_path / "config"))
    with serving(SyncLab(), name="lab", app="myhost", allow_unsafe=True) as plugin:
        assert plugin.address == f"unix://{short_path}/myhost/plugins/lab.sock"
    with serving(SyncLab(), name="lab", app="myhost", address="tcp://127.0.0.1:0"):
        assert (short_path / "config" / "myhost" / "plugins" / "lab.spec").exists()
