"""A cache whose entries expire and are then refreshed in the background. Knows neither DNS nor plugins."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..errors import ExtframeError
from ..logs import get_logger

SHORTEST = 1.0  # seconds for which a value is kept at least, and a failed refresh is not repeated
LIMIT = 10_000  # entries; the oldest are forgotten first

V = TypeVar("V")

logger = get_logger(__name__)


@dataclass
class _Entry(Generic[V]):
    value: V
    since: float  # when its load began
    until: float
    is_refreshing: bool = False
    failure: str = ""  # of the last refresh


class RefreshingCache(Generic[V]):
    """Values by name. One that has expired is used until it was refreshed, however long that fails.

    Args:
        load: returns the value of a name and the seconds for which it holds. It may wait.
        name: of the thread that refreshes, in lists of threads.
        keeps_fresh: takes a name and a value, and returns whether `CacheChanges` keeps it fresh.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        load: Callable[[str], tuple[V, float]],
        name: str,
        *,
        keeps_fresh: Callable[[str, V], bool] = lambda name, value: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._load = load
        self._keeps_fresh = keeps_fresh
        self._name = name
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._due: deque[str] = deque()
        self._lock = signal_safe_lock()
        self._thread: threading.Thread | None = None
        self.replaced = 0  # how often a value was replaced by another, wherever it was loaded

    def get(self, name: str, *, grace: float = 0.0) -> V:
        """Return a value, loaded if there is none or it has expired.

        Args:
            name: of the value.
            grace: seconds for which one that has expired is returned all the same, and refreshed in the background.

        Raises:
            ExtframeError: it cannot be loaded, and never was.
        """
        entry = self._entries.get(name)
        if entry is not None and self._clock() < entry.until + grace:
            self.peek(name)
            return entry.value
        try:
            return self._refresh(name)
        except ExtframeError as error:
            entry = self._entries.get(name)  # another thread may have loaded it meanwhile
            if entry is None:
                raise
            if self._clock() >= entry.until:
                self._postpone(entry, error)
            return entry.value

    def peek(self, name: str) -> V | None:
        """Return a value at once, None if there is none. One that has expired is refreshed in the background."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if self._clock() >= entry.until and not (entry.is_refreshing and self._is_running()):
            entry.is_refreshing = True
            self._due.append(name)
            self._wake()
        return entry.value

    def invalidate(self, name: str) -> None:
        """Have the next `get` load a value, if it is older than a second."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and self._clock() - entry.since >= SHORTEST:
                entry.until = -math.inf

    def is_invalid(self, name: str) -> bool:
        """Return whether `invalidate` has been called since a value was loaded, or could not be."""
        entry = self._entries.get(name)
        return entry is not None and entry.until == -math.inf

    # For a thread that follows.

    def seconds_left(self) -> float:
        """Return the seconds until the next value expires that is kept fresh, at least 0 and at most 1."""
        now = self._clock()
        times = [entry.until for name, entry in list(self._entries.items()) if self._keeps_fresh(name, entry.value)]
        return max(0.0, min([*times, now + SHORTEST]) - now)

    def refresh_expired(self) -> None:
        """Load every value that has expired and is kept fresh."""
        for name, entry in list(self._entries.items()):
            if self._clock() >= entry.until and self._keeps_fresh(name, entry.value):
                try:
                    self.get(name)
                except Exception as error:  # noqa: BLE001 - logged
                    self._postpone(entry, error)

    def _refresh(self, name: str) -> V:
        began, was_invalid = self._clock(), self.is_invalid(name)
        value, seconds = self._load(name)
        until = self._clock() + max(seconds, SHORTEST)
        with self._lock:
            before = self._entries.get(name)
            if before is not None:
                if before.since > began:
                    return before.value  # another thread began later and has ended: what this one found is older
                if not was_invalid and self.is_invalid(name):
                    until = -math.inf  # this may have been found before the reason to load it again
                if before.value != value:
                    self.replaced += 1
            # Readers take no lock, and must find an entry at any moment.
            self._entries[name] = _Entry(value, began, until)
            self._entries.move_to_end(name)
            while len(self._entries) > LIMIT:
                self._entries.popitem(last=False)
        return value

    def _postpone(self, entry: _Entry[V], error: Exception) -> None:
        entry.until = self._clock() + SHORTEST
        entry.is_refreshing = False
        if entry.failure != str(error):
            entry.failure = str(error)
            with suppress(Exception):  # of a log handler
                logger.warning("%s; what was found before is used", error)

    # In the background: one thread, which ends when nothing is due.

    def _is_running(self) -> bool:
        """Return whether the thread runs. After a fork it does not, in the child."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _wake(self) -> None:
        with self._lock:
            if self._is_running():
                return
            thread = self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            with suppress(ExtframeError):  # no thread: the next `get` loads it
                start(thread)

    def _run(self) -> None:
        while True:
            try:
                name = self._due.popleft()
            except IndexError:
                with self._lock:
                    if self._due:
                        continue
                    self._thread = None
                    return
            entry = self._entries.get(name)
            if entry is None or self._clock() < entry.until:
                continue
            try:
                self._refresh(name)
            except Exception as error:  # noqa: BLE001 - logged
                self._postpone(entry, error)


class CacheChanges(WakePipe):
    """An object with a descriptor that is readable after a value has changed. It refreshes values until it is closed.

    Args:
        cache: whose values are refreshed when they expire, as far as it keeps them fresh.
        name: of the thread that does so.

    Raises:
        ExtframeError: the system has no thread.
    """

    def __init__(self, cache: RefreshingCache[Any], name: str) -> None:
        super().__init__()
        self._cache = cache
        self._reported = cache.replaced
        self._closing = Event()
        try:
            start(threading.Thread(target=self._run, name=name, daemon=True))
        except BaseException:
            self.close()  # Ctrl-C may have come after its start
            raise

    def close(self) -> None:
        """Stop refreshing, and close the descriptor."""
        self._closing.set()
        super().close()

    def _run(self) -> None:
        while not self._closing.wait(max(self._cache.seconds_left(), SHORTEST / 10)):
            self._cache.refresh_expired()
            replaced = self._cache.replaced  # also by what was loaded in another thread, where it was used
            if replaced != self._reported:
                self._reported = replaced
                self.up()
