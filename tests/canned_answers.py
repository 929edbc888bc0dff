"""Canned answers of plugins, byte for byte, for the comparison with moby's client. Knows neither client.

``canned_moby.json`` has what moby's client reads in each; tests/peers/test_moby_answers.py writes and verifies it.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
GOOD = b'{"Err":"","Path":"/mnt"}'
FAILED = b'{"Err":"no such volume"}'
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Answer:
    """An answer to a call; then the plugin closes the connection, or reads the next request.

    ``over`` is "unix" or "tcp": moby asks for gzip over TCP only.
    """

    group: str
    name: str
    data: bytes
    closes: bool = False
    over: str = "unix"

    @property
    def key(self) -> str:
        """Its name in tests and in the recording."""
        return f"{self.group}: {self.name}"


def sized(body: bytes = GOOD, headers: bytes = b"", first: bytes = OK) -> bytes:
    return first + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def in_group(group: str, *answers: tuple[str, bytes, str], over: str = "unix") -> list[Answer]:
    """Return answers; the third of each is "open" or "close": what the plugin does then."""
    return [Answer(group, name, data, end == "close", over) for name, data, end in answers]


def status_line(line: bytes, end: str = "open") -> tuple[bytes, str]:
    return sized(first=line + b"\r\n"), end


def with_length(value: bytes, body: bytes = GOOD) -> bytes:
    return OK + b"Content-Length: %b\r\n\r\n" % value + body


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


STATUS_LINES = in_group(
    "Status line",
    ("HTTP/1.1 200 OK", *status_line(b"HTTP/1.1 200 OK")),
    ("no reason", *status_line(b"HTTP/1.1 200")),
    ("no reason, but a space", *status_line(b"HTTP/1.1 200 ")),
    ("a reason that is not ASCII", *status_line(b"HTTP/1.1 200 \xc3\xa7a va")),
    ("two spaces before the status", *status_line(b"HTTP/1.1  200 OK")),
    ("a tab before the status", *status_line(b"HTTP/1.1\t200 OK")),
    ("no space after the status", *status_line(b"HTTP/1.1 200OK")),
    ("HTTP/1.0", *status_line(b"HTTP/1.0 200 OK")),
    (
        "HTTP/1.0 with Connection: keep-alive",
        sized(headers=b"Connection: keep-alive\r\n", first=b"HTTP/1.0 200 OK\r\n"),
        "open",
    ),
    ("HTTP/0.9", *status_line(b"HTTP/0.9 200 OK")),
    ("HTTP/1.2", *status_line(b"HTTP/1.2 200 OK")),
    ("HTTP/2.0", *status_line(b"HTTP/2.0 200 OK")),
    ("HTTP/11", *status_line(b"HTTP/11 200 OK", "close")),
    ("http/1.1 in lower case", *status_line(b"http/1.1 200 OK", "close")),
    ("a status of two digits", *status_line(b"HTTP/1.1 20 OK", "close")),
    ("a status of four digits", *status_line(b"HTTP/1.1 2000 OK", "close")),
    ("status 099", *status_line(b"HTTP/1.1 099 No")),
    ("status 999", *status_line(b"HTTP/1.1 999 No")),
    ("an empty line first", b"\r\n" + sized(), "close"),
    ("a space first", b" " + sized(), "close"),
    ("no status", *status_line(b"HTTP/1.1", "close")),
    ("another protocol", *status_line(b"ICY 200 OK", "close")),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "close"),
    ("JSON without HTTP", GOOD, "close"),
    ("nothing", b"", "close"),
)

LINE_ENDS = in_group(
    "Line ends",
    ("LF everywhere", sized().replace(b"\r\n", b"\n"), "open"),
    ("LF after the status line", sized().replace(b"\r\n", b"\n", 1), "open"),
    ("LF after the last header", sized().replace(b"\r\n\r\n", b"\n\r\n"), "open"),
    ("LF for the empty line", sized().replace(b"\r\n\r\n", b"\r\n\n"), "open"),
    ("CR everywhere", sized().replace(b"\r\n", b"\r"), "close"),
    ("CR CR LF", sized().replace(b"\r\n", b"\r\r\n"), "close"),
    ("a CR inside a header", sized(headers=b"X-A: a\rb\r\n"), "open"),
    ("the end of the connection inside the headers", OK + b"Content-Length: 2\r\n", "close"),
)

HEADERS = in_group(
    "Headers",
    ("none", OK + b"\r\n" + GOOD, "close"),
    ("a folded header", sized(headers=b"X-A: a\r\n b\r\n"), "open"),
    ("a header folded with a tab", sized(headers=b"X-A: a\r\n\tb\r\n"), "open"),
    ("a folded Content-Length", OK + b"Content-Length:\r\n %d\r\n\r\n" % len(GOOD) + GOOD, "open"),
    ("a folded Transfer-Encoding", OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + chunks(GOOD), "open"),
    ("a line of spaces", sized(headers=b"X-A: a\r\n   \r\n"), "open"),
    ("the first header indented", sized(headers=b" X-A: a\r\n"), "close"),
    ("a space before a colon", sized(headers=b"X-A : a\r\n"), "open"),
    ("a space before the colon of Content-Length, closed", sized().replace(b"Length:", b"Length :"), "close"),
    ("a space before the colon of Content-Length", sized().replace(b"Length:", b"Length :"), "open"),
    ("a tab before the colon of Content-Length", sized().replace(b"Length:", b"Length\t:"), "close"),
    (
        "a space before the colon of Transfer-Encoding",
        OK + b"Transfer-Encoding : chunked\r\n\r\n" + chunks(GOOD),
        "close",
    ),
    ("no space after the colon", sized(headers=b"X-A:a\r\n").replace(b": ", b":"), "open"),
    ("spaces around values", sized().replace(b"Length: ", b"Length: \t ").replace(b"\r\n\r\n", b" \t\r\n\r\n"), "open"),
    ("names in upper case", sized().replace(b"Content-Length", b"CONTENT-LENGTH"), "open"),
    ("no colon", sized(headers=b"X-A\r\n"), "close"),
    ("no name", sized(headers=b": a\r\n"), "open"),
    ("no value", sized(headers=b"X-A:\r\n"), "open"),
    ("a name with brackets", sized(headers=b"X(A): a\r\n"), "open"),
    ("a name with a space", sized(headers=b"X A: a\r\n"), "open"),
    ("a name that is not ASCII", sized(headers=b"X-\xc3\xa4: a\r\n"), "open"),
    ("a value that is not ASCII", sized(headers=b"X-A: \xff\xe4\r\n"), "open"),
    ("a NUL in a value", sized(headers=b"X-A: a\0b\r\n"), "open"),
    ("an escape character in a value", sized(headers=b"X-A: \x1b[31m\r\n"), "open"),
    ("the same header twice", sized(headers=b"X-A: a\r\nX-A: b\r\n"), "open"),
    ("200 headers", sized(headers=b"".join(b"X-%d: a\r\n" % number for number in range(200))), "open"),
    ("a header of 60 KiB", sized(headers=b"X-A: %b\r\n" % (b"a" * (60 << 10))), "open"),
    ("a header of 100 KiB", sized(headers=b"X-A: %b\r\n" % (b"a" * (100 << 10))), "open"),
    ("a misleading Content-Type", sized(headers=b"Content-Type: text/html\r\n"), "open"),
    ("Upgrade: h2c", sized(headers=b"Connection: upgrade\r\nUpgrade: h2c\r\n"), "open"),
    ("Connection: close", sized(headers=b"Connection: close\r\n"), "open"),
    ("Connection: Keep-Alive, Close", sized(headers=b"Connection: Keep-Alive, Close\r\n"), "open"),
)

LENGTHS = in_group(
    "Content-Length",
    ("the same twice", sized(headers=b"Content-Length: %d\r\n" % len(GOOD)), "open"),
    ("two different ones", sized(headers=b"Content-Length: 2\r\n"), "close"),
    ("a list of the same", with_length(b"24, 24"), "close"),
    ("a plus sign", with_length(b"+24"), "close"),
    ("negative", with_length(b"-24"), "close"),
    ("hexadecimal", with_length(b"0x18"), "close"),
    ("with a unit", with_length(b"24 bytes"), "close"),
    ("leading zeros", with_length(b"00024"), "open"),
    ("over 16 MiB, but little follows", with_length(b"16777217"), "close"),
    ("over 64 bits", with_length(b"18446744073709551640"), "close"),
    ("no number, closed", with_length(b""), "close"),
    ("no number", with_length(b""), "open"),
    ("too large, closed", with_length(b"100"), "close"),
    ("too large", with_length(b"100"), "open"),
    ("too large by one", with_length(b"25"), "open"),
    ("too large, closed within the JSON", with_length(b"100", GOOD[:10]), "close"),
    ("too small", with_length(b"10"), "close"),
    ("too small, without the last line end", with_length(b"24", GOOD + b"\n"), "open"),
    ("0", with_length(b"0", b""), "open"),
    ("none, closed", OK + b"\r\n" + GOOD, "close"),
    ("none", OK + b"\r\n" + GOOD, "open"),
    ("none, and nothing follows", OK + b"\r\n", "close"),
    ("bytes after the body", sized() + b"HTTP/1.1 500 No\r\n\r\n", "open"),
)

CHUNKS = in_group(
    "Chunks",
    ("one", CHUNKED + b"\r\n" + chunks(GOOD), "open"),
    ("one for each byte", CHUNKED + b"\r\n" + chunks(*[bytes([byte]) for byte in GOOD]), "open"),
    ("Transfer-Encoding: Chunked", OK + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks(GOOD), "open"),
    ("a chunk extension", CHUNKED + b"\r\n18;a=b\r\n" + GOOD + b"\r\n0\r\n\r\n", "open"),
    ("a space after a size", CHUNKED + b"\r\n18 \r\n" + GOOD + b"\r\n0 \r\n\r\n", "open"),
    ("spaces to a fixed width after a size", CHUNKED + b"\r\n18      \r\n" + GOOD + b"\r\n0       \r\n\r\n", "open"),
    ("a tab after a size", CHUNKED + b"\r\n18\t\r\n" + GOOD + b"\r\n0\r\n\r\n", "open"),
    ("a space before an extension", CHUNKED + b"\r\n18 ;a=b\r\n" + GOOD + b"\r\n0\r\n\r\n", "close"),
    ("a space before a size", CHUNKED + b"\r\n 18\r\n" + GOOD + b"\r\n0\r\n\r\n", "close"),
    (
        "a size in upper case, with leading zeros",
        CHUNKED + b"\r\n" + b"0001A\r\n" + GOOD + b"  \r\n0000\r\n\r\n",
        "open",
    ),
    ("LF everywhere", (CHUNKED + b"\r\n" + chunks(GOOD)).replace(b"\r\n", b"\n"), "close"),
    ("LF after sizes", CHUNKED + b"\r\n18\n" + GOOD + b"\r\n0\n\r\n", "open"),
    ("LF after data", CHUNKED + b"\r\n18\r\n" + GOOD + b"\n0\r\n\r\n", "close"),
    (
        "LF after data, within the JSON",
        CHUNKED + b"\r\n5\r\n" + GOOD[:5] + b"\n13\r\n" + GOOD[5:] + b"\n0\r\n\r\n",
        "close",
    ),
    ("trailers", CHUNKED + b"\r\n" + chunks(GOOD, end=b"0\r\nX-Sum: 1\r\n\r\n"), "open"),
    ("a trailer without a colon", CHUNKED + b"\r\n" + chunks(GOOD, end=b"0\r\nX-Sum\r\n\r\n"), "open"),
    (
        "a Trailer header that names Content-Length",
        CHUNKED + b"Trailer: Content-Length\r\n\r\n" + chunks(GOOD),
        "close",
    ),
    ("no last chunk, closed", CHUNKED + b"\r\n" + chunks(GOOD, end=b""), "close"),
    ("no last chunk", CHUNKED + b"\r\n" + chunks(GOOD, end=b""), "open"),
    ("no last line end, closed", CHUNKED + b"\r\n" + chunks(GOOD, end=b"0\r\n"), "close"),
    ("no last line end", CHUNKED + b"\r\n" + chunks(GOOD, end=b"0\r\n"), "open"),
    ("closed within a chunk, within the JSON", CHUNKED + b"\r\n18\r\n" + GOOD[:10], "close"),
    ("closed within a chunk, after the JSON", CHUNKED + b"\r\n1c\r\n" + GOOD, "close"),
    ("a size that is not a number", CHUNKED + b"\r\nzz\r\n" + GOOD, "close"),
    ("a size that is not a number, after the JSON", CHUNKED + b"\r\n18\r\n" + GOOD + b"\r\nzz\r\n", "close"),
    ("a size that is not a number, within the JSON", CHUNKED + b"\r\na\r\n" + GOOD[:10] + b"\r\nzz\r\n", "close"),
    ("a size with 0x", CHUNKED + b"\r\n0x18\r\n" + GOOD + b"\r\n0\r\n\r\n", "close"),
    ("a negative size", CHUNKED + b"\r\n-18\r\n" + GOOD, "close"),
    ("a size of 17 digits", CHUNKED + b"\r\n00000000000000018\r\n" + GOOD + b"\r\n0\r\n\r\n", "close"),
    ("an empty size", CHUNKED + b"\r\n\r\n" + GOOD, "close"),
    ("more data than its size, after the JSON", CHUNKED + b"\r\n18\r\n" + GOOD + b"more\r\n0\r\n\r\n", "close"),
    ("more data than its size, within the JSON", CHUNKED + b"\r\n8\r\n" + GOOD + b"\r\n0\r\n\r\n", "close"),
    ("bytes after the last chunk", CHUNKED + b"\r\n" + chunks(GOOD) + b"more", "open"),
    ("no body", CHUNKED + b"\r\n" + chunks(), "open"),
    ("Content-Length, too", CHUNKED + b"Content-Length: 5\r\n\r\n" + chunks(GOOD), "open"),
    ("Content-Length first", OK + b"Content-Length: 36\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(GOOD), "open"),
    ("an invalid Content-Length, too", CHUNKED + b"Content-Length: x\r\n\r\n" + chunks(GOOD), "open"),
    (
        "two different Content-Lengths, too",
        CHUNKED + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + chunks(GOOD),
        "open",
    ),
    ("Transfer-Encoding twice", CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(GOOD), "close"),
    (
        "Transfer-Encoding: chunked, chunked",
        OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunks(GOOD),
        "close",
    ),
    ("Transfer-Encoding: gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks(GOOD), "close"),
    ("Transfer-Encoding: identity", sized(headers=b"Transfer-Encoding: identity\r\n"), "close"),
    ("an empty Transfer-Encoding", sized(headers=b"Transfer-Encoding:\r\n"), "close"),
    ("HTTP/1.0", CHUNKED.replace(b"1.1", b"1.0") + b"\r\n" + chunks(GOOD), "close"),
    (
        "HTTP/1.0 and Content-Length",
        sized(headers=b"Transfer-Encoding: chunked\r\n", first=b"HTTP/1.0 200 OK\r\n"),
        "close",
    ),
)

PACKED = gzip.compress(GOOD, mtime=0)
GZIP = b"Content-Encoding: gzip\r\n"
CODINGS = [
    *in_group(
        "Content-Encoding over a unix socket",
        ("gzip", sized(PACKED, GZIP), "open"),
        ("gzip, but the body is plain", sized(GOOD, GZIP), "open"),
        ("br, but the body is plain", sized(headers=b"Content-Encoding: br\r\n"), "open"),
        ("utf-8", sized(headers=b"Content-Encoding: utf-8\r\n"), "open"),
        ("identity", sized(headers=b"Content-Encoding: identity\r\n"), "open"),
        ("empty", sized(headers=b"Content-Encoding:\r\n"), "open"),
    ),
    *in_group(
        "Content-Encoding over TCP",
        ("gzip", sized(PACKED, GZIP), "open"),
        ("GZIP", sized(PACKED, GZIP.replace(b"gzip", b"GZIP")), "open"),
        ("gzip in chunks", CHUNKED + GZIP + b"\r\n" + chunks(PACKED[:15], PACKED[15:]), "open"),
        (
            "gzip in two members",
            sized(gzip.compress(GOOD[:9], mtime=0) + gzip.compress(GOOD[9:], mtime=0), GZIP),
            "open",
        ),
        ("gzip without its checksum", sized(PACKED[:-8], GZIP), "open"),
        ("gzip with a wrong checksum", sized(PACKED[:-8] + b"12345678", GZIP), "open"),
        ("gzip cut within the JSON", sized(PACKED[:20], GZIP), "open"),
        ("gzip with bytes after it", sized(PACKED + b"more", GZIP), "open"),
        ("gzip, but the body is plain", sized(GOOD, GZIP), "open"),
        ("gzip, gzip", sized(PACKED, GZIP.replace(b"gzip", b"gzip, gzip")), "open"),
        ("br, but the body is plain", sized(headers=b"Content-Encoding: br\r\n"), "open"),
        ("deflate", sized(b"x\x9c\xabV\x02\x00", b"Content-Encoding: deflate\r\n"), "open"),
        over="tcp",
    ),
]

INTERIM = in_group(
    "Interim responses",
    ("100 Continue", b"HTTP/1.1 100 Continue\r\n\r\n" + sized(), "open"),
    ("103 Early Hints with a header", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(), "open"),
    ("five", b"HTTP/1.1 100 Continue\r\n\r\n" * 5 + sized(), "open"),
    ("six", b"HTTP/1.1 100 Continue\r\n\r\n" * 6 + sized(), "open"),
    ("100 Continue with LF", b"HTTP/1.1 100 Continue\n\n" + sized(), "open"),
    ("100 Continue and nothing more", b"HTTP/1.1 100 Continue\r\n\r\n", "close"),
    ("101 Switching Protocols", b"HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "close"),
)


def with_status(status: bytes, body: bytes = b"", headers: bytes = b"") -> bytes:
    return sized(body, headers, b"HTTP/1.1 %b\r\n" % status)


STATUSES = in_group(
    "Other statuses",
    ("201 with a good reply", with_status(b"201 Created", GOOD), "open"),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", "open"),
    ("204 with a Content-Length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "open"),
    ("304", b"HTTP/1.1 304 Not Modified\r\n\r\n", "open"),
    ("300 without Location", with_status(b"300 Multiple Choices"), "open"),
    ("301 without Location", with_status(b"301 Moved Permanently"), "close"),
    ("302 without Location", with_status(b"302 Found"), "close"),
    ("307 without Location", with_status(b"307 Temporary Redirect"), "close"),
    ("302 to itself", with_status(b"302 Found", headers=b"Location: /VolumeDriver.Get\r\n"), "open"),
    ("404 with Err", with_status(b"404 Not Found", FAILED), "open"),
    ("404 with text", with_status(b"404 Not Found", b"404 page not found\n"), "open"),
    ("500 with Err", with_status(b"500 No", FAILED), "open"),
    ("500 with err", with_status(b"500 No", FAILED.lower()), "open"),
    ("500 with Err and another object", with_status(b"500 No", FAILED + GOOD), "open"),
    ("500 with message", with_status(b"500 No", b'{"message":"no such volume"}'), "open"),
    ("500 with a byte order mark", with_status(b"500 No", b"\xef\xbb\xbf" + FAILED), "open"),
    ("500 with HTML", with_status(b"500 No", b"<html><title>No</title><h1>No</h1></html>"), "open"),
    ("500 and nothing", with_status(b"500 No"), "open"),
    ("500 that is cut", with_status(b"500 No", FAILED)[:-5], "close"),
    ("500 in chunks that are wrong", b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "close"),
)

BODIES = in_group(
    "Bodies",
    *(
        (name, sized(body), "open")
        for name, body in {
            "Err, and another object": FAILED + b"\n" + GOOD,
            "an object, and Err": GOOD + b"\n" + FAILED,
            "an object, and text": GOOD + b" trailing",
            "an object, and a brace": GOOD + b"}",
            "an object, and a NUL": GOOD + b"\0",
            "an object, and bytes that are not UTF-8": GOOD + b"\xff\xfe",
            "null": b"null",
            "null, and an object": b"null" + GOOD,
            "white space around it": b" \t\r\n" + GOOD + b"\r\n\r\n",
            "a form feed before it": b"\f" + GOOD,
            "an array": b"[1,2]",
            "a string": b'"hello"',
            "a number": b"5",
            "true": b"true",
            "white space alone": b" \r\n",
            "text": b"OK",
            "HTML": b"<!DOCTYPE html><title>Hello</title>",
            "Err is empty": b'{"Err":""}',
            "Err is null": b'{"Err":null}',
            "Err is a number": b'{"Err":5}',
            "Err is an object": b'{"Err":{"code":5}}',
            "err in lower case": FAILED.lower(),
            "Err twice, the last empty": b'{"Err":"a","Err":""}',
            "Err twice, the first empty": b'{"Err":"","Err":"no such volume"}',
            "unknown keys": b'{"Err":"","Other":{"a":[1,null,true]}}',
            "a byte order mark": b"\xef\xbb\xbf" + GOOD,
            "UTF-16": GOOD.decode().encode("utf-16"),
            "Latin-1": b'{"Path":"caf\xe9"}',
            "Latin-1 in Err": b'{"Err":"caf\xe9"}',
            "half a surrogate pair, high": b'{"Path":"\\ud800x"}',
            "half a surrogate pair, low": b'{"Path":"/a\\udcff"}',
            "half a surrogate pair after a backslash": b'{"Path":"\\\\\\udcff"}',
            "a surrogate pair": b'{"Path":"\\ud83d\\ude00"}',
            "an escaped backslash before u": b'{"Path":"\\\\udcff"}',
            "a control character in a string": b'{"Path":"a\x01b"}',
            "a line end in a string": b'{"Path":"a\nb"}',
            "an invalid escape": b'{"Path":"\\x41"}',
            "a comma at the end": b'{"Path":"/mnt",}',
            "single quotes": b"{'Path':'/mnt'}",
            "a comment": b'{"Path":"/mnt"/* here */}',
            "NaN": b'{"Size":NaN}',
            "a number with a leading zero": b'{"Size":01}',
            "a number with a plus sign": b'{"Size":+1}',
            "a number that is too large": b'{"Size":1e999}',
            "an object that is cut": GOOD[:-1],
            "500 levels": nested(500),
            "20,000 levels": nested(20000),
        }.items()
    ),
)

ANSWERS = [
    *STATUS_LINES,
    *LINE_ENDS,
    *HEADERS,
    *LENGTHS,
    *CHUNKS,
    *CODINGS,
    *INTERIM,
    *STATUSES,
    *BODIES,
]
