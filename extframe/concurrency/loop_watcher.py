"""Watch sockets for event loops that do not, as the default one of Windows. Knows no connections."""

from __future__ import annotations

import asyncio
import select
import threading
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol

from .threads import start
from .wake_pipe import WakePipe

_LOOK = 1.0  # seconds between looks at whether the loop was closed


class Watcher(Protocol):
    """The methods of event loops that watch file descriptors. Each is called in the loop's thread."""

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> object:
        """Call ``callback`` whenever the descriptor is readable, in the context of this call."""

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> object:
        """Call ``callback`` whenever the descriptor is writable."""

    def remove_reader(self, fd: int) -> bool:
        """Stop to watch a descriptor for reading; return whether it was watched."""

    def remove_writer(self, fd: int) -> bool:
        """Stop to watch a descriptor for writing; return whether it was watched."""


def watcher_of(loop: asyncio.AbstractEventLoop) -> Watcher:
    """Return what watches descriptors for a loop: the loop itself, or a thread if it cannot."""
    if type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader:
        return loop
    found = _watchers.get(loop)
    if found is None:
        found = _watchers[loop] = SelectThread(loop)
    return found


class SelectThread:
    """Watches sockets in a thread, with ``select``, and has the loop call back.

    The thread waits until the loop has called back before it looks again, so that nothing is reported twice. It ends
    when the loop is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._readers: dict[int, Callable[[], object]] = {}
        self._writers: dict[int, Callable[[], object]] = {}
        self._wake = WakePipe()
        self._handled = threading.Semaphore(0)
        start(threading.Thread(target=self._run, name="extframe select", daemon=True))

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback`` whenever the descriptor is readable, in the context of this call."""
        self._readers[fd] = _bound(copy_context(), callback, args)
        self._wake.up()

    def add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback`` whenever the descriptor is writable, in the context of this call."""
        self._writers[fd] = _bound(copy_context(), callback, args)
        self._wake.up()

    def remove_reader(self, fd: int) -> bool:
        """Stop to watch a descriptor for reading; return whether it was watched."""
        self._wake.up()
        return self._readers.pop(fd, None) is not None

    def remove_writer(self, fd: int) -> bool:
        """Stop to watch a descriptor for writing; return whether it was watched."""
        self._wake.up()
        return self._writers.pop(fd, None) is not None

    def _run(self) -> None:
        try:
            while (loop := self._loop()) is not None and not loop.is_closed():
                del loop
                ready = self._wait()
                if ready is None:
                    continue
                loop = self._loop()
                if loop is None:
                    return
                loop.call_soon_threadsafe(self._call_back, *ready, context=Context())
                del loop
                if not self._is_handled():
                    return
        except RuntimeError:  # the loop was closed just now
            pass
        finally:
            self._wake.close()

    def _is_handled(self) -> bool:
        """Wait until the loop has called back; return False if it was closed before."""
        while not self._handled.acquire(timeout=_LOOK):
            loop = self._loop()
            if loop is None or loop.is_closed():
                return False
            del loop
        return True

    def _wait(self) -> tuple[list[int], list[int]] | None:
        """Return the descriptors that are readable and writable; None if there are none now."""
        readers, writers = list(self._readers), list(self._writers)
        try:
            # A connection that failed is in the third list on Windows.
            readable, writable, failed = select.select([self._wake.descriptor, *readers], writers, writers, _LOOK)
        except (OSError, ValueError):  # one was closed, and is about to be removed
            readable, writable, failed = [self._wake.descriptor], [], []
        self._wake.drain()
        ready = [fd for fd in readable if fd != self._wake.descriptor], [*{*writable, *failed}]
        return ready if any(ready) else None

    def _call_back(self, readable: list[int], writable: list[int]) -> None:
        try:
            for table, found in ((self._readers, readable), (self._writers, writable)):
                for fd in found:
                    callback = table.get(fd)
                    if callback is not None:
                        callback()
        finally:
            self._handled.release()


def _bound(context: Context, callback: Callable[..., object], args: tuple[Any, ...]) -> Callable[[], object]:
    return lambda: context.run(callback, *args)


_watchers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SelectThread] = weakref.WeakKeyDictionary()
