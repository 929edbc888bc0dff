"""Pipes for log entries: nothing blocks, and what is dropped is counted."""

from __future__ import annotations

import threading

import pytest
from leftovers import nothing_left_over
from open_files import many_open_files

from extframe.subsystems.log import LogPipeReader, LogPipeWriter
from extframe.subsystems.log_entries import RECORD_LIMIT, LogEntry


def entry(number: int, size: int = 100) -> LogEntry:
    return LogEntry("stdout", number, b"x" * size)


def test_entries_come_out_as_they_were_written(short_path):
    with nothing_left_over():
        writer = LogPipeWriter(f"{short_path}/pipe")
        reader = LogPipeReader(writer.file)
        found: list[LogEntry] = []
        thread = threading.Thread(target=lambda: found.extend(reader))
        thread.start()
        sent = [entry(number) for number in range(100)]
        assert all(writer.write(each) for each in sent)
        reader.stop()
        thread.join(30)
        writer.close()
    assert found == sent
    assert [*short_path.iterdir()] == []


def test_what_is_written_just_before_the_stop_is_read(short_path):
    writer = LogPipeWriter(f"{short_path}/pipe")
    reader = LogPipeReader(writer.file)
    poll = reader._poll.poll

    class StopsAfterThePoll:
        """The thread is interrupted after it has found the pipe empty: an entry is written, and the reader stopped."""

        @staticmethod
        def poll(milliseconds: float) -> list[tuple[int, int]]:
            found = poll(milliseconds)
            if not reader._stopping.is_set():
                assert writer.write(entry(1))
                reader.stop()
            return found

    reader._poll = StopsAfterThePoll()
    assert [*reader] == [entry(1)]
    writer.close()


def test_a_pipe_is_read_by_a_plugin_with_many_open_files(short_path):
    with many_open_files():
        writer = LogPipeWriter(f"{short_path}/pipe")
        reader = LogPipeReader(writer.file)
        assert writer.write(entry(1))
        reader.stop()
        assert [*reader] == [entry(1)]
        writer.close()


def test_a_plugin_that_does_not_read_costs_entries_and_never_a_block(short_path):
    writer = LogPipeWriter(f"{short_path}/pipe")
    written = [number for number in range(2000) if writer.write(entry(number, 1000))]
    assert 0 < writer.dropped == 2000 - len(written)
    reader = LogPipeReader(writer.file)
    reader.stop()
    found = [each.time_nano for each in reader]
    assert found == written[: len(found)]
    assert len(found) >= len(written) - 1
    assert writer.flush()
    writer.close()


def test_an_entry_that_is_too_large_is_an_error(short_path):
    writer = LogPipeWriter(f"{short_path}/pipe")
    with pytest.raises(ValueError, match="expected at most"):
        writer.write(entry(1, RECORD_LIMIT))
    writer.close()


def test_a_file_that_is_not_a_pipe_is_refused(short_path):
    (short_path / "file").touch()
    with pytest.raises(ValueError, match="is not a pipe"):
        LogPipeReader(f"{short_path}/file")
