"""Call functions that block in threads, and await them. Knows nothing about what it calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from .threads import start

T = TypeVar("T")


def call_in_thread(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Call ``function`` in a daemon thread of its own, with the caller's context variables; return a future.

    If the future is cancelled, the function continues in the background. Unlike ``asyncio.to_thread`` it does not keep
    the program from ending.

    Raises:
        ExtframeError: no thread could be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(future.set_result, function())
        except StopIteration as stopped:  # a future accepts none
            failure = RuntimeError(f"{name} raised {stopped!r}")
            failure.__cause__ = stopped
            settle = partial(future.set_exception, failure)
        except BaseException as failure:  # noqa: BLE001 - raised where the future is awaited
            settle = partial(future.set_exception, failure)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_settle, future, settle)

    start(threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True))
    return future


def _settle(future: asyncio.Future[T], settle: Callable[[], object]) -> None:
    if not future.done():
        settle()
