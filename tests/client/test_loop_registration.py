"""LoopRegistration: what becomes of a result that no task awaits any more."""

from __future__ import annotations

import asyncio
import math
import socket
import threading

import pytest
from event_loops import NEW_LOOP

from extframe.client.connection import Connection
from extframe.client.loop_registration import LoopRegistration
from extframe.errors import ConnectionLost


class PairedConnection(Connection):
    """With the other end of its socket."""

    peer: socket.socket


@pytest.fixture
def connection():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = PairedConnection(ours)
    made.peer = theirs
    yield made
    made.close()
    theirs.close()


class Sending:
    phase = "status line"


def test_a_failure_that_no_task_asks_for_is_not_reported(run, connection):
    def fail():
        raise ConnectionLost("lost")

    async def main():
        registration = LoopRegistration(connection, asyncio.get_running_loop(), lambda _: False)
        future = registration.run(fail, Sending(), math.inf)
        connection.peer.send(b"x")
        while not future.done():
            await asyncio.sleep(0)
        connection.close()
        connection.registration = None  # else the fixture would keep the future

    run(main)


def test_what_arrives_unexpectedly_does_not_keep_the_loop_busy(run, connection):
    seen = []

    async def main():
        registration = LoopRegistration(connection, asyncio.get_running_loop(), lambda _: seen.append(1))
        connection.peer.send(b"x")
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert seen == [1]
        assert await registration.run(connection.receive_now, Sending(), math.inf) == b"x"
        connection.close()

    run(main)


def test_another_thread_leaves_the_closing_to_the_loop(run, connection):
    async def main():
        LoopRegistration(connection, asyncio.get_running_loop(), lambda _: False)
        thread = threading.Thread(target=connection.close)
        thread.start()
        thread.join()
        assert not connection.closed
        await asyncio.sleep(0.01)
        assert connection.closed
        assert connection.peer.recv(1) == b""

    run(main)


def test_ctrl_c_in_a_step_ends_the_loop_and_cancels_the_call(loop_kind, connection):
    def interrupt():
        raise KeyboardInterrupt

    async def main():
        registration = LoopRegistration(connection, loop, lambda _: False)
        connection.peer.send(b"x")
        try:
            await registration.run(interrupt, Sending(), math.inf)
        finally:
            connection.close()

    loop = NEW_LOOP[loop_kind]()
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
