"""A plugin on Go's ``net/http``, which is what most plugins are made with: ``go/echo``, built for these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from extframe import (
    ConnectionLost,
    Interface,
    LocalRegistry,
    PluginManager,
    PluginNotFound,
    ProtocolError,
    RemoteError,
    hookimpl,
    rpc,
)

THREADS = 8
CALLS = 2000
LARGE = 200_000  # lines in a reply of several MiB


class Echo(Interface, implements="Echo"):
    """Says again what it was told."""

    @rpc("Say", returns="Text")
    def say(self, text: str) -> str:
        raise NotImplementedError

    @rpc("Connections", returns="Connections")
    def connections(self) -> int:
        """Return how many connections the server has seen."""
        raise NotImplementedError

    @rpc("Panic")
    def panic(self) -> None:
        """Drop the connection without a response."""
        raise NotImplementedError

    @rpc("List", returns="Lines")
    def list(self, text: str, count: int) -> list[str]:
        raise NotImplementedError


@pytest.fixture
def manager(echo_program, start, short_path) -> Iterator[PluginManager]:
    start(echo_program, "-socket", short_path / "echo.sock").wait_for(r"echo\.sock")
    with PluginManager(LocalRegistry(short_path, specs=[])) as manager:
        yield manager


@pytest.fixture
def echo(manager) -> Echo:
    return manager.driver("echo", Echo)


def test_a_go_plugin_is_activated_as_what_it_says_it_is(manager):
    assert manager.get("echo").manifest.implements == ("Echo",)


@pytest.mark.parametrize("text", ["", "hello", "<&>\u2028", "żółć \N{PILE OF POO}", 'quo"te\\', "line\nline", "\0\x1f"])
def test_text_comes_back_from_go_as_it_was_sent(echo, text):
    assert echo.say(text) == text


def test_many_calls_from_many_threads_each_get_their_own_answer_over_as_many_connections(echo):
    with ThreadPoolExecutor(THREADS) as threads:
        assert list(threads.map(echo.say, map(str, range(CALLS)))) == [str(number) for number in range(CALLS)]
    assert echo.connections() <= THREADS


def test_a_reply_that_go_sends_in_chunks_arrives_whole(echo):
    assert echo.list("a line of some length", LARGE) == ["a line of some length"] * LARGE


def test_a_handler_that_panics_is_a_lost_connection_and_the_next_call_gets_a_new_one(echo):
    with pytest.raises(ConnectionLost, match=r"Echo\.Panic on plugin 'echo'"):
        echo.panic()
    assert echo.say("still there") == "still there"


def test_what_go_says_of_bad_json_reaches_the_user(manager):
    with pytest.raises(RemoteError, match="cannot unmarshal string into Go struct field request.Count of type int"):
        manager.get("echo").client.call("Echo.List", {"Count": "three"})


def test_gos_own_404_is_not_found(manager):
    with pytest.raises(RemoteError, match="404 page not found") as refusal:
        manager.get("echo").client.call("Echo.Shout")
    assert refusal.value.not_found


def test_a_reply_of_another_type_is_named_with_its_place(manager):
    with pytest.raises(ProtocolError, match="Connections"):
        manager.get("echo").client.call("Echo.Connections", reply=dict[str, str])


def test_a_stream_gives_the_bytes_as_go_sent_them(manager):
    with manager.get("echo").client.stream("Echo.Say", {"Text": "hello"}) as reply:
        assert reply.read() == b'{"Text":"hello"}\n'


# --- restarted ----------------------------------------------------------------------------------------


@pytest.fixture
def restart(echo_program, start, short_path) -> Callable[..., None]:
    """A function that kills the plugin, does something while it is away, and starts it again."""
    socket = Path(short_path, "echo.sock")

    def run() -> Any:
        program = start(echo_program, "-socket", socket)
        program.wait_for(r"echo\.sock")
        return program

    first = run()

    def restart(meanwhile: Callable[[], object] = lambda: None) -> None:
        first.kill()
        socket.unlink()  # Go does not listen where a socket was left
        meanwhile()
        run()

    return restart


class RecordingHandler:
    def __init__(self) -> None:
        self.called: list[str] = []

    @hookimpl
    def echo(self, name: str) -> None:
        self.called.append(name)


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


def test_a_plugin_that_was_restarted_is_the_same_to_drivers_and_handlers(restart, short_path, handler):
    with PluginManager(LocalRegistry(short_path, specs=[])) as manager:
        manager.register(handler)
        plugin, echo = manager.get("echo"), manager.driver("echo", Echo)
        assert echo.say("one") == "one"
        restart()
        assert manager.get("echo") is plugin
        assert echo.say("two") == "two"
        assert handler.called == ["echo"]


def test_a_plugin_that_was_missed_while_it_was_away_is_the_same_too(restart, short_path, handler):
    with PluginManager(LocalRegistry(short_path, specs=[])) as manager:
        manager.register(handler)
        plugin = manager.get("echo")

        def miss() -> None:
            with pytest.raises(PluginNotFound):
                manager.get("echo")

        restart(meanwhile=miss)
        assert manager.get("echo") is plugin
        assert handler.called == ["echo"]
