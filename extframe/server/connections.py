"""All connections of a server: how many there may be, what they may hold in memory, and what lasts too long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from ..logs import get_logger
from .asgi import App
from .connection import Connection
from .limits import ServerLimits
from .log_limit import LimitedLogger

UNFINISHED = 2.0  # seconds after which an incomplete request may have to make room for a new connection
POLL = 0.02  # seconds between looks at the calls in flight, during shutdown
TURNS = 3  # of the loop, in which it closes connections
STALLED = 1.0  # seconds after which a client that reads nothing may have to make room for another response

logger = get_logger(__name__)


class Connections:
    """The connections of one server, which share an application and its limits."""

    def __init__(self, app: App, limits: ServerLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.limits = limits
        self.loop = loop
        self.log = LimitedLogger(logger)
        self.stopping = False
        self.unread: set[Connection] = set()  # those whose client has not read everything
        self._is_making_room = False
        self.tasks: set[asyncio.Task[None]] = set()
        self._all: set[Connection] = set()
        self._held = 0  # bytes of requests

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        """Note a new connection."""
        self._all.add(connection)
        if self.stopping:
            connection.transport.close()

    def remove(self, connection: Connection) -> None:
        """Note that a connection has ended."""
        self._all.discard(connection)
        self.unread.discard(connection)
        self.account(connection)

    def start(self, answer: Coroutine[Any, Any, None]) -> None:
        """Run the answer to a request."""
        task = self.loop.create_task(answer)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- how many

    def admit(self, handshaking: int) -> bool:
        """Return whether one more connection fits; ``handshaking`` ones are not connections yet.

        If all are taken, the connection that is least worth keeping is closed: one that never sent a request, then
        one that is idle, then one whose request is incomplete.
        """
        if not self.is_full(handshaking):
            return True
        victim = self._least_useful()
        taken = f"all {self.limits.connections} connections are taken (connections=)"
        if victim is None:
            self.log.warning("refused a connection: %s", taken)
            return False
        self.log.warning("closed an idle connection to accept another: %s", taken)
        self.remove(victim)
        victim.transport.abort()
        return True

    def is_full(self, handshaking: int) -> bool:
        """Return whether all connections are taken."""
        return len(self._all) + handshaking >= self.limits.connections

    def close_silent(self, count: int) -> None:
        """Close up to ``count`` connections that never sent a request, the oldest first: descriptors are short."""
        silent = [each for each in self._all if not (each.served or each.busy or each.request_started)]
        for connection in sorted(silent, key=lambda each: each.idle_since)[:count]:
            self.remove(connection)
            connection.transport.abort()

    def _least_useful(self) -> Connection | None:
        now = self.loop.time()
        idle = [each for each in self._all if not each.busy and each.request_started is None]
        if idle:
            return min(idle, key=lambda each: (each.served, each.idle_since))
        incomplete = [each for each in self._all if now - (each.request_started or now) > UNFINISHED]
        return min(incomplete, key=lambda each: each.request_started or now, default=None)

    # --- memory

    def account(self, connection: Connection) -> None:
        """Count what a connection holds; if that is too much, refuse the largest incomplete requests."""
        size = connection.size
        self._held += size - connection.accounted
        connection.accounted = size
        while self._held > self.limits.buffer:
            victim = max((each for each in self._all if not each.busy), key=lambda each: each.accounted, default=None)
            if victim is None or not victim.accounted:
                self._drop_pipelined()
                return
            message = f"requests hold more than {self.limits.buffer} bytes of memory (buffer=)"
            self.log.warning("refused a request: %s", message)
            victim.refuse(503, message)

    def _drop_pipelined(self) -> None:
        """Disconnect the client that has sent the most before its last request was answered."""
        victim = max(self._all, key=lambda each: each.pipelined, default=None)
        if victim is not None and victim.pipelined:
            victim.transport.abort()

    async def make_room(self, size: int) -> bool:
        """Return whether ``size`` bytes of a response may be held, disconnecting clients that do not read if needed.

        The loop has a turn before, as clients could not read while it was busy, and after, as uvloop holds what was
        written until it has closed the connection. One response at a time is held meanwhile, and others are refused.
        """
        if self._has_room(size) or self._is_making_room:
            return self._has_room(size)
        self._is_making_room = True
        try:
            await asyncio.sleep(0)
            self._disconnect_stalled(size)
            for _ in range(TURNS):
                if not self._has_room(size):
                    await asyncio.sleep(0)
        finally:
            self._is_making_room = False
        return self._has_room(size)

    def _has_room(self, size: int) -> bool:
        return sum(each.unread for each in self.unread) + size <= self.limits.buffer

    def _disconnect_stalled(self, size: int) -> None:
        now = self.loop.time()
        unread = sum(each.unread for each in self.unread)
        stalled = sorted(self.unread, key=lambda each: each.unread)
        while unread + size > self.limits.buffer and stalled:
            victim = stalled.pop()
            if victim.stalled_for(now) > STALLED:
                self.log.warning("closed a connection: its client does not read, and others need the memory (buffer=)")
                unread -= victim.unread
                victim.transport.abort()

    # --- time

    async def watch(self) -> None:
        """Check all connections from time to time."""
        limits = self.limits
        pause = min(1.0, limits.request_timeout / 4, limits.keep_alive / 4, limits.write_timeout / 4)
        while True:
            await asyncio.sleep(pause)
            now = self.loop.time()
            for connection in list(self._all):
                connection.check(now)
            for connection in list(self.unread):
                connection.check_reader(now)
                if not connection.unread:
                    self.unread.discard(connection)

    # --- the end

    async def shut_down(self, drain: float, hurry: asyncio.Event) -> None:
        """Let calls in flight end, for up to ``drain`` seconds or until ``hurry``, then cancel them."""
        self.stopping = True
        for connection in list(self._all):
            connection.shut_down()
        deadline = self.loop.time() + drain
        while (self.tasks or self._all) and not hurry.is_set() and (left := deadline - self.loop.time()) > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(hurry.wait(), min(left, POLL))
        if self.tasks:
            logger.warning("%d calls did not end in time and are cancelled", len(self.tasks))
        for task in self.tasks:
            task.cancel()
        deadline = self.loop.time() + 1.0  # for the responses that say so to leave
        while self._all and self.loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._all):
            connection.transport.abort()
