"""Methods: the JSON that both sides write and read, from one declaration."""

# ruff: noqa: B006, RUF012 - defaults are declarations

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, get_type_hints

import msgspec
import pytest

from extframe.errors import ProtocolError, RemoteError
from extframe.interface.markers import Key, StreamCodec, rpc
from extframe.interface.messages import Message
from extframe.interface.methods import Method
from extframe.protocol import encode_json


class Item(Message, frozen=True):
    name: str = ""


class Answer(Message, frozen=True):
    count: int = 0
    items: list[Item] = []


class Verdict(Message, frozen=True):
    allow: bool = False
    err: str = ""


class Store:
    @rpc("Put", returns="ItemID", timeout=5.0)
    def put(
        self, item_name: str, id: Annotated[str, Key("ID")], labels: Annotated[dict[str, str], Key(null=True)] = {}
    ) -> str:
        """Store an item."""

    @rpc("Clear")
    def clear(self) -> None: ...

    @rpc("Count", empty_object=True)
    def count(self) -> Answer: ...

    @rpc("Find", returns="Items", omit_defaults=True)
    def find(self, name: str = "", limit: int = 0, *, tags: list[str] = []) -> list[Item]: ...

    @rpc("First", returns="Item")
    def first(self) -> Item: ...

    @rpc("Judge")
    def judge(self) -> Verdict: ...

    @rpc("Ping", ignore_reply=True)
    def ping(self) -> None: ...


def method(name: str, owner: type = Store) -> Method:
    return Method(getattr(owner, name), "Store")


PUT, CLEAR, COUNT, FIND, FIRST, JUDGE, PING = map(method, ("put", "clear", "count", "find", "first", "judge", "ping"))


def sent(method: Method, *args: Any, **kwargs: Any) -> bytes:
    arguments = method.encode_arguments(*args, **kwargs)
    return encode_json(arguments).rstrip(b"\n")


def declared(function: Callable[..., Any], **options: Any) -> Method:
    return Method(rpc("X", **options)(function), "Store")


# --- names --------------------------------------------------------------------------------------------


def test_a_method_has_its_names_and_the_arguments_of_rpc():
    assert (PUT.name, PUT.wire, PUT.doc) == ("put", "Store.Put", "Store an item.")
    assert (PUT.rpc.returns, PUT.rpc.timeout, PUT.rpc.idempotent) == ("ItemID", 5.0, False)
    assert "Store.Put" in repr(PUT)


# --- requests -----------------------------------------------------------------------------------------


def test_a_request_has_a_key_for_each_parameter_in_their_order():
    assert sent(PUT, id="1", item_name="a", labels={"b": "c"}) == b'{"ItemName":"a","ID":"1","Labels":{"b":"c"}}'


def test_an_empty_map_is_sent_as_null_if_declared():
    assert sent(PUT, "a", "1") == sent(PUT, "a", "1", {}) == b'{"ItemName":"a","ID":"1","Labels":null}'


def test_a_key_works_next_to_other_annotations():
    def tag(self, id: Annotated[str, "of the item", Key("ID")], name: Annotated[str, "new"]) -> None: ...

    assert sent(declared(tag), "1", "a") == b'{"ID":"1","Name":"a"}'


def test_defaults_are_omitted_if_declared():
    assert sent(FIND) == b"{}"
    assert sent(FIND, "a", tags=["b"]) == b'{"Name":"a","Tags":["b"]}'


def test_a_call_without_arguments_has_an_empty_body_or_an_empty_object_as_declared():
    assert sent(CLEAR) == b""
    assert sent(COUNT) == b"{}"


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [(("a",), {}, "'id'"), (("a", "b", {}, 1), {}, "Extra"), (("a",), {"ID": "b"}, "'ID'")],
)
def test_wrong_arguments_are_a_type_error_that_names_the_method(args, kwargs, message):
    with pytest.raises(TypeError, match=rf"Store\.put\(\): .*{message}"):
        PUT.encode_arguments(*args, **kwargs)


class Kind(enum.Enum):
    FAST = "fast"


class Part(Message, frozen=True):
    path: str = ""
    parts: list[Part] = []


class Typed:
    @rpc("Set")
    def set(
        self,
        name: str,
        opts: dict[str, str] = {},
        size: int = 0,
        ratio: float = 0.0,
        flag: bool = False,
        data: bytes = b"",
        tags: list[str] = [],
        part: Part = Part(),  # noqa: B008 - it is frozen
        anything: Any = None,
        kind: Kind = Kind.FAST,
        limit: Annotated[int, msgspec.Meta(ge=1)] = 1,
        maybe: str | None = None,
        level: Literal["low", "high"] = "low",
        numbers: dict[int, str] = {},
        either: int | str = 0,
    ) -> None: ...


SET = method("set", Typed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 5}, "name: expected str, got int"),
        ({"name": None}, "name: expected str, got None"),
        ({"name": b"x"}, "name: expected str, got bytes"),
        ({"opts": {"size": 10}}, "opts['size']: expected str, got int"),
        ({"opts": {1: "x"}}, "opts: expected str keys, got int"),
        ({"opts": "size=10"}, "opts: expected dict, got str"),
        ({"opts": None}, "opts: expected dict, got None"),
        ({"size": True}, "size: expected int, got bool"),
        ({"size": 1.5}, "size: expected int, got float"),
        ({"ratio": math.nan}, "ratio: nan cannot be sent as JSON"),
        ({"ratio": -math.inf}, "ratio: -inf cannot be sent as JSON"),
        ({"ratio": "1"}, "ratio: expected float, got str"),
        ({"flag": 1}, "flag: expected bool, got int"),
        ({"data": "eA=="}, "data: expected bytes, got str"),
        ({"tags": ["a", None]}, "tags[1]: expected str, got None"),
        ({"tags": "abc"}, "tags: expected list, got str"),
        ({"part": {"path": "x"}}, "part: expected Part, got dict"),
        ({"part": Part(parts=[Part(path=5)])}, "part.parts[0].path: expected str, got int"),  # type: ignore[arg-type]
        ({"anything": {"a": [1, math.nan]}}, "anything['a'][1]: nan cannot be sent as JSON"),
        ({"kind": "slow"}, "kind: invalid enum value 'slow'"),
        ({"limit": 0}, "limit: expected int >= 1"),
        ({"maybe": 5}, "maybe: expected str, got int"),
        ({"level": "middle"}, "level: invalid enum value 'middle'"),
        ({"numbers": {1: 2}}, "numbers[...]: expected str, got int"),
        ({"either": None}, "either: expected int | str, got null"),
    ],
)
def test_an_argument_of_another_type_is_refused_before_it_is_sent(arguments, message):
    with pytest.raises(TypeError) as caught:
        SET.encode_arguments(**{"name": "x", **arguments})
    assert str(caught.value) == f"Typed.set(): {message}"


def test_an_argument_that_contains_itself_is_refused():
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match=r"Typed\.set\(\): the arguments contain a circular reference"):
        SET.encode_arguments("x", anything=circle)


class Text(str):
    __slots__ = ()


class Number(enum.IntEnum):
    TWO = 2


def test_arguments_of_equivalent_types_are_accepted():
    arguments = SET.encode_arguments(
        Text("x"),
        opts=collections.OrderedDict(path=Path("/data")),  # type: ignore[dict-item]
        size=Number.TWO,
        ratio=1,
        data=bytearray(b"x"),
        tags=("a",),
        part=Part(path=Path("/part")),  # type: ignore[arg-type]
        kind="fast",
        maybe=Path("/maybe"),
    )
    assert json.loads(msgspec.json.encode(arguments)) == {
        "Name": "x",
        "Opts": {"path": "/data"},
        "Size": 2,
        "Ratio": 1,
        "Flag": False,
        "Data": "eA==",
        "Tags": ["a"],
        "Part": {"Path": "/part", "Parts": []},
        "Anything": None,
        "Kind": "fast",
        "Limit": 1,
        "Maybe": "/maybe",
        "Level": "low",
        "Numbers": {},
        "Either": 0,
    }


def test_a_request_is_read_back_as_keyword_arguments():
    assert PUT.decode_request(b'{"ItemName":"a","ID":"1","Labels":{"b":"c"}}\n') == {
        "item_name": "a",
        "id": "1",
        "labels": {"b": "c"},
    }


def test_a_request_may_have_keys_in_any_case_nulls_and_unknown_keys():
    assert PUT.decode_request(b'{"itemname":"a","Id":"1","Labels":null,"New":[]}') == {
        "item_name": "a",
        "id": "1",
        "labels": {},
    }


def test_each_request_gets_defaults_of_its_own():
    body = b'{"ItemName":"a","ID":"1"}'
    PUT.decode_request(body)["labels"]["b"] = "c"
    assert PUT.decode_request(body)["labels"] == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request is empty"),
        (b" \n", "the request is empty"),
        (b"{", "not JSON"),
        (b"[]", "Expected `object`"),
        (b'{"ItemName":5,"ID":""}', r"Expected `str`, got `int` - at `\$.ItemName`"),
        (b'{"ItemName":"a"}', "`ID`"),
        (b"[" * 100_000, "`array`|nested too deeply"),
    ],
)
def test_an_invalid_request_is_a_protocol_error_with_the_reason(body, message):
    with pytest.raises(ProtocolError, match=message):
        PUT.decode_request(body)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"{"])
def test_the_body_of_a_request_without_arguments_is_not_read(body):
    assert COUNT.decode_request(body) == {}


# --- values that JSON would change --------------------------------------------------------------------


class Free(Message, frozen=True):
    content: Any = None
    parts: list[Free] = []


@dataclasses.dataclass
class Record:
    ratio: float = 0.0


class Options(TypedDict):
    ratio: float


class Pair(NamedTuple):
    ratio: float = 0.0
    label: str = ""


def keep(
    self,
    any: Any = None,
    items: list = [],  # type: ignore[type-arg]
    opts: dict[str, Any] = {},
    numbers: dict[int, float] = {},
    limit: Annotated[float, msgspec.Meta(ge=0)] = 0.0,
    triple: tuple[str, float, Any] = ("", 0.0, None),
    ratios: tuple[float, ...] = (),
    chunks: tuple[bytes, ...] = (),
    either: int | float | dict[str, Any] = 0,
    maybe: float | None = None,
    unique: set[float] = set(),
    free: Free = Free(),  # noqa: B008 - it is frozen
    record: Record = Record(),  # noqa: B008
    options: Options | None = None,
    pair: Pair = Pair(),  # noqa: B008
    keyed: dict[Any, str] = {},
) -> None: ...


BYTES_IN_ANY = "bytes cannot be sent as JSON in an Any; declare a parameter or a field of a Message as bytes"
CONVERT = "cannot be sent as JSON in an Any; convert it to str, int, float, bool, list or dict"
CHANGED_VALUES: list[tuple[str, Any, str]] = [
    ("any", b"x", f": {BYTES_IN_ANY}"),
    ("any", {"a": [{"b": (1, bytearray(b"x"))}]}, f"['a'][0]['b'][1]: {BYTES_IN_ANY.replace('bytes', 'bytearray', 1)}"),
    ("any", math.inf, ": inf cannot be sent as JSON"),
    ("any", {1: "x"}, ": expected str keys, got int"),
    ("any", Free(content=b"x"), f".content: {BYTES_IN_ANY}"),
    ("any", Record(math.nan), ".ratio: nan cannot be sent as JSON"),
    ("any", datetime.date(2026, 1, 1), f": date {CONVERT}"),
    ("any", {"kind": Kind.FAST}, f"['kind']: Kind {CONVERT}"),
    ("any", [{1}], f"[0]: set {CONVERT}"),
    ("items", [b"x"], f"[0]: {BYTES_IN_ANY}"),
    ("opts", {"a": -math.inf}, "['a']: -inf cannot be sent as JSON"),
    ("numbers", {1: math.nan}, "[1]: nan cannot be sent as JSON"),
    ("limit", math.inf, ": inf cannot be sent as JSON"),
    ("triple", ("", math.nan, None), "[1]: nan cannot be sent as JSON"),
    ("triple", ("", 0.0, [b"x"]), f"[2][0]: {BYTES_IN_ANY}"),
    ("ratios", (0.0, math.nan), "[1]: nan cannot be sent as JSON"),
    ("chunks", ("YWJj",), "[0]: expected bytes, got str"),
    ("either", math.nan, ": nan cannot be sent as JSON"),
    ("either", {"a": b"x"}, f"['a']: {BYTES_IN_ANY}"),
    ("maybe", math.nan, ": nan cannot be sent as JSON"),
    ("unique", {math.inf}, "[0]: inf cannot be sent as JSON"),
    ("free", Free(parts=[Free(content=b"x")]), f".parts[0].content: {BYTES_IN_ANY}"),
    ("record", Record(math.nan), ".ratio: nan cannot be sent as JSON"),
    ("options", {"ratio": math.nan}, ".ratio: nan cannot be sent as JSON"),
    ("pair", Pair(math.nan), ".ratio: nan cannot be sent as JSON"),
    ("keyed", {1: "x"}, ": expected str keys, got int"),
]


@pytest.mark.parametrize(("name", "value", "place"), CHANGED_VALUES)
def test_a_value_that_json_would_change_is_refused_on_both_sides(name, value, place):
    with pytest.raises(TypeError) as caught:
        declared(keep).encode_arguments(**{name: value})
    assert str(caught.value) == f"keep(): {name}{place}"
    if name != "chunks":
        hint = get_type_hints(keep, include_extras=True)[name]

        def result(self): ...

        result.__annotations__["return"] = hint
        with pytest.raises(TypeError, match=re.escape(f"the result{place}")):
            declared(result, returns="Result").encode_reply(value)


def test_values_that_arrive_unchanged_are_sent():
    free = {"a": [1, 2.5, None, True, Text("x"), {"b": "c"}], "path": Path("/data"), "pair": (1, 2), "n": 2**70}
    body = sent(declared(keep), free, free["a"], free, {1: 1.5}, 1.0, ("", 1.0, free), (1.5,), (b"x",))
    expected = {**free, "path": "/data", "pair": [1, 2]}
    received = json.loads(body)
    assert received["Any"] == received["Opts"] == received["Triple"][2] == expected
    assert received["Chunks"] == ["eA=="]
    assert declared(keep).decode_request(body)["any"] == expected


# --- replies ------------------------------------------------------------------------------------------


def test_the_result_is_the_value_of_the_key_that_is_returned():
    assert PUT.decode_reply(b'{"ItemID":"1"}') == "1"


def test_the_result_is_the_whole_reply_without_returns():
    result = COUNT.decode_reply(b'{"Count":2,"Items":[{"Name":"a"}],"Err":""}')
    assert result == Answer(count=2, items=[Item(name="a")])
    assert type(result) is Answer


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"ItemID":null,"Items":null,"Item":null,"Count":null}'])
def test_a_missing_or_null_result_is_its_zero_value(body):
    results = [each.decode_reply(body) for each in (PUT, CLEAR, COUNT, FIND, FIRST)]
    assert results == ["", None, Answer(), [], Item()]


@pytest.mark.parametrize("key", ["Err", "err", "ERR", "Error", "error"])
@pytest.mark.parametrize("of", [PUT, CLEAR, COUNT, FIND], ids=repr)
def test_an_error_in_a_reply_with_status_200_is_a_remote_error(key, of):
    with pytest.raises(RemoteError) as caught:
        of.decode_reply(msgspec.json.encode({key: "no room"}))
    assert (caught.value.message, caught.value.status) == ("no room", 200)


def test_the_plugins_error_message_takes_precedence_over_other_faults_of_the_reply():
    with pytest.raises(RemoteError, match="no room"):
        PUT.decode_reply(b'{"ItemID":5,"Err":"no room"}')


def test_an_empty_or_null_error_is_none():
    assert PUT.decode_reply(b'{"ItemID":"1","Err":"","Error":null}') == "1"


def test_a_message_with_its_own_err_field_does_not_fail_the_call():
    assert JUDGE.decode_reply(b'{"Allow":true,"Err":"x"}') == Verdict(allow=True, err="x")
    assert JUDGE.decode_reply(b'{"allow":true,"err":"x"}') == Verdict(allow=True, err="x")


class Report(Message, frozen=True):
    error: str = ""


def report(self) -> Report: ...


def test_a_message_with_its_own_error_field_does_not_fail_the_call():
    of = declared(report)
    for body in (b'{"Error":"x"}', b'{"error":"x","Err":"y"}'):
        assert of.decode_reply(body) == Report(error="x")


def test_a_wrong_result_is_shortened_in_the_message():
    with pytest.raises(TypeError) as caught:
        PUT.encode_reply(["x" * 100] * 1000)
    assert len(str(caught.value)) < 400


def test_an_empty_body_is_a_reply_if_no_result_is_expected():
    assert CLEAR.decode_reply(b"") is None
    assert CLEAR.decode_reply(b" \n") is None


@pytest.mark.parametrize(("of", "keys"), [(PUT, '"ItemID": ...'), (COUNT, '"Count": ..., "Items": ...')])
def test_an_empty_body_is_a_protocol_error_if_a_result_is_expected(of, keys):
    with pytest.raises(ProtocolError) as caught:
        of.decode_reply(b"")
    assert caught.value.message == f"the reply is empty; expected {{{keys}}}"


@pytest.mark.parametrize(
    ("of", "body", "message"),
    [
        (PUT, b'{"ItemID":5}', r"Expected `str`, got `int` - at `\$.ItemID`"),
        (PUT, b'{"itemid":5}', r"Expected `str`, got `int` - at `\$.ItemID`"),
        (FIND, b'{"Items":[{},null,{"Name":[]}]}', r"Expected `str`, got `array` - at `\$.Items\[2\].Name`"),
        (COUNT, b'{"Count":"two"}', r"Expected `int`, got `str` - at `\$.Count`"),
        (CLEAR, b"[]", "Expected `object`, got `array`"),
        (CLEAR, b"<html>", "not JSON.*<html>"),
        (CLEAR, b'{"Err":5}', r"Expected `str`, got `int` - at `\$.Err`"),
        (PUT, b'\xef\xbb\xbf{"ItemID":"1"}', "not JSON: it begins with a byte order mark"),
    ],
)
def test_an_invalid_reply_is_a_protocol_error_with_the_place(of, body, message):
    with pytest.raises(ProtocolError, match=message):
        of.decode_reply(body)


def test_bytes_that_are_not_utf_8_become_replacement_characters():
    assert PUT.decode_reply(b'{"ItemID":"a\xff"}') == "a\ufffd"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"Err":"x"}'])
def test_an_ignored_reply_is_not_read(body):
    assert PING.decode_reply(body) is None


# --- check --------------------------------------------------------------------------------------------


def not_negative(number: int | None) -> int:
    if number is None:
        return 0
    if number < 0:
        raise ValueError("Expected a number that is not negative")
    return number + 1


def size(self) -> int: ...


SIZE = declared(size, returns="Size", check=not_negative)


def test_a_check_normalises_the_result_and_gets_none_if_it_is_absent():
    assert SIZE.decode_reply(b'{"Size":1}') == 2
    assert SIZE.decode_reply(b'{"Size":null}') == SIZE.decode_reply(b"null") == 0


def test_a_check_that_refuses_is_a_protocol_error_with_the_place():
    with pytest.raises(ProtocolError, match=r"Expected a number that is not negative - at `\$.Size`"):
        SIZE.decode_reply(b'{"Size":-1}')


# --- replies that a plugin sends ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "result", "body"),
    [
        (PUT, "1", b'{"ItemID":"1"}\n'),
        (CLEAR, None, b"{}\n"),
        (CLEAR, "what a driver returns by accident", b"{}\n"),
        (COUNT, Answer(count=1, items=[Item(name="a")]), b'{"Count":1,"Items":[{"Name":"a"}]}\n'),
        (FIND, [], b'{"Items":[]}\n'),
        (PUT, Path("/data"), b'{"ItemID":"/data"}\n'),
        (FIRST, Item(name=Path("/data")), b'{"Item":{"Name":"/data"}}\n'),  # type: ignore[arg-type]
        (JUDGE, Verdict(allow=True), b'{"Allow":true,"Err":""}\n'),
        (SIZE, 1, b'{"Size":1}\n'),
    ],
)
def test_a_result_is_written_as_a_reply(of, result, body):
    assert of.encode_reply(result) == body


@pytest.mark.parametrize(
    ("of", "result", "message"),
    [
        (
            PUT,
            None,
            "put returned None, an invalid reply to Store.Put: expected str, got None; is a return statement missing",
        ),
        (PUT, 5, r"Expected `str`, got `int` - at `\$.ItemID`"),
        (PUT, object(), "unsupported"),
        (PUT, "\ud800", "surrogates"),
        (PUT, 2**80, "`float`|range"),
        (COUNT, Item(name="a"), "unknown field `Name`"),
        (COUNT, None, "expected Answer, got None"),
        (FIND, [Item(name="a"), None], r"\$.Items\[1\]"),
        (SIZE, -1, "not negative"),
    ],
)
def test_a_result_that_is_not_what_was_declared_is_a_type_error(of, result, message):
    with pytest.raises(TypeError, match=message):
        of.encode_reply(result)


# --- invalid declarations -----------------------------------------------------------------------------


def untyped(self, name) -> None: ...
def without_result(self, name: str): ...
def variadic(self, *names: str) -> None: ...
def undefined(self, name: Nowhere) -> None: ...  # noqa: F821
def shapeless(self) -> str: ...
async def asynchronous(self) -> None: ...
def chunks(self) -> Iterator[bytes]: ...
def bare(self) -> Iterator: ...  # type: ignore[type-arg]
def paths(self) -> Iterator[Path]: ...
def keyed_stream(self) -> Iterator[str]: ...
def ambiguous(self, data: list[str | bytes]) -> None: ...
def ambiguous_any(self) -> dict[str, bytes | Any]: ...
def two_texts(self, data: bytes | Kind) -> None: ...
def nested(self, names: dict[str, list[Iterator[str]]]) -> None: ...
def pathlike(self, path: Path) -> None: ...


class Odd(Message, frozen=True):
    thing: object = None


def odd(self) -> Odd: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "no type for name"),
        (without_result, "no type for return"),
        (variadic, "cannot be a request field"),
        (undefined, "'Nowhere' is not defined"),
        (shapeless, "name its key in the reply with returns="),
        (asynchronous, "declare it with def"),
        (chunks, r"Iterator\[bytes\] is not a JSON type; .*stream=StreamCodec"),
        (bare, "Iterator'> is not a JSON type"),
        (paths, "Path is not a JSON type"),
        (
            ambiguous,
            r"str \| bytes is ambiguous in JSON, where bytes are base64 text: declare bytes, str, or a",
        ),
        (two_texts, "may not contain more than one str-like type"),
        (nested, r"Iterator\[str\] is not a JSON type"),
        (pathlike, "Path is not a JSON type"),
        (odd, "object is not a JSON type"),
    ],
)
def test_an_invalid_declaration_is_a_type_error_that_names_the_function(function, message):
    with pytest.raises(TypeError, match=f"{function.__name__}: .*{message}"):
        declared(function)


def test_a_stream_has_no_key():
    with pytest.raises(TypeError, match="keyed_stream: omit returns=; a stream has no keys"):
        declared(keyed_stream, returns="Lines")


def test_a_result_that_mixes_bytes_with_any_is_refused_at_declaration():
    with pytest.raises(TypeError, match=r"ambiguous_any: .*bytes.* is ambiguous in JSON"):
        declared(ambiguous_any, returns="Data")


def test_a_stream_must_be_an_iterator():
    with pytest.raises(TypeError, match=r"the result of a stream is <class 'str'>; expected Iterator\[...\]"):
        declared(shapeless, stream=StreamCodec(unpack=iter, pack=bytes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wire", [untyped, "", "VolumeDriver.Mount", "Mount/../Remove", "two words", "\x1b[2J", "Mönt", None]
)
def test_an_invalid_wire_name_is_refused_with_an_example(wire):
    with pytest.raises(
        TypeError, match=r'@rpc takes the wire name of the method without its prefix, as in @rpc\("Mount"\)'
    ):
        rpc(wire)


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_an_invalid_timeout_is_refused_at_declaration(timeout):
    with pytest.raises(ValueError, match=r"@rpc\('Mount'\): timeout is .*; expected seconds, more than 0"):
        rpc("Mount", timeout=timeout)


def test_a_method_without_self_is_refused():
    with pytest.raises(TypeError, match="declare it with def and self; it is a staticmethod"):
        declared(staticmethod(shapeless))


class Required(Message, frozen=True):
    name: str


def required(self) -> Required: ...
def optional(self) -> Required | None: ...
def moment(self) -> Annotated[float, "seconds"]: ...
def anything(self) -> Any: ...
def mood(self) -> Literal["good", "bad"]: ...


def test_a_result_without_a_zero_value_is_required():
    of = declared(required, returns="Item")
    assert of.decode_reply(b'{"Item":{"Name":"a"}}') == Required(name="a")
    for body in (b"{}", b'{"Item":null}', b'{"Item":{}}'):
        with pytest.raises(ProtocolError, match=r"missing required field `(Item|Name)`"):
            of.decode_reply(body)
    assert declared(required).decode_reply(b'{"name":"a"}') == Required(name="a")
    with pytest.raises(ProtocolError, match="missing required field `Mood`"):
        declared(mood, returns="Mood").decode_reply(b"{}")


def test_annotations_do_not_change_the_zero_value():
    assert declared(moment, returns="Moment").decode_reply(b"{}") == 0.0


def test_a_result_of_type_any_is_returned_unchanged():
    of = declared(anything, returns="Thing")
    assert of.decode_reply(b'{"thing":{"A":[null]}}') == {"A": [None]}
    assert of.decode_reply(b"{}") is None


def test_an_optional_result_is_none_if_absent():
    assert declared(optional, returns="Item").decode_reply(b"{}") is None
    assert declared(optional, returns="Item").encode_reply(None) == b'{"Item":null}\n'
