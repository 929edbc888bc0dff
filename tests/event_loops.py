"""Run a coroutine in a new event loop, and check that it leaves nothing behind. Knows nothing of extframe."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

NEW_LOOP: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run_in(kind: str, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what ``main()`` returns, run in a loop of a kind; fail if tasks are left or the loop reports anything."""
    loop = NEW_LOOP[kind]()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))
    try:
        result = loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        left = asyncio.all_tasks(loop)
    finally:
        loop.close()
    gc.collect()  # "exception was never retrieved" is reported where a task or future is deleted
    assert not left
    assert reports == []
    return result


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do as `run_in`, in asyncio's own loop."""
    return run_in("asyncio", main)


async def eventually(is_true: Callable[[], object], seconds: float = 30.0) -> bool:
    """Wait until ``is_true()``, for some seconds at most; return whether it is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not is_true() and loop.time() < deadline:
        await asyncio.sleep(0.005)
    return bool(is_true())


def open_sockets() -> set[str]:
    """Return the sockets that this process has open, as /proc names them."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {target for target in found if target.startswith("socket:")}
