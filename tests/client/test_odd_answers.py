"""What we make of odd answers, beside what Docker's engine makes of them.

The answers, and the engine's words, are from a recording of dockerd 20.10.24 that ran ``docker volume create``
against a plugin whose answer to ``VolumeDriver.Create`` depended on the volume's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from faultserver import send_and_close

from extframe.client.client import Client
from extframe.errors import ConnectionLost, ProtocolError, RemoteError

PLUGIN_JSON = b"Content-Type: application/vnd.docker.plugins.v1.1+json\r\n"
SUCCESS = None


@dataclass(frozen=True)
class OddAnswer:
    """One answer, byte for byte but for its status line's reason, and the two outcomes: words, or SUCCESS.

    ``error`` and ``words`` are ours; ``reply`` is what a call without ``reply=`` returns where it is success.
    """

    name: str
    status: int
    headers: bytes
    body: bytes
    engine: str | None
    error: type[Exception] | None = SUCCESS
    words: str = ""
    reply: object = None

    def bytes(self) -> bytes:
        return b"HTTP/1.1 %d Odd\r\n%b\r\n%b" % (self.status, self.headers, self.body)


def odd(
    name: str, status: int, body: bytes, engine: str | None, *ours, headers: bytes = PLUGIN_JSON, **kept
) -> OddAnswer:
    error, words = ours or (SUCCESS, "")
    return OddAnswer(name, status, headers + b"Content-Length: %d\r\n" % len(body), body, engine, error, words, **kept)


TO_REDIRECTED = b"Location: /VolumeDriver.Redirected\r\n" + PLUGIN_JSON
NOT_FOLLOWED = "redirects are not followed (Location: '/VolumeDriver.Redirected')"

SAME = [
    odd("200err", 200, b'{"Err": "err in a 200 body"}\n', "err in a 200 body", RemoteError, "err in a 200 body"),
    odd("200errlower", 200, b'{"err": "lower case key"}\n', "lower case key", RemoteError, "lower case key"),
    odd("500err", 500, b'{"Err": "err in a 500 body"}\n', "err in a 500 body", RemoteError, "err in a 500 body"),
    odd(
        "500errlower",
        500,
        b'{"eRR": "odd case key in a 500 body"}\n',
        "odd case key in a 500 body",
        RemoteError,
        "odd case key in a 500 body",
    ),
    odd(
        "500text",
        500,
        b"plain text body\n",
        "plain text body",
        RemoteError,
        "plain text body",
        headers=b"Content-Type: text/plain\r\n",
    ),
    odd("404err", 404, b'{"Err": "not here"}\n', "not here", RemoteError, "not here"),
    odd(
        "200text",
        200,
        b"not json",
        "invalid character 'o' in literal null (expecting 'u')",
        ProtocolError,
        "not JSON: ",
        headers=b"Content-Type: text/plain\r\n",
    ),
    odd("200null", 200, b"null", SUCCESS, reply={}),
    odd(
        "200array",
        200,
        b"[1,2]",
        "json: cannot unmarshal array into Go value of type drivers.volumeDriverProxyCreateResponse",
        ProtocolError,
        "Expected `object | null`, got `array`: [1,2]",
    ),
    odd(
        "200string",
        200,
        b'"hello"',
        "json: cannot unmarshal string into Go value of type drivers.volumeDriverProxyCreateResponse",
        ProtocolError,
        'Expected `object | null`, got `str`: "hello"',
    ),
    odd(
        "200badtype",
        200,
        b'{"Err": 5}\n',
        "json: cannot unmarshal number into Go struct field volumeDriverProxyCreateResponse.Err of type string",
        ProtocolError,
        "Expected `str | null`, got `int` - at `$.Err`",
    ),
    odd("200dup", 200, b'{"Err": "first", "Err": ""}', SUCCESS, reply={"Err": ""}),
    odd(
        "200unknown", 200, b'{"Err": "", "Nonsense": {"a": [1]}}\n', SUCCESS, reply={"Err": "", "Nonsense": {"a": [1]}}
    ),
    odd("200html", 200, b'{"Err": ""}', SUCCESS, headers=b"Content-Type: text/html\r\n", reply={"Err": ""}),
    odd(
        "200bom",
        200,
        b'\xef\xbb\xbf{"Err": ""}',
        "invalid character '\u00ef' looking for beginning of value",
        ProtocolError,
        "not JSON: ",
    ),
    odd("200trail", 200, b'{"Err": ""} trailing garbage {', SUCCESS, reply={"Err": ""}),
    odd("200latin", 200, b'{"Err": "caf\xe9"}', "caf\ufffd", RemoteError, "caf\ufffd"),
    OddAnswer(
        "chunked",
        200,
        b"Transfer-Encoding: chunked\r\n" + PLUGIN_JSON,
        b'5\r\n{"Err\r\n6\r\n": ""}\r\n0\r\n\r\n',
        SUCCESS,
        reply={"Err": ""},
    ),
    OddAnswer(
        "short",
        200,
        b"Content-Length: 100\r\nConnection: close\r\n" + PLUGIN_JSON,
        b'{"Err": ""}',
        SUCCESS,
        reply={"Err": ""},
    ),
    OddAnswer(
        "shorttrunc",
        200,
        b"Content-Length: 100\r\nConnection: close\r\n" + PLUGIN_JSON,
        b'{"Err": ',
        "unexpected EOF",
        ConnectionLost,
        'the reply ended after 8 bytes: {"Err":',
    ),
]

# The words are not the engine's where those were the whole body, or none. The outcome is the same.
BETTER_WORDS = [
    odd("500json", 500, b'{"Message": "no Err key"}\n', '{"Message": "no Err key"}', RemoteError, "no Err key"),
    odd("500empty", 500, b"", "", RemoteError, "Internal Server Error"),
    odd("204", 204, b"", "", RemoteError, "No Content"),
    odd("201", 201, b'{"Err": ""}\n', '{"Err": ""}', RemoteError, '{"Err": ""}'),
]

DIFFERENT = [
    # A redirect is never followed: the engine turns a POST into a GET for it, and over TCP goes to any host.
    odd("302", 302, b"", "redirect was followed", RemoteError, f"Found; {NOT_FOLLOWED}", headers=TO_REDIRECTED),
    odd(
        "307",
        307,
        b"",
        "redirect was followed",
        RemoteError,
        f"Temporary Redirect; {NOT_FOLLOWED}",
        headers=TO_REDIRECTED,
    ),
    # An empty body is an error where something is expected back, which a call without reply= does not say.
    odd("200empty", 200, b"", "EOF", reply={}),
]


@pytest.fixture
def outcome(fault_server):
    """Make a call that gets an answer; return its reply, or the error."""

    def call(answer: OddAnswer, **options) -> object:
        server = fault_server(send_and_close(answer.bytes()))
        with Client(server.address, timeout=30) as client:
            try:
                return client.call("VolumeDriver.Create", {"Name": answer.name, "Opts": None}, **options)
            except (RemoteError, ProtocolError, ConnectionLost) as error:
                return error
            finally:
                assert [request.path for request in server.requests] == ["/VolumeDriver.Create"]

    return call


def named(answers: list[OddAnswer]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("answer", answers, ids=[answer.name for answer in answers])


@named(SAME + BETTER_WORDS + DIFFERENT)
def test_an_odd_answer_has_the_outcome_of_the_table(outcome, answer):
    got = outcome(answer)
    if answer.error is SUCCESS:
        assert got == answer.reply
    else:
        assert type(got) is answer.error
        assert got.message.startswith(answer.words)
        assert getattr(got, "status", answer.status) == answer.status


@named(SAME + BETTER_WORDS)
def test_an_answer_is_success_to_us_where_it_is_to_the_engine(answer):
    assert (answer.error is SUCCESS) == (answer.engine is SUCCESS)


@named([answer for answer in SAME if answer.error is RemoteError])
def test_the_words_are_those_that_the_engine_shows(answer):
    assert answer.words == answer.engine


@named([answer for answer in SAME + BETTER_WORDS + DIFFERENT if answer.error is not SUCCESS])
def test_a_typed_call_fails_as_an_untyped_one_does(outcome, answer):
    got = outcome(answer, reply=dict[str, object])
    assert type(got) is answer.error


def test_an_empty_answer_is_an_error_where_a_reply_is_expected(outcome):
    (empty,) = [answer for answer in DIFFERENT if answer.name == "200empty"]
    got = outcome(empty, reply=dict[str, object])
    assert type(got) is ProtocolError
    assert got.message == "the reply is empty; expected JSON"
