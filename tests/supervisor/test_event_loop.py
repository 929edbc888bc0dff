"""The thread of a supervisor calls what is ready, and nothing else."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack

from extframe.supervisor.event_loop import EventLoop


def test_a_descriptor_that_replaces_one_that_was_ready_is_not_taken_for_ready():
    loop = EventLoop("test", lambda: None)
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(2)]
        idle = socket.socketpair()
        for end in (*pairs[0], *pairs[1], *idle):
            stack.callback(end.close)
        called: list[str] = []
        done = threading.Event()

        def replace(own: socket.socket, other: socket.socket) -> None:
            called.append("ready")
            loop.forget(own)
            loop.forget(other)
            os.dup2(idle[0].fileno(), other.fileno())  # closes it, and opens another with its number
            loop.when_readable(other, lambda: called.append("not ready"))
            loop.later(0.0, done.set)

        def begin() -> None:
            for (own, writer), (other, _) in (pairs, reversed(pairs)):
                loop.when_readable(own, lambda own=own, other=other: replace(own, other))
                writer.send(b"x")

        loop.call(begin)
        assert done.wait(30)
        loop.call(lambda: None)
        assert called == ["ready"]
        loop.end(30)
