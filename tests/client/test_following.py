"""Streams that follow: a plugin that is silent before the first byte, and readers that other threads stop."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from certificates import Authority
from faultserver import Peer, answer, chunked, close_after_read, eventually, hang, reply, send_and_hang
from served_client import ends_within, served_clients

from extframe import Breaker
from extframe.errors import CallTimeout, ConnectError, ConnectionLost, PluginUnavailable, ProtocolError, RemoteError
from extframe.protocol import TLSConfig
from extframe.subsystems.log import LogDriver, LogInfo, ReadConfig
from extframe.subsystems.log_entries import LogEntry, pack_entry

READ_LOGS = "LogDriver.ReadLogs"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FOLLOW = ReadConfig(follow=True)
ENTRY = LogEntry(line=b"a line\n")


@pytest.fixture
def client_of(fault_server):
    yield from served_clients(fault_server)


def quiet_log(first: bytes = b"") -> Callable[[Peer], None]:
    """Answer calls; of a log send ``first`` and then nothing until the client closes the connection.

    The server's ``ended`` counts the logs that were closed.
    """

    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path != f"/{READ_LOGS}":
                peer.send(reply())
                continue
            try:
                peer.send(first)
                is_closed = peer.wait_closed()
            except OSError:
                is_closed = True
            if is_closed:
                peer.server.ended.append(peer.number)
            return

    return behaviour


def served_log(client_of, first: bytes = b"", **options: Any) -> Any:
    client = client_of(quiet_log(first), **options)
    client.server.ended = []
    return client


def in_thread(function: Callable[[], Any]) -> Future[Any]:
    """Run ``function`` in a daemon thread, which a test that fails does not wait for."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as failure:  # noqa: BLE001 - the test's
            future.set_exception(failure)

    threading.Thread(target=run, daemon=True).start()
    return future


def is_reading(stream: Any) -> bool:
    """Whether a thread waits for bytes of a stream, or of its records."""
    return getattr(stream, "_stream", stream)._body._is_reading


# --- no deadline for silence ------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "pauses"), [(None, (2.7, 0)), (2.5, (0, 2.7))])
def test_a_log_that_is_followed_may_be_silent_for_longer_than_any_deadline(client_of, timeout, pauses):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.wait(pauses[0])
        peer.send(HEAD)
        peer.wait(pauses[1])
        peer.send(chunked(pack_entry(ENTRY)).partition(b"\r\n\r\n")[2])

    client = client_of(behaviour, timeout=2.5)
    assert list(LogDriver.remote(client, timeout=timeout).read_logs(LogInfo(), FOLLOW)) == [ENTRY]


def test_a_log_that_is_not_followed_has_the_deadline_until_it_begins(client_of):
    client = served_log(client_of, timeout=0.3)
    with ends_within(10), pytest.raises(CallTimeout):
        LogDriver.remote(client).read_logs(LogInfo())


@pytest.mark.parametrize("kind", ["connecting", "sending"])
def test_connecting_and_sending_have_the_deadline(client_of, kind):
    client = client_of(hang, timeout=0.3)
    if kind == "connecting":
        client.retarget("tcp://[100::1]:1")  # an address that discards everything (RFC 6666), or is refused at once
    arguments = {"Info": "x" * 10_000_000}
    with ends_within(10), pytest.raises((CallTimeout, ConnectError)), client.stream("A.B", arguments, follow=True):
        pytest.fail("not sent")


def test_quiet_followers_do_not_open_the_circuit_breaker(client_of):
    client = served_log(client_of, timeout=2.5, breaker=Breaker(failures=2, initial_delay=60, max_delay=60))
    followers = [LogDriver.remote(client).read_logs(LogInfo(), FOLLOW) for _ in range(5)]
    reads = [in_thread(lambda each=each: list(each)) for each in followers]
    time.sleep(2.7)  # longer than the timeout of the client
    assert client.next_try is None
    assert client.call("A.B", timeout=30) == {}
    assert not any(read.done() for read in reads)
    for each in followers:
        each.close()
    assert [read.result(30) for read in reads] == [[]] * 5
    assert eventually(lambda: len(client.server.ended) == 5)
    assert client.call("A.B", timeout=30) == {}


def test_a_follower_is_let_through_as_a_probe_and_then_is_none(client_of):
    client = served_log(client_of, breaker=Breaker(failures=1, initial_delay=0.01, max_delay=60))
    client.server.behaviour = close_after_read
    with pytest.raises(ConnectionLost):
        client.call("A.B")
    client.server.behaviour = quiet_log()
    assert eventually(lambda: _is_followed(client))
    assert client.next_try is not None
    assert client.call("A.B") == {}
    assert client.next_try is None


def _is_followed(client) -> bool:
    try:
        with client.stream(READ_LOGS, follow=True):
            return True
    except PluginUnavailable:
        return False


# --- what the plugin answers, in the first read -----------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (reply(b'{"Err": "no such container"}', status="500 No"), RemoteError, "no such container"),
        (reply(b"not found", status="404 No", headers="Connection: close\r\n"), RemoteError, "not found"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ProtocolError, "is not HTTP"),
        (b"", ConnectionLost, "without a response"),
        (b"HTTP/1.1 200 OK\r\n", ConnectionLost, "within the headers"),
        (HEAD + b"5\r\nab", ConnectionLost, "before the body"),
    ],
)
def test_errors_come_from_the_first_read_and_name_plugin_and_method(client_of, response, error, message):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(response)

    client = client_of(behaviour)
    with client.stream(READ_LOGS, follow=True) as records, pytest.raises(error, match=message):
        records.read()
    entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    with pytest.raises(error, match=message) as caught:
        next(entries)
    assert (caught.value.plugin, caught.value.method, caught.value.address) == ("rec", READ_LOGS, client.address)
    assert next(entries, None) is None


def test_the_words_of_an_error_are_not_waited_for_without_end(client_of):
    client = client_of(send_and_hang(reply(b"half of them", status="500 No", length=100)), timeout=0.3)
    with ends_within(10), pytest.raises(CallTimeout), client.stream(READ_LOGS, follow=True) as records:
        records.read()


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_for_the_next(client_of):
    client = client_of(answer(pack_entry(ENTRY)))
    for _ in range(3):
        assert list(LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)) == [ENTRY]
    assert client.server.connections == 1


def test_followers_that_are_lost_count_once_and_a_plugin_that_loses_every_one_opens_the_circuit(client_of):
    client = client_of(close_after_read, breaker=Breaker(failures=3, initial_delay=60, max_delay=60))
    for _ in range(3):
        with pytest.raises(ConnectionLost):
            list(LogDriver.remote(client).read_logs(LogInfo(), FOLLOW))
    with pytest.raises(PluginUnavailable):
        LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)


# --- closed from elsewhere --------------------------------------------------------------------------------

STARTS = {"no header": b"", "half a header": HEAD[:20], "no record": HEAD, "half a record": HEAD + b"2\r\nab\r\n"}
STARTS["until the end of the connection"] = b"HTTP/1.1 200 OK\r\n\r\nab"


@pytest.mark.parametrize("first", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("kind", ["unix", "tcp", "tls"])
def test_closing_a_stream_in_another_thread_stops_its_reader_at_once(client_of, tmp_path, kind, first):
    options = {"kind": "unix" if kind == "unix" else "tcp"}
    if kind == "tls":
        authority = Authority(tmp_path)
        options["server_tls"] = authority.issue("server", "localhost").server_context()
        options["tls"] = TLSConfig(ca_file=authority.ca_file)
    client = served_log(client_of, first, **options)
    entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    read = in_thread(lambda: list(entries))
    assert eventually(lambda: is_reading(entries))
    assert not read.done()
    entries.close()
    assert read.result(30) == []
    assert eventually(lambda: client.server.ended == [0])
    assert next(entries, None) is None
    client.server.ended.clear()

    with client.stream(READ_LOGS, follow=True) as records:
        read = in_thread(lambda: records.read(100))
        assert eventually(lambda: is_reading(records))
        records.close()
        with pytest.raises(ValueError, match="closed"):
            read.result(30)
        assert records.closed
    assert eventually(lambda: len(client.server.ended) == 1)


def test_a_body_that_lasts_until_the_connection_ends_does_not_seem_to_end_when_it_is_closed(client_of):
    client = served_log(client_of, b"HTTP/1.1 200 OK\r\n\r\nab")
    with client.stream(READ_LOGS, follow=True) as records:
        assert records.read(2) == b"ab"
        read = in_thread(lambda: records.read(100))
        assert eventually(lambda: is_reading(records))
        records.close()
        with pytest.raises(ValueError, match="closed while it was read"):
            read.result(30)


def test_a_stream_may_be_closed_at_any_moment_while_records_arrive(client_of):
    def behaviour(peer: Peer) -> None:
        peer.read_request()
        peer.send(HEAD)
        record = pack_entry(ENTRY)
        while not peer.server.closing.is_set():
            peer.send(b"%x\r\n%b\r\n" % (len(record), record))

    client = client_of(behaviour)
    for wanted in range(1, 30):
        entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
        closer = threading.Thread(target=entries.close)
        for count, entry in enumerate(entries, 1):
            assert entry == ENTRY
            if count == wanted:
                closer.start()
        closer.join(30)
    assert eventually(lambda: not client._following)


def test_closing_twice_and_from_many_threads_is_allowed(client_of):
    client = served_log(client_of)
    entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    read = in_thread(lambda: list(entries))
    assert eventually(lambda: is_reading(entries))
    for close in [in_thread(entries.close) for _ in range(8)]:
        close.result(30)
    assert read.result(30) == []
    entries.close()


def test_closing_the_client_closes_the_streams_that_follow(client_of):
    client = served_log(client_of)
    entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    read = in_thread(lambda: list(entries))
    assert eventually(lambda: is_reading(entries))
    client.close()
    assert read.result(30) == []
    with pytest.raises(ConnectError, match="the client is closed"):
        LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)


def test_a_signal_handler_may_close_the_stream_that_its_thread_reads(client_of):
    client = served_log(client_of)
    entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    before = signal.signal(signal.SIGUSR1, lambda *_: entries.close())
    try:
        main = threading.get_ident()

        def interrupt() -> None:
            assert eventually(lambda: is_reading(entries))
            signal.pthread_kill(main, signal.SIGUSR1)

        in_thread(interrupt)
        assert list(entries) == []
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert eventually(lambda: client.server.ended == [0])


def test_ctrl_c_ends_the_stream_that_it_interrupts(client_of):
    client = served_log(client_of)
    entries = LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    main = threading.get_ident()

    def interrupt() -> None:
        assert eventually(lambda: is_reading(entries))
        signal.pthread_kill(main, signal.SIGINT)

    in_thread(interrupt)  # which waits until the next line reads
    with pytest.raises(KeyboardInterrupt):
        list(entries)
    assert eventually(lambda: client.server.ended == [0])


def test_a_follower_that_is_dropped_closes_its_connection(client_of):
    client = served_log(client_of)
    LogDriver.remote(client).read_logs(LogInfo(), FOLLOW)
    assert eventually(lambda: client.server.ended == [0])


def test_a_stream_is_a_context_manager(client_of):
    client = served_log(client_of, HEAD + b"%x\r\n%b\r\n" % (len(pack_entry(ENTRY)), pack_entry(ENTRY)))
    with LogDriver.remote(client).read_logs(LogInfo(), FOLLOW) as entries:
        assert next(entries) == ENTRY
    assert eventually(lambda: client.server.ended == [0])


def test_a_broken_record_is_an_error_and_not_the_end(client_of):
    client = client_of(answer(pack_entry(ENTRY)[:-1]))
    with pytest.raises(ProtocolError, match="the stream ends inside a log entry") as caught:
        list(LogDriver.remote(client).read_logs(LogInfo(), FOLLOW))
    assert (caught.value.plugin, caught.value.method) == ("rec", READ_LOGS)


def test_a_stream_is_not_pickled_and_says_what_to_send_instead(client_of):
    client = client_of(answer(pack_entry(ENTRY)))
    with pytest.raises(TypeError, match="send its records"):
        pickle.dumps(LogDriver.remote(client).read_logs(LogInfo(), FOLLOW))
    with client.stream(READ_LOGS) as stream, pytest.raises(TypeError, match="send what is read from it"):
        pickle.dumps(stream)
