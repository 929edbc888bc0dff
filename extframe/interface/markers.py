"""What the author of an interface writes: the decorator @rpc, keys of request fields, stream codecs. No behaviour."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, BinaryIO, TypeVar

from ..errors import ProtocolError, RemoteError

Function = TypeVar("Function", bound=Callable[..., Any])

WORD = re.compile(r"[!-.0-~]+")
"""A valid name on either side of the dot in a call: printable ASCII without spaces and slashes."""


@dataclass(frozen=True)
class StreamCodec:
    """How the records of a stream are encoded, for methods whose reply is a stream.

    Args:
        unpack: takes a binary stream and yields its records until it ends; raises ProtocolError if the bytes
            are invalid.
        pack: returns the bytes of one record.
        pack_error: takes the message of an error that ends the stream, and returns its bytes, for which ``unpack``
            raises RemoteError. Without it the connection is closed, and a host learns only that the stream is
            incomplete.
        content_type: the media type of the stream.
    """

    unpack: Callable[[BinaryIO], Iterator[Any]]
    pack: Callable[[Any], bytes]
    _: KW_ONLY
    pack_error: Callable[[str], bytes] | None = None
    content_type: str = "application/octet-stream"


del StreamCodec.__annotations__["_"]  # get_type_hints of Python 3.10 would refuse KW_ONLY


@dataclass(frozen=True)
class Key:
    """The JSON key of a request field, written next to its type: ``id: Annotated[str, Key("ID")]``.

    Args:
        name: the key; by default the parameter's name in PascalCase.
        null: send an empty map or list as null, as Go does for one that was never set.
        always: send the default, too, although the method has ``omit_defaults``.
        since: the version of the interface that added the parameter, which has a default. It is not sent to older
            plugins, and a call with another value than the default raises DoesNotImplement.
    """

    name: str = ""
    null: bool = False
    always: bool = False
    since: int = 1


@dataclass(frozen=True)
class rpc:  # noqa: N801 - a decorator
    """Declare a remote method of an ``Interface``. Its parameters are the fields of the request, in wire order.

    Args:
        wire: the method's wire name without the prefix: ``Mount``.
        returns: the key of the reply that holds the result. Without it the result is None, or a ``Message``
            that is the whole reply. If the key is missing or null, the result is the zero value of its type:
            "", [], a message of defaults.
        timeout: the default deadline in seconds; None for the client's own, which is 60 by default.
        idempotent: executing the call twice has the effect of executing it once, so it may be retried.
        optional: a plugin may omit the method.
        since: the version of the interface that added the method. Calling an older plugin raises DoesNotImplement.
        empty_object: a call without arguments sends ``{}`` instead of an empty body.
        omit_defaults: arguments that equal their default are not sent.
        ignore_reply: only the reply's status counts; its body is not read.
        check: takes the result (None if ``returns`` is missing) and returns it, normalised; raises ValueError
            if it is invalid. Applied on both sides.
        paths: takes the result and a function that returns the host's path for a path of the plugin, and returns the
            result with the host's paths. Called for plugins with a root file system of their own, such as Docker's
            managed plugins, at the end of a call.
        fallback: takes the plugin's error, or the error about its invalid reply, and returns a result for the
            host or raises it again.
        stream: the reply is a stream of records in this encoding; the result is an iterator over them. A result
            ``Iterator[T]`` without it is a stream of JSON lines.
        follows: whether the plugin may be silent for as long as it likes before a record, the first one included. It is
            True or False, or names the argument that says so, or a field of it: ``"config.follow"``. The timeout of
            such a stream covers connecting and sending only; the call returns then, and iterating raises what the
            plugin answered. Its silence does not count for the circuit breaker.
    """

    wire: str
    _: KW_ONLY
    returns: str | None = None
    timeout: float | None = None
    idempotent: bool = False
    optional: bool = False
    since: int = 1
    empty_object: bool = False
    omit_defaults: bool = False
    ignore_reply: bool = False
    check: Callable[[Any], Any] | None = None
    paths: Callable[[Any, Callable[[str], str]], Any] | None = None
    fallback: Callable[[ProtocolError | RemoteError], Any] | None = None
    stream: StreamCodec | None = None
    follows: bool | str = False

    def __post_init__(self) -> None:
        wire: object = self.wire  # a function if the parentheses were forgotten
        if not isinstance(wire, str) or not WORD.fullmatch(wire) or "." in wire:
            raise TypeError(f'@rpc takes the wire name of the method without its prefix, as in @rpc("Mount"): {wire!r}')
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"@rpc({wire!r}): timeout is {self.timeout!r}; expected seconds, more than 0")

    def __call__(self, function: Function) -> Function:
        """Mark ``function`` as a remote method; its interface builds a ``Method`` from it."""
        try:
            function.__rpc__ = self  # type: ignore[attr-defined]
        except AttributeError:
            kind = type(function).__name__
            raise TypeError(f"@rpc({self.wire!r}) decorates a method, not a {kind}") from None
        return function


del rpc.__annotations__["_"]  # get_type_hints of Python 3.10 would refuse KW_ONLY
