"""One remote method: its names, its types, and the JSON that both sides write and read. Knows no client, no driver."""

from __future__ import annotations

import inspect
import operator
import reprlib
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from ..errors import ProtocolError, RemoteError
from ..protocol import check_decoded_size, decode_json, error_in
from ..text import UNCHECKED, text_of
from .arguments import check_of, exact_type
from .json_lines import json_lines
from .json_types import check_type, is_async_stream, is_stream
from .lossless import fault_finder
from .markers import Key, StreamCodec, rpc
from .messages import encode, read, reader
from .results import ERR, reply_struct, result_getter

__all__ = ["Key", "Method", "StreamCodec", "rpc"]

# ValidationError, DecodeError and UnicodeDecodeError are all ValueErrors.
_UNREADABLE = (ValueError, RecursionError)


class Method:
    """A declared method, ready for use on both sides.

    Attributes:
        function: the function in the interface.
        name: its Python name, ``mount``.
        wire: its wire name with the prefix, ``VolumeDriver.Mount``.
        rpc: the arguments of ``@rpc``.
        signature: its parameters without ``self`` and its result, with resolved types.
        request: the request, a msgspec Struct with one field per parameter.
        reply: the reply, a msgspec Struct with the fields of the result and the protocol's ``Err`` and ``Error``.
        stream: the encoding of the records of a stream; None for a method with a single reply.
        doc: its docstring.
        is_async: whether it is declared in an AsyncInterface, for async code only.
        follows: takes the request and returns whether its stream follows (`rpc`).
        newer: the parameters that were added after version 1 of the interface, each with its version.
        newest: the version of the interface in which the method got its present form.

    ``version`` is the version of the interface; ``lenient`` is whether unknown arguments are ignored.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        prefix: str,
        *,
        is_async: bool = False,
        version: int = 1,
        lenient: bool = True,
    ) -> None:
        self.function = function
        self.is_async = is_async
        self.rpc: rpc = function.__rpc__  # type: ignore[attr-defined]
        self.name = function.__name__
        self.wire = f"{prefix}.{self.rpc.wire}"
        self.doc = inspect.getdoc(function) or ""
        try:
            _check_function(function)
            self.signature = _signature(function)
            self.stream = self.rpc.stream or _json_lines(self.result)
            _check_kind(self)
            _check_types(self)
            self.request = _request_struct(self)
            returned = NoneType if self.stream else self.result
            self.reply = reply_struct(self.wire, self.rpc, returned)
            self.follows = _follows_getter(self)
            self.newer = _newer_parameters(self, version)
            self._request_decoder = msgspec.json.Decoder(self.request)
            self._reply_decoder = msgspec.json.Decoder(self.reply)
        except (TypeError, NameError, ValueError) as wrong:
            raise TypeError(f"{function.__qualname__}: {wrong}") from wrong
        kinds = [(name, _plain(each.annotation)) for name, each in self.signature.parameters.items()]
        self._checks = [(name, exact_type(kind), check_of(kind)) for name, kind in kinds]
        self.newest = max(self.rpc.since, *self.newer.values(), 1)
        self._arguments = None if lenient else {key.lower() for key in self.request.__struct_encode_fields__}
        self._null_fields = [name for name, key in _keys(self.signature) if key.null]
        self._read_request = reader(self.request)
        self._read_reply = reader(self.reply)
        self._result_of = result_getter(self.reply, self.rpc, returned)
        self._find_fault = fault_finder(self.result)
        self._may_be_none = self.result is Any or NoneType in get_args(self.result)

    def __repr__(self) -> str:
        return f"<Method {self.wire}: {self.name}{self.signature}>"

    @property
    def result(self) -> Any:
        """The type of the result; NoneType if there is none."""
        return self.signature.return_annotation

    # The host's side.

    def encode_arguments(self, *args: Any, **kwargs: Any) -> msgspec.Struct | None:
        """Return the request of a call with these arguments, an object to encode as JSON; None for an empty body.

        Raises:
            TypeError: an argument is missing or has another type than the parameter, or there are too many.
            ValueError: an argument contains itself.
        """
        try:
            request = self.request(*args, **kwargs)
            for name, exact, check in self._checks:
                value = getattr(request, name)
                if type(value) is not exact:
                    checked = check(value, name)
                    if checked is not value:
                        setattr(request, name, checked)
        except TypeError as wrong:
            raise TypeError(f"{self.function.__qualname__}(): {wrong}") from None
        except RecursionError:
            text = "the arguments contain a circular reference, or are nested too deeply for JSON"
            raise ValueError(f"{self.function.__qualname__}(): {text}") from None
        for name in self._null_fields:
            if not getattr(request, name):
                setattr(request, name, None)
        return request if self.signature.parameters or self.rpc.empty_object else None

    def decode_reply(self, body: bytes) -> Any:
        """Return the result in the body of a reply with status 200.

        Raises:
            RemoteError: the reply's ``Err`` (or ``Error``) says that the call failed.
            ProtocolError: the reply does not match the declaration; the message has the place in it. The caller
                sets ``method`` on both errors.
        """
        if self.rpc.ignore_reply:
            return None
        if len(body) > UNCHECKED:
            check_decoded_size(body)
        try:
            reply = self._reply_decoder.decode(body)
        except _UNREADABLE:
            reply = read(self._untyped_reply(body), self._read_reply)
        result = self._result_of(reply)
        return result if self.rpc.check is None else self._checked(result)

    def _untyped_reply(self, body: bytes) -> object:
        if not body.strip():
            if self.result is NoneType:
                return {}
            raise ProtocolError(f"the reply is empty; expected {self._expected_keys()}")
        reply = decode_json(body)
        message = error_in(reply) if ERR in self.reply.__struct_fields__ else ""
        if message:  # first of all: the rest of a reply that reports an error may be anything
            raise RemoteError(message, status=200)
        return {} if reply is None else reply

    def _expected_keys(self) -> str:
        keys = (self.rpc.returns,) if self.rpc.returns else self.result.__struct_encode_fields__
        return "{" + ", ".join(f'"{key}": ...' for key in keys) + "}"

    def _checked(self, result: Any) -> Any:
        try:
            return self.rpc.check(result)  # type: ignore[misc]
        except ValueError as wrong:
            place = f"$.{self.rpc.returns}" if self.rpc.returns else "$"
            raise ProtocolError(f"{text_of(wrong)} - at `{place}`") from None

    # The plugin's side.

    def decode_request(self, body: bytes) -> dict[str, Any]:
        """Return the keyword arguments in the body of a request.

        Raises:
            ProtocolError: the body does not match the declaration, or is empty although arguments are expected
                (a request that Docker's engine retries has lost its body: moby ``pkg/plugins/client.go``).
        """
        if not self.signature.parameters:
            return {}
        try:
            request = self._request_decoder.decode(body)
        except _UNREADABLE:
            if not body.strip():
                raise ProtocolError("the request is empty; expected a JSON object") from None
            # Leniency is for replies: a plugin that acts on half a request, or on a repaired name, does harm.
            value = decode_json(body, exact=True)
            self._check_arguments(value)
            request = read(value, self._read_request)
        return msgspec.structs.asdict(request)

    def _check_arguments(self, request: object) -> None:
        """Refuse an argument that this plugin does not know: ignoring it may do something else than was asked for."""
        if self._arguments is None or not isinstance(request, dict):
            return
        for key, value in request.items():
            if key.lower() not in self._arguments and value is not None:
                raise ProtocolError(
                    f"{key!r} is not an argument of {self.wire}; the caller may be newer than this plugin"
                )

    def encode_reply(self, result: Any) -> bytes:
        """Return the body of the reply for the result of a driver's method.

        Raises:
            TypeError: the result does not match the declaration; the message has the place in it. Sending it
                would mislead the host: Docker mounts a container's own bundle if a mount point is missing.
        """
        if self.result is NoneType:
            return b"{}\n"
        if result is None and not self._may_be_none:
            expected = getattr(self.result, "__name__", self.result)
            raise self._invalid_reply(None, f"expected {expected}, got None; is a return statement missing?")
        try:
            fault = None if self._find_fault is None else self._find_fault(result)
            if fault is not None:
                raise TypeError(f"the result{fault}")
            body = encode({self.rpc.returns: result} if self.rpc.returns else result)
            kept = self._result_of(self._reply_decoder.decode(body))
            if isinstance(result, bytes) and not isinstance(kept, bytes):
                raise TypeError("bytes, which JSON carries as base64")
            if self.rpc.check is not None:
                self.rpc.check(kept)
        except (*_UNREADABLE, TypeError, OverflowError, RemoteError) as wrong:
            raise self._invalid_reply(result, text_of(wrong)) from wrong
        return body

    def _invalid_reply(self, result: Any, reason: str) -> TypeError:
        shown = reprlib.repr(result)  # a long result is shortened for the host
        return TypeError(f"{self.name} returned {shown}, an invalid reply to {self.wire}: {reason}")


def _check_function(function: Callable[..., Any]) -> None:
    if not inspect.isfunction(function):
        raise TypeError(f"declare it with def and self; it is a {type(function).__name__}")


def _json_lines(result: Any) -> StreamCodec | None:
    """Return the codec of a result that is a stream of anything but bytes."""
    kinds = get_args(result)[:1] if is_stream(result) else ()
    if not kinds or kinds[0] is bytes:
        return None
    check_type(kinds[0])
    return json_lines(kinds[0])


def _check_kind(method: Method) -> None:
    is_coroutine = inspect.iscoroutinefunction(method.function) or inspect.isasyncgenfunction(method.function)
    if is_coroutine and not method.is_async:
        raise TypeError("declare it with def, or in an AsyncInterface")
    if is_coroutine and method.stream is not None:
        raise TypeError("declare a stream with def, and with the result AsyncIterator[...]")
    if method.is_async and not is_coroutine and method.stream is None:
        raise TypeError("declare it with async def")


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    untyped = [name for name in [*(parameter.name for parameter in parameters), "return"] if name not in hints]
    if untyped:
        raise TypeError(f"no type for {', '.join(untyped)}")
    typed = [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    return inspect.Signature(typed, return_annotation=hints["return"])


def _plain(kind: Any) -> Any:
    """Return a type without the key that is written next to it."""
    is_plain = get_origin(kind) is Annotated and not any(isinstance(note, msgspec.Meta) for note in kind.__metadata__)
    return get_args(kind)[0] if is_plain else kind


def _check_types(method: Method) -> None:
    for parameter in method.signature.parameters.values():
        check_type(parameter.annotation)
    if method.stream is None:
        check_type(method.result)
    elif method.rpc.returns is not None:
        raise TypeError("omit returns=; a stream has no keys")
    elif not is_stream(method.result) or is_async_stream(method.result) != method.is_async:
        expected = "AsyncIterator[...]" if method.is_async else "Iterator[...]"
        raise TypeError(f"the result of a stream is {method.result}; expected {expected}")


def _newer_parameters(method: Method, version: int) -> dict[str, int]:
    """Return the versions that added parameters, by their names.

    Raises:
        TypeError: a version is not one of the interface, or a parameter that was added has no default.
    """
    found = {name: key.since for name, key in _keys(method.signature) if key.since != 1}
    for since in (method.rpc.since, *found.values()):
        if type(since) is not int or not 1 <= since <= version:
            raise TypeError(f"since={since!r} is not a version of the interface, whose version= is {version}")
    for name, since in found.items():
        if method.signature.parameters[name].default is inspect.Parameter.empty:
            raise TypeError(f"{name} was added in version {since}: it needs a default, for older callers")
    return found


def _follows_getter(method: Method) -> Callable[[Any], bool]:
    follows = method.rpc.follows
    if follows is not False and method.stream is None:
        raise TypeError("follows= is for streams, and this method returns no stream")
    if isinstance(follows, bool):
        return lambda request: follows
    fields = {name: _plain(each.annotation) for name, each in method.signature.parameters.items()}
    kind: Any = None
    for name in follows.split("."):
        if name not in fields:
            raise TypeError(f"follows={follows!r}: there is no {name!r}; expected one of {', '.join(fields) or 'none'}")
        kind = fields[name]
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)} if is_struct else {}
    if kind is not bool:
        raise TypeError(f"follows={follows!r} is {kind}; expected bool")
    return operator.attrgetter(follows)


def _keys(signature: inspect.Signature) -> Iterable[tuple[str, Key]]:
    for name, parameter in signature.parameters.items():
        notes = get_args(parameter.annotation)[1:] if get_origin(parameter.annotation) is Annotated else ()
        key = next((note for note in notes if isinstance(note, Key)), Key())
        pascal = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
        yield name, replace(key, name=key.name or pascal)


def _request_field(key: Key, default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return msgspec.field(name=key.name)
    if key.always:  # msgspec omits no default that a function makes
        return msgspec.field(default_factory=lambda: copy(default), name=key.name)
    return msgspec.field(default=default, name=key.name)


def _request_struct(method: Method) -> type[msgspec.Struct]:
    fields = []
    for (name, key), parameter in zip(_keys(method.signature), method.signature.parameters.values(), strict=True):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{parameter} cannot be a request field")
        fields.append((name, parameter.annotation, _request_field(key, parameter.default)))
    title = method.wire.replace(".", "") + "Request"
    return msgspec.defstruct(title, fields, forbid_unknown_fields=True, omit_defaults=method.rpc.omit_defaults)
