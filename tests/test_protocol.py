"""The protocol's words, by tables of what real peers send and by anything that could be sent."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from growth import growth
from hypothesis import given
from hypothesis import strategies as st

from extframe.errors import ProtocolError, SpecError
from extframe.protocol import (
    UNIX_PATH_LIMIT,
    Address,
    Endpoint,
    Manifest,
    PluginSpec,
    TLSConfig,
    check_name,
    decode_json,
    encode_json,
    error_in,
    error_words,
    excerpt,
    fold_keys,
    hook_name,
    read_json_spec,
    read_url_spec,
)
from extframe.protocol.host_paths import host_path

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["Addr", "TLSConfig", "Err"]), inner),
    max_leaves=20,
)
BODIES = st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode())
NESTED = [opening * 700 + b"1" + closing * 700 for opening, closing in ((b"[", b"]"), (b'{"Addr":', b"}"))]
TOO_DEEP = b"[" * 20_000 + b"]" * 20_000


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rclone", "a.b", "UPPER", "...", "-rf", "with space", "ü", "x" * 255, "ü" * 127])
def test_a_name_that_is_a_file_name_is_returned_as_it_is(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "it is empty"),
        (".", "it names a directory"),
        ("..", "it names a directory"),
        ("../x", "it contains a slash"),
        ("a/b", "it contains a slash"),
        ("/x", "it contains a slash"),
        ("a\\b", "it contains a backslash"),
        ("a\0b", "it contains a NUL character"),
        ("a\nb", "it contains a control character"),
        ("\x1b[31m", "it contains a control character"),
        ("a\x85", "it contains a control character"),
        ("\udcff", "it is not valid Unicode"),
        ("x" * 256, "it is longer than 255 bytes"),
        ("ü" * 128, "it is longer than 255 bytes"),
        (None, "it is not text"),
        (b"x", "it is not text"),
    ],
)
def test_a_name_that_could_be_more_than_a_file_name_is_refused_with_the_reason(name, fault):
    with pytest.raises(SpecError) as refused:
        check_name(name)
    assert f"{name!r} cannot be a plugin's name: {fault};" in str(refused.value)


@given(st.text())
def test_any_text_is_refused_or_is_a_file_inside_the_directory(name):
    try:
        check_name(name)
    except SpecError:
        return
    path = os.path.normpath(os.path.join("/run/plugins", name + ".sock"))
    assert os.path.split(path) == ("/run/plugins", name + ".sock")


@pytest.mark.parametrize(
    ("point", "hook"),
    [
        ("VolumeDriver", "volume_driver"),
        ("NetworkDriver", "network_driver"),
        ("IpamDriver", "ipam_driver"),
        ("authz", "authz"),
        ("LogDriver", "log_driver"),
        ("MetricsCollector", "metrics_collector"),
        ("secretprovider", "secretprovider"),
        ("GraphDriver", "graph_driver"),
        ("HTTPProxy", "http_proxy"),
        ("MyHTTPProxy2Way", "my_http_proxy2_way"),
        ("volume_driver", "volume_driver"),
    ],
)
def test_a_hook_is_the_extension_point_in_snake_case(point, hook):
    assert hook_name(point) == hook


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/p.sock", Address("unix:///run/p.sock", path="/run/p.sock")),
        ("unix:/run/p.sock", Address("unix:///run/p.sock", path="/run/p.sock")),
        ("UNIX:///run/p.sock", Address("unix:///run/p.sock", path="/run/p.sock")),
        ("unix://rel.sock", Address("unix://rel.sock", path="rel.sock")),
        ("unix:[", Address("unix://[", path="[")),
        ("unix:///a b?c#d%41", Address("unix:///a b?c#d%41", path="/a b?c#d%41")),
        ("tcp://h:1", Address("tcp://h:1", host="h", port=1)),
        ("TCP://localhost:1", Address("TCP://localhost:1", host="localhost", port=1)),
        ("http://h", Address("http://h", host="h", port=80)),
        ("tcp://h", Address("tcp://h", host="h", port=80)),
        ("http://h:1/some/path?x=y", Address("http://h:1/some/path?x=y", host="h", port=1)),
        ("tcp://user:pw@h:1", Address("tcp://h:1", host="h", port=1)),
        ("https://h", Address("https://h", host="h", port=443, tls=True)),
        ("https://h:1", Address("https://h:1", host="h", port=1, tls=True)),
        ("tcp://[::1]:1", Address("tcp://[::1]:1", host="::1", port=1)),
    ],
)
def test_an_address_is_read_as_the_engine_reads_it(text, address):
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it is empty; expected unix:///path, tcp://host:port, http://host:port or https://host:port"),
        ("/run/p.sock", "it has no scheme; expected unix:///path"),
        ("localhost:80", "it has no scheme; expected"),
        ("127.0.0.1:80", "it has no scheme; expected"),
        ("ftp://h:1", "its scheme is 'ftp'; expected"),
        ("npipe:////./pipe/p", "Windows named pipes are not supported; expected"),
        ("unix://", "it has no path; expected"),
        ("unix:///" + "x" * UNIX_PATH_LIMIT, "has at most 107 bytes; use a shorter directory"),
        ("unix:///" + "ü" * 54, "has at most 107 bytes"),
        ("unix:///\ud800", "surrogates not allowed"),
        ("tcp://h:0", "its port is 0; expected a number from 1 to 65535"),
        ("tcp://:1", "it has no host; expected"),
        ("tcp://h:99999", "its port is '99999'; expected a number from 1 to 65535"),
        ("tcp://h:x", "its port is 'x'; expected"),
        ("tcp://h:+1", "its port is '+1'"),
        ("tcp://h:\u0661", "its port is '\u0661'"),
        ("tcp://[::1]x:1", "an IPv6 address is written in brackets"),
        ("tcp://::1:1", "an IPv6 address is written in brackets"),
        ("tcp://[fe80::1%eth0]:1", "is written %25eth0, as in [fe80::1%25eth0]"),
        ("tcp://[fe80::1%25]:1", "the zone of an IPv6 address is written"),
        ("tcp://h%41:1", "contains a percent sign"),
        ("tcp://[::1", "Invalid IPv6 URL"),
        ("tcp://a b:1", "it contains white space"),
        ("tcp://höst:1", "its host is not ASCII"),
        (" unix:///p", "control characters, or white space around it"),
        ("unix:///p\n", "control characters, or white space around it"),
        ("u\nnix:///p", "control characters, or white space around it"),
        ("unix:///a\0b", "control characters, or white space around it"),
        ("unix:///a\x1b[31m", "control characters, or white space around it"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, fault):
    with pytest.raises(SpecError) as refused:
        Address.parse(text)
    assert fault in str(refused.value)
    assert str(refused.value).startswith(f"{text!r} is not a plugin address: ")
    assert refused.value.address == text


@pytest.mark.parametrize("text", ["x" * 1_000_000, "x" * 1_000_000 + "://h", "tcp://h:1/" + "\u2028" * 1_000_000])
def test_a_message_has_only_the_beginning_of_what_it_refuses(text):
    with pytest.raises(SpecError) as refused:
        Address.parse(text)
    assert len(str(refused.value)) < 1000
    with pytest.raises(SpecError, match="it is longer than 255 bytes|it contains a slash") as refused:
        check_name(text)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("address", [None, 3, b"unix:///p", Path("/p")])
def test_an_address_that_is_no_text_is_refused_like_any_other(address):
    with pytest.raises(SpecError, match="is not a plugin address: it is not text; expected unix:///path"):
        Address.parse(address)


def test_a_socket_path_of_107_bytes_is_an_address():
    assert Address.parse("unix:///" + "x" * (UNIX_PATH_LIMIT - 1)).path == "/" + "x" * (UNIX_PATH_LIMIT - 1)


SCHEMES = st.sampled_from(["unix://", "unix:", "tcp://", "http://", "https://h", "tcp://h:", "tcp://[", "npipe://", ""])


@given(SCHEMES, st.text())
def test_any_text_is_an_address_or_a_spec_error(scheme, rest):
    try:
        address = Address.parse(scheme + rest)
    except SpecError:
        return
    assert bool(address.path) != bool(address.host)
    assert "\n" not in address.authority + address.path
    assert Address.parse(address.text) == address


@pytest.mark.parametrize(
    ("text", "authority"), [("tcp://h:1", "h:1"), ("https://h", "h:443"), ("tcp://[::1]:1", "[::1]:1")]
)
def test_the_authority_is_host_and_port(text, authority):
    assert Address.parse(text).authority == authority


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"cert_file": "c"}, "TLSConfig: KeyFile is missing"),
        ({"key_file": "k"}, "TLSConfig: CertFile is missing"),
        ({"min_version": 770}, "TLSConfig: MinVersion is 770; expected 771 (TLS 1.2) or 772 (TLS 1.3)"),
    ],
)
def test_a_tls_config_that_no_connection_could_use_is_refused(keys, fault):
    with pytest.raises(SpecError) as refused:
        TLSConfig(**keys)
    assert fault in str(refused.value)


def test_an_endpoint_with_an_impossible_weight_or_zone_is_refused():
    for keys in ({"weight": 0}, {"weight": 1.5}, {"weight": True}, {"zone": None}):
        with pytest.raises(SpecError, match="of tcp://h:1 is .*; expected"):
            Endpoint("tcp://h:1", **keys)


def test_specs_of_the_same_plugin_are_equal_whenever_they_were_read():
    assert PluginSpec("p", "tcp://h:1", stamp=1) == PluginSpec("p", "tcp://h:1", stamp=2)
    assert PluginSpec("p", "tcp://h:1").stamp is None


# --- spec files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"tcp://h:1", b"tcp://h:1\n", b"\n\t tcp://h:1 \r\n\n"])
def test_a_spec_file_is_a_url_with_white_space_around_it(content):
    assert read_url_spec(content) == ("tcp://h:1", None, ())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty; expected unix:///path"),
        (b" \n ", "it is empty; expected"),
        (b"/run/p.sock", "it has no scheme; expected"),
        (b"tcp://h:1\ntcp://h:2", "line 2: expected nothing after the first line"),
        (b"tcp://h:1\rtcp://h:2", "control characters"),
        (b"tcp://\xff\xfe", "byte 6 is not UTF-8; expected one line with a URL"),
        (b"\x7fELF\x02\x01\0\0", "control characters"),
        ("tcp://h:1".encode("utf-16"), "it begins with a byte order mark of UTF-16"),
        (
            b"\xef\xbb\xbftcp://h:1",
            "it begins with a byte order mark of UTF-8; write it as UTF-8 without one; expected one line with a URL",
        ),
    ],
)
def test_a_spec_file_that_is_something_else_is_refused_with_the_reason(content, fault):
    with pytest.raises(SpecError) as refused:
        read_url_spec(content)
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("content", "tls"),
    [
        (b'{"Addr": "https://h:1"}', None),
        (b'{"addr": "https://h:1", "tlsconfig": null, "Name": "another", "Extra": [1]}', None),
        (b'{"ADDR": "https://h:1", "TLSConfig": {}}', TLSConfig()),
        (b'{"Addr": "https://h:1"} and more', None),
        (b'{"Addr": "https://h:1"}{"Addr": "tcp://h:2"}', None),
        (b'{"Addr": "tcp://first:1", "addr": "https://h:1", "ADDR": null}', None),
        (b' {"Addr": "https://h:1", "TLSCONFIG": {"cafile": "/ca", "MINVERSION": null}} ', TLSConfig(ca_file="/ca")),
        (
            b"""{"Addr": "https://h:1", "TLSConfig": {"CAFile": "/ca", "CertFile": "/c", "KeyFile": "/k",
                 "InsecureSkipVerify": true, "ExclusiveRootPools": true, "MinVersion": 772, "ClientAuth": 4}}""",
            TLSConfig("/ca", "/c", "/k", insecure_skip_verify=True, exclusive_root_pools=True, min_version=772),
        ),
    ],
)
def test_a_json_file_is_read_with_keys_in_any_case_and_unknown_ones_ignored(content, tls):
    assert read_json_spec(content) == ("https://h:1", tls, ())


def test_a_json_file_may_list_the_instances_of_a_plugin_in_addition_to_dockers_address():
    tls = TLSConfig("/ca")
    content = b"""{"Addr": "tcp://any:1", "addrs": ["tcp://h:1", {"addr": "https://i:2", "ZONE": "eu-1", "Weight": 3,
        "Draining": true, "TLSConfig": {"CAFile": "/ca"}}, {"Addr": "https://j:3", "Zone": null}]}"""
    a, b, c = Endpoint("tcp://h:1"), Endpoint("https://i:2", tls, "eu-1", 3, True), Endpoint("https://j:3")
    assert read_json_spec(content) == ("tcp://any:1", None, (a, b, c))
    shared = read_json_spec(b'{"TLSConfig": {"CAFile": "/ca"}, "Addrs": ["https://h:1"]}')
    assert shared == ("https://h:1", tls, (Endpoint("https://h:1", tls),))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON: JSON is malformed: invalid character"),
        (b'{"Addr": "tcp://h:1"', "not JSON: Input data was truncated"),
        (b'"tcp://h:1" {"Addr": "tcp://h:1"}', "Expected `object`, got `str`"),
        (
            b'\xef\xbb\xbf{"Addr": "tcp://h:1"}',
            "it begins with a byte order mark of UTF-8; write it as UTF-8 without one",
        ),
        (b"\x7fELF\xff", "not JSON"),
        (b"null", "Expected `object`, got `null`; expected an object such as"),
        (b"[]", "Expected `object`, got `array`"),
        (b'["tcp://h:1"]', "Expected `object`, got `array`"),
        (b'"tcp://h:1"', "Expected `object`, got `str`"),
        (b"{}", "key 'Addr' is missing or empty; expected the plugin's address"),
        (b'{"Addr": ""}', "key 'Addr' is missing or empty"),
        (b'{"Addr": null}', "key 'Addr' is missing or empty"),
        (b'{"Addr": 1}', "Expected `str`, got `int` - at `$.Addr`"),
        (b'{"Addr": null, "Addrs": []}', "key 'Addr' is missing or empty"),
        (b'{"Addr": "tcp://h:1", "Addrs": "tcp://h:1"}', "Expected `array`, got `str` - at `$.Addrs`"),
        (b'{"Addr": "tcp://h:1", "Addrs": [7]}', "got `int` - at `$.Addrs[0]`"),
        (b'{"Addrs": ["h:1"]}', "'h:1' is not a plugin address: it has no scheme"),
        (b'{"Addrs": [{"Zone": "z"}]}', "key 'Addr' of an element of 'Addrs' is missing or empty"),
        (b'{"Addrs": [{"Addr": "tcp://h:1", "Weight": 0}]}', "the weight of tcp://h:1 is 0; expected a whole number"),
        (b'{"Addr": "/run/p.sock"}', "'/run/p.sock' is not a plugin address: it has no scheme"),
        (b'{"Addr": "tcp://h:1", "TLSConfig": []}', "got `array` - at `$.TLSConfig`"),
        (b'{"Addr": "tcp://h:1", "TLSConfig": {"CAFile": 3}}', "got `int` - at `$.TLSConfig.CAFile`"),
        (b'{"Addr": "tcp://h:1", "TLSConfig": {"insecureskipverify": "yes"}}', "`$.TLSConfig.InsecureSkipVerify`"),
        (b'{"Addr": "tcp://h:1", "TLSConfig": {"CertFile": "/c"}}', "TLSConfig: KeyFile is missing"),
        (b'{"Addr": "tcp://h:1", "TLSConfig": {"MinVersion": 1}}', "TLSConfig: MinVersion is 1"),
        (b'{"Addr": "tcp://h:1", "TLSConfig": {"MinVersion": ' + b"9" * 5000 + b"}}", "out of range"),
    ],
)
def test_a_json_file_that_cannot_be_used_is_refused_with_the_place_in_it(content, fault):
    with pytest.raises(SpecError) as refused:
        read_json_spec(content)
    assert fault in str(refused.value)


@pytest.mark.parametrize("reader", [read_url_spec, read_json_spec])
@given(content=BODIES | st.sampled_from([*NESTED, TOO_DEEP]))
def test_any_bytes_are_a_spec_or_a_spec_error(reader, content):
    try:
        address, tls, endpoints = reader(content)
    except SpecError:
        return
    assert str(Address.parse(address)) == address
    assert tls is None or isinstance(tls, TLSConfig)
    assert all(isinstance(each, Endpoint) for each in endpoints)


# --- the JSON envelope --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "body"),
    [(None, b""), ({}, b"{}\n"), ({"Name": "v", "Opts": None}, b'{"Name":"v","Opts":null}\n'), ([1], b"[1]\n")],
)
def test_a_request_body_is_compact_json_and_a_newline_or_nothing(arguments, body):
    assert encode_json(arguments) == body


def test_arguments_that_hold_themselves_are_a_value_error_that_names_the_method():
    circle: list[object] = []
    circle.append({"Name": circle})
    with pytest.raises(ValueError, match=r"^VolumeDriver\.List: the arguments contain a circular reference"):
        encode_json(circle, "VolumeDriver.List")
    with pytest.raises(ValueError, match=r"^the arguments contain a circular reference"):
        encode_json(circle)


def test_arguments_that_json_cannot_say_are_a_type_error():
    with pytest.raises(TypeError):
        encode_json(object())


class Reply(msgspec.Struct):
    size: int


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, null]}\n', {"a": [1, None]}),
        (b'"\xff\xfe"', "\ufffd\ufffd"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"9" * 30, 10**30 - 1),
        (b"{} {}", {}),
        (b'{"a": 1}{"a": 2}', {"a": 1}),
        (b'{"a": 1}\n\n  trailing', {"a": 1}),
        (b'{"a": 1}\0', {"a": 1}),
        (b'{"a": "\xff"} \xff\xfe', {"a": "\ufffd"}),
        (b"null,", None),
        (b"nullx", None),
        (b'"a"b', "a"),
        (b'"\\ud800"', "\ufffd"),
        (b'"\\udcffx\\ud83d\\ude00" more', "\ufffdx\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
    ],
)
def test_json_is_decoded_as_the_engine_does(body, value):
    assert decode_json(body) == value


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"x{}", b'\xef\xbb\xbf{"a": 1}', b"NaN"])
def test_what_does_not_begin_with_a_json_value_is_a_protocol_error(body):
    with pytest.raises(ProtocolError, match="not JSON"):
        decode_json(body)


@pytest.mark.parametrize("body", [TOO_DEEP, b"9" * 5000], ids=["nested", "huge integer"])
def test_json_that_python_cannot_hold_is_a_protocol_error(body):
    with pytest.raises(ProtocolError):
        decode_json(body)


def test_a_typed_decoder_validates_and_gives_the_place():
    decoder = msgspec.json.Decoder(Reply)
    assert decode_json(b'{"size": 1}', decoder) == Reply(1)
    assert decode_json(b'{"size": 1, "x": "\xff"}', decoder) == Reply(1)
    with pytest.raises(msgspec.ValidationError, match=r"at `\$.size`"):
        decode_json(b'{"size": "1"}', decoder)


@given(BODIES)
def test_any_bytes_are_a_json_value_or_a_protocol_error(body):
    with suppress(ProtocolError):
        decode_json(body)


TABLE = {"volume": ("Volume", {"name": "Name"}), "volumes": ("Volumes", {"name": "Name"}), "err": "Err"}


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        ({"VOLUME": {"nAmE": "v", "Other": 1}}, {"Volume": {"Name": "v", "Other": 1}}),
        ({"volumes": [{"name": "v"}, None, {"NAME": "w"}]}, {"Volumes": [{"Name": "v"}, None, {"Name": "w"}]}),
        ({"Err": "a", "err": "b"}, {"Err": "b"}),
        ({"Err": "a", "err": None}, {"Err": "a"}),
        ({"other": None, "Volume": None}, {}),
        ({"volume": "no object"}, {"Volume": "no object"}),
        ([[{"err": "left alone"}]], [[{"err": "left alone"}]]),
        ("text", "text"),
        (None, None),
    ],
)
def test_keys_are_folded_to_the_tables_spelling_and_nulls_dropped(value, folded):
    assert fold_keys(value, TABLE) == folded


@pytest.mark.parametrize("body", NESTED)
def test_folding_deep_replies_does_not_exhaust_the_stack(body):
    value = decode_json(body)
    assert type(fold_keys(value, TABLE)) is type(value)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b" two\n lines\t", "two lines"),
        (b"\x1b[31mred\0", "\ufffd[31mred\ufffd"),
        (b"\xff", "\ufffd"),
        (b"x" * 300, "x" * 200 + "..."),
        (b"", ""),
    ],
)
def test_an_excerpt_is_one_short_printable_line(body, text):
    assert excerpt(body) == text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"Err": "broken"}, "broken"),
        ({"err": "broken"}, "broken"),
        ({"Error": "no address"}, "no address"),
        ({"Err": "", "Error": "no address"}, "no address"),
        ({"Err": ""}, ""),
        ({"Err": None}, ""),
        ({"Err": 5}, ""),
        ({"message": "not an error in a 200"}, ""),
        ({}, ""),
        (None, ""),
        ([], ""),
        ("Err", ""),
    ],
)
def test_an_error_in_a_200_stands_in_err_or_error(reply, words):
    assert error_in(reply) == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"Err": "volume not found"}', "volume not found"),
        (b'{"ERR": "volume not found"}', "volume not found"),
        (b'{"Error": "no pool"}', "no pool"),
        (b'{"message": "page not found"}', "page not found"),
        (b'{"Err": "", "message": "why"}', "why"),
        (b'{"code": 5}', '{"code": 5}'),
        (b"404 page not found\n", "404 page not found"),
        (b"", ""),
        (b"bad \xff byte", "bad \ufffd byte"),
        (
            b"<!DOCTYPE html><html><head><title>T</title></head><body><h1>502</h1>\n<p>Bad &amp; gone</p></body>",
            "502 Bad & gone",
        ),
        (b"<html><script>if (a < b)\n{}</script><!-- x > y -->Sorry<br/></html>", "Sorry"),
        (b"9" * 5000, "9" * 5000),
        (TOO_DEEP, TOO_DEEP.decode()),
    ],
)
def test_the_plugins_words_are_found_wherever_they_stand(body, words):
    assert error_words(body) == words


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"x" * 9, "xxxxxxxx..."), (b"x" * 8, "xxxxxxxx"), (b'{"Err": "xxxxxxxxxxxx"}', "xxxxxxxxxxxx")],
)
def test_text_that_may_be_a_whole_page_can_be_cut_and_an_err_is_not(body, words):
    assert error_words(body, limit=8) == words


def test_the_words_of_a_page_are_looked_for_in_its_beginning_which_is_long_enough_for_styles():
    style = b"<html><style>" + b"a{}" * 2000 + b"</style>"
    assert error_words(style + b"gone", limit=8) == "gone"
    assert "gone" not in error_words(style + b"<br>" * 2000 + b"gone", limit=8)


@given(BODIES | st.binary().map(lambda tail: b"<html>" + tail))
def test_any_error_body_gives_words(body):
    assert isinstance(error_words(body), str)


@pytest.mark.parametrize("opening", [b"<head", b"<!--", b"<", b"<script>"])
def test_the_cost_of_a_page_that_opens_tags_and_closes_none_grows_with_its_length_only(opening):
    assert growth(lambda page: error_words(b"<html>" + page), opening) < 80  # quadratic is 256


# --- the handshake ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "points"),
    [
        (b'{"Implements": ["VolumeDriver", "NetworkDriver"]}\n', ("VolumeDriver", "NetworkDriver")),
        (b'{"implements": ["VolumeDriver"], "Extra": {}}', ("VolumeDriver",)),
        (b'{"Implements": ["authz", null, "", "authz"]}', ("authz",)),
        (b'{"Err": "ignored", "Implements": ["volumedriver"]}', ("volumedriver",)),
        (b'{"Implements": null}', ()),
        (b'{"Implements": []}', ()),
        (b"{}", ()),
        (b"null", ()),
        (b'{"Implements": ["\xff"]}', ("\ufffd",)),
    ],
)
def test_a_manifest_is_read_as_real_plugins_send_it(body, points):
    assert Manifest.parse(body) == Manifest(points)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", 'the response is empty; expected {"Implements": [...]}'),
        (b" \n", "the response is empty"),
        (b"<html>Welcome</html>", "not JSON"),
        (b'{"Implements": ["VolumeDriver"', "not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"VolumeDriver"', "Expected `object`, got `str`"),
        (b'{"Implements": "VolumeDriver"}', "at `$.Implements`"),
        (b'{"Implements": {"VolumeDriver": true}}', "at `$.Implements`"),
        (b'{"Implements": [1]}', "at `$.Implements[0]`"),
        (NESTED[0], "Expected `object`, got `array`"),
        (TOO_DEEP, "nested too deeply"),
    ],
)
def test_an_answer_that_is_no_manifest_is_a_protocol_error_with_the_place(body, fault):
    with pytest.raises(ProtocolError) as refused:
        Manifest.parse(body)
    assert fault in str(refused.value)


def test_a_manifest_is_no_way_to_fill_a_hosts_memory_and_its_log():
    entries = [f"_a{number}" for number in range(10_000)]
    with pytest.raises(ProtocolError, match=r"the response has \d+ bytes; expected .* of at most 65536"):
        Manifest.parse(json.dumps({"Implements": entries}).encode())
    assert len(Manifest.parse(json.dumps({"Implements": entries[:1000]}).encode()).implements) == 1000


@given(BODIES)
def test_any_answer_is_a_manifest_or_a_protocol_error(body):
    try:
        manifest = Manifest.parse(body)
    except ProtocolError:
        return
    assert all(isinstance(point, str) and point for point in manifest.implements)


def test_a_spec_can_carry_a_manifest_and_the_users_that_may_answer():
    spec = PluginSpec("p", "unix:///p.sock", manifest=Manifest(("VolumeDriver",)), peer_uids=frozenset({7}))
    assert spec.manifest == Manifest(("VolumeDriver",))
    assert spec.peer_uids == {7}
    assert spec != PluginSpec("p", "unix:///p.sock")
    assert (PluginSpec("p", "tcp://h:1").manifest, PluginSpec("p", "tcp://h:1").peer_uids) == (None, None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/state/photos", "/plugin/mounts/photos"),
        ("/mnt/state", "/plugin/mounts"),
        ("//mnt//state/./photos/", "/plugin/mounts/photos"),
        ("/mnt/states/photos", "/plugin/rootfs/mnt/states/photos"),
        ("/mnt/state/../../../etc", "/plugin/rootfs/etc"),
        ("/", "/plugin/rootfs"),
        ("photos", "photos"),
        ("", ""),
    ],
)
def test_a_path_of_a_plugin_becomes_the_hosts_and_never_leaves_the_plugins_root(path, expected):
    paths = (("/", "/plugin/rootfs"), ("/mnt/state/", "/plugin/mounts"))
    assert host_path(path, paths) == host_path(path, paths[::-1]) == expected
    assert host_path(path, ()) == path


def test_a_path_outside_every_directory_stays_what_it_is():
    assert host_path("/etc/x", [("/mnt", "/plugin/mnt")]) == "/etc/x"
    assert host_path("/etc/x", [("/etc", "/")]) == "/x"


def test_text_that_is_not_unicode_is_refused_with_the_name_of_its_argument():
    request = msgspec.defstruct("Request", [("path", str), ("opts", dict)])("/a", {"b": ["\udcff"]})
    for arguments in (request, {"path": "/a", "opts": {"b": ["\udcff"]}}):
        with pytest.raises(ValueError, match=r"^Backup.Start: 'opts' contains a surrogate, as a file name that is not"):
            encode_json(arguments, "Backup.Start")
    with pytest.raises(ValueError, match="^the text contains a surrogate"):
        encode_json("\ud800")
