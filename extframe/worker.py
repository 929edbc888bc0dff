"""Run something that somebody may stop waiting for. Knows nothing of what it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from .deadline import left
from .errors import ExtframeError

T = TypeVar("T")


class Worker(Generic[T]):
    """A call in a thread of its own, which ends with the call and never keeps the process alive.

    Context variables are those of the caller.
    """

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._value: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as refused:
            self._error = ExtframeError(
                f"no thread could be started for {name!r}: {refused}; raise the limit on threads (ulimit -u, or "
                "pids.max of the control group), or have fewer at a time"
            )

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error = error

    def result(self, deadline: float) -> T:
        """Return what the call returned, or raise what it raised.

        Raises:
            TimeoutError: it has not ended by the deadline, and goes on alone.
            ExtframeError: no thread could be started for it.
        """
        if self._thread.ident is not None:  # it was started
            self._thread.join(left(deadline))
        if self._thread.is_alive():
            raise TimeoutError(f"{self._thread.name} has not ended")
        if self._error is not None:
            raise self._error
        return self._value
