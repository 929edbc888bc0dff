"""LogDriver: what the engine sends, and the stream of entries in both directions, as dockerd wrote it."""

from __future__ import annotations

import io
import json
import os
import select
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
from faultserver import eventually
from scripted_client import DriverClient, ScriptedClient

from extframe.errors import DoesNotImplement, ProtocolError, RemoteError
from extframe.host.manager import PluginManager
from extframe.interface import declaration
from extframe.registry.local import LocalRegistry
from extframe.server import serving
from extframe.subsystems import log_entries
from extframe.subsystems.log import LogCapability, LogDriver, LogInfo, ReadConfig
from extframe.subsystems.log_entries import LogEntry, PartialLogMetadata, pack_entry, unpack_entries

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
RECORDED = [
    bytes.fromhex(exchange["fifo_hex"])
    for exchange in json.loads((TRANSCRIPTS / "docker-logdriver-readlogs.json").read_text())["exchanges"]
    if exchange.get("fifo_hex")
]


def driver(*replies: object, status: int = 200) -> tuple[LogDriver, ScriptedClient]:
    client = ScriptedClient(*replies, status=status)
    return LogDriver.remote(client), client


INFO_JSON = (
    b'{"Config":{},"ContainerID":"c1","ContainerName":"","ContainerEntrypoint":"","ContainerArgs":null,'
    b'"ContainerImageID":"","ContainerImageName":"","ContainerCreated":"0001-01-01T00:00:00Z","ContainerEnv":null,'
    b'"ContainerLabels":{},"LogPath":"","DaemonName":""}'
)
CONFIG_JSON = b'{"Since":"0001-01-01T00:00:00Z","Until":"0001-01-01T00:00:00Z","Tail":-1,"Follow":false}'


@pytest.mark.parametrize(
    ("method", "arguments", "body"),
    [
        ("capabilities", [], b""),
        ("start_logging", ["/f", LogInfo(container_id="c1")], b'{"File":"/f","Info":%b}\n' % INFO_JSON),
        ("stop_logging", ["/f"], b'{"File":"/f"}\n'),
        ("read_logs", [LogInfo(container_id="c1")], b'{"Info":%b,"Config":%b}\n' % (INFO_JSON, CONFIG_JSON)),
    ],
)
def test_a_request_is_byte_for_byte_what_the_engine_sends(method, arguments, body):
    logs, client = driver()
    getattr(logs, method)(*arguments)
    assert client.last.body == body


def test_every_method_of_the_engine_is_there():
    assert len(declaration(LogDriver).methods) == 4


@pytest.mark.parametrize(
    ("reply", "status", "reads"),
    [
        ({"Cap": {"ReadLogs": True}, "Err": ""}, 200, True),
        ({"cap": {"readlogs": True}}, 200, True),
        ({"Cap": None}, 200, False),
        ({"ReadLogs": True}, 200, False),  # as Docker's documentation has it, and no engine reads it
        (b"404 page not found\n", 404, False),
        ({"Err": "x"}, 500, False),
        ([], 200, False),
    ],
)
def test_a_plugin_reads_logs_only_when_it_says_so(reply, status, reads):
    assert driver(reply, status=status)[0].capabilities() == LogCapability(read_logs=reads)


@pytest.mark.parametrize("status", [200, 500])
def test_logging_that_does_not_start_is_an_error(status):
    with pytest.raises(RemoteError, match="no room"):
        driver({"Err": "no room"}, status=status)[0].start_logging("/f", LogInfo())


def test_the_time_of_a_container_is_text_and_a_time():
    info = LogInfo(container_created="2026-11-23T03:05:45.032940266Z")
    assert info.created == datetime(2026, 11, 23, 3, 5, 45, 32940, tzinfo=timezone.utc)
    assert LogInfo().created is None


# --- entries ------------------------------------------------------------------------------------------


def entries(stream: bytes) -> list[LogEntry]:
    return list(unpack_entries(io.BytesIO(stream)))


def test_entries_that_dockerd_wrote_are_read():
    err, out, unended = entries(RECORDED[0])
    assert (err.source, err.line, err.partial) == ("stderr", b"err", False)
    assert (out.source, out.line, out.partial_log_metadata) == ("stdout", b"out", None)
    assert out.time.date() == datetime(2026, 11, 23).date()
    assert (unended.line, unended.partial) == (b"nonl", True)
    assert (unended.partial_log_metadata.ordinal, unended.partial_log_metadata.last) == (1, False)


def test_a_long_line_that_dockerd_wrote_is_read_in_its_pieces():
    pieces = entries(RECORDED[2])
    assert [(len(each.line), each.partial) for each in pieces] == [(16384, True), (4616, True)]
    assert [(each.partial_log_metadata.ordinal, each.partial_log_metadata.last) for each in pieces] == [
        (1, False),
        (2, True),
    ]
    assert len({each.partial_log_metadata.id for each in pieces}) == 1


@pytest.mark.parametrize("stream", RECORDED, ids=len)
def test_written_entries_equal_those_of_dockerd_byte_for_byte(stream):
    assert b"".join(map(pack_entry, entries(stream))) == stream


@pytest.mark.parametrize(("number", "packed"), [(127, b"\x7f"), (128, b"\x80\x01"), (-1, b"\xff" * 9 + b"\x01")])
def test_numbers_are_written_in_as_few_bytes_as_can_be(number, packed):
    assert pack_entry(LogEntry(time_nano=number))[4:] == b"\x10" + packed


def test_an_entry_with_nothing_in_it_is_an_entry():
    assert pack_entry(LogEntry()) == bytes(4)
    assert entries(bytes(8)) == [LogEntry(), LogEntry()]


FULL = LogEntry("stdout", -1, b"\x00\xff", True, PartialLogMetadata(True, "i", 2), {"a": "b", "": "c"})


@pytest.mark.parametrize(
    "entry", [FULL, LogEntry(partial_log_metadata=PartialLogMetadata()), LogEntry(time_nano=2**63 - 1)]
)
def test_an_entry_comes_back_as_it_was(entry):
    assert entries(pack_entry(entry)) == [entry]


def test_fields_that_a_later_engine_may_add_are_passed_over():
    fields = b"\x38\x01" + b"\x42\x02hi" + b"\x49" + bytes(8) + b"\x55" + bytes(4) + b"\x1a\x01x"
    assert entries(len(fields).to_bytes(4, "big") + fields) == [LogEntry(line=b"x")]


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"\x00\x00", "ends inside a log entry, after 2 of 4 bytes"),
        (b"\x00\x00\x00\x05\x0a", "ends inside a log entry, after 5 of 9 bytes"),
        (b"\xff\xff\xff\xff", "4294967295 bytes; the limit is 16777216"),
        (b"\x00\x00\x00\x02\x0a\x05", "field 1 of a log entry is longer than the entry"),
        (b"\x00\x00\x00\x01\x0f", "field 1 of a log entry is longer than the entry"),
        (b"\x00\x00\x00\x02\x51\x00", "field 10 of a log entry is longer than the entry"),
        (b"\x00\x00\x00\x02\x08\x01", "field 1 of a log entry \\(source\\) has the wrong type"),
        (b"\x00\x00\x00\x03\x12\x01x", "field 2 of a log entry \\(time_nano\\) has the wrong type"),
        (b"\x00\x00\x00\x02\x10\x80", "unterminated varint"),
        (b"\x00\x00\x00\x0c\x10" + b"\xff" * 11, "unterminated varint"),
    ],
)
def test_an_invalid_stream_is_a_protocol_error(stream, message):
    with pytest.raises(ProtocolError, match=message):
        entries(stream)


def test_a_record_of_the_very_limit_is_read(monkeypatch):
    monkeypatch.setattr(log_entries, "RECORD_LIMIT", 3)
    assert entries(b"\x00\x00\x00\x03\x1a\x01x") == [LogEntry(line=b"x")]
    with pytest.raises(ProtocolError, match="4 bytes; the limit is 3"):
        entries(b"\x00\x00\x00\x04\x1a\x02xy")


def test_entries_are_read_from_a_pipe_as_they_come():
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as pipe, open(write, "wb", buffering=0) as writer:
        record = pack_entry(FULL)

        def feed() -> None:
            for piece in (record[:1], record[1:7], record[7:]):
                writer.write(piece)
                assert eventually(lambda: not select.select([pipe], [], [], 0)[0]), "not read"

        thread = threading.Thread(target=feed)
        thread.start()
        stream = unpack_entries(pipe)
        assert next(stream) == FULL
        thread.join()
        writer.close()
        assert list(stream) == []


def test_a_long_record_is_read_from_a_pipe_whole():
    read, write = os.pipe()
    entry = LogEntry(line=bytes(300_000))
    with open(read, "rb", buffering=0) as pipe, open(write, "wb", buffering=0) as writer:

        def feed() -> None:
            left = memoryview(pack_entry(entry))
            while left:
                left = left[writer.write(left) :]

        thread = threading.Thread(target=feed)
        thread.start()
        assert next(unpack_entries(pipe)) == entry
        thread.join()


# --- read_logs ----------------------------------------------------------------------------------------


def test_logs_are_read_entry_by_entry():
    logs, client = driver(RECORDED[0])
    stream = logs.read_logs(LogInfo(container_id="c1"), ReadConfig(tail=2, follow=True))
    assert client.last.arguments["Config"] == {
        "Since": "0001-01-01T00:00:00Z",
        "Until": "0001-01-01T00:00:00Z",
        "Tail": 2,
        "Follow": True,
    }
    assert [entry.line for entry in stream] == [b"err", b"out", b"nonl"]
    assert client.open_streams == 0


def test_a_broken_stream_of_logs_names_plugin_and_method():
    logs, _ = driver(RECORDED[0][:-1])
    with pytest.raises(ProtocolError, match=r"LogDriver\.ReadLogs on plugin 'scripted'.*ends inside a log entry"):
        list(logs.read_logs(LogInfo()))


class Memory(LogDriver):
    def capabilities(self) -> LogCapability:
        return LogCapability(read_logs=True)

    def start_logging(self, file: str, info: LogInfo) -> None:
        self.info = info

    def read_logs(self, info, config=ReadConfig()):  # noqa: B008
        for number in range(3)[-config.tail if config.tail > 0 else None :]:
            yield LogEntry("stdout", number, f"{info.container_id} {number}\n".encode())


def test_both_ends_understand_each_other():
    memory = Memory()
    logs = LogDriver.remote(DriverClient(memory))
    assert logs.capabilities().read_logs
    info = LogInfo(container_id="c1", container_env=["A=b"], config={"tag": "t"})
    logs.start_logging("/f", info)
    assert memory.info == info
    assert [entry.line for entry in logs.read_logs(info, ReadConfig(tail=2))] == [b"c1 1\n", b"c1 2\n"]


class Misnamed(LogDriver, implements="LoggingDriver", prefix="LogDriver"):
    """What Docker's documentation of another time calls it, and no engine knows."""


def test_a_plugin_that_calls_itself_a_logging_driver_is_none_and_the_error_says_what_it_is(short_path):
    manager = PluginManager(LocalRegistry(short_path, []), groups=())
    served = serving(Misnamed(), name="logger", directory=short_path)
    with manager, served, pytest.raises(DoesNotImplement, match="LoggingDriver"):
        manager.driver("logger", LogDriver)
