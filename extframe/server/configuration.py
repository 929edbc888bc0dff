"""The settings that a host sends: read, validated and given to the drivers that take them. Logs no value."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import ProtocolError, RemoteError
from ..interface.declarations import Declaration, declarations
from ..interface.messages import Message
from ..interface.settings import METHOD, Given, SettingsFault, described, read_settings, redacted, texts_in
from ..logs import get_logger
from ..protocol import CONFIGURE, decode_json, fold_keys
from ..text import text_of
from .executor import Executor, Saturated

WAITING = (
    f"the plugin has not received its settings: call {CONFIGURE}, as a plugin manager of extframe does, "
    "PluginManager(settings={NAME: {...}})"
)

SETTINGS_LIMIT = 1 << 20  # bytes of a request

logger = get_logger(__name__)


class Refused(Exception):
    """The settings were not accepted. ``status`` is that of the response; the text contains no value."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Configuration:
    """The drivers that take settings: those whose interface declares them and whose class has ``configure``.

    Attributes:
        points: the extension points of these drivers.

    Raises:
        TypeError: a method ``configure`` does not take one argument.
    """

    def __init__(self, drivers: tuple[object, ...]) -> None:
        self._takers = [
            _Taker(driver, found, found.settings)
            for driver in drivers
            for found in declarations(driver)
            if found.settings is not None and callable(getattr(driver, METHOD, None))
        ]
        self.points = tuple(dict.fromkeys(each.declared.implements for each in self._takers))
        self._prefixes = {each.declared.prefix for each in self._takers}
        self._lock = asyncio.Lock()  # belongs to the event loop of the first request that waits for it

    def covers(self, wire: str) -> bool:
        """Return whether a call reaches a driver that takes settings."""
        return wire.partition(".")[0] in self._prefixes

    async def receive(self, body: bytes, executor: Executor) -> None:
        """Give the settings in a request to the drivers.

        Raises:
            Refused: they are invalid, or a driver raised.
        """
        table = _table_in(body)
        given = {key: Given(value, isinstance(value, str)) for key, value in table.items()}
        secrets = list(texts_in(table))
        try:
            kinds = [each.kind for each in self._takers]
            messages, _ = read_settings(given, kinds)
        except SettingsFault as fault:
            words = described(fault)
            logger.info("%s: refused a request: %s", CONFIGURE, words)
            raise Refused(400, words) from None
        async with self._lock:
            for taker, message in zip(self._takers, messages, strict=True):
                await _give(taker, message, executor, secrets)


class _Taker:
    """A driver that takes settings."""

    def __init__(self, driver: object, declared: Declaration, kind: type[Message]) -> None:
        self.declared = declared
        self.kind = kind
        self._configure: Callable[[Message], Any] = getattr(driver, METHOD)
        try:
            inspect.signature(self._configure).bind(object())
        except (TypeError, ValueError) as wrong:
            raise TypeError(f"{type(driver).__name__} cannot be served: {METHOD}(settings): {wrong}") from None

    async def __call__(self, message: Message, executor: Executor) -> None:
        if inspect.iscoroutinefunction(self._configure):
            await self._configure(message)
            return
        result = await executor.run(lambda: self._configure(message))
        if inspect.iscoroutine(result):  # from under a decorator that hides it
            await result


def _table_in(body: bytes) -> dict[str, Any]:
    """Return the settings in a request, which is ``{"Settings": {...}}``."""
    try:
        found = fold_keys(decode_json(body), {"settings": "Settings"})
        return msgspec.convert(found, dict[str, dict[str, Any] | None])["Settings"] or {}
    except (ProtocolError, msgspec.ValidationError, KeyError):  # whose text may contain values
        raise Refused(400, 'the request is invalid: expected {"Settings": {...}}') from None


async def _give(taker: _Taker, message: Message, executor: Executor, secrets: list[str]) -> None:
    try:
        await taker(message, executor)
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a driver is an error of this call
        status, words = _words_of(error)
        words = redacted(words, secrets)
        logger.warning("%s: refused the settings: %s", CONFIGURE, words)
        logger.debug("%s", redacted("".join(traceback.format_exception(error)), secrets))
        raise Refused(status, words) from None


def _words_of(error: BaseException) -> tuple[int, str]:
    """Return the status and text for what a driver raised."""
    if isinstance(error, Saturated):
        return 503, f"{CONFIGURE} was not called: {error}"
    if isinstance(error, RemoteError):
        return error.status if 400 <= error.status <= 599 else 500, error.message or "failed"
    if isinstance(error, asyncio.CancelledError):
        return 500, "the plugin stopped before it had its settings"
    return 500, ("" if isinstance(error, KeyError) else text_of(error)) or repr(error)
