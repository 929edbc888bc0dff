"""AsyncHookCalls under random histories: each handler once, whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pluggy
from event_loops import run
from hypothesis import example, given
from hypothesis import strategies as st

from extframe.handlers.async_hook_calls import AsyncHookCalls
from extframe.handlers.hooks import PROJECT, ExtensionPoints, FunctionHandler

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.integers(0, 3)),
        st.tuples(st.just("unregister")),
        st.tuples(st.just("start"), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(1, 4)),
    ),
    max_size=30,
)


class History:
    """The handlers of one hook, and the runs that call them, some of which are cancelled."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(ExtensionPoints)
        self.calls = AsyncHookCalls(self.manager.hook.volume_driver)
        self.handlers: dict[FunctionHandler, int] = {}
        self.runs: list[asyncio.Task[None]] = []
        self.running: list[int] = []
        self.ended: Counter[int] = Counter()
        self.numbers = itertools.count()

    async def register(self, steps: int) -> None:
        number = next(self.numbers)

        async def handler(name: str, client: object) -> int:
            assert number not in self.running, "a handler is called twice at the same time"
            self.running.append(number)
            try:
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                self.running.remove(number)
            self.ended[number] += 1
            return number

        made = FunctionHandler("volume_driver", handler)
        self.handlers[made] = number
        self.manager.register(made)

    async def unregister(self) -> None:
        if self.handlers:
            handler = next(iter(self.handlers))
            del self.handlers[handler]
            self.manager.unregister(handler)
            self.calls.forget(handler)

    async def start(self, again: bool) -> None:
        run: Any = self.calls.run({"name": "photos", "client": None}, again=again)
        self.runs.append(asyncio.ensure_future(run))

    async def cancel(self, number: int) -> None:
        if self.runs:
            self.runs[number % len(self.runs)].cancel()

    async def wait(self, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)


@example([("register", 3), ("start", False), ("wait", 3), ("cancel", 0), ("wait", 1), ("start", False)])
@example([("register", 0), ("start", False), ("wait", 1), ("cancel", 0)])  # in the step in which it returned
@given(STEPS)
def test_each_handler_returns_once_and_every_run_releases_what_it_claimed(steps):
    history = History()

    async def main() -> None:
        for act, *arguments in steps:
            await getattr(history, act)(*arguments)
        await asyncio.gather(*history.runs, return_exceptions=True)
        await history.calls.run({"name": "photos", "client": None})
        await history.calls.wait(0.0)
        assert history.calls.is_idle
        assert history.calls.failed() == {}
        assert [history.ended[number] for number in history.handlers.values()] == [1] * len(history.handlers)
        assert len(history.calls.results()) == len(history.handlers)
        await history.wait(3)  # the tasks of handlers that were cancelled end

    run(main)
