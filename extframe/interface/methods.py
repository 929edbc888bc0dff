"""One remote method: its names, its types, and the JSON of both ends. Knows no client and no driver."""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from types import NoneType
from typing import Annotated, Any, BinaryIO, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from ..errors import ProtocolError, RemoteError
from ..protocol import decode_json, encode_json, error_in
from ..text import text_of
from .messages import Message, read, reader

Function = TypeVar("Function", bound=Callable[..., Any])

WORD = re.compile(r"[!-.0-~]+")
"""What can stand in a path before and after the dot: printable ASCII, without spaces and slashes."""


@dataclass(frozen=True)
class StreamCodec:
    """How the records of a stream stand in bytes, for methods whose reply is one.

    Args:
        unpack: takes a binary stream and yields each record until its end; raises ProtocolError where it
            makes no sense.
        pack: returns one record as it stands in the stream.
    """

    unpack: Callable[[BinaryIO], Iterator[Any]]
    pack: Callable[[Any], bytes]


# --- what the author of an interface says -------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """What a request field is called on the wire, noted beside its type: ``id: Annotated[str, Key("ID")]``.

    Args:
        name: the key; without one it is the parameter's name in PascalCase.
        null: an empty map or list is sent as null, which is what Go makes of one that nobody set.
    """

    name: str = ""
    null: bool = False


@dataclass(frozen=True)
class rpc:  # noqa: N801 - a decorator
    """Declare a method of an ``Interface``: its parameters are the request's fields, in their order on the wire.

    Args:
        wire: the method's name on the wire, without the prefix: ``Mount``.
        returns: the reply's key that holds the result. Without it the result is None, or a ``Message`` that
            is the whole reply. Where the key is missing or null, the result is its type's zero value: "",
            [], a message of defaults.
        timeout: the default deadline in seconds; None for the client's own, which is 60 unless it was made
            with another.
        idempotent: sent twice the call does no more than once, so it may be sent again.
        optional: a plugin may lack the method.
        empty_object: a call without arguments sends ``{}``, not an empty body.
        omit_defaults: what has its default is not sent.
        ignore_reply: the reply's body is not read; only its status counts.
        check: takes the result (None where ``returns`` is absent) and returns it, mended; raises ValueError
            when it cannot be used. Both ends apply it.
        fallback: takes the plugin's error, or the error that its reply makes no sense, and returns what the
            host makes of it or raises it again.
        stream: the reply is a stream of records in this form; the result is their iterator.
    """

    wire: str
    _: KW_ONLY
    returns: str | None = None
    timeout: float | None = None
    idempotent: bool = False
    optional: bool = False
    empty_object: bool = False
    omit_defaults: bool = False
    ignore_reply: bool = False
    check: Callable[[Any], Any] | None = None
    fallback: Callable[[ProtocolError | RemoteError], Any] | None = None
    stream: StreamCodec | None = None

    def __post_init__(self) -> None:
        wire: object = self.wire  # a function, where the parentheses were forgotten
        if not isinstance(wire, str) or not WORD.fullmatch(wire) or "." in wire:
            raise TypeError(f'@rpc takes the name on the wire without its prefix, as @rpc("Mount") does: {wire!r}')
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"@rpc({wire!r}): timeout is {self.timeout!r}; expected seconds, more than 0")

    def __call__(self, function: Function) -> Function:
        """Mark ``function``; its interface makes a ``Method`` of it."""
        try:
            function.__rpc__ = self  # type: ignore[attr-defined]
        except AttributeError:
            kind = type(function).__name__
            raise TypeError(f"@rpc({self.wire!r}) stands above a method that is called, not above a {kind}") from None
        return function


# --- what both ends make of it ------------------------------------------------------------------------

# ValidationError, DecodeError and UnicodeDecodeError are all ValueErrors.
_UNREADABLE = (ValueError, RecursionError)


class Method:
    """A declared method, ready for both ends.

    Attributes:
        function: the function in the interface.
        name: its name in Python, ``mount``.
        wire: its name in a call, ``VolumeDriver.Mount``.
        rpc: what ``@rpc`` said of it.
        signature: its parameters without ``self``, and its result; types are resolved.
        request: the request, a msgspec Struct with a field for each parameter.
        reply: the reply, a msgspec Struct with the result's fields and the protocol's ``Err`` and ``Error``.
        doc: its docstring.
    """

    def __init__(self, function: Callable[..., Any], prefix: str) -> None:
        self.function = function
        self.rpc: rpc = function.__rpc__  # type: ignore[attr-defined]
        self.name = function.__name__
        self.wire = f"{prefix}.{self.rpc.wire}"
        self.doc = inspect.getdoc(function) or ""
        try:
            self.signature = _signature(function)
            self.request = _request_struct(self)
            self.reply = _reply_struct(self)
        except (TypeError, NameError, ValueError) as wrong:
            raise TypeError(f"{function.__qualname__}: {wrong}") from wrong
        self._nulls = [name for name, key in _keys(self.signature) if key.null]
        self._request_decoder = msgspec.json.Decoder(self.request)
        self._reply_decoder = msgspec.json.Decoder(self.reply)
        self._as_request = reader(self.request)
        self._as_reply = reader(self.reply)
        self._result_of = _result_getter(self)

    def __repr__(self) -> str:
        return f"<Method {self.wire}: {self.name}{self.signature}>"

    @property
    def result(self) -> Any:
        """The type of the result; None's own type where there is none."""
        return self.signature.return_annotation

    # the host's end

    def encode_arguments(self, *args: Any, **kwargs: Any) -> msgspec.Struct | None:
        """Return what a call with these arguments sends: an object to be written as JSON, or None for an empty body.

        Raises:
            TypeError: arguments are missing, or too many.
        """
        try:
            request = self.request(*args, **kwargs)
        except TypeError as wrong:
            raise TypeError(f"{self.function.__qualname__}(): {wrong}") from None
        for name in self._nulls:
            if not getattr(request, name):
                setattr(request, name, None)
        return request if self.signature.parameters or self.rpc.empty_object else None

    def decode_reply(self, body: bytes) -> Any:
        """Return the result that stands in the body of a reply with status 200.

        Raises:
            RemoteError: the reply's ``Err`` (or ``Error``) says that the call failed.
            ProtocolError: the reply is not what was declared, with the place in it. Its ``method`` and
                RemoteError's are for the caller to set.
        """
        if self.rpc.ignore_reply:
            return None
        try:
            reply = self._reply_decoder.decode(body)
        except _UNREADABLE:
            reply = read(self._plain_reply(body), self._as_reply)
        result = self._result_of(reply)
        return result if self.rpc.check is None else self._checked(result)

    def _plain_reply(self, body: bytes) -> object:
        if not body.strip():
            if self.result is NoneType:
                return {}
            raise ProtocolError(f"the reply is empty; expected {self._expected()}")
        reply = decode_json(body)
        words = error_in(reply) if _ERR in self.reply.__struct_fields__ else ""
        if words:  # before all else: what else stands in a reply that reports an error need make no sense
            raise RemoteError(words, status=200)
        return {} if reply is None else reply

    def _expected(self) -> str:
        keys = (self.rpc.returns,) if self.rpc.returns else self.result.__struct_encode_fields__
        return "{" + ", ".join(f'"{key}": ...' for key in keys) + "}"

    def _checked(self, result: Any) -> Any:
        try:
            return self.rpc.check(result)  # type: ignore[misc]
        except ValueError as wrong:
            place = f"$.{self.rpc.returns}" if self.rpc.returns else "$"
            raise ProtocolError(f"{text_of(wrong)} - at `{place}`") from None

    # the plugin's end

    def decode_request(self, body: bytes) -> dict[str, Any]:
        """Return the keyword arguments that stand in the body of a request.

        Raises:
            ProtocolError: the body is empty where arguments are expected (a request that Docker's engine
                sends again has lost its body: moby ``pkg/plugins/client.go``), or is not what was declared.
        """
        if not self.signature.parameters:
            return {}
        try:
            request = self._request_decoder.decode(body)
        except _UNREADABLE:
            if not body.strip():
                raise ProtocolError("the request is empty; expected a JSON object") from None
            request = read(decode_json(body), self._as_request)
        return msgspec.structs.asdict(request)

    def encode_reply(self, result: Any) -> bytes:
        """Return the body of the reply for what a driver's method returned.

        Raises:
            TypeError: it is not what was declared, with the place. It would mislead the host: Docker mounts
                a container's own bundle where a mount point is missing.
        """
        if self.result is NoneType:
            return b"{}\n"
        try:
            body = encode_json({self.rpc.returns: result} if self.rpc.returns else result)
            kept = self._result_of(self._reply_decoder.decode(body))
            if isinstance(result, bytes) and not isinstance(kept, bytes):
                raise TypeError("bytes, which JSON has as base64")
            if self.rpc.check is not None:
                self.rpc.check(kept)
        except (*_UNREADABLE, TypeError, OverflowError, RemoteError) as wrong:
            words, shown = text_of(wrong), reprlib.repr(result)  # the host is told, and need not be told a megabyte
            raise TypeError(f"{self.name} returned {shown}, which is no answer to {self.wire}: {words}") from wrong
        return body


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if not inspect.isfunction(function):
        raise TypeError(f"declare it with def and self; it is a {type(function).__name__}")
    if inspect.iscoroutinefunction(function):
        raise TypeError("declare it with def; an async driver is a class under @implements")
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    untyped = [name for name in [*(parameter.name for parameter in parameters), "return"] if name not in hints]
    if untyped:
        raise TypeError(f"no type for {', '.join(untyped)}")
    typed = [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    return inspect.Signature(typed, return_annotation=hints["return"])


def _keys(signature: inspect.Signature) -> Iterable[tuple[str, Key]]:
    for name, parameter in signature.parameters.items():
        notes = get_args(parameter.annotation)[1:] if get_origin(parameter.annotation) is Annotated else ()
        key = next((note for note in notes if isinstance(note, Key)), Key())
        pascal = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
        yield name, Key(key.name or pascal, null=key.null)


def _request_struct(method: Method) -> type[msgspec.Struct]:
    fields = []
    for (name, key), parameter in zip(_keys(method.signature), method.signature.parameters.values(), strict=True):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{parameter} cannot be a field of a request")
        default = msgspec.NODEFAULT if parameter.default is parameter.empty else parameter.default
        fields.append((name, parameter.annotation, msgspec.field(default=default, name=key.name)))
    title = method.wire.replace(".", "") + "Request"
    return msgspec.defstruct(title, fields, forbid_unknown_fields=True, omit_defaults=method.rpc.omit_defaults)


# --- replies ------------------------------------------------------------------------------------------

_ERR, _ERROR = "_err", "_error"
_ENVELOPE = {_ERR: "Err", _ERROR: "Error"}  # the second is IPAM's; it is no good to anybody else's replies either


def _reply_struct(method: Method) -> type[msgspec.Struct]:
    fields = [_result_field(method)] if method.rpc.returns else _message_fields(method)
    taken = {field.name.lower() for _, _, field in fields}
    # A message with an Err or Error of its own says itself what it means: authz's does not count.
    if taken.isdisjoint(key.lower() for key in _ENVELOPE.values()):
        fields += [(name, str | None, msgspec.field(default=None, name=key)) for name, key in _ENVELOPE.items()]
    return msgspec.defstruct(method.wire.replace(".", "") + "Reply", fields, forbid_unknown_fields=True)


def _result_field(method: Method) -> tuple[str, Any, Any]:
    kind = method.result
    if method.rpc.check is not None:
        return "result", kind | None, msgspec.field(default=None, name=method.rpc.returns)
    return "result", kind, msgspec.field(name=method.rpc.returns, **_zero(kind))


def _zero(kind: Any) -> dict[str, Any]:
    """Return how a field of type ``kind`` says its default, nothing where a type has no zero value."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if kind is Any or NoneType in get_args(kind):
        return {"default": None}
    make = get_origin(kind) or kind
    if make in (str, bytes, bool, int, float, list, dict):
        return {"default_factory": make}
    if isinstance(make, type) and issubclass(make, msgspec.Struct):
        required = any(field.required for field in msgspec.structs.fields(make))
        return {} if required else {"default_factory": make}
    return {}


def _message_fields(method: Method) -> list[tuple[str, Any, Any]]:
    kind = method.result
    if kind is NoneType or method.rpc.stream:
        return []
    if not (isinstance(kind, type) and issubclass(kind, Message)):
        raise TypeError(f"the result is {kind}; say which key of the reply it is (returns=), or return a Message")
    return [(field.name, field.type, _restated(field)) for field in msgspec.structs.fields(kind)]


def _restated(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        return msgspec.field(name=field.encode_name)
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(default=field.default, name=field.encode_name)
    return msgspec.field(default_factory=field.default_factory, name=field.encode_name)


def _result_getter(method: Method) -> Callable[[Any], Any]:
    """Return the function that takes the result out of a decoded reply, and raises RemoteError where it is an error."""
    kind, names = method.result, method.reply.__struct_fields__
    enveloped = _ERR in names
    own = [name for name in names if name not in _ENVELOPE]

    def build(reply: Any) -> Any:
        return kind(**{name: getattr(reply, name) for name in own})

    take: Callable[[Any], Any] = build
    if method.rpc.returns:
        take = _take_result
    elif kind is NoneType:
        take = _take_nothing

    def result_of(reply: Any) -> Any:
        if enveloped and (reply._err or reply._error):
            raise RemoteError(reply._err or reply._error, status=200)
        return take(reply)

    return result_of


def _take_result(reply: Any) -> Any:
    return reply.result


def _take_nothing(reply: Any) -> None:
    return None
