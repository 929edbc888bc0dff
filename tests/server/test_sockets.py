"""Where a plugin listens: sockets made, reclaimed and refused, and sockets that others opened."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
import threading

import pytest
from lab import in_threads

from extframe import SpecError
from extframe.server.sockets import inherit, inherit_from_systemd, listen_tcp
from extframe.server.unix_socket import listen_unix


def leave_over(path) -> None:
    """A socket whose owner is gone, as kill -9 leaves it."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def connects(path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- unix ---------------------------------------------------------------------------------------------


def test_a_socket_is_for_its_owner_and_group_whatever_the_umask_is(short_path):
    for umask in (0o000, 0o022, 0o077, 0o777):
        before = os.umask(umask)
        try:
            listener = listen_unix(short_path / f"{umask}.sock")
        finally:
            os.umask(before)
        assert mode(short_path / f"{umask}.sock") == 0o660
        listener.close()


def test_mode_and_group_are_those_that_were_asked_for(short_path):
    groups = [entry for entry in grp.getgrall() if os.geteuid() == 0 or entry.gr_gid in os.getgroups()]
    other = next((entry for entry in groups if entry.gr_gid != os.getegid()), groups[0])
    by_name = listen_unix(short_path / "name.sock", mode=0o666, group=other.gr_name)
    by_number = listen_unix(short_path / "number.sock", group=other.gr_gid)
    assert mode(short_path / "name.sock") == 0o666
    assert {(short_path / name).stat().st_gid for name in ("name.sock", "number.sock")} == {other.gr_gid}
    by_name.close()
    by_number.close()


def test_an_unknown_group_is_an_error_before_anything_is_made(short_path):
    with pytest.raises(LookupError, match="no-such-group.*no such group"):
        listen_unix(short_path / "new" / "a.sock", group="no-such-group")
    assert not (short_path / "new").exists()


def test_a_missing_directory_is_made(short_path):
    listener = listen_unix(short_path / "run" / "docker" / "plugins" / "a.sock")
    assert connects(short_path / "run" / "docker" / "plugins" / "a.sock")
    listener.close()


def test_a_left_over_socket_is_reclaimed(short_path):
    leave_over(short_path / "a.sock")
    listener = listen_unix(short_path / "a.sock")
    assert connects(short_path / "a.sock")
    listener.close()


def test_a_socket_behind_which_somebody_answers_is_left_to_him(short_path):
    first = listen_unix(short_path / "a.sock")
    with pytest.raises(OSError, match="another process answers there") as refused:
        listen_unix(short_path / "a.sock")
    assert refused.value.errno == errno.EADDRINUSE
    assert str(short_path / "a.sock") in str(refused.value)
    assert connects(short_path / "a.sock")
    first.close()


def test_a_process_that_is_too_busy_to_accept_is_somebody(short_path):
    path = short_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(OSError, match="another process answers there"):
            listen_unix(path)
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_not_removed(short_path, kind):
    path = short_path / "a.sock"
    leave_over(short_path / "other.sock")
    make = {"file": path.touch, "directory": path.mkdir, "link": lambda: path.symlink_to(short_path / "other.sock")}
    make[kind]()
    with pytest.raises(FileExistsError, match="not a socket"):
        listen_unix(path)
    assert path.is_symlink() or path.exists()


def test_of_many_that_reclaim_a_socket_at_once_exactly_one_gets_it(short_path):
    path = short_path / "a.sock"
    for _ in range(20):
        leave_over(path)
        start = threading.Barrier(5)

        def reclaim(start=start):
            start.wait()
            try:
                return listen_unix(path)
            except OSError as refused:
                return refused.errno

        results = in_threads(*[reclaim] * 5)
        assert sorted(map(str, results))[:4] == [str(errno.EADDRINUSE)] * 4
        assert connects(path)
        next(result for result in results if not isinstance(result, int)).close()
        assert not path.exists()


def test_closing_removes_the_socket_and_not_one_that_took_its_place(short_path):
    path = short_path / "a.sock"
    first = listen_unix(path)
    path.unlink()
    second = listen_unix(path)
    first.close()
    assert connects(path)
    second.close()
    assert not path.exists()
    second.close()


def test_a_path_too_long_for_a_socket_says_so(short_path):
    with pytest.raises(SpecError, match="at most 107 bytes"):
        listen_unix(short_path / ("a" * 100) / "a.sock")


def test_a_socket_that_cannot_be_made_leaves_nothing(short_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(PermissionError, match="not yours"):
        listen_unix(short_path / "a.sock")
    assert [*short_path.iterdir()] == []


# --- TCP ----------------------------------------------------------------------------------------------


def test_the_port_0_is_any_that_is_free_and_the_address_says_which():
    listener = listen_tcp("tcp://127.0.0.1:0")
    port = listener.sockets[0].getsockname()[1]
    assert listener.address == f"tcp://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port)):
        pass
    listener.close()


def test_a_port_that_is_taken_is_an_error_that_says_so():
    first = listen_tcp("tcp://127.0.0.1:0")
    with pytest.raises(OSError, match="another process listens at tcp://127.0.0.1:") as refused:
        listen_tcp(first.address)
    assert refused.value.errno == errno.EADDRINUSE
    first.close()


def test_an_ipv6_host_stands_in_brackets():
    try:
        listener = listen_tcp("tcp://[::1]:0")
    except OSError as missing:
        pytest.skip(f"needs IPv6: {missing}")
    assert listener.address == f"tcp://[::1]:{listener.sockets[0].getsockname()[1]}"
    listener.close()


@pytest.mark.parametrize("text", ["127.0.0.1:80", "tcp://:0", "ftp://127.0.0.1:0", "npipe:0"])
def test_what_is_no_address_is_a_spec_error(text):
    with pytest.raises(SpecError):
        listen_tcp(text)


# --- from somebody else -------------------------------------------------------------------------------


def test_an_inherited_socket_is_served_and_its_file_stays(short_path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(short_path / "a.sock"))
        opened.listen()
        listener = inherit(os.dup(opened.fileno()))
        assert listener.address == f"unix://{short_path}/a.sock"
        assert connects(short_path / "a.sock")
        listener.close()
    assert (short_path / "a.sock").exists()


def test_an_inherited_tcp_socket_says_where_it_is():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        listener = inherit(os.dup(opened.fileno()))
        assert listener.address == f"tcp://127.0.0.1:{opened.getsockname()[1]}"
        listener.close()


def test_a_descriptor_that_is_no_stream_socket_is_an_error_that_names_it(short_path):
    with pytest.raises(OSError, match="file descriptor 9999 cannot be served"):
        inherit(9999)
    with (short_path / "file").open("w") as file, pytest.raises(OSError, match=f"descriptor {file.fileno()} cannot"):
        inherit(file.fileno())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(OSError, match="not a stream socket"):
            inherit(datagrams.fileno())
        assert datagrams.getsockname() == ""


@pytest.mark.parametrize(
    ("pid", "count"), [("1", "1"), (None, "1"), ("ours", "0"), ("ours", "none"), ("ours", None), (None, None)]
)
def test_sockets_that_systemd_passed_to_somebody_else_or_not_at_all_are_left_alone(monkeypatch, pid, count):
    for name, value in (("LISTEN_PID", str(os.getpid()) if pid == "ours" else pid), ("LISTEN_FDS", count)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert inherit_from_systemd() is None
    assert os.environ.get("LISTEN_FDS") == count
