"""Plugin: its states and what may follow them."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faultserver import answer, eventually
from program import Program

from extframe import PluginSpec
from extframe.host.lifecycle import NEXT
from extframe.host.plugin import Plugin, State

MANIFEST = b'{"Implements": ["VolumeDriver"]}'


def made(address: str, name: str = "photos") -> Plugin:
    return Plugin(PluginSpec(name, address, source="/etc/plugins/photos.spec"))


def soon() -> float:
    return time.monotonic() + 30


def test_every_state_has_its_row_and_can_be_reached() -> None:
    assert set(NEXT) == set(State)
    assert set(itertools.chain(*NEXT.values())) == set(State) - {State.NEW}


def test_a_move_that_the_table_lacks_is_refused() -> None:
    plugin = made("unix:///nowhere.sock")
    with pytest.raises(RuntimeError, match="'photos' cannot go from new to lost"):
        plugin._lifecycle._enter(State.LOST)
    assert plugin.state is State.NEW


def test_a_life_from_new_to_closed(fault_server: Any) -> None:
    server = fault_server(answer(MANIFEST))
    plugin = made(server.address)
    seen = [plugin.state]
    for step in (
        lambda: plugin.activate(soon()),
        plugin.mark_lost,
        lambda: plugin.activate(soon()),
        lambda: plugin.renew(replace(plugin.spec, stamp="another"), plugin.spec),
        plugin.close,
    ):
        step()
        seen.append(plugin.state)
    assert [state.value for state in seen] == ["new", "active", "lost", "active", "lost", "closed"]
    assert len(server.requests) == 2


def test_losing_a_plugin_that_is_not_active_changes_nothing() -> None:
    plugin = made("unix:///nowhere.sock")
    plugin.mark_lost()
    assert plugin.state is State.NEW


def test_a_closed_plugin_is_not_activated(fault_server: Any) -> None:
    plugin = made(fault_server(answer(MANIFEST)).address)
    plugin.close()
    with pytest.raises(Exception, match="'photos' is closed"):
        plugin.activate(soon())


INTERRUPTED = """
    import random, signal, sys, time
    from extframe import PluginSpec
    from extframe.client.http1 import _plain_head
    from extframe.host.plugin import Plugin, State

    raised = caught = 0

    def interrupt(*_):
        global raised
        raised += 1
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    plugin = Plugin(PluginSpec("photos", sys.argv[1]))
    moments = random.Random(1)
    for number in range(5000):
        _plain_head.cache_clear()  # as if each answer were a new one
        try:
            if number % 2:
                plugin.mark_lost()
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-5, 5e-4))
            plugin.activate(time.monotonic() + 30)
            plugin.client.call("VolumeDriver.List")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            caught += 1
        if plugin.state is State.ACTIVATING:
            break
    plugin.activate(time.monotonic() + 30)
    print(plugin.state, raised > 100, raised - caught)
"""


def test_ctrl_c_at_any_moment_is_not_lost_and_leaves_no_handshake_under_way_for_good(fault_server: Any) -> None:
    server = fault_server(answer(MANIFEST))
    with Program(INTERRUPTED, server.address, measured=False) as program:
        code, said = program.end(90)
    assert (code, said.splitlines()[-1]) == (0, "State.ACTIVE True 0"), said


def test_its_text_says_what_and_where_it_is(fault_server: Any) -> None:
    server = fault_server(answer(MANIFEST))
    plugin = made(server.address)
    plugin.activate(soon())
    assert repr(plugin) == f"<Plugin 'photos' at {server.address}, active: ['VolumeDriver']>"
    plugin.close()
    assert eventually(lambda: not server._open, 30)


def test_the_table_in_the_documentation_is_the_table_in_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    drawn = {State(name.strip(" `")): set(re.findall(r"`(\w+)`", after)) for name, after in rows}
    coded = {state: {each.value for each in after} - {"closed"} for state, after in NEXT.items()}
    assert drawn == coded
