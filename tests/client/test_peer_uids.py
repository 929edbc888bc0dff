"""Who may listen at a unix socket: root, this user and those who are named. Another user's process is sent nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from event_loops import run_in
from faultserver import answer

from extframe import AsyncClient, Client, ConnectError, LocalRegistry, PluginManager
from extframe.client import sockets

STRANGER = 65533

SERVER = """
import os, socket, sys
path, uid = sys.argv[1], int(sys.argv[2])
os.setuid(uid)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
os.chmod(path, 0o777)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    data = connection.recv(65536)
    print(len(data), flush=True)
    if data:
        body = b'{"Implements": ["VolumeDriver"]}'
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    connection.close()
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")


@pytest.fixture
def strangers(short_path):
    """Start another user's server in a directory in which that user may create sockets; return path and server."""
    directory = short_path / "theirs"
    directory.mkdir()
    os.chown(directory, STRANGER, STRANGER)
    os.chmod(short_path, 0o755)
    path = directory / "photos.sock"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path), str(STRANGER)], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert server.stdout.readline() == "ready\n"
    yield path, server
    server.kill()
    server.wait()
    server.stdout.close()


def received(server) -> int:
    return int(server.stdout.readline())


@pytest.mark.parametrize("use", ["call", "begin", "session", "asyncio", "uvloop"])
def test_another_users_process_is_a_connect_error_before_a_byte_is_sent(strangers, use):
    path, server = strangers
    uses = {
        "call": lambda client: client.call("A.B", {"Secret": 1}),
        "begin": lambda client: client.begin("Plugin.Activate"),
        "session": lambda client: client.session.post("A.B", json={"Secret": 1}),
        "asyncio": lambda client: run_in("asyncio", lambda: AsyncClient.on(client.endpoint).call("A.B", {"Secret": 1})),
        "uvloop": lambda client: run_in("uvloop", lambda: AsyncClient.on(client.endpoint).call("A.B", {"Secret": 1})),
    }
    with Client(f"unix://{path}", peer_uids=()) as client:
        with pytest.raises((ConnectError, OSError)) as caught:
            uses[use](client)
        assert "belongs to user 65533" in str(caught.value)
        assert "peer_uids=[65533]" in str(caught.value)
    assert received(server) == 0


def test_a_user_who_is_named_may_answer_and_without_a_check_anyone_may(strangers):
    path, server = strangers
    for peer_uids in ((STRANGER,), None):
        with Client(f"unix://{path}", peer_uids=peer_uids) as client:
            assert client.call("Plugin.Activate") == {"Implements": ["VolumeDriver"]}
        assert received(server) > 0


def test_this_user_may_answer(fault_server):
    with Client(fault_server(answer()).address, peer_uids=()) as client:
        assert client.call("A.B") == {}


def test_a_socket_that_replaces_a_known_plugins_gets_nothing(short_path, fault_server, strangers):
    """The directory is safe when the plugin is found. Its owner moves another user's socket in place later."""
    path, server = strangers
    plugins = short_path / "plugins"
    plugins.mkdir()
    ours = fault_server(answer(b'{"Implements": ["VolumeDriver"]}'), path=str(plugins / "photos.sock"))
    with PluginManager(LocalRegistry(plugins), groups=()) as pm:
        client = pm.get("photos").client
        ours.close()
        os.rename(path, plugins / "photos.sock")
        with pytest.raises(ConnectError, match="may be an impostor"):
            client.call("VolumeDriver.Get", {"Name": "secret"})
    assert received(server) == 0


def test_the_check_costs_one_look_at_each_new_connection(fault_server, monkeypatch):
    looks = []
    check = sockets.check_peer
    monkeypatch.setattr(sockets, "check_peer", lambda *arguments: looks.append(1) or check(*arguments))
    with Client(fault_server(answer()).address, peer_uids=()) as client:
        for _ in range(10):
            client.call("A.B")
    assert len(looks) == 1


def test_a_system_without_so_peercred_is_not_checked(strangers, monkeypatch):
    path, server = strangers
    monkeypatch.delattr(socket, "SO_PEERCRED")
    with Client(f"unix://{path}", peer_uids=()) as client:
        client.call("A.B")
    assert received(server) > 0
