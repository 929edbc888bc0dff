"""Messages: decoded as leniently as Go decodes; everything else is an error that names the place."""

# ruff: noqa: RUF012 - defaults are declarations

from __future__ import annotations

import enum
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import msgspec
import pytest

from extframe.errors import ProtocolError
from extframe.interface.messages import ZERO_TIME, Message, format_time, parse_time, read, reader


class Colour(enum.Enum):
    RED = "red"


class Part(Message, frozen=True):
    part_name: str = ""
    id: str = msgspec.field(default="", name="ID")
    parts: list[Part] = []


class Whole(Message, frozen=True, omit_defaults=True):
    part: Part | None = None
    parts: list[Part] = []
    by_name: dict[str, Part] = {}
    free: dict[str, Any] = {}
    text: str = msgspec.field(default_factory=str)


class Strict(Message, frozen=True):
    needed: str


@pytest.mark.parametrize("arguments", [("a",), ("a", "b")])
def test_fields_are_keyword_arguments_in_every_subclass(arguments):
    class Longer(Part, frozen=True):
        size: int = 0

    for message in (Part, Longer):
        with pytest.raises(TypeError, match="Extra positional arguments"):
            message(*arguments)
        assert message(part_name="a").part_name == "a"
    assert Strict(needed="a") == Strict(needed="a")
    with pytest.raises(AttributeError):
        Part().id = "b"


def test_keys_match_in_any_case():
    value = read({"PART": {"partname": "a", "iD": "b"}, "text": "c"}, reader(Whole))
    assert value == Whole(part=Part(part_name="a", id="b"), text="c")


def test_unknown_keys_are_ignored():
    assert read({"Text": "a", "Later": {"b": []}}, reader(Whole)) == Whole(text="a")


def test_the_last_of_two_spellings_of_a_key_wins():
    assert read({"Text": "a", "text": "b"}, reader(Whole)) == Whole(text="b")


def test_a_null_counts_as_absent_in_messages_lists_and_maps():
    value = {"Text": None, "Parts": [None, {"ID": "a"}, None], "ByName": {"x": None, "y": {"ID": "b"}}}
    assert read(value, reader(Whole)) == Whole(parts=[Part(id="a")], by_name={"y": Part(id="b")})


def test_free_form_objects_keep_their_nulls_and_their_keys():
    assert read({"FREE": {"Text": None, "a": [None]}}, reader(Whole)).free == {"Text": None, "a": [None]}


def test_a_message_may_hold_its_own_kind():
    value = read({"Parts": [{"parts": [{"ID": "a"}]}]}, reader(Part))
    assert value == Part(parts=[Part(parts=[Part(id="a")])])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "Expected `object`, got `array` - at `$`"),
        ({"Text": 5}, "Expected `str`, got `int` - at `$.Text`"),
        ({"part": {"id": []}}, "Expected `str`, got `array` - at `$.Part.ID`"),
        ({"Parts": {}}, "Expected `array`, got `object` - at `$.Parts`"),
        ({"Parts": [None, {}, {"PartName": 1}]}, "Expected `str`, got `int` - at `$.Parts[2].PartName`"),
        ({"ByName": {"x y": True}}, "Expected `object`, got `bool` - at `$.ByName['x y']`"),
        ({"ByName": "x"}, "Expected `object`, got `str` - at `$.ByName`"),
    ],
)
def test_a_wrong_type_is_an_error_that_names_the_place(value, message):
    with pytest.raises(ProtocolError) as caught:
        read(value, reader(Whole))
    assert caught.value.message == message


def test_errors_of_msgspec_keep_their_place():
    with pytest.raises(ProtocolError, match=r"Expected `int`, got `str` - at `\$\[1\]`"):
        read([1, "x"], reader(tuple[int, ...]))


def test_a_required_field_that_is_missing_is_an_error_that_names_it():
    with pytest.raises(ProtocolError, match=r"missing required field `Needed` - at `\$`"):
        read({}, reader(Strict))


@pytest.mark.parametrize("kind", [Colour, Literal["red"], Colour | None, Annotated[Colour, "noted"]])
def test_choices_match_in_any_case(kind):
    assert read("RED", reader(kind)) in (Colour.RED, "red")
    with pytest.raises(ProtocolError, match=r"at `\$`"):
        read("green", reader(kind))
    with pytest.raises(ProtocolError):
        read(5, reader(kind))


def test_choices_that_are_numbers_match_exactly():
    assert read(1, reader(Literal[1, "one"])) == 1
    with pytest.raises(ProtocolError):
        read(2, reader(Literal[1, "one"]))


def test_a_constraint_in_a_type_is_kept():
    with pytest.raises(ProtocolError, match=r"Expected `int` >= 1 - at `\$`"):
        read(0, reader(Annotated[int, msgspec.Meta(ge=1)]))


def test_a_union_of_several_types_is_read_exactly():
    assert read("a", reader(int | str)) == "a"
    with pytest.raises(ProtocolError):
        read([], reader(int | str))


def test_a_map_with_other_keys_than_str_is_read_exactly():
    with pytest.raises(ProtocolError):
        read({"a": "b"}, reader(dict[int, str]))


def test_defaults_are_left_out_but_for_those_of_a_factory():
    assert msgspec.json.encode(Whole()) == b'{"Text":""}'


UTC = timezone.utc


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2016-09-28T17:10:31Z", datetime(2016, 9, 28, 17, 10, 31, tzinfo=UTC)),
        ("2016-09-28t17:10:31.5z", datetime(2016, 9, 28, 17, 10, 31, 500000, tzinfo=UTC)),
        ("2016-09-28T17:10:31.123456789Z", datetime(2016, 9, 28, 17, 10, 31, 123456, tzinfo=UTC)),
        (
            "2016-09-28T17:10:31-05:30",
            datetime(2016, 9, 28, 17, 10, 31, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
        ),
        ("2016-09-28 17:10:31 +0000 UTC", datetime(2016, 9, 28, 17, 10, 31, tzinfo=UTC)),
        ("2016-09-28 17:10:31.5 +0200 CEST m=+0.01", datetime(2016, 9, 28, 15, 10, 31, 500000, tzinfo=UTC)),
        (" 2016-09-28T17:10:31Z\n", datetime(2016, 9, 28, 17, 10, 31, tzinfo=UTC)),
        ("", None),
        (ZERO_TIME, None),
        ("0001-01-01 00:00:00 +0000 UTC", None),
        ("yesterday", None),
        ("2016-02-31T00:00:00Z", None),
        ("2016-02-01T00:00:00+25:00", None),
        ("2016-09-28T17:10:31", None),
    ],
)
def test_a_time_is_read_as_rfc_3339_or_as_go_prints_it(text, time):
    assert parse_time(text) == time


def test_a_time_is_written_as_go_reads_it():
    assert format_time(datetime(2016, 9, 28, 17, 10, 31, tzinfo=UTC)) == "2016-09-28T17:10:31Z"
    assert format_time(datetime(2016, 9, 28, 17, 10, 31, 5, timezone(timedelta(hours=2)))) == (
        "2016-09-28T17:10:31.000005+02:00"
    )


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="has no time zone"):
        format_time(datetime(2016, 9, 28))


def test_messages_are_frozen():
    with pytest.raises(AttributeError):
        Part().id = "a"


class Picky(Message, frozen=True):
    count: int = 0

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("thirteen is unlucky")


def test_a_message_that_refuses_its_own_values_is_an_error_with_the_place():
    with pytest.raises(ProtocolError, match=r"thirteen is unlucky - at `\$`"):
        read({"count": 13}, reader(Picky))


def test_nesting_that_python_cannot_follow_is_an_error():
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"parts": [deep]}
    with pytest.raises(ProtocolError, match="nesting"):
        read(deep, reader(Part))
