"""Requests as the engine writes them, and every shape of response, without a socket."""

from __future__ import annotations

import functools
import gc
import gzip
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extframe.client.http1 import LAST_CHUNK, Limits, RequestWriter, Response, ResponseParser, chunk, read_whole
from extframe.errors import ConnectionLost, ProtocolError, SpecError

OK = b"HTTP/1.1 200 OK\r\n"
compress = functools.partial(gzip.compress, mtime=0)  # the time would stand in the names of tests
SMALL = Limits(headers=1000, body=1000)


def parse(*pieces: bytes, limits: Limits = SMALL, clean: bool = True) -> Response:
    """Feed the pieces; a connection that ends after the last."""
    parser = ResponseParser(limits)
    for piece in pieces:
        parser.feed(piece)
    parser.end(clean=clean)
    assert parser.done
    return parser.response


def with_length(body: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(*chunks: bytes, headers: bytes = b"", trailers: bytes = b"") -> bytes:
    data = b"".join(chunk(piece) for piece in chunks)
    return OK + headers + b"Transfer-Encoding: chunked\r\n\r\n" + data + b"0\r\n" + trailers + b"\r\n"


def to_the_end(body: bytes) -> bytes:
    return OK + b"\r\n" + body


# --- requests -----------------------------------------------------------------------------------------


def test_a_request_has_the_headers_of_the_engine_in_its_order():
    assert RequestWriter("plugin.moby.localhost").request("/VolumeDriver.Get", b'{"Name":"photos"}\n') == (
        b"POST /VolumeDriver.Get HTTP/1.1\r\n"
        b"Host: plugin.moby.localhost\r\n"
        b"User-Agent: Go-http-client/1.1\r\n"
        b"Content-Length: 18\r\n"
        b"Accept: application/vnd.docker.plugins.v1.2+json\r\n"
        b"\r\n"
        b'{"Name":"photos"}\n'
    )


def test_over_tcp_a_request_asks_for_gzip_as_the_engine_does():
    assert RequestWriter("127.0.0.1:80", gzip=True).request("/Plugin.Activate", b"") == (
        b"POST /Plugin.Activate HTTP/1.1\r\n"
        b"Host: 127.0.0.1:80\r\n"
        b"User-Agent: Go-http-client/1.1\r\n"
        b"Content-Length: 0\r\n"
        b"Accept: application/vnd.docker.plugins.v1.2+json\r\n"
        b"Accept-Encoding: gzip\r\n"
        b"\r\n"
    )


def test_a_request_whose_length_is_not_known_is_chunked():
    writer = RequestWriter("x")
    assert writer.chunked_head("/GraphDriver.ApplyDiff?id=1&parent=") == (
        b"POST /GraphDriver.ApplyDiff?id=1&parent= HTTP/1.1\r\n"
        b"Host: x\r\n"
        b"User-Agent: Go-http-client/1.1\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Accept: application/vnd.docker.plugins.v1.2+json\r\n"
        b"\r\n"
    )
    assert chunk(b"twelve bytes") + LAST_CHUNK == b"c\r\ntwelve bytes\r\n0\r\n\r\n"


@pytest.mark.parametrize("path", ["", "A.B", "/A B", "/A\r\nX: y", "/A\n", "/A\0", "/\t", "/Ä", "/\x7f"])
def test_a_path_that_could_leave_the_request_line_is_refused(path):
    with pytest.raises(SpecError, match="is not a valid method"):
        RequestWriter("x").request(path, b"")
    with pytest.raises(ValueError, match="is not a valid method"):
        RequestWriter("x").chunked_head(path)


def test_paths_without_number_are_written_and_not_all_remembered():
    writer = RequestWriter("x")
    for number in range(1000):
        assert writer.request(f"/A.{number}", b"").startswith(b"POST /A.%d HTTP/1.1\r\nHost: x\r\n" % number)
    assert len(writer._starts) <= 256


# --- responses of every shape -------------------------------------------------------------------------


def test_a_response_with_a_length_may_be_followed_by_another():
    response = parse(with_length(b"{}", b"X-Name: a\r\n"))
    assert response == Response(200, ((b"x-name", b"a"), (b"content-length", b"2")), b"{}", True, True)
    assert response.header("X-NAME") == "a"
    assert response.header("Y") is None


def test_a_response_in_chunks_is_put_together():
    response = parse(in_chunks(b"ab", b"c", trailers=b"X-Sum: 1\r\n"))
    assert (response.body, response.complete, response.keep_alive) == (b"abc", True, True)
    assert response.header("X-Sum") is None


def test_a_response_without_a_length_ends_with_the_connection():
    response = parse(to_the_end(b"a"), b"b")
    assert (response.body, response.complete, response.keep_alive) == (b"ab", True, False)


def test_where_tls_was_cut_a_response_without_a_length_is_not_complete():
    assert not parse(to_the_end(b"ab"), clean=False).complete
    assert parse(with_length(b"ab"), clean=False).complete


@pytest.mark.parametrize("data", [with_length(b"abcd")[:-2], in_chunks(b"ab", b"cd")[:-10], in_chunks(b"ab")[:-2]])
def test_a_response_that_ends_before_its_end_is_given_and_not_complete(data):
    response = parse(data)
    assert response.body[:2] == b"ab"
    assert (response.complete, response.keep_alive) == (False, False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_status_that_has_no_body_needs_no_length(status):
    response = parse(b"HTTP/1.1 " + status + b"\r\nContent-Length: 999999\r\n\r\n")
    assert (response.body, response.complete, response.keep_alive) == (b"", True, True)


def test_interim_responses_are_skipped():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    response = parse(interim + with_length(b"{}"))
    assert (response.status, response.header("Link"), response.body) == (200, None, b"{}")


@pytest.mark.parametrize(
    "data",
    [
        with_length(b"{}", b"Connection: close\r\n"),
        with_length(b"{}").replace(b"1.1", b"1.0"),
        with_length(b"{}") + b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\nmore",
        with_length(b"{}") + b"x",
        in_chunks(b"{}") + b"\x00",
    ],
)
def test_a_connection_that_is_to_end_or_out_of_step_is_not_kept(data):
    response = parse(data)
    assert (response.status, response.body, response.complete, response.keep_alive) == (200, b"{}", True, False)


def test_what_is_waited_for_has_a_name():
    parser = ResponseParser(SMALL)
    seen = [parser.phase]
    for piece in (b"H", b"TTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"{", b"}"):
        parser.feed(piece)
        seen.append(parser.phase)
    assert seen == ["status line", "headers", "headers", "body", "body", "done"]


def test_a_stream_is_taken_while_it_comes_and_may_be_longer_than_the_limit():
    parser = ResponseParser(SMALL, streaming=True)
    parser.feed(OK + b"Content-Length: 5000\r\n\r\n")
    assert (parser.head_done, parser.status, parser.done) == (True, 200, False)
    for _ in range(10):
        parser.feed(b"a" * 500)
        assert parser.take_body() == b"a" * 500
    assert (parser.done, parser.complete, parser.keep_alive) == (True, True, True)


def test_a_parser_leaves_no_cycle_that_would_keep_a_body():
    gc.collect()
    gc.disable()
    try:
        parse(with_length(b"a" * 500))
        parser = ResponseParser(SMALL)
        parser.feed(with_length(b"a" * 500)[:-1])
        del parser
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- gzip ---------------------------------------------------------------------------------------------

GZIP = b"Content-Encoding: gzip\r\n"


@pytest.mark.parametrize("packed", [compress(b"abc"), compress(b"ab") + compress(b"c")])
def test_gzip_is_unpacked(packed):
    assert parse(with_length(packed, GZIP)).body == b"abc"
    assert parse(in_chunks(packed[:15], packed[15:], headers=GZIP)).body == b"abc"
    assert parse(with_length(b"", GZIP)).body == b""


def test_a_gzip_bomb_is_bounded():
    bomb = compress(b"\0" * 100_000)
    assert len(bomb) < SMALL.body
    with pytest.raises(ProtocolError, match="over 1000 bytes, which is Limits.body"):
        parse(with_length(bomb, GZIP))
    with pytest.raises(ProtocolError, match="over 1000 bytes"):
        parse(with_length(compress(b"\0" * 501) * 2, GZIP))


def test_a_gzip_stream_is_unpacked_while_it_comes():
    packer = zlib.compressobj(wbits=31)
    parser = ResponseParser(SMALL, streaming=True)
    parser.feed(OK + GZIP + b"\r\n")
    for line in (b"one\n", b"two\n"):
        parser.feed(packer.compress(line) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert parser.take_body() == line
    parser.feed(packer.flush())
    parser.end()
    assert parser.take_body() == b""


def test_a_gzip_bomb_in_a_stream_is_unpacked_a_piece_at_a_time():
    parser = ResponseParser(SMALL, streaming=True)
    parser.feed(with_length(compress(b"\0" * 10_000_000), GZIP))
    sizes = []
    while piece := parser.take_body():
        sizes.append(len(piece))
    assert max(sizes) <= 64 * 1024
    assert sum(sizes) == 10_000_000


def test_a_gzip_stream_that_ends_early_is_noticed_at_its_end():
    parser = ResponseParser(SMALL, streaming=True)
    parser.feed(with_length(compress(bytes(200))[:-4], GZIP))
    assert parser.take_body() == bytes(200)
    with pytest.raises(ProtocolError, match="ends within its gzip data"):
        parser.take_body()


@pytest.mark.parametrize(
    ("packed", "body", "fault"),
    [
        (b"plain text", b"plain text", ""),
        (compress(b"abc")[:-3], b"abc", "ends within its gzip data"),
        (compress(b"abc") + b"more", b"abc", "is not gzip, contrary to its headers"),
        (b"\x1fplain", b"", "is not gzip, contrary to its headers"),
        (compress(b"abc")[:-8] + b"12345678", b"abc", "incorrect data check"),
    ],
)
def test_invalid_gzip_is_a_fault_and_a_body_without_its_magic_number_is_not_gzip(packed, body, fault):
    response = parse(with_length(packed, GZIP))
    assert response.body == body
    assert fault in response.fault
    assert (response.complete, response.keep_alive) == (not fault, not fault)


def test_invalid_gzip_in_a_stream_is_an_error_after_what_precedes_it():
    parser = ResponseParser(SMALL, streaming=True)
    parser.feed(with_length(compress(b"abc") + b"more", GZIP))
    assert parser.take_body() == b"abc"
    with pytest.raises(ProtocolError, match="is not gzip"):
        parser.take_body()


def test_invalid_chunks_in_a_stream_are_an_error_after_what_precedes_them():
    parser = ResponseParser(SMALL, streaming=True)
    parser.feed(in_chunks(b"abc")[:-5] + b"zz\r\n")
    assert parser.take_body() == b"abc"
    with pytest.raises(ProtocolError, match="the size of a chunk of the response is 'zz'"):
        parser.take_body()
    assert not parser.keep_alive


def test_what_came_of_gzip_that_was_cut_is_given():
    packed = compress(bytes(range(200)))
    response = parse(with_length(packed, GZIP)[:-20])
    assert not response.complete
    assert bytes(range(200)).startswith(response.body)


# --- read at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        with_length(b"{}"),
        with_length(b""),
        with_length(b"{}", b"Connection: close\r\n"),
        with_length(b"{}").replace(b"200 OK", b"500 No"),
        in_chunks(b"{}"),
        in_chunks(b"ab", b"c"),
        in_chunks(),
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_a_whole_response_of_the_common_shape_is_read_at_once(data):
    for _ in range(2):
        assert read_whole(data, SMALL) == parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        with_length(b"{}")[:-1],
        with_length(b"{}") + b"x",
        in_chunks(b"{}")[:-1],
        in_chunks(b"{}") + b"x",
        in_chunks(b"{}", trailers=b"A: b\r\n"),
        in_chunks(b"{}").replace(b"2\r\n", b"2;a\r\n"),
        in_chunks(b"{}").replace(b"2\r\n", b"3\r\n"),
        to_the_end(b"{}"),
        with_length(compress(b"{}"), GZIP),
        with_length(b"\0" * 20, GZIP),
        b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(b"{}"),
        b"HTTP/1.1 200 OK\n\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n{}",
        with_length(b"a" * 1001),
        with_length(b"", b"A: %b\r\n" % (b"b" * 1000)),
    ],
)
def test_whatever_is_not_whole_or_not_of_that_shape_is_left_to_the_parser(data):
    for _ in range(2):
        assert read_whole(data, SMALL) is None


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP: 'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/1.1 2000 No\r\n", "not HTTP: its first line is 'HTTP/1.1 2000 No'"),
        (b"HTTP/1.1 099 No\r\n\r\n", "status 99; expected 100 to 999"),
        (OK + b" A: b\r\n\r\n", "its headers begin with a space"),
        (OK + b"A\r\n\r\n", "a header has no colon: 'A'"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", "different Content-Lengths: '2', '3'"),
        (OK + b"Content-Length: -2\r\n\r\n", "'-2'; expected a number of bytes"),
        (OK + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n", "expected a number of bytes|Limits.headers"),
        (OK + b"Content-Length: 11111111111111111111\r\n\r\n", "'11111111111111111111'; expected a number of bytes"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "'gzip, chunked', not chunked"),
        (b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "switched to another protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "speak TLS: its address should begin with https://"),
    ],
)
def test_what_is_not_http_is_rejected_with_the_reason(data, words):
    with pytest.raises(ProtocolError, match=words):
        parse(data)
    with pytest.raises(ProtocolError):
        parse(*[bytes([byte]) for byte in data])


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        (b"zz\r\n", "the size of a chunk of the response is 'zz'; expected a hexadecimal number"),
        (b"2\r\n{}more\r\n", "longer than its size, by 'more' at least"),
        (b"2;" + b"a" * 5000, "over 4096 bytes"),
    ],
)
def test_invalid_chunks_are_a_fault_of_the_response(chunks, fault):
    response = parse(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, limits=Limits())
    assert fault in response.fault
    assert (response.complete, response.keep_alive) == (False, False)


# Each is read as Go's net/http reads it, but leaves the connection not to be reused.
IRREGULAR = {
    "LF": with_length(b"{}").replace(b"\r\n", b"\n"),
    "one LF": with_length(b"{}").replace(b"\r\n", b"\n", 1),
    "LF for the empty line": with_length(b"{}").replace(b"\r\n\r\n", b"\r\n\n"),
    "folded": with_length(b"{}", b"A: b\r\n c\r\n"),
    "folded length": OK + b"Content-Length:\r\n 2\r\n\r\n{}",
    "space before the colon": with_length(b"{}").replace(b"Length:", b"Length :"),
    "name with a space": with_length(b"{}", b"A B: c\r\n"),
    "control character": with_length(b"{}", b"A: \0\r\n"),
    "CR": with_length(b"{}", b"A: b\rc\r\n"),
    "two equal lengths": with_length(b"{}", b"Content-Length: 2\r\n"),
    "length and chunks": in_chunks(b"{}", headers=b"Content-Length: 999\r\n"),
    "different lengths and chunks": in_chunks(b"{}", headers=b"Content-Length: 1\r\nContent-Length: x\r\n"),
    "space after a size": in_chunks(b"{}").replace(b"\r\n2\r\n", b"\r\n2 \r\n"),
    "LF after a size": in_chunks(b"{}").replace(b"\r\n2\r\n", b"\r\n2\n"),
    "LF after a chunk": in_chunks(b"{}").replace(b"{}\r\n", b"{}\n"),
    "invalid trailer": in_chunks(b"{}", trailers=b"A\r\n"),
    "HTTP/2.0": with_length(b"{}").replace(b"1.1", b"2.0"),
    "chunks in HTTP/1.0": with_length(b"{}", b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n").replace(
        b"/1.1", b"/1.0"
    ),
}


@pytest.mark.parametrize("data", IRREGULAR.values(), ids=IRREGULAR)
def test_a_response_that_needs_leniency_is_read_and_its_connection_not_kept(data):
    response = parse(data)
    assert (response.status, response.body, response.complete, response.keep_alive) == (200, b"{}", True, False)
    assert read_whole(data, SMALL) is None


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"identity", b"utf-8", b""])
def test_an_unknown_content_encoding_is_ignored(coding):
    response = parse(with_length(b"{}", b"Content-Encoding: %b\r\n" % coding))
    assert response.body == b"{}"
    assert response.complete == (coding in (b"identity", b"")) == (not response.fault)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "without a response"), (b"HT", "within the headers"), (OK + b"A: b\r\n", "within the head")],
)
def test_a_connection_that_ends_before_the_body_is_lost(data, words):
    with pytest.raises(ConnectionLost, match=words):
        parse(*[data] if data else [])


def test_a_length_over_the_limit_is_refused_before_the_body_comes():
    parser = ResponseParser(SMALL)
    with pytest.raises(ProtocolError, match="over 1000 bytes, which is Limits.body"):
        parser.feed(OK + b"Content-Length: 1001\r\n\r\n")


@pytest.mark.parametrize("endless", [in_chunks(*[b"a" * 100] * 11), to_the_end(b"a" * 1001)])
def test_a_body_that_grows_over_the_limit_is_refused(endless):
    with pytest.raises(ProtocolError, match="over 1000 bytes, which is Limits.body"):
        parse(endless)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 O", b"K"),
        (OK, b"A: b\r\n"),
        (OK + b"A: ", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"extension"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"),
    ],
)
def test_a_flood_of_anything_but_body_is_refused(start, more):
    with pytest.raises(ProtocolError, match="over 1000 bytes, which is Limits.headers"):
        parse(start or more, *[more] * 1001)


def test_headers_over_the_limit_are_refused_when_they_come_at_once():
    with pytest.raises(ProtocolError, match=r"Limits\.headers"):
        parse(with_length(b"{}", b"A: %b\r\n" % (b"b" * 1000)))


def test_bodies_in_many_small_chunks_are_no_flood():
    assert parse(*[bytes([byte]) for byte in in_chunks(*[b"a"] * 500)]).body == b"a" * 500


# --- properties ---------------------------------------------------------------------------------------

bodies = st.binary(max_size=200)
messages = st.one_of(
    st.sampled_from(sorted(IRREGULAR.values())),
    st.builds(with_length, bodies),
    st.builds(lambda pieces: in_chunks(*[piece for piece in pieces if piece]), st.lists(bodies, max_size=4)),
    st.builds(to_the_end, bodies),
    st.builds(lambda body: in_chunks(compress(body), headers=GZIP), bodies),
    st.builds(lambda body, more: with_length(compress(body) + more, GZIP), bodies, bodies),
    st.builds(lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(body), bodies),
    st.builds(lambda body: with_length(body)[:-1], bodies.filter(bool)),
)


@given(message=messages, cuts=st.lists(st.integers(0, 500), max_size=6))
def test_a_response_means_the_same_however_it_is_cut(message, cuts):
    edges = [0, *sorted(min(cut, len(message)) for cut in cuts), len(message)]
    pieces = [message[start:end] for start, end in pairwise(edges) if start < end]
    assert parse(*pieces) == parse(message)


FRAGMENTS = [
    *(OK, b"HTTP/1.1 101 S\r\n", b"\r\n", b"\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", GZIP),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n"),
]


@given(message=messages, extra=st.binary(max_size=3))
def test_a_response_that_is_read_at_once_is_the_one_that_the_parser_reads(message, extra):
    assert read_whole(message + extra, SMALL) in (None, parse(message + extra))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(FRAGMENTS),
        ),
        min_size=1,
    ).map(b"".join)
)
def test_any_bytes_give_a_response_or_an_error_of_ours(data):
    at_once = read_whole(data, SMALL)
    try:
        response = parse(data)
    except (ProtocolError, ConnectionLost):
        assert at_once is None
        return
    assert 100 < response.status < 1000
    assert at_once in (None, response)


def test_the_cache_of_heads_keeps_no_bodies():
    def response(number: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 60000\r\n\r\n" % number + bytes(60_000)

    tracemalloc.start()
    try:
        assert all(read_whole(response(number), Limits()).status == 200 for number in range(256))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
