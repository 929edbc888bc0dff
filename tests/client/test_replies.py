"""Replies by their bytes alone: whose words an error has, and what ``reply=`` makes of a body."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from growth import growth

from extframe.client.replies import UNTYPED, is_whole, reader_of, refusal
from extframe.errors import ProtocolError, RemoteError
from extframe.subsystems.volume import VolumeDriver

NGINX = b"""<!DOCTYPE html>
<html><head><title>502 Bad Gateway</title><style>body { color: red }</style></head>
<body><!-- a comment --><center><h1>502 Bad Gateway</h1></center>
<hr><center>nginx/1.22.1 &amp; friends</center><script>alert("x")</script></body></html>
"""

WORDS = {
    b'{"Err": "no such volume"}\n': "no such volume",
    b'{"err": "lower case"}': "lower case",
    b'{"Err": " verbatim,\\nwith its lines \\u00e9\\n"}': " verbatim,\nwith its lines é\n",
    b'{"Error": "as IPAM has it"}': "as IPAM has it",
    b'{"message": "as the engine itself has it"}': "as the engine itself has it",
    b'{"Message": "any case"}': "any case",
    b'{"message": "later", "Error": "later too", "Err": "first"}': "first",
    b'{"Err": "", "Error": "", "message": "the one that is not empty"}': "the one that is not empty",
    b'{"Err": null, "message": "not null"}': "not null",
    b'{"Err": "caf\xe9"}': "caf\ufffd",
    b'{"Err": {"code": 5}}': '{"Err": {"code": 5}}',
    b'{"detail": "a key of its own"}': '{"detail": "a key of its own"}',
    b'{"Err": ""}': '{"Err": ""}',
    b'["Err"]': '["Err"]',
    b'"a JSON string"': '"a JSON string"',
    b'{"Err": "cut': '{"Err": "cut',
    b"404 page not found\n": "404 page not found",
    b"caf\xe9": "caf\ufffd",
    b"<p>no page</p>": "<p>no page</p>",
    NGINX: "502 Bad Gateway nginx/1.22.1 & friends",
    b"\xef\xbb\xbf<html>with a byte order mark</html>": "with a byte order mark",
    b"<html><body>never closed <script>var x = 1": "never closed",
    b"": "Bad Gateway",
    b" \r\n": "Bad Gateway",
    b"<html><head><title>empty</title></head></html>": "Bad Gateway",
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>Check it.</p>\n": (
        "Not Found Check it."  # the title, which says the same, only once
    ),
    b'\xef\xbb\xbf{"Err": "after a byte order mark"}': "after a byte order mark",
    b'{"Err": "the first"}{"Err": "the second"}': "the first",
}


@pytest.mark.parametrize(("body", "words"), WORDS.items())
def test_an_error_has_the_plugins_own_words_wherever_they_stand(body, words):
    error = refusal(502, None, body)
    assert (error.message, error.status) == (words, 502)


def test_an_err_is_kept_whole_however_long_it_is():
    words = "long " * 100_000
    assert refusal(500, None, msgspec.json.encode({"Err": words})).message == words


@pytest.mark.parametrize("body", [b"x" * 10_000_000, b"<html>" + b"words " * 1_000_000])
def test_text_that_is_no_err_is_cut_to_a_length_that_can_be_read(body):
    message = refusal(500, None, body).message
    assert len(message) == 2003
    assert message.endswith("...")


@pytest.mark.parametrize("piece", [b"<script ", b"<!--", b"<head>", b"<", b"</script", b"&amp"])
def test_the_cost_of_a_page_that_never_closes_anything_grows_with_its_length_only(piece):
    assert growth(lambda page: refusal(500, None, b"<html>" + page), piece) < 80  # quadratic is 256


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(404, "Not Found"), (418, "I'm a Teapot"), (299, "no reason given"), (999, "no reason given")],
)
def test_an_error_without_words_has_its_statuss_own(status, phrase):
    assert refusal(status, None, b"").message == phrase


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_says_where_it_leads(status):
    error = refusal(status, "http://elsewhere/x", b"<html><a href='http://elsewhere/x'>Moved</a></html>")
    assert error.message == "Moved; redirects are not followed (Location: 'http://elsewhere/x')"


@pytest.mark.parametrize(("status", "words"), [(302, "; it is a redirect without a Location"), (304, ""), (300, "")])
def test_a_redirect_that_leads_nowhere_says_so(status, words):
    assert refusal(status, None, b"Moved").message == f"Moved{words}"


# --- replies that are success -------------------------------------------------------------------------


class Volume(msgspec.Struct, rename="pascal"):
    name: str
    mountpoint: str = ""


class VolumeList(msgspec.Struct, rename="pascal"):
    volumes: list[Volume]


@dataclass
class Scope:
    Scope: str


class Options(TypedDict):
    Name: str


READ = [
    (UNTYPED, b'{"volumes": null, "Err": ""}', {"volumes": None, "Err": ""}),
    (UNTYPED, b"null", {}),
    (UNTYPED, b" \n", {}),
    (VolumeList, b'{"Volumes": [{"Name": "a", "Extra": 1}]}', VolumeList([Volume("a")])),
    (list[Volume], b'[{"Name": "a"}]', [Volume("a")]),
    (Scope, b'{"Scope": "local"}', Scope("local")),
    (Options, b'{"Name": "a"}', {"Name": "a"}),
    (dict[str, int], b'{"a": 1}', {"a": 1}),
    (Volume | None, b"null", None),
    (int, b"5\n", 5),
    (Any, b"[1, null]", [1, None]),
    (bytes, b'"aGk="', b"hi"),
    (None, b"", None),
    (None, b"whatever", None),
    (type(None), b'{"Err": ""}', None),
    (msgspec.Raw, b"", msgspec.Raw(b"")),
    (msgspec.Raw, b' {"Err": "not looked at"} trailing', msgspec.Raw(b' {"Err": "not looked at"} trailing')),
]


@pytest.mark.parametrize(("reply", "body", "value"), READ)
def test_a_body_is_read_as_the_type_that_was_asked_for(reply, body, value):
    assert reader_of(reply)(body) == value


WRONG = [
    (VolumeList, b'{"Volumes": [{"Name": "a"}, {"Name": 5}]}', "Expected `str`, got `int` - at `$.Volumes[1].Name`"),
    (VolumeList, b'{"volumes": []}', "Object missing required field `Volumes`"),
    (VolumeList, b"null", "Expected `object`, got `null`"),
    (dict[str, int], b'{"a": null}', "Expected `int`, got `null` - at `$[...]`"),
    (VolumeList, b"", "the reply is empty"),
    (VolumeList, b"\n", "the reply is empty"),
    (VolumeList, b"<html>", "not JSON"),
    (UNTYPED, b"[]", "Expected `object | null`, got `array`"),
    (UNTYPED, b"\xef\xbb\xbf{}", "not JSON: it begins with a byte order mark of UTF-8; write it as UTF-8 without one"),
    (VolumeList, "{}".encode("utf-16"), "not JSON: it begins with a byte order mark of UTF-16"),
    (UNTYPED, NGINX, "not JSON: it is an HTML page: 502 Bad Gateway nginx/1.22.1 & friends"),
    (UNTYPED, b'{"a": ' + b"[" * 100_000, "JSON that cannot be read: nested too deeply"),
    (UNTYPED, b'{"Err": 5}', "Expected `str | null`, got `int` - at `$.Err`"),
    (VolumeList, b'{"Volumes": [], "err": []}', "Expected `str | null`, got `array` - at `$.err`"),
]


@pytest.mark.parametrize(("reply", "body", "message"), WRONG)
def test_a_body_of_the_wrong_shape_is_a_protocol_error_with_the_place(reply, body, message):
    with pytest.raises(ProtocolError) as caught:
        reader_of(reply)(body)
    assert caught.value.message.startswith(message)


ERRS = {
    b'{"Err": "words"}': "words",
    b'{"eRR": "words"}': "words",
    b'{"ERROR": "words"}': "words",
    b'{"\\u0045rr": "words"}': "words",
    b'{"Volumes": [], "Err": "wo\\u0072ds"}': "words",
    b'{"Error": "second", "Err": "words"}': "words",
    b'{"Err": "caf\xe9"}': "caf\ufffd",
}


@pytest.mark.parametrize("reply", [UNTYPED, VolumeList, dict[str, Any], Any, None])
@pytest.mark.parametrize(("body", "words"), ERRS.items())
def test_an_err_in_a_200_is_an_error_whatever_was_asked_for(reply, body, words):
    with pytest.raises(RemoteError) as caught:
        reader_of(reply)(body)
    assert (caught.value.message, caught.value.status) == (words, 200)


NO_ERRS = [
    b'{"Err": "", "Volumes": []}',
    b'{"Err": null, "Volumes": []}',
    b'{"Err": "replaced", "Err": "", "Volumes": []}',
    b'{"Volumes": [], "Error": false}',
    b'{"Volumes": [], "Status": {"Err": "of something else"}}',
    b'{"Volumes": [], "Errors": "a word of its own", "Erreur": "another"}',
    b'{"Volumes": [{"Name": "\\"Err\\": \\"no\\""}]}',
]


@pytest.mark.parametrize("reply", [UNTYPED, VolumeList, None])
@pytest.mark.parametrize("body", NO_ERRS)
def test_what_only_looks_like_an_err_is_none(reply, body):
    reader_of(reply)(body)


def test_a_type_that_msgspec_does_not_know_is_a_type_error():
    with pytest.raises(TypeError, match="not supported"):
        reader_of(list[int] | set[int])


@pytest.mark.parametrize("kind", [VolumeDriver, OrderedDict])
def test_a_class_that_nothing_in_json_is_an_instance_of_is_a_type_error(kind):
    with pytest.raises(TypeError, match="reply=.* is invalid: expected a type that msgspec decodes"):
        reader_of(kind)
    assert reader_of(object)(b"[1]") == [1]


@pytest.mark.parametrize(
    ("status", "body", "whole"), [(200, b"{}", True), (200, b'{"a"', False), (200, b"", False), (500, b"tex", True)]
)
def test_a_reply_that_was_cut_counts_where_its_json_is_complete_or_it_is_an_error(status, body, whole):
    assert is_whole(status, body) == whole
