"""Tell handlers what becomes of plugins, each thing in its turn. Decides nothing, and knows no plugin's states."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pluggy

from ..concurrency import deadlines
from ..concurrency.threads import Worker
from ..errors import CallTimeout
from ..logs import get_logger
from .failures import Failure, Failures
from .hook_calls import Delivery, Monitor

PATIENCE = 10.0  # seconds for the handlers of one piece of news

logger = get_logger(__name__)


class News:
    """What has happened and has not been told yet.

    Args:
        relay: the manager's hooks.
        failures: where handlers that raise, or do not return, are noted.
        monitors: returns what sees hook calls.
        origin: returns the distribution and the version that brought a handler.
    """

    def __init__(
        self,
        relay: pluggy.HookRelay,
        *,
        failures: Failures,
        monitors: Callable[[], Sequence[Monitor]],
        origin: Callable[[object], tuple[str | None, str | None]],
    ) -> None:
        self._relay = relay
        self._failures = failures
        self._monitors = monitors
        self._origin = origin
        self._untold: deque[tuple[pluggy.HookCaller, dict[str, Any]]] = deque()
        self._lock = threading.RLock()  # held for bookkeeping only; in itself, for signal handlers
        self._teller: Worker[None] | None = None

    def tell(self, hook: str, **arguments: object) -> None:
        """Have the handlers of a hook called, after those of what was told before. Returns at once."""
        caller = getattr(self._relay, hook)
        if not caller.get_hookimpls():
            return
        is_told = True
        with self._lock:
            self._untold.append((caller, arguments))
            if self._teller is None:
                self._teller = Worker(self._tell_all, "extframe news")
                is_told = self._teller.started
                if not is_told:
                    self._teller = None
        if not is_told:
            logger.warning(
                "the system has no thread to tell %s of plugin %r; it is told with what comes next",
                hook,
                arguments["name"],
            )

    def _tell_all(self) -> None:
        while True:
            with self._lock:
                if not self._untold:
                    self._teller = None
                    return
                caller, arguments = self._untold.popleft()
            with suppress(Exception):  # of a log handler of the host's: the rest is told all the same
                self._tell(caller, arguments)

    def _tell(self, caller: pluggy.HookCaller, arguments: dict[str, Any]) -> None:
        delivery = Delivery(caller, gives=False)
        work = Worker(
            lambda: delivery.run(arguments, monitors=self._monitors()), f"extframe {caller.name} {arguments['name']}"
        )
        try:
            work.result(deadlines.after(PATIENCE))
        except TimeoutError:
            for handler in delivery.running():
                late = CallTimeout(f"it has not returned after {PATIENCE:g} s", phase="handlers")
                self._note(handler, None, caller.name, arguments["name"], late)
        except BaseException as error:  # noqa: BLE001 - of a monitor, a handler's Ctrl-C, a system without threads
            logger.warning("%s of plugin %r could not be told: %s", caller.name, arguments["name"], error)
        failed = delivery.failed()
        for impl in delivery.called():
            self._note(impl.plugin_name, impl.plugin, caller.name, arguments["name"], failed.get(impl))

    def _note(self, handler: str, made_by: object, hook: str, plugin: str, error: Exception | None) -> None:
        subject = ("handler", handler, plugin, hook)
        if error is None:
            self._failures.clear(subject)
            return
        failure = Failure(f"handler {handler!r} of {hook} on plugin {plugin!r}", error, *self._origin(made_by))
        self._failures.note(subject, failure)
        logger.warning("%s", failure, exc_info=error)
