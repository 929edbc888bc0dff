"""A thread that waits for descriptors, timers and calls of other threads. Knows nothing about plugins."""

from __future__ import annotations

import heapq
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from ..concurrency.event import Event
from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..errors import ExtframeError
from ..logs import get_logger

T = TypeVar("T")
_CALL_TIMEOUT = 30.0  # seconds; the loop never waits for long

logger = get_logger(__name__)


class HasFileno(Protocol):
    """An object with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Timer:
    """A function that is to be called, unless it is cancelled."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function: Callable[[], object] | None = function

    def cancel(self) -> None:
        """Do not call it."""
        self._function = None

    def fire(self) -> None:
        """Call it."""
        if self._function is not None:
            self._function()


class _Call(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._value: T
        self._error: BaseException | None = None
        self.done = Event()

    def run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        self.done.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value


class EventLoop:
    """Calls functions in one thread, one after the other. None may wait.

    Args:
        name: of the thread.
        at_end: called in the thread before it ends.

    Raises:
        ExtframeError: the system has no thread.
    """

    def __init__(self, name: str, at_end: Callable[[], object]) -> None:
        self._at_end = at_end
        self._wake = WakePipe()
        self._calls: deque[_Call[Any]] = deque()
        self._readers: dict[int, Callable[[], object]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._poll = select.poll()
        self._poll.register(self._wake.descriptor, select.POLLIN)
        self._ended = Event()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            start(self._thread)
        except BaseException:
            self._is_ending = True  # Ctrl-C may have come after its start
            self._wake.up()
            raise

    # In any thread.

    def submit(self, function: Callable[[], object]) -> None:
        """Have a function called in the thread."""
        self._calls.append(_Call(function))
        self._wake.up()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread; return what it returns, or raise what it raises.

        Raises:
            ExtframeError: the loop has ended.
        """
        return self.begin(function)()

    def begin(self, function: Callable[[], T]) -> Callable[[], T]:
        """Have a function called in the thread, after those begun before; return what waits for it as `call` does."""
        call = _Call(function)
        if threading.current_thread() is self._thread:
            call.run()
        else:
            self._calls.append(call)
            self._wake.up()
        return lambda: self._result(call)

    def _result(self, call: _Call[T]) -> T:
        deadline = monotonic() + _CALL_TIMEOUT
        while not call.done.wait(0.5) and not self._ended.is_set() and monotonic() < deadline:
            pass
        if not call.done.is_set():
            raise ExtframeError("this Supervisor is closed, or does not respond; create a new one")
        return call.result()

    def end(self, timeout: float) -> None:
        """End the thread."""
        self._is_ending = True
        self._wake.up()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    # In the thread.

    def when_readable(self, source: HasFileno, function: Callable[[], object]) -> None:
        """Call a function whenever a descriptor is readable, until `forget`."""
        self._readers[source.fileno()] = function
        self._poll.register(source.fileno(), select.POLLIN)

    def forget(self, source: HasFileno) -> None:
        """Wait for a descriptor no longer. Call it before the descriptor is closed."""
        if self._readers.pop(source.fileno(), None) is not None:
            self._poll.unregister(source.fileno())

    def later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call a function after some seconds."""
        timer = Timer(function)
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._order), timer))
        return timer

    def _run(self) -> None:
        try:
            while not self._is_ending:
                self._turn()
        finally:
            self._guarded(self._at_end)
            self._ended.set()
            self._wake.close()

    def _turn(self) -> None:
        timeout = None if not self._timers else max(0.0, (self._timers[0][0] - monotonic()) * 1000)
        ready = [(descriptor, self._readers.get(descriptor)) for descriptor, _ in self._poll.poll(timeout)]
        self._wake.drain()
        for descriptor, function in ready:
            # The functions before may have closed the descriptor, and opened another one with its number.
            if function is not None and self._readers.get(descriptor) is function:
                self._guarded(function)
        while self._timers and self._timers[0][0] <= monotonic():
            self._guarded(heapq.heappop(self._timers)[2].fire)
        while self._calls:
            call = self._calls.popleft()
            call.run()
            self._guarded(call.result)

    def _guarded(self, function: Callable[[], object]) -> None:
        try:
            function()
        except ExtframeError:
            pass  # raised where the call was made
        except Exception:
            with suppress(Exception):
                logger.exception("the supervisor continues after an internal error")
