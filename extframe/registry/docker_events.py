"""Notice changes of managed plugins through the events of Docker's engine, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from time import time
from typing import BinaryIO

from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..errors import ExtframeError
from ..logs import get_logger

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before the events of an engine that was lost are followed again

logger = get_logger(__name__)


class DockerEvents(WakePipe):
    """An object with a descriptor that is readable after a change. It follows the engine until it is closed.

    Events that happen while the engine cannot be reached, or before the stream is open, are not lost: the descriptor
    becomes readable when the stream is open, and the engine repeats what happened since the last one began.

    Args:
        follow: opens the engine's stream of events since a ``time.time()`` value.

    Raises:
        ExtframeError: the system has no thread.
    """

    def __init__(self, follow: Callable[[float], AbstractContextManager[BinaryIO]]) -> None:
        super().__init__()
        self._follow = follow
        self._closing = Event()
        self._stream_lock = signal_safe_lock()
        self._stream: BinaryIO | None = None
        self._since = time()
        self._pause = FIRST_PAUSE
        self._is_lost = False
        try:
            start(threading.Thread(target=self._run, name="extframe docker events", daemon=True))
        except BaseException:
            self.close()  # Ctrl-C may have come after its start
            raise

    def close(self) -> None:
        """Stop following, and close the descriptor."""
        self._closing.set()
        with self._stream_lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        super().close()

    # In the thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._read()
            except ExtframeError as error:
                self._report(error)
            except ValueError:  # the stream was closed, by `close` or with the client of the engine
                pass
            self._closing.wait(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _read(self) -> None:
        began = time()
        with self._follow(self._since) as stream:
            with self._stream_lock:
                if self._closing.is_set():
                    return
                self._stream = stream
            self._since = began
            self.up()
            for _ in stream:
                self._is_lost, self._pause = False, FIRST_PAUSE
                self.up()

    def _report(self, error: ExtframeError) -> None:
        if not self._is_lost and not self._closing.is_set():
            self._is_lost = True
            with suppress(Exception):  # of a log handler
                logger.warning("%s; trying again, and looking every few seconds meanwhile", error)
