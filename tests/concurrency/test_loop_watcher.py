"""SelectThread: what watches sockets for event loops that do not."""

from __future__ import annotations

import asyncio
import socket
import threading

from faultserver import eventually

from extframe.concurrency.loop_watcher import SelectThread


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "extframe select"]


def test_the_thread_ends_where_its_loop_is_closed_before_it_has_called_back() -> None:
    before = watching()
    loop = asyncio.new_event_loop()
    watcher = SelectThread(loop)
    readable, other = socket.socketpair()
    with readable, other:
        other.send(b"x")
        watcher.add_reader(readable.fileno(), lambda: None)
        assert eventually(lambda: loop._ready)  # the loop, which does not run, is to call back
        loop.close()
        assert eventually(lambda: watching() == before)
