"""Lifecycle: every state and every event by table, and its promises under random histories. Nothing sleeps here."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extframe import CallTimeout, ConnectError, Manifest, PluginNotFound
from extframe.host.lifecycle import NEXT, Lifecycle, State, Turn

MANIFEST = Manifest(implements=("VolumeDriver",))
REFUSED = ConnectError("refused")
GONE = PluginNotFound("no plugin 'photos'")

REACH: dict[State, Any] = {
    State.NEW: lambda life: None,
    State.ACTIVATING: lambda life: life.ask("leader"),
    State.ACTIVE: lambda life: (life.ask("leader"), life.succeeded("leader", MANIFEST, 1.0)),
    State.FAILED: lambda life: (life.ask("leader"), life.failed("leader", REFUSED)),
    State.LOST: lambda life: (REACH[State.ACTIVE](life), life.mark_lost("it refused a connection")),
    State.CLOSED: lambda life: life.close(),
}
EVENTS: dict[str, Any] = {
    "another asks": lambda life: life.ask("another"),
    "the leader asks": lambda life: life.ask("leader"),
    "succeeded": lambda life: life.succeeded("leader", MANIFEST, 2.0),
    "failed": lambda life: life.failed("leader", REFUSED),
    "abandoned": lambda life: life.failed("leader", None),
    "a stranger failed": lambda life: life.failed("another", REFUSED),
    "lost": lambda life: life.mark_lost("its source changed"),
    "discard": lambda life: life.discard(REFUSED),
    "discard, then succeeded": lambda life: (life.discard(REFUSED), life.succeeded("leader", MANIFEST, 2.0)),
    "close": lambda life: life.close(),
}
TABLE = {
    #                   NEW           ACTIVATING    ACTIVE    FAILED        LOST          CLOSED
    "another asks": "activating activating active activating activating closed",
    "the leader asks": "activating activating active activating activating closed",
    "succeeded": "new active active failed lost closed",
    "failed": "new failed active failed lost closed",
    "abandoned": "new failed active failed lost closed",
    "a stranger failed": "new activating active failed lost closed",
    "lost": "new activating lost failed lost closed",
    "discard": "new activating active failed lost closed",
    "discard, then succeeded": "new failed active failed lost closed",
    "close": "closed closed closed closed closed closed",
}


def lifecycle_in(state: State) -> tuple[Lifecycle, list[tuple[State, str]]]:
    changes: list[tuple[State, str]] = []
    life = Lifecycle("photos", lambda new, why: changes.append((new, why)))
    REACH[state](life)
    assert life.state is state
    return life, changes


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_leads_each_state_where_the_table_says(event):
    ends = []
    for state in State:
        life, _ = lifecycle_in(state)
        EVENTS[event](life)
        ends.append(life.state.value)
    assert " ".join(ends) == TABLE[event]


def test_a_state_that_the_table_does_not_allow_is_an_error():
    life, _ = lifecycle_in(State.NEW)
    with pytest.raises(RuntimeError, match="'photos' cannot go from new to lost"):
        life._enter(State.LOST)


def test_the_first_caller_leads_and_the_others_wait():
    life, _ = lifecycle_in(State.NEW)
    assert life.ask("first") is Turn.LEAD
    assert life.ask("second") is Turn.WAIT
    assert life.ask("first") is Turn.LEAD  # a signal handler in the leading thread
    assert (life.leads("first"), life.leads("second")) == (True, False)


def test_those_who_waited_share_a_failure_and_those_who_come_later_try_again():
    life, _ = lifecycle_in(State.ACTIVATING)
    seen = life.handshakes
    life.failed("leader", REFUSED)
    assert (life.ask("waiter", seen), life.shared_failure, life.last_error) == (Turn.SHARE, REFUSED, REFUSED)
    assert life.ask("latecomer") is Turn.LEAD


@pytest.mark.parametrize("failure", [CallTimeout("late"), None], ids=["deadline", "interruption"])
def test_a_leader_that_ran_out_of_time_or_was_interrupted_hands_the_lead_on(failure):
    life, _ = lifecycle_in(State.ACTIVATING)
    seen = life.handshakes
    life.failed("leader", failure)
    assert life.ask("waiter", seen) is Turn.LEAD
    assert life.ask("second waiter", seen) is Turn.WAIT


def test_an_empty_manifest_is_asked_for_again_and_reported_once():
    life, changes = lifecycle_in(State.ACTIVATING)
    seen = life.handshakes
    life.succeeded("leader", Manifest(), 1.0)
    assert life.ask("waiter", seen) is Turn.DONE  # it waited for this very answer
    assert life.ask("another") is Turn.LEAD
    life.succeeded("another", Manifest(), 2.0)
    assert changes == [(State.ACTIVE, "")]
    life.ask("third")
    life.succeeded("third", MANIFEST, 3.0)
    assert changes == [(State.ACTIVE, ""), (State.ACTIVE, "")]


def test_a_plugin_with_an_empty_manifest_stays_active_where_its_next_handshake_is_abandoned():
    life, changes = lifecycle_in(State.ACTIVATING)
    life.succeeded("leader", Manifest(), 1.0)
    life.ask("another")
    seen = life.handshakes
    life.failed("another", None)
    assert (life.state, life.is_reported_active, changes) == (State.ACTIVE, True, [(State.ACTIVE, "")])
    assert life.ask("waiter", seen) is Turn.LEAD  # it has waited for an answer, and there was none
    life.failed("waiter", REFUSED)
    assert [state for state, _ in changes] == [State.ACTIVE, State.LOST, State.FAILED]


def test_what_began_before_the_last_handshake_says_nothing():
    life, changes = lifecycle_in(State.ACTIVE)  # made at 1.0
    assert not life.mark_lost("it refused a connection", began=0.5)
    assert life.mark_lost("it refused a connection", began=1.5)
    assert changes[-1] == (State.LOST, "it refused a connection")


def test_a_changed_source_clears_the_failure_that_waiters_would_share():
    life, _ = lifecycle_in(State.ACTIVATING)
    seen = life.handshakes
    life.failed("leader", REFUSED)
    life.forget_failure()
    assert life.ask("waiter", seen) is Turn.LEAD


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_discarded_handshake_fails_whatever_the_plugin_responds_and_waiters_make_another(end):
    life, changes = lifecycle_in(State.ACTIVATING)
    seen = life.handshakes
    life.discard(GONE)
    if end == "succeeded":
        assert not life.succeeded("leader", MANIFEST, 1.0)
    else:
        life.failed("leader", REFUSED)
    assert (life.state, life.manifest, life.last_error) == (State.FAILED, Manifest(), GONE)
    assert changes == [(State.FAILED, "")]
    assert life.ask("waiter", seen) is Turn.LEAD
    assert life.succeeded("waiter", MANIFEST, 2.0)


CALLERS = ["a", "b", "c"]
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(CALLERS)),
    st.tuples(st.just("succeeded"), st.sampled_from(CALLERS), st.sampled_from([MANIFEST, Manifest()])),
    st.tuples(st.just("failed"), st.sampled_from(CALLERS), st.sampled_from([REFUSED, CallTimeout("late"), None])),
    st.tuples(st.just("lost"), st.sampled_from([0.0, math.inf])),
    st.tuples(st.just("discard")),
    st.tuples(st.just("close")),
)


class History:
    """A lifecycle, those who wait for it, and what has to hold after each step."""

    def __init__(self) -> None:
        self.changes: list[State] = []
        self.life = Lifecycle("photos", lambda state, why: self.changes.append(state))
        self.waiting: dict[str, int] = {}  # caller -> the handshakes it had seen when it began to wait
        self.now = 0.0

    def ask(self, caller: str) -> None:
        turn = self.life.ask(caller, self.waiting.get(caller))
        assert (turn is Turn.LEAD) == self.life.leads(caller) or turn is Turn.CLOSED
        if turn is Turn.WAIT:
            self.waiting.setdefault(caller, self.life.handshakes)
        else:
            self.waiting.pop(caller, None)

    def succeeded(self, caller: str, manifest: Manifest) -> None:
        self.life.succeeded(caller, manifest, self.now)

    def failed(self, caller: str, failure: Exception | None) -> None:
        self.life.failed(caller, failure)

    def lost(self, began: float) -> None:
        self.life.mark_lost("it refused a connection", began)

    def discard(self) -> None:
        self.life.discard(GONE)

    def close(self) -> None:
        self.life.close()

    def check(self, before: State) -> None:
        leaders = [caller for caller in CALLERS if self.life.leads(caller)]
        assert len(leaders) <= 1
        assert bool(leaders) == (self.life.state is State.ACTIVATING) or self.life.state is State.CLOSED
        assert self.life.state is before or self.life.state in NEXT[before]
        assert State.ACTIVATING not in self.changes
        if self.life.state not in (State.ACTIVATING, State.CLOSED):  # all who waited get an answer when they ask
            assert self.life.handshakes not in self.waiting.values()


@given(st.lists(STEPS, max_size=40))
def test_any_history_has_one_leader_at_most_and_leaves_no_caller_waiting(steps):
    history = History()
    for act, *arguments in steps:
        before = history.life.state
        getattr(history, act)(*arguments)
        history.check(before)
        history.now += 1
