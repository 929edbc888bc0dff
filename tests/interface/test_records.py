"""Streams of records for threads: which calls follow, and how a stream is closed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scripted_client import ScriptedClient

import extframe
from extframe import Interface, Message, ProtocolError, RemoteError, StreamCodec, rpc

LINES = StreamCodec(unpack=lambda stream: (line.decode() for line in stream), pack=str.encode)


class Options(Message, frozen=True):
    tail: int = -1
    follow: bool = False


class Events(Interface, implements="Events"):
    @rpc("Old", stream=LINES)
    def old(self) -> Iterator[str]:
        raise NotImplementedError

    @rpc("All", stream=LINES, follows=True)
    def all(self) -> Iterator[str]:
        raise NotImplementedError

    @rpc("Some", follows="live")  # a stream of JSON lines
    def some(self, topic: str, live: bool = True) -> Iterator[str]:
        raise NotImplementedError

    @rpc("Log", stream=LINES, follows="options.follow")
    def log(self, options: Options = Options()) -> Iterator[str]:  # noqa: B008 - it is frozen
        raise NotImplementedError


class RecordingClient(ScriptedClient):
    follows: bool | None = None

    def stream(self, method, arguments=None, *, timeout=None, follow=False):
        self.follows = follow
        return super().stream(method, arguments, timeout=timeout)


@pytest.mark.parametrize(
    ("name", "arguments", "follows"),
    [
        ("old", [], False),
        ("all", [], True),
        ("some", ["disk"], True),
        ("some", ["disk", False], False),
        ("log", [], False),
        ("log", [Options(follow=True)], True),
    ],
)
def test_a_method_declares_which_of_its_calls_follow(name, arguments, follows):
    client = RecordingClient(b"")
    list(getattr(Events.remote(client), name)(*arguments))
    assert client.follows is follows


@pytest.mark.parametrize(
    ("follows", "message"),
    [
        ("live", "follows='live': there is no 'live'; expected one of topic, options"),
        ("options.tail", "follows='options.tail' is <class 'int'>; expected bool"),
        ("options", "expected bool"),
        ("options.follow.more", "there is no 'more'; expected one of none"),
        ("", "there is no ''"),
    ],
)
def test_a_wrong_name_is_refused_when_the_interface_is_declared(follows, message):
    def log(self, topic: str, options: Options) -> Iterator[str]:
        raise NotImplementedError

    with pytest.raises(TypeError, match=r"log: ") as caught:
        type("Wrong", (Interface,), {"log": rpc("Log", stream=LINES, follows=follows)(log)}, implements="Wrong")
    assert message in str(caught.value)


def test_only_streams_follow():
    def log(self) -> str:
        raise NotImplementedError

    with pytest.raises(TypeError, match="follows= is for streams"):
        type("Wrong", (Interface,), {"log": rpc("Log", returns="Log", follows=True)(log)}, implements="Wrong")


def test_a_client_that_knows_no_streams_that_follow_serves_the_others():
    class Stub:
        @contextmanager
        def stream(self, method, arguments=None, *, timeout=None):
            yield io.BytesIO(b"one\ntwo\n")

    assert list(Events.remote(Stub()).old()) == ["one\n", "two\n"]


def test_the_stream_is_closed_at_its_end_on_an_error_and_when_the_iterator_is_closed():
    client = ScriptedClient(b"one\ntwo\n")
    events = Events.remote(client).all()
    assert (next(events), client.open_streams) == ("one\n", 1)
    assert (list(events), client.open_streams) == (["two\n"], 0)

    with Events.remote(client).all() as events:
        next(events)
    assert client.open_streams == 0

    events = Events.remote(client).all()
    del events
    assert client.open_streams == 0

    with pytest.raises(UnicodeDecodeError):
        list(Events.remote(ScriptedClient(b"\xff")).all())


def test_an_error_of_the_codec_names_plugin_and_method():
    def unpack(stream):
        raise ProtocolError("not a line")
        yield

    class Broken(Interface, implements="Broken"):
        @rpc("Log", stream=StreamCodec(unpack=unpack, pack=str.encode))
        def log(self) -> Iterator[str]:
            raise NotImplementedError

    client = ScriptedClient(b"x")
    with pytest.raises(ProtocolError, match=r"Broken\.Log on plugin 'scripted'.*not a line"):
        next(Broken.remote(client).log())
    assert client.open_streams == 0


def test_closing_closes_any_iterator_at_the_end_of_a_block():
    client = ScriptedClient(b"one\ntwo\n")
    with extframe.closing(Events.remote(client).all()) as events:
        assert next(events) == "one\n"
    assert client.open_streams == 0
    with extframe.closing(iter(["one"])) as words:
        assert list(words) == ["one"]
    with pytest.raises(TypeError, match="not list"):
        extframe.closing(["one"])


class NeverConfigured(ScriptedClient):
    """Its plugin refuses each stream that is read, settings or not."""

    def __init__(self):
        super().__init__(b"")
        self.configurator = self
        self.sent = 0

    def send_again(self, client):
        self.sent += 1

    @contextmanager
    def stream(self, method, arguments=None, *, timeout=None, follow=False):
        yield self._refuse()

    def _refuse(self):
        raise RemoteError("call Plugin.Configure", status=428)
        yield


def test_settings_are_sent_once_for_a_stream_whose_plugin_goes_on_waiting_for_them():
    client = NeverConfigured()
    with pytest.raises(RemoteError, match="Configure"):
        next(Events.remote(client).all())
    assert client.sent == 1


class ConfiguredWhileClosed(NeverConfigured):
    """Its plugin has the settings at once, and the reader's stream is closed while they are sent."""

    def __init__(self):
        super().__init__()
        self.bodies = [b"one\n"]
        self.events = None

    def send_again(self, client):
        super().send_again(client)
        self.events.close()  # in another thread

    @contextmanager
    def stream(self, method, arguments=None, *, timeout=None, follow=False):
        if not self.sent:
            yield self._refuse()
            return
        with ScriptedClient.stream(self, method, arguments) as stream:
            yield stream


def test_a_stream_that_is_closed_while_settings_are_sent_for_it_is_not_read():
    client = ConfiguredWhileClosed()
    client.events = Events.remote(client).all()
    assert list(client.events) == []
    assert client.open_streams == 0
