"""For every method: requests and replies survive the wire, and nonsense is a value or an error of our tree."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from every_method import METHODS, OWNERS
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_client import ScriptedClient
from strategies import arguments, as_careless_peers_write, damaged, json_values, results, text

from extframe.errors import ExtframeError, ProtocolError
from extframe.interface.methods import Method
from extframe.protocol import encode_json
from extframe.subsystems.log_entries import LogEntry, PartialLogMetadata, pack_entry, unpack_entries

# There are some forty methods, and a slow machine is no fault.
few = settings(max_examples=settings.default.max_examples // 3)
many = settings(max_examples=5 * settings.default.max_examples)
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_method_with_arguments = pytest.mark.parametrize(
    "method", [each for each in METHODS.values() if each.signature.parameters], ids=lambda method: method.wire
)
every_method_with_a_reply = pytest.mark.parametrize(
    "method", [each for each in METHODS.values() if each.stream is None], ids=lambda method: method.wire
)


def with_defaults(method: Method, given: dict) -> dict:
    parameters = method.signature.parameters.values()
    return {each.name: given.get(each.name, each.default) for each in parameters}


def sent(method: Method, given: dict) -> bytes:
    return encode_json(method.encode_arguments(**given))


@every_method
@few
@given(draw=st.data())
def test_a_request_comes_out_of_json_as_it_went_in(method, draw):
    given = draw.draw(arguments(method))
    assert method.decode_request(sent(method, given)) == with_defaults(method, given)


@every_method_with_arguments
@few
@given(draw=st.data())
def test_a_request_is_understood_with_keys_in_any_case_and_keys_that_are_new(method, draw):
    given = draw.draw(arguments(method))
    careless = as_careless_peers_write(sent(method, given), draw, method.request.__struct_encode_fields__)
    assert method.decode_request(careless) == with_defaults(method, given)


@every_method_with_a_reply
@few
@given(draw=st.data())
def test_a_reply_comes_out_of_json_as_it_went_in(method, draw):
    result = draw.draw(results(method))
    assert method.decode_reply(method.encode_reply(result)) == result


@every_method_with_a_reply
@few
@given(draw=st.data())
def test_a_reply_is_understood_with_keys_in_any_case_and_keys_that_are_new(method, draw):
    result = draw.draw(results(method))
    known = method.reply.__struct_encode_fields__
    careless = as_careless_peers_write(method.encode_reply(result), draw, known)
    assert method.decode_reply(careless) == result


def call_with_reply(method: Method, body: bytes, given: dict) -> None:
    client = ScriptedClient(body)
    try:
        result = getattr(OWNERS[method.wire].remote(client), method.name)(**given)
        if method.stream is not None:
            list(result)
    except ExtframeError as error:
        assert (error.plugin, error.method) == ("scripted", method.wire)  # noqa: PT017 - one of two good ends


@every_method
@few
@given(draw=st.data())
def test_random_json_in_a_reply_is_a_value_or_an_error_with_names(method, draw):
    keys = st.sampled_from([*method.reply.__struct_encode_fields__, "Err", "Error"]) | text
    reply = draw.draw(json_values | st.dictionaries(keys, json_values, max_size=4))
    call_with_reply(method, encode_json(reply) or b"null", draw.draw(arguments(method)))


@every_method_with_a_reply
@few
@given(draw=st.data())
def test_a_reply_with_something_wrong_in_it_is_a_value_or_an_error_with_names(method, draw):
    call_with_reply(
        method, damaged(method.encode_reply(draw.draw(results(method))), draw), draw.draw(arguments(method))
    )


@every_method
@few
@given(draw=st.data(), body=st.binary(max_size=40))
def test_random_bytes_in_a_reply_are_a_value_or_an_error_with_names(method, draw, body):
    call_with_reply(method, body, draw.draw(arguments(method)))


@every_method
@few
@given(draw=st.data(), noise=st.binary(max_size=40))
def test_a_request_that_makes_no_sense_is_arguments_or_a_protocol_error(method, draw, noise):
    keys = st.sampled_from([*method.request.__struct_encode_fields__, ""])
    body = draw.draw(st.dictionaries(keys, json_values, max_size=4))
    for request in (noise, encode_json(body), damaged(sent(method, draw.draw(arguments(method))) or b"{}", draw)):
        with suppress(ProtocolError):
            assert method.decode_request(request).keys() == method.signature.parameters.keys()


metadata = st.builds(PartialLogMetadata, st.booleans(), text, st.integers(-(2**31), 2**31 - 1))
entries = st.builds(
    LogEntry,
    text,
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=40),
    st.booleans(),
    st.none() | metadata,
    st.dictionaries(text, text, max_size=3),
)


@many
@given(st.lists(entries, max_size=4))
def test_log_entries_come_out_of_a_stream_as_they_went_in(written):
    assert list(unpack_entries(io.BytesIO(b"".join(map(pack_entry, written))))) == written


@many
@given(st.binary(max_size=60))
def test_random_bytes_in_a_stream_are_log_entries_or_a_protocol_error(noise):
    for stream in (noise, len(noise).to_bytes(4, "big") + noise):
        with suppress(ProtocolError):
            assert all(isinstance(entry, LogEntry) for entry in unpack_entries(io.BytesIO(stream)))
