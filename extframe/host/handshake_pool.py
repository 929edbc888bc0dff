"""Handshakes with many plugins at once, made by one thread. Knows no registry, and calls no handler."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from ..client.connection import LONGEST_WAIT
from ..concurrency.system import READABLE, Poll
from ..protocol import PluginSpec
from .plugin import PendingHandshake, Plugin


class Ended(NamedTuple):
    """A handshake that has ended. ``failure`` is None if it succeeded."""

    plugin: Plugin
    spec: PluginSpec  # with which it was made
    failure: Exception | None
    deadline: float


class _Pending(NamedTuple):
    handshake: PendingHandshake
    deadline: float

    def ended(self, failure: Exception | None) -> Ended:
        return Ended(self.handshake.plugin, self.handshake.spec, failure, self.deadline)


class HandshakePool:
    """The handshakes under way. Deadlines are ``time.monotonic()`` values. One thread uses it."""

    def __init__(self) -> None:
        self._poll = Poll()
        self._pending: dict[int, _Pending] = {}
        self._first_deadline = math.inf  # of those under way, or earlier
        self._settle_at: dict[int, float] = {}  # of those whose response has begun, and may have no end

    def __len__(self) -> int:
        return len(self._pending)

    def listen(self, descriptor: int) -> None:
        """End `wait` when there is something to read from this file descriptor, too."""
        self._poll.register(descriptor, READABLE)

    def begin(self, plugin: Plugin, deadline: float) -> bool:
        """Begin a plugin's handshake; return False if it cannot begin without waiting, as `Plugin.begin` says.

        Raises:
            ActivationError: it failed at once.
        """
        try:
            handshake = plugin.begin()
            if handshake is not None:
                self._add(_Pending(handshake, deadline))
        except BaseException:  # Ctrl-C before the handshake is in the table
            plugin.abandon()
            raise
        return handshake is not None

    def wait(self, until: float) -> Iterator[Ended]:
        """Wait until something happens, and yield the handshakes that have ended.

        If nothing happens, the wait ends at ``until``, or at the first deadline.
        """
        seconds = min(until, self._first_deadline, *self._settle_at.values()) - monotonic()
        for descriptor, _ in self._poll.poll(min(max(seconds, 0.0), LONGEST_WAIT) * 1000):
            if descriptor in self._pending:
                yield from self._step(descriptor, PendingHandshake.advance)
        for descriptor, due in list(self._settle_at.items()):
            if due <= monotonic() and self._settle_at.get(descriptor) == due:
                yield from self._step(descriptor, PendingHandshake.settle)
                self._settle_at.pop(descriptor, None)  # not again before more has arrived
        if monotonic() >= self._first_deadline:
            yield from self._expire()

    def abandon(self, plugin: Plugin) -> bool:
        """End a plugin's handshake without a result; return whether one was under way."""
        found = [descriptor for descriptor, each in self._pending.items() if each.handshake.plugin is plugin]
        for descriptor in found:
            self._remove(descriptor).handshake.abandon()
        return bool(found)

    def close(self) -> None:
        """End all handshakes without a result."""
        for descriptor in list(self._pending):
            self._remove(descriptor).handshake.abandon()

    def _add(self, each: _Pending) -> None:
        descriptor = each.handshake.fileno()
        self._pending[descriptor] = each
        self._first_deadline = min(self._first_deadline, each.deadline)
        self._poll.register(descriptor, READABLE)

    def _remove(self, descriptor: int) -> _Pending:
        with suppress(KeyError):  # not registered, if Ctrl-C came while it was added
            self._poll.unregister(descriptor)
        self._settle_at.pop(descriptor, None)
        return self._pending.pop(descriptor)

    def _step(self, descriptor: int, step: Callable[[PendingHandshake], bool]) -> Iterator[Ended]:
        each = self._pending[descriptor]
        ended = False
        failure: Exception | None = None
        try:
            ended = step(each.handshake)
        except Exception as error:  # noqa: BLE001 - reported to the caller; a log handler of the host's may raise
            failure = error
        if ended or failure is not None:
            self._remove(descriptor)
            yield each.ended(failure)
        elif each.handshake.fileno() != descriptor:  # it was sent again, over another connection
            self._add(self._remove(descriptor))
        elif (patience := each.handshake.patience) is not None:
            self._settle_at[descriptor] = monotonic() + patience

    def _expire(self) -> Iterator[Ended]:
        now = monotonic()
        for descriptor, each in list(self._pending.items()):
            if each.deadline <= now:
                self._remove(descriptor)
                yield each.ended(each.handshake.expire())
        self._first_deadline = min((each.deadline for each in self._pending.values()), default=math.inf)
