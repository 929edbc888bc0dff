"""Every recorded exchange of real peers, replayed at both ends.

The host's end: the proxy, given the recorded answer, sends what was recorded and makes of the answer what the
engine made of it. The plugin's end: the table of methods, given the recorded request, gives a driver the
arguments and writes an answer that says what the recorded one said.
"""

from __future__ import annotations

import base64
import functools
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest
from every_method import METHODS, OWNERS
from scripted_client import ScriptedClient

from extframe.errors import ExtframeError, ProtocolError, RemoteError
from extframe.interface import routes
from extframe.interface.methods import Method
from extframe.protocol import Manifest, encode_json
from extframe.subsystems.ipam import IpamCapability
from extframe.subsystems.log import LogCapability
from extframe.subsystems.network import NetworkCapability
from extframe.subsystems.volume import VolumeCapability

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.json"))


@dataclass(frozen=True)
class Exchange:
    """One recorded exchange; ``status`` is 0 where nobody answered."""

    file: str
    number: int
    verb: str
    wire: str
    request: bytes
    status: int
    reply: bytes

    def __str__(self) -> str:
        return f"{self.file}-{self.number}-{self.wire}"

    @property
    def name(self) -> tuple[str, int]:
        return self.file, self.number

    @property
    def from_an_engine(self) -> bool:
        return self.file.startswith(("docker-", "podman-"))


def recorded_bytes(message: dict[str, Any]) -> bytes:
    body = message.get("body") or ""
    raw = base64.b64decode(body) if message.get("body_encoding") == "base64" else body.encode()
    # One answer was recorded with its chunks.
    chunked = ["Transfer-Encoding", "chunked"] in message["headers"] and raw.startswith(b"5\r\n")
    return b"".join(raw.split(b"\r\n")[1::2]) if chunked else raw


def exchange(file: str, number: int, recorded: dict[str, Any]) -> Exchange:
    request, response = recorded["request"], recorded["response"] or {"headers": [], "status": 0}
    return Exchange(
        file,
        number,
        request["method"],
        request["path"].removeprefix("/"),
        recorded_bytes(request),
        response["status"],
        recorded_bytes(response),
    )


EXCHANGES = [
    exchange(path.stem, number, recorded)
    for path in TRANSCRIPTS
    for number, recorded in enumerate(json.loads(path.read_text())["exchanges"])
]
CALLS = [each for each in EXCHANGES if each.wire in METHODS and each.verb == "POST"]
HANDSHAKES = [each for each in EXCHANGES if each.wire == "Plugin.Activate" and each.verb == "POST" and each.status]


def test_all_is_replayed_but_for_what_is_none_of_our_methods():
    rest = [each for each in EXCHANGES if each not in CALLS and each not in HANDSHAKES]
    assert all(each.verb != "POST" for each in rest if each.wire in METHODS)
    assert {each.wire for each in rest if each.status and each.verb == "POST"} == {
        "",
        "/Plugin.Activate",
        "Plugin.Activate/",
        "Plugin.Activate?x=y",
        "VolumeDriver.NoSuch",
        "VolumeDriver.Redirected",
        "plugin.activate",
        "x/../Plugin.Activate",
    }
    assert {each.wire for each in CALLS} == {*METHODS} - NEVER_RECORDED


NEVER_RECORDED = {
    "NetworkDriver.AllocateNetwork",
    "NetworkDriver.FreeNetwork",
    "NetworkDriver.GwAllocCheck",
    "NetworkDriver.DiscoverDelete",
    "MetricsCollector.StopMetrics",
}


# --- requests -----------------------------------------------------------------------------------------

# What a plugin written in Go accepts and we do not: bytes after the JSON, null, and a request without a name.
REFUSED_BY_US = {
    ("go-plugins-helpers-sdk", 23),
    ("go-plugins-helpers-sdk", 24),
    ("rclone-serve-docker", 23),
    ("rclone-serve-docker", 49),
    ("rclone-serve-docker", 51),
}
# What had lost its body when the engine sent it again.
LOST = {("docker-retry-create-loses-body", 4), ("docker-retry-create-loses-body", 5)}


def is_refused(call: Exchange) -> bool:
    return call.status == 400 or call.name in REFUSED_BY_US | LOST


def pairs(body: bytes) -> Any:
    """The JSON of a body with its keys in their order; None for an empty one."""
    return json.loads(body, object_pairs_hook=list) if body.strip() else None


@pytest.mark.parametrize("call", [each for each in CALLS if is_refused(each)], ids=str)
def test_a_request_that_plugins_refuse_is_a_protocol_error(call):
    with pytest.raises(ProtocolError):
        METHODS[call.wire].decode_request(call.request)


@pytest.mark.parametrize("call", [each for each in CALLS if each.from_an_engine and not is_refused(each)], ids=str)
def test_the_proxy_sends_what_the_engine_sent(call):
    method, client = METHODS[call.wire], ScriptedClient(call.reply, status=call.status or 500)
    with suppress(ExtframeError):  # the answer is for the tests below
        getattr(OWNERS[call.wire].remote(client), method.name)(**method.decode_request(call.request))
    sent = client.last
    assert sent.method == call.wire
    if call.file.startswith("podman-"):  # it leaves out null and the braces around nothing
        assert [pair for pair in pairs(sent.body) if pair != ("Opts", None)] == (pairs(call.request) or [])
    else:
        assert pairs(sent.body) == pairs(call.request)
        assert sent.body == go_escapes_undone(call.request)


def go_escapes_undone(body: bytes) -> bytes:
    for escape, character in ((b"\\u003c", b"<"), (b"\\u003e", b">"), (b"\\u0026", b"&")):
        body = body.replace(escape, character)
    return body


# --- replies ------------------------------------------------------------------------------------------

CAPABILITIES = {
    "VolumeDriver.Capabilities": VolumeCapability(),
    "IpamDriver.GetCapabilities": IpamCapability(),
    "LogDriver.Capabilities": LogCapability(),
}
MAY_BE_MISSING = {"NetworkDriver.ProgramExternalConnectivity", "NetworkDriver.RevokeExternalConnectivity"}

# What the engine made of odd answers. Where we differ from it, the comment says what it did.
ODD_ANSWERS: dict[tuple[str, int], Any] = {
    ("docker-volume-create-odd-answers", 29): None,  # empty; the engine: EOF
    ("docker-volume-create-odd-answers", 31): ProtocolError("not JSON"),
    ("docker-volume-create-odd-answers", 36): ProtocolError("Expected `object`, got `array`"),
    ("docker-volume-create-odd-answers", 38): ProtocolError("Expected `object`, got `str`"),
    ("docker-volume-create-odd-answers", 40): ProtocolError("at `$.Err`"),
    ("docker-volume-create-odd-answers", 42): None,  # what follows the first JSON value is ignored
    ("docker-volume-create-odd-answers", 45): None,  # the last of two keys counts
    ("docker-volume-create-odd-answers", 54): ProtocolError("not JSON"),
    ("docker-volume-create-odd-answers", 56): RemoteError("caf\ufffd"),
    ("docker-volume-create-odd-answers", 64): ProtocolError("not JSON"),
    # The engine mounts the container's own bundle.
    ("docker-volume-empty-mountpoint", 6): ProtocolError("Expected the absolute path of a mount point"),
    # The engine crashes.
    ("docker-volume-list-null-element", 0): [],
    # "invalid capability: expecting 'local' or 'global'", and the driver cannot be used until the engine restarts.
    ("docker-network-capabilities", 9): ProtocolError("`Scope` to be 'local' or 'global', got ''"),
    ("docker-network-capabilities", 13): ProtocolError("`Scope` to be 'local' or 'global', got 'Local'"),
    ("docker-network-capabilities", 17): ProtocolError("`ConnectivityScope` to be 'local' or 'global', got 'weird'"),
    ("docker-network-capabilities", 21): NetworkCapability(scope="local", connectivity_scope="local"),
}  # fmt: skip


def outcome_for_the_engine(call: Exchange) -> Any:
    """Return what the engine made of an answer that is not odd: an error, or the JSON that it read."""
    if call.status != 200:
        if call.status == 404 and call.wire in MAY_BE_MISSING:
            return None
        return CAPABILITIES.get(call.wire, RemoteError(plain_words(call.reply)))
    reply = json.loads(call.reply)
    words = {key.lower(): value for key, value in (reply or {}).items()}.get("err")
    if words and not call.wire.startswith("AuthZPlugin."):
        return RemoteError(words)
    return reply


def plain_words(body: bytes) -> str:
    try:
        words = {key.lower(): value for key, value in json.loads(body).items()}
    except ValueError:
        words = {}
    return words.get("err") or words.get("message") or body.decode().strip()


UNKNOWN_KEYS = {"nonsense", "extra"}


def told(value: Any) -> Any:
    """Return what JSON tells: without zero values, which may as well be missing, and with keys in lower case."""
    if isinstance(value, list):
        return [told(item) for item in value]
    if isinstance(value, dict):
        items = {key.lower(): told(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item not in (None, "", 0, [], {})}
    return value


def told_beside(keys: set[str], value: Any) -> Any:
    return {key: item for key, item in told(value or {}).items() if key not in keys}


def placeholder(kind: Any) -> Any:
    kind = get_args(kind)[0] if get_origin(kind) in (Annotated, Union, UnionType) else kind
    return "x" if kind is str else (get_origin(kind) or kind)()


def read_by_the_proxy(call: Exchange) -> Any:
    method, client = METHODS[call.wire], ScriptedClient(call.reply, status=call.status)
    # What a request says that plugins refuse is of no matter to what the answer means.
    arguments = {field.name: placeholder(field.type) for field in msgspec.structs.fields(method.request)}
    if not is_refused(call):
        arguments = method.decode_request(call.request)
    return getattr(OWNERS[call.wire].remote(client), method.name)(**arguments)


ANSWERED = [each for each in CALLS if each.status and each.wire != "LogDriver.ReadLogs"]


@pytest.mark.parametrize("call", ANSWERED, ids=str)
def test_the_proxy_makes_of_an_answer_what_the_engine_made_of_it(call):
    odd = call.name in ODD_ANSWERS
    expected = ODD_ANSWERS[call.name] if odd else outcome_for_the_engine(call)
    if isinstance(expected, ExtframeError):
        with pytest.raises(type(expected)) as caught:
            read_by_the_proxy(call)
        assert expected.message in caught.value.message if odd else caught.value.message == expected.message
        assert (caught.value.plugin, caught.value.method) == ("scripted", call.wire)
    elif odd or call.status != 200:
        assert read_by_the_proxy(call) == expected
    else:
        written = METHODS[call.wire].encode_reply(read_by_the_proxy(call))
        envelope = set() if call.wire.startswith("AuthZPlugin.") else {"err"}
        assert told(json.loads(written)) == told_beside(UNKNOWN_KEYS | envelope, expected)


# --- the plugin's end ---------------------------------------------------------------------------------


def answering(method: Method, answer: object) -> Any:
    """Return a driver whose ``method`` answers so, and that keeps the arguments it was given."""
    seen: list[dict[str, Any]] = []

    def answer_with(self, **arguments: Any) -> object:
        seen.append(arguments)
        return answer

    return type("Answering", (OWNERS[method.wire],), {method.name: answer_with, "seen": seen})()


def was_accepted(call: Exchange) -> bool:
    if call.status != 200 or is_refused(call):
        return False
    outcome = ODD_ANSWERS[call.name] if call.name in ODD_ANSWERS else outcome_for_the_engine(call)
    return not isinstance(outcome, ExtframeError)


@pytest.mark.parametrize("call", [*filter(was_accepted, ANSWERED)], ids=str)
def test_a_driver_is_given_the_recorded_request_and_answers_what_the_engine_accepted(call):
    method = METHODS[call.wire]
    driver = answering(method, read_by_the_proxy(call))
    _, function = routes(driver)[call.wire]
    written = method.encode_reply(function(**method.decode_request(call.request)))
    assert method.decode_reply(written) == read_by_the_proxy(call)
    (arguments,) = driver.seen
    if arguments:  # the body of a request that has none is not read
        again = encode_json(method.encode_arguments(**arguments))
        sent, _ = json.JSONDecoder().raw_decode(call.request.decode())  # two have text after the object
        assert told(json.loads(again)) == told_beside(UNKNOWN_KEYS, sent)


def test_recorded_streams_of_logs_are_read_and_written_again():
    reads = [each for each in CALLS if each.wire == "LogDriver.ReadLogs"]
    assert len(reads) == 3
    for call in reads:
        method = METHODS[call.wire]
        entries = list(
            OWNERS[call.wire].remote(ScriptedClient(call.reply)).read_logs(**method.decode_request(call.request))
        )
        assert [entry.line for entry in entries] == [b"err", b"out", b"nonl"]
        _, function = routes(answering(method, entries))[call.wire]
        assert b"".join(map(method.stream.pack, function(**method.decode_request(call.request)))) == call.reply


# --- the handshake ------------------------------------------------------------------------------------


@functools.cache
def engine_lists(body: bytes) -> tuple[str, ...] | None:
    """Return what the engine reads in an answer to the handshake, None where it fails."""
    try:
        answer = json.loads(body) or {}
        implements = {key.lower(): value for key, value in answer.items()}.get("implements") or []
    except (ValueError, AttributeError):
        return None
    return tuple(dict.fromkeys(implements)) if isinstance(implements, list) else None


@pytest.mark.parametrize("handshake", [each for each in HANDSHAKES if each.status == 200], ids=str)
def test_a_manifest_is_what_the_engine_read(handshake):
    expected = engine_lists(handshake.reply)
    if expected is None:
        with pytest.raises(ProtocolError):
            Manifest.parse(handshake.reply)
    else:
        assert Manifest.parse(handshake.reply).implements == expected
