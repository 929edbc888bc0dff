"""The example log plugin: what is written to its pipe is in the file, and comes back as it was."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from faultserver import eventually
from wire import Wire

from extframe.errors import RemoteError
from extframe.interface.messages import format_time
from extframe.server import serving
from extframe.subsystems.log import LogInfo, ReadConfig
from extframe.subsystems.log_entries import LogEntry, PartialLogMetadata, pack_entry, unpack_entries

INFO = LogInfo(container_id="ab" * 32)
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def module(example):
    return example("log_plugin")


@pytest.fixture
def logs(module, short_path):
    return module.FileLogs(short_path / "logs")


@pytest.fixture
def pipe(short_path):
    """A pipe as Docker's engine makes one, open at the engine's end."""
    path = short_path / "pipe"
    os.mkfifo(path, 0o700)
    descriptor = os.open(path, os.O_RDWR)
    yield str(path), lambda entry: os.write(descriptor, pack_entry(entry))
    os.close(descriptor)


def entries(count: int) -> list[LogEntry]:
    return [LogEntry("stdout", SECOND * (1000 + number), f"line {number}".encode()) for number in range(count)]


def lines(found) -> list[bytes]:
    return [entry.line for entry in found]


def test_what_a_container_wrote_is_there_when_the_stop_is_answered(logs, pipe):
    path, write = pipe
    logs.start_logging(path, INFO)
    for entry in entries(500):
        write(entry)
    logs.stop_logging(path)
    assert lines(logs.read_logs(INFO)) == [b"line %d\n" % number for number in range(500)]
    first = json.loads((logs.root / f"{INFO.container_id}.log").read_text().splitlines()[0])
    assert first == {"time": 1000 * SECOND, "source": "stdout", "line": "line 0\n"}


def test_bytes_that_are_no_text_come_back_as_they_were(logs, pipe):
    path, write = pipe
    logs.start_logging(path, INFO)
    write(LogEntry("stderr", 1, bytes(range(256))))
    logs.stop_logging(path)
    (found,) = logs.read_logs(INFO)
    assert (found.source, found.line) == ("stderr", bytes(range(256)) + b"\n")


def test_the_pieces_of_a_long_line_come_back_as_one_line(logs, pipe):
    path, write = pipe
    logs.start_logging(path, INFO)
    for ordinal in (1, 2):
        write(LogEntry("stdout", 1, b"x" * 16384, True, PartialLogMetadata(ordinal == 2, "a", ordinal)))
    logs.stop_logging(path)
    assert b"".join(lines(logs.read_logs(INFO))) == b"x" * 32768 + b"\n"


def test_a_container_that_starts_again_goes_on_in_its_log(logs, pipe):
    path, write = pipe
    for entry in entries(2):
        logs.start_logging(path, INFO)
        write(entry)
        logs.stop_logging(path)
    assert lines(logs.read_logs(INFO)) == [b"line 0\n", b"line 1\n"]


def test_since_until_and_tail_choose(logs, pipe):
    path, write = pipe
    logs.start_logging(path, INFO)
    sent = entries(10)
    for entry in sent:
        write(entry)
    logs.stop_logging(path)
    since, until = format_time(sent[3].time), format_time(sent[5].time)
    assert lines(logs.read_logs(INFO, ReadConfig(since=since, until=until))) == [b"line %d\n" % n for n in (3, 4, 5)]
    assert lines(logs.read_logs(INFO, ReadConfig(tail=2))) == [b"line 8\n", b"line 9\n"]
    assert lines(logs.read_logs(INFO, ReadConfig(tail=0))) == []


def test_a_pipe_is_read_once(logs, pipe):
    path, _ = pipe
    logs.start_logging(path, INFO)
    with pytest.raises(RemoteError, match="is being read already"):
        logs.start_logging(path, INFO)
    logs.stop_logging(path)
    logs.stop_logging(path)


def test_an_id_that_is_a_path_is_refused(logs, pipe):
    path, _ = pipe
    with pytest.raises(RemoteError, match="is not a container ID"):
        logs.start_logging(path, LogInfo(container_id="../../etc/x"))


def test_after_bytes_that_are_not_entries_the_pipe_is_still_drained(logs, pipe, caplog):
    path, _ = pipe
    logs.start_logging(path, INFO)
    with open(path, "wb") as writer:
        writer.write(b"\xff" * (1 << 20))  # more than a pipe holds: it would block
    logs.stop_logging(path)
    assert "dropping everything from here on" in caplog.text
    assert "dropped 0 entries, 10485" in caplog.text


def test_a_log_that_cannot_be_written_never_blocks_the_container(logs, pipe, caplog):
    path, write = pipe
    logs.start_logging(path, INFO)
    log = logs.root / f"{INFO.container_id}.log"
    write(entries(1)[0])
    assert eventually(lambda: log.exists() and log.read_bytes())
    log.unlink()
    log.symlink_to("/dev/full")
    for entry in entries(5000):
        write(entry)
    log.unlink()
    logs.stop_logging(path)
    assert caplog.text.count("cannot be written, dropping entries") == 1
    assert "dropped" in caplog.text


def test_a_log_that_is_followed_comes_while_it_is_written_and_ends_with_its_reader(logs, pipe):
    path, write = pipe
    logs.start_logging(path, INFO)
    first, second = entries(2)
    write(first)
    with serving(logs, drain=300) as plugin, Wire(plugin.address) as wire:
        asked = {"Info": {"ContainerID": INFO.container_id}, "Config": {"Tail": -1, "Follow": True}}
        assert eventually(lambda: (logs.root / f"{INFO.container_id}.log").read_bytes())
        wire.request("POST", "/LogDriver.ReadLogs", json.dumps(asked))
        records = unpack_entries(wire.getresponse())
        assert next(records).line == b"line 0\n"
        write(second)
        assert next(records).line == b"line 1\n"
        wire.close()
        records.close()
        began = time.monotonic()
    assert time.monotonic() - began < 30
    logs.stop_logging(path)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("copy to")]


def test_a_log_that_is_followed_ends_when_its_container_does(logs, pipe):
    path, write = pipe
    logs.start_logging(path, INFO)
    first, second = entries(2)
    write(first)
    assert eventually(lambda: (logs.root / f"{INFO.container_id}.log").read_bytes())
    found = logs.read_logs(INFO, ReadConfig(follow=True))
    assert next(found).line == b"line 0\n"
    write(second)
    logs.stop_logging(path)
    assert lines(found) == [b"line 1\n"]
