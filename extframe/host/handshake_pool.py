"""HandshakePool with many plugins, looked after by one thread. Knows no registry, and calls no handler."""

from __future__ import annotations

import math
import select
from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from ..client.client import PendingCall
from ..client.connection import LONGEST_WAIT
from .plugin import Plugin


class _UnderWay(NamedTuple):
    plugin: Plugin
    call: PendingCall
    deadline: float


class Ended(NamedTuple):
    """A handshake that was made, or that failed."""

    plugin: Plugin
    failure: Exception | None
    deadline: float


class HandshakePool:
    """HandshakePool that are under way. Deadlines are ``time.monotonic()`` values. One thread uses it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._under_way: dict[int, _UnderWay] = {}
        self._first_deadline = math.inf  # of those under way, or before it

    def __len__(self) -> int:
        return len(self._under_way)

    def listen(self, descriptor: int) -> None:
        """Let `wait` end when there is something to read from this file descriptor, too."""
        self._poll.register(descriptor, select.POLLIN)

    def begin(self, plugin: Plugin, deadline: float) -> bool:
        """Begin a plugin's handshake; False where another thread makes it, or where it cannot begin without a wait.

        Raises:
            ActivationError: it failed at once.
        """
        # Ctrl-C may come between any two steps, and must not leave a handshake under way that nobody looks after.
        try:
            call = plugin.begin()
            if call is not None:
                self._add(_UnderWay(plugin, call, deadline))
        except BaseException:
            plugin.abandon()
            raise
        return call is not None

    def wait(self, until: float) -> Iterator[Ended]:
        """Wait until something happens, and yield the handshakes that have ended.

        Where nothing happens it ends at ``until``, or at the first deadline.
        """
        seconds = min(until, self._first_deadline) - monotonic()
        for descriptor, _ in self._poll.poll(min(max(seconds, 0.0), LONGEST_WAIT) * 1000):
            if descriptor in self._under_way:
                yield from self._advance(descriptor)
        if monotonic() >= self._first_deadline:
            yield from self._expire()

    def drop(self, plugin: Plugin) -> bool:
        """End a plugin's handshake, of which nobody hears; return whether one was under way."""
        found = [descriptor for descriptor, each in self._under_way.items() if each.plugin is plugin]
        for descriptor in found:
            self._drop(descriptor)
        return bool(found)

    def close(self) -> None:
        """End those that are under way; nobody hears of them."""
        for descriptor in list(self._under_way):
            self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        each = self._remove(descriptor)
        each.call.abandon()
        each.plugin.abandon()

    def _add(self, each: _UnderWay) -> None:
        descriptor = each.call.fileno()
        self._under_way[descriptor] = each
        self._first_deadline = min(self._first_deadline, each.deadline)
        self._poll.register(descriptor, select.POLLIN)

    def _remove(self, descriptor: int) -> _UnderWay:
        self._poll.unregister(descriptor)
        return self._under_way.pop(descriptor)

    def _advance(self, descriptor: int) -> Iterator[Ended]:
        each = self._under_way[descriptor]
        ended = False
        failure: Exception | None = None
        try:
            ended = each.plugin.advance(each.call)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits; a log handler of the host's may raise
            failure = error
        if ended or failure is not None:
            self._remove(descriptor)
            yield Ended(each.plugin, failure, each.deadline)
        elif each.call.fileno() != descriptor:  # it was sent again, over another connection
            self._add(self._remove(descriptor))

    def _expire(self) -> Iterator[Ended]:
        now = monotonic()
        for descriptor, each in list(self._under_way.items()):
            if each.deadline <= now:
                self._remove(descriptor)
                yield Ended(each.plugin, each.plugin.expire(each.call), each.deadline)
        self._first_deadline = min((each.deadline for each in self._under_way.values()), default=math.inf)
