"""HandshakePool, interrupted between any two of its steps."""

from __future__ import annotations

import time
from typing import Any

import pytest
from faultserver import answer

from extframe import PluginSpec
from extframe.host.handshake_pool import HandshakePool
from extframe.host.plugin import Plugin


class Interrupted:
    """A poll object at whose ``register`` the user presses Ctrl-C."""

    def __init__(self, poll: Any) -> None:
        self.unregister = poll.unregister

    def register(self, *_: int) -> None:
        raise KeyboardInterrupt


def test_a_pool_can_be_closed_when_ctrl_c_came_while_a_handshake_was_added(fault_server: Any) -> None:
    plugin = Plugin(PluginSpec("photos", fault_server(answer(b'{"Implements": []}')).address))
    pool = HandshakePool()
    pool._poll = Interrupted(pool._poll)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        pool.begin(plugin, time.monotonic() + 30)
    pool.close()
    assert len(pool) == 0
    plugin.activate(time.monotonic() + 30)  # no handshake is left under way
    plugin.close()
