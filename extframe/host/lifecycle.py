"""A plugin's states, and who makes its handshake. Decides and never waits: no lock, no thread, no clock, no I/O.

The caller serialises access, by a lock or an event loop, and passes the time in. So the same object serves threads and
tasks.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Hashable, Mapping

from ..errors import CallTimeout, ExtframeError
from ..protocol import Manifest


class State(enum.Enum):
    """The state of a plugin."""

    NEW = "new"
    ACTIVATING = "activating"
    ACTIVE = "active"
    FAILED = "failed"
    LOST = "lost"
    CLOSED = "closed"


NEXT: Mapping[State, frozenset[State]] = {
    State.NEW: frozenset({State.ACTIVATING, State.CLOSED}),
    State.ACTIVATING: frozenset({State.ACTIVE, State.FAILED, State.CLOSED}),
    # Directly to ACTIVATING: a plugin whose manifest was empty is activated again.
    State.ACTIVE: frozenset({State.LOST, State.ACTIVATING, State.CLOSED}),
    State.FAILED: frozenset({State.ACTIVATING, State.CLOSED}),
    State.LOST: frozenset({State.ACTIVATING, State.CLOSED}),
    State.CLOSED: frozenset(),
}
"""What may follow each state. LOST: the source changed or disappeared, or the plugin refused a connection."""


class Turn(enum.Enum):
    """What a caller that needs an active plugin does next."""

    DONE = "done"  # the handshake was made
    LEAD = "lead"  # make the handshake, then report it with `succeeded`, `failed` or `abandoned`
    WAIT = "wait"  # another caller makes it: wait until `handshakes` grows, then ask again
    CLOSED = "closed"  # the plugin is closed
    SHARE = "share"  # the handshake that this caller waited for failed: raise `shared_failure`


class Lifecycle:
    """The state machine of one plugin.

    A *leader* makes the handshake; it is any hashable, such as a thread's identity or a task. Everybody else waits. A
    leader's deadline or cancellation says nothing about the plugin: the next caller that asks leads then.

    Args:
        name: the plugin's, for errors.
        changed: called with each new state but ACTIVATING, and the reason. It must return at once. A plugin that was
            active with an empty manifest is reported as LOST where its next handshake fails.
    """

    def __init__(self, name: str, changed: Callable[[State, str], object]) -> None:
        self.state = State.NEW
        self.manifest = Manifest()
        self.handshakes = 0
        """How many handshakes have ended."""
        self.last_error: Exception | None = None
        """Why the last handshake failed, for people who look at the plugin."""
        self.shared_failure: Exception | None = None
        """Why the last handshake failed, where that also holds for those who waited for it."""
        self._name = name
        self._changed = changed
        self.discarded: ExtframeError | None = None
        """What the handshake under way fails with, whatever the plugin responds."""
        self._leader: Hashable | None = None
        self._made_at = -math.inf
        self._was_empty = False
        self._was_abandoned = False  # the last handshake that has ended

    @property
    def is_made(self) -> bool:
        """Whether the handshake was made. An empty manifest does not count, so that it is asked for again.

        The engine keeps an empty one forever (moby ``pkg/plugins/plugins.go``).
        """
        return self.state is State.ACTIVE and bool(self.manifest.implements)

    @property
    def is_reported_active(self) -> bool:
        """Whether the plugin is active to the listener: also while one with an empty manifest is activated again."""
        return self.state is State.ACTIVE or (self.state is State.ACTIVATING and self._was_empty)

    @property
    def was_active(self) -> bool:
        """Whether a handshake has ever succeeded."""
        return self._made_at > -math.inf

    def ask(self, caller: Hashable, seen: int | None = None) -> Turn:
        """Return what a caller that needs the plugin to be active does next.

        Args:
            caller: becomes the leader where the answer is LEAD. A leader that asks again, as a signal handler in its
                thread may, leads again.
            seen: the value of ``handshakes`` when this caller began to wait; None at its first question.
        """
        if self.state is State.CLOSED:
            return Turn.CLOSED
        if self.is_made:
            return Turn.DONE
        if self.state is State.ACTIVATING and self._leader != caller:
            return Turn.WAIT
        if seen is not None and seen != self.handshakes:
            if self.state is State.ACTIVE and not self._was_abandoned:
                return Turn.DONE
            if self.shared_failure is not None:
                return Turn.SHARE
        self._leader = caller
        self._enter(State.ACTIVATING)
        return Turn.LEAD

    def leads(self, caller: Hashable) -> bool:
        """Return whether this caller is making the handshake."""
        return self._leader is not None and self._leader == caller

    def succeeded(self, caller: Hashable, manifest: Manifest, now: float) -> bool:
        """Record a handshake that succeeded at ``now``; return whether it counts.

        It does not count if ``caller`` was not leading it, or if it was discarded.
        """
        if not self.leads(caller):
            return False
        if self.discarded is not None:
            self.failed(caller, None)
            return False
        self.manifest = manifest
        self._made_at = now
        self._end(State.ACTIVE)
        return True

    def failed(self, caller: Hashable, failure: Exception | None) -> bool:
        """Record a handshake that failed, or was abandoned where ``failure`` is None; return as `succeeded` does.

        One that was abandoned says nothing about the plugin: if it was active with an empty manifest, it still is.
        """
        if not self.leads(caller):
            return False
        self.last_error = failure if self.discarded is None else self.discarded
        self.shared_failure = None if self.discarded or isinstance(failure, CallTimeout) else failure
        is_abandoned = self.last_error is None
        self._end(State.ACTIVE if is_abandoned and self._was_empty else State.FAILED, is_abandoned=is_abandoned)
        return True

    def mark_lost(self, reason: str, began: float = math.inf) -> bool:
        """Record that the plugin has to be activated again; return whether it was active.

        Args:
            reason: for the log and the lifecycle hooks.
            began: when what shows it began. What began before the last handshake says nothing about it.
        """
        if self.state is not State.ACTIVE or began < self._made_at:
            return False
        self._enter(State.LOST, reason)
        return True

    def discard(self, error: ExtframeError, reason: str = "its source is gone") -> None:
        """Let the handshake under way fail with ``error``: the source of its plugin is gone. Waiters make another."""
        if self.state is State.ACTIVATING:
            self.discarded = error
            self._report_end_of_empty(reason)

    def forget_failure(self) -> None:
        """Forget what the last handshake failed with: the plugin's source has changed since."""
        self.shared_failure = None

    def close(self) -> None:
        """Enter the final state."""
        self._enter(State.CLOSED)

    def _end(self, state: State, *, is_abandoned: bool = False) -> None:
        self.handshakes += 1
        self._was_abandoned = is_abandoned
        if state is State.ACTIVE:
            self.last_error = self.shared_failure = None
        if self.state is State.ACTIVATING:  # not if it was closed meanwhile
            self._enter(state)
        self.discarded = None
        self._leader = None  # last: if Ctrl-C comes before it, the leader's `finally` ends the handshake again

    def _enter(self, state: State, reason: str = "") -> None:
        if state is self.state:
            return
        if state not in NEXT[self.state]:
            raise RuntimeError(f"plugin {self._name!r} cannot go from {self.state.value} to {state.value}")
        before, self.state = self.state, state
        if state is State.ACTIVATING:
            self._was_empty = before is State.ACTIVE
            return
        if state is State.FAILED:
            self._report_end_of_empty("its next handshake failed")
        if not (self._was_empty and state is State.ACTIVE and not self.is_made):
            self._changed(state, reason)

    def _report_end_of_empty(self, reason: str) -> None:
        """Report the loss of a plugin that was active with an empty manifest, and is being activated again."""
        if self._was_empty:
            self._was_empty = False
            self._changed(State.LOST, reason)
