"""The package's loggers: one per module, silent until the host configures logging. Decides nothing about formats."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

from .errors import ExtframeError
from .text import cut, printable

MESSAGE_LIMIT, TRACEBACK_LIMIT = 4_000, 40_000  # characters

INDENT = "    "  # of the lines of a traceback

_root = logging.getLogger("extframe")


class _Escape(logging.Filter):
    """Escapes unprintable text, so that text from a plugin cannot move a cursor or look like a log line of its own.

    The message and arguments of a printable record are left unchanged, for handlers that use them. The lines of a
    traceback are indented: text of several lines may be in any exception, and a log line is not indented.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if len(message) > MESSAGE_LIMIT or not message.isprintable():
            record.msg, record.args = printable(cut(message, MESSAGE_LIMIT)), None
        if record.exc_info and record.exc_info[1]:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            record.exc_text = _escaped(text, record.exc_info[1])  # formatters prefer it to exc_info
        return True


def _escaped(trace: str, error: BaseException) -> str:
    for words in filter(None, _words_in(error)):
        trace = trace.replace(words, printable(cut(words, MESSAGE_LIMIT)))
    return "\n".join(INDENT + printable(line) for line in cut(trace, TRACEBACK_LIMIT).split("\n"))


def _words_in(error: BaseException | None) -> Iterator[str]:
    """Yield the messages of extframe's errors in a chain; they may quote a plugin's text of several lines."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ExtframeError):
            yield str(error)
        error = error.__cause__ or error.__context__


_escape = _Escape()


def get_logger(module: str) -> logging.Logger:
    """Return a module's logger. The NullHandler keeps Python from printing warnings to stderr by itself."""
    if not any(isinstance(handler, logging.NullHandler) for handler in _root.handlers):
        _root.addHandler(logging.NullHandler())
    logger = logging.getLogger(module)
    logger.addFilter(_escape)
    return logger
