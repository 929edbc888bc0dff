"""What the client reads in canned answers is what moby's client reads, except where a reason is documented."""

from __future__ import annotations

import json

import msgspec
import pytest
from canned_answers import ANSWERS, Answer
from canned_outcomes import Outcome, observed, observed_by_tasks, recorded
from hypothesis import given
from hypothesis import strategies as st
from make_compatibility import DIFFERENCES, PAGE, is_same, page

from extframe import rpc
from extframe.client.http1 import Limits, ResponseParser, read_whole
from extframe.client.replies import UNTYPED, body_of, reader_of, whole
from extframe.errors import RemoteError, TransportError
from extframe.interface import Interface, declaration

MOBY = recorded()


@pytest.fixture(scope="module")
def ours() -> dict[str, Outcome]:
    return observed(ANSWERS)


def test_there_are_enough_answers_and_each_is_recorded():
    assert len(ANSWERS) == len({answer.key for answer in ANSWERS}) >= 80
    assert list(MOBY) == [answer.key for answer in ANSWERS]


def test_the_client_reads_what_mobys_client_reads_except_where_a_reason_is_given(ours):
    different = {key: (MOBY[key], ours[key]) for key in MOBY if not is_same(MOBY[key], ours[key])}
    assert different.keys() == DIFFERENCES.keys(), different


def test_what_a_plugin_reports_as_an_error_is_one_to_both(ours):
    differ = {key for key in MOBY if MOBY[key].by_plugin != ours[key].by_plugin}
    # moby follows the redirect; the other two are not HTTP to us.
    others = {"Status line: status 099", "Interim responses: 101 Switching Protocols"}
    assert differ == {"Other statuses: 302 to itself", *others}


def test_a_connection_that_moby_does_not_keep_is_not_kept(ours):
    assert [key for key in MOBY if ours[key].kept and not MOBY[key].kept and key not in DIFFERENCES] == []


def test_tasks_read_what_threads_read(ours):
    assert observed_by_tasks(ANSWERS) == ours


def test_the_compatibility_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run: python tests/make_compatibility.py"


# --- however the bytes arrive -------------------------------------------------------------------------


def read(pieces: list[bytes], reply: object = UNTYPED) -> object:
    """Return what a call returns for an answer that arrives in these pieces, or its error."""
    parser = ResponseParser(Limits())
    try:
        for piece in pieces:
            parser.feed(piece)
        if not parser.done:
            parser.end()
        value = reader_of(reply)(body_of(whole(parser.response)))
    except (RemoteError, TransportError) as error:
        # Which of several faults is found first depends on the pieces.
        return RemoteError if isinstance(error, RemoteError) else TransportError
    return value, parser.keep_alive


@pytest.mark.parametrize("answer", ANSWERS, ids=[answer.key for answer in ANSWERS])
def test_an_answer_is_read_alike_in_one_piece_in_two_and_byte_by_byte(answer: Answer):
    data = answer.data[:3000]
    expected = read([data])
    assert read([data[at : at + 1] for at in range(len(data))]) == expected
    for at in range(1, min(len(data), 600)):
        assert read([data[:at], data[at:]]) == expected, at
    at_once = read_whole(data, Limits())
    assert at_once is None or (at_once.body, at_once.keep_alive) == (_parsed(data).body, _parsed(data).keep_alive)


def _parsed(data: bytes):
    parser = ResponseParser(Limits())
    parser.feed(data)
    return parser.response


@given(
    data=st.lists(st.sampled_from([answer.data[:2000] for answer in ANSWERS]), min_size=1, max_size=2).map(b"".join),
    cuts=st.lists(st.integers(0, 2000), max_size=8).map(sorted),
    damage=st.tuples(st.integers(0, 300), st.binary(max_size=3)),
)
def test_a_damaged_answer_is_read_alike_however_it_is_cut(data: bytes, cuts: list[int], damage: tuple[int, bytes]):
    at, junk = damage
    data = data[:at] + junk + data[at + len(junk) :]
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert read([piece for piece in pieces if piece]) == read([data] if data else [])


# --- however it is decoded ----------------------------------------------------------------------------


class Reply(msgspec.Struct):
    Path: str = ""


class Paths(Interface, implements="Paths"):
    @rpc("Path", returns="Path")
    def path(self) -> str:
        raise NotImplementedError


OBJECTS = [answer for answer in ANSWERS if answer.group == "Bodies" and "Path" in MOBY[answer.key].reply]


@pytest.mark.parametrize("answer", OBJECTS, ids=[answer.key for answer in OBJECTS])
def test_every_way_of_decoding_takes_the_first_value(answer: Answer):
    body = _parsed(answer.data).body
    path = json.loads(MOBY[answer.key].reply)["Path"]
    (method,) = declaration(Paths).methods
    assert reader_of(UNTYPED)(body)["Path"] == path
    assert reader_of(Reply)(body).Path == path
    assert method.decode_reply(body) == path
    assert reader_of(None)(body) is None


@pytest.mark.parametrize("decode", [reader_of(UNTYPED), reader_of(Reply), reader_of(None)])
def test_every_way_of_decoding_sees_err_in_the_first_value_alone(decode):
    failed, good = b'{"Err": "no such volume"}', b'{"Err": "", "Path": "/mnt"}'
    with pytest.raises(RemoteError, match="no such volume"):
        decode(failed + good)
    decode(good + failed)
