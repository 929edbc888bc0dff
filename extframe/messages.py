"""Deprecated alias of `extframe.interface.messages`, for programs written for version 0.1. Removed in 1.0."""

from warnings import warn

from .interface.messages import ZERO_TIME, Message, format_time, parse_time, read, reader

__all__ = ["ZERO_TIME", "Message", "format_time", "parse_time", "read", "reader"]

warn(
    "extframe.messages has moved: use extframe.parse_time, extframe.format_time and extframe.Message",
    DeprecationWarning,
    stacklevel=2,
)
