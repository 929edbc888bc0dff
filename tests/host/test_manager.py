"""PluginManager: discovery, activation, dispatch and calls, on real sockets."""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faultserver import (
    FaultServer,
    Request,
    answer,
    answer_with,
    close_after_read,
    close_at_once,
    drip,
    eventually,
    hang,
    in_turn,
    read_and_hang,
    reply,
    send_and_close,
    send_and_hang,
)
from program import Program

import extframe
from extframe import (
    ActivationError,
    CallTimeout,
    ConnectError,
    DoesNotImplement,
    ExtframeError,
    HandlerError,
    Limits,
    LocalRegistry,
    PluginManager,
    PluginNotFound,
    ProtocolError,
    Retry,
    SpecError,
    VolumeDriver,
    hookimpl,
)
from extframe.host.plugin import State

MiB = 1024 * 1024
AT_ONCE = 10.0  # seconds: a busy machine's; who waits when there is nothing to wait for waits for the 30 s of a default


def plugin(*points: str, **replies: object) -> Callable[[Any], None]:
    """The behaviour of a plugin that implements ``points``; ``replies`` by method: ``List={"Volumes": []}``."""

    def respond(request: Request) -> bytes:
        method = request.path.rpartition(".")[2]
        value = {"Activate": {"Implements": list(points)}, **replies}.get(method)
        if value is None:
            return reply(b"404 page not found\n", status="404 Not Found")
        return reply(json.dumps(value() if callable(value) else value).encode())

    return answer_with(respond)


class Directory:
    """A plugin directory with servers in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.servers: list[FaultServer] = []

    def serve(self, name: str, behaviour: Any, **options: Any) -> FaultServer:
        """Put a socket there, with a server behind it."""
        path = self.path / f"{name}.sock"
        path.unlink(missing_ok=True)
        server = FaultServer(behaviour, path=str(path), **options)
        self.servers.append(server)
        return server

    def manager(self, *, groups: tuple[str, ...] = ()) -> PluginManager:
        return PluginManager(LocalRegistry(self.path, [self.path]), groups=groups)


@pytest.fixture
def plugins(short_path: Path) -> Iterator[Directory]:
    directory = Directory(short_path)
    yield directory
    for server in directory.servers:
        server.close()


def activations(server: FaultServer) -> int:
    return sum(request.path == "/Plugin.Activate" for request in server.requests)


def is_activating(pm: PluginManager, name: str) -> bool:
    found = pm._activator.table.known(name)
    return found is not None and found.state is State.ACTIVATING


# --- the main way -------------------------------------------------------------------------------------


def test_a_plugin_is_found_activated_dispatched_and_called(plugins: Directory) -> None:
    server = plugins.serve("photos", plugin("VolumeDriver", Path={"Mountpoint": "/mnt/photos"}))
    with plugins.manager(groups=("extframe",)) as pm:
        assert pm.scan() == ["photos"]
        driver = pm.driver("photos", VolumeDriver)
        assert driver.path("x") == "/mnt/photos"
        found = pm.get("photos", VolumeDriver)
        assert (found.name, found.address, found.state) == ("photos", server.address, State.ACTIVE)
        assert found.source == str(plugins.path / "photos.sock")
        assert found.manifest.implements == ("VolumeDriver",)
        assert found.implements(VolumeDriver)
        assert found.implements("VolumeDriver")
        assert not found.implements("volumedriver")
        [made] = pm.hook.volume_driver(name="photos", client=found.client)
        assert made.path("x") == "/mnt/photos"
    assert [request.path for request in server.requests] == ["/Plugin.Activate", *["/VolumeDriver.Path"] * 2]
    assert server.connections == 1


def test_the_handshake_is_the_engines_to_the_byte(plugins: Directory) -> None:
    server = plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        pm.get("photos")
    [request] = server.requests
    assert request.body == b""
    assert request.headers == [
        ("Host", "plugin.moby.localhost"),
        ("User-Agent", "Go-http-client/1.1"),
        ("Content-Length", "0"),
        ("Accept", "application/vnd.docker.plugins.v1.2+json"),
    ]


def test_get_twice_makes_one_handshake_and_one_plugin(plugins: Directory) -> None:
    server = plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        assert pm.get("photos") is pm.get("photos", "VolumeDriver")
    assert activations(server) == 1


def test_driver_prefers_what_a_handler_returned(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver", "Backup"))

    class Cached(VolumeDriver):
        def __len__(self) -> int:  # how many are cached, by now none
            return 0

    with plugins.manager(groups=("extframe",)) as pm:
        mine = Cached()
        pm.handle("VolumeDriver", lambda name, client: "no driver of that type")
        pm.handle("VolumeDriver", lambda name, client: mine)
        assert pm.driver("photos", VolumeDriver) is mine
        assert pm.driver("photos", "VolumeDriver") is mine
        assert pm.get("photos").driver(VolumeDriver) is mine


def test_driver_by_name_needs_a_handler_and_says_so(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver", "Backup"))
    with plugins.manager() as pm:
        assert isinstance(pm.driver("photos", VolumeDriver), VolumeDriver)
        with pytest.raises(HandlerError, match="no handler returned a driver for 'Backup'.*hook is 'backup'"):
            pm.driver("photos", "Backup")


def test_a_plugin_that_lacks_the_extension_point_says_what_it_has(plugins: Directory) -> None:
    plugins.serve("photos", plugin("NetworkDriver", "authz"))
    with plugins.manager() as pm:
        with pytest.raises(DoesNotImplement, match="'VolumeDriver'; it implements NetworkDriver, authz"):
            pm.get("photos", VolumeDriver)
        with pytest.raises(DoesNotImplement):
            pm.driver("photos", VolumeDriver)
        assert pm.failures() == []


# --- missing, refusing, broken ------------------------------------------------------------------------


def test_a_missing_plugin_fails_at_once_and_names_every_place(plugins: Directory) -> None:
    with plugins.manager() as pm:
        start = time.monotonic()
        with pytest.raises(PluginNotFound, match=f"no plugin 'rclone'.*rclone.sock, rclone.spec, .* in {plugins.path}"):
            pm.get("rclone")
        assert time.monotonic() - start < AT_ONCE
        assert pm.failures() == []  # names that users mistype are no plugins, and would add up


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a\0b", "x" * 256])
def test_a_name_that_could_leave_the_directory_is_refused(plugins: Directory, name: str) -> None:
    with plugins.manager() as pm, pytest.raises(SpecError):
        pm.get(name, wait=60)  # at once: no wait makes it valid


def test_a_dead_socket_fails_at_once_with_the_remedy(plugins: Directory) -> None:
    plugins.serve("dead", answer()).close()
    with plugins.manager() as pm:
        start = time.monotonic()
        with pytest.raises(ActivationError, match="start it, or remove .*dead.sock") as caught:
            pm.get("dead")
        assert isinstance(caught.value.__cause__, ConnectError)
        assert time.monotonic() - start < AT_ONCE


ODD_HANDSHAKES = {
    "html": (send_and_close(reply(b"<html><h1>It works!</h1></html>")), "not JSON"),
    "text": (answer(b"hello"), "not JSON"),
    "a list": (answer(b'["VolumeDriver"]'), "got `array`"),
    "wrong type": (answer(b'{"Implements": "VolumeDriver"}'), "`\\$.Implements`"),
    "nothing": (answer(b""), "the response is empty"),
    "500": (answer(b'{"Err": "not today"}', status="500 Internal Server Error"), "not today"),
    "404": (answer(b"404 page not found\n", status="404 Not Found"), "404 page not found"),
    "no http": (send_and_close(b"SSH-2.0-OpenSSH_9.2\r\n"), "HTTP"),
    "closed": (close_after_read, "closed|ended"),
    "half a header": (send_and_close(b"HTTP/1.1 200 OK\r\nConte"), "closed|ended"),
    "200 MiB": (send_and_hang(reply(b"", length=200 * MiB)), "over 16777216 bytes"),
}


@pytest.mark.parametrize("kind", ODD_HANDSHAKES)
def test_a_handshake_that_makes_no_sense_is_an_activation_error(plugins: Directory, kind: str) -> None:
    behaviour, words = ODD_HANDSHAKES[kind]
    plugins.serve("odd", behaviour)
    with plugins.manager() as pm:
        with pytest.raises(ActivationError, match=words) as caught:
            pm.get("odd")
        assert "'odd'" in str(caught.value)
        assert isinstance(caught.value.__cause__, ExtframeError)
        assert [failure.what for failure in pm.failures()] == ["plugin 'odd'"]


def test_a_manager_may_raise_the_limit_of_replies(plugins: Directory) -> None:
    plugins.serve("large", plugin("VolumeDriver", Path={"Mountpoint": "/" + "x" * 1000}))
    large = {"registry": LocalRegistry(plugins.path, [plugins.path]), "groups": ()}
    with PluginManager(**large, limits=Limits(body=900)) as pm, pytest.raises(ProtocolError, match=r"Limits\.body"):
        pm.driver("large", VolumeDriver).path("x")
    with PluginManager(**large, limits=Limits(body=1100)) as pm:
        assert len(pm.driver("large", VolumeDriver).path("x")) == 1001


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"Implements": null}', b'{"Implements": []}'])
def test_an_empty_manifest_is_not_kept_for_good(plugins: Directory, body: bytes) -> None:
    server = plugins.serve("young", answer(body))
    with plugins.manager() as pm:
        assert pm.get("young").manifest.implements == ()
        with pytest.raises(DoesNotImplement, match="it implements nothing"):
            pm.get("young", "VolumeDriver")
        assert activations(server) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"implements": ["VolumeDriver"]}',
        b'{"Implements": ["VolumeDriver", null, "VolumeDriver"], "Err": "not today", "Extra": 1}',
    ],
)
def test_a_manifest_is_read_as_the_engine_reads_it(plugins: Directory, body: bytes) -> None:
    plugins.serve("odd", answer(body, headers="Content-Type: text/html\r\n"))
    with plugins.manager() as pm:
        assert pm.get("odd", "VolumeDriver").manifest.implements == ("VolumeDriver",)


@pytest.mark.parametrize(
    "behaviour",
    [read_and_hang, send_and_hang(b"HTTP/1.1 200 OK\r\nConte"), drip(pause=1)],
    ids=["silent", "half", "drip"],
)
def test_a_handshake_that_hangs_or_drips_ends_at_the_deadline(plugins: Directory, behaviour: Any) -> None:
    plugins.serve("slow", behaviour)
    with plugins.manager() as pm:
        start = time.monotonic()
        with pytest.raises(ActivationError) as caught:
            pm.get("slow", timeout=0.3)
        assert 0.25 < time.monotonic() - start < AT_ONCE
        assert isinstance(caught.value.__cause__, CallTimeout)


def test_a_failed_activation_can_be_tried_again(plugins: Directory) -> None:
    server = plugins.serve("late", answer(b'{"Err": "starting"}', status="503 Service Unavailable"))
    with plugins.manager() as pm:
        with pytest.raises(ActivationError, match="starting"):
            pm.get("late")
        assert len(pm.failures()) == 1
        server.behaviour = plugin("VolumeDriver")
        server.close()
        plugins.serve("late", plugin("VolumeDriver"))
        assert pm.get("late").state is State.ACTIVE
        assert pm.failures() == []


# --- waiting ------------------------------------------------------------------------------------------


def test_waiting_ends_when_the_plugin_is_there(plugins: Directory) -> None:
    came = []

    def appear() -> None:
        came.append(time.monotonic())
        plugins.serve("late", plugin("VolumeDriver"))

    timer = threading.Timer(0.3, appear)
    timer.start()
    with plugins.manager() as pm:
        assert pm.get("late", wait=60, timeout=60).name == "late"
        assert time.monotonic() - came[0] < AT_ONCE
    timer.join()


def test_waiting_covers_a_plugin_that_still_refuses_connections(plugins: Directory) -> None:
    plugins.serve("late", answer()).close()
    timer = threading.Timer(0.2, lambda: plugins.serve("late", plugin("VolumeDriver")))
    timer.start()
    with plugins.manager() as pm:
        assert pm.get("late", wait=30).name == "late"
    timer.join()


def test_waiting_in_vain_ends_in_time_with_the_reason(plugins: Directory) -> None:
    with plugins.manager() as pm:
        start = time.monotonic()
        with pytest.raises(PluginNotFound):
            pm.get("missing", wait=0.2)
        assert 0.1 < time.monotonic() - start < AT_ONCE
        with pytest.raises(PluginNotFound):
            pm.get("missing", wait=60, timeout=0.1)


def test_waiting_does_not_cover_a_plugin_that_answers_nonsense(plugins: Directory) -> None:
    server = plugins.serve("odd", answer(b"[]"))
    with plugins.manager() as pm, pytest.raises(ActivationError):
        pm.get("odd", wait=10)
    assert activations(server) == 1


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_is_none_is_refused(plugins: Directory, timeout: float) -> None:
    with plugins.manager() as pm, pytest.raises(ValueError, match="0 or more"):
        pm.get("photos", timeout=timeout)


@pytest.mark.parametrize("timeout", [None, "30"])
def test_a_timeout_that_is_not_a_number_is_refused_with_what_to_write(plugins: Directory, timeout: Any) -> None:
    with plugins.manager() as pm, pytest.raises(TypeError, match="expected seconds, or math.inf for no timeout"):
        pm.get("photos", timeout=timeout)


# --- many threads -------------------------------------------------------------------------------------


def test_sixteen_threads_make_one_handshake_and_call_each_handler_once(plugins: Directory) -> None:
    def slow() -> dict[str, object]:
        time.sleep(0.1)
        return {"Implements": ["VolumeDriver"]}

    server = plugins.serve("photos", answer_with(lambda request: reply(json.dumps(slow()).encode())))
    with plugins.manager() as pm:
        calls: list[str] = []
        pm.handle("VolumeDriver", lambda name, client: calls.append(name))
        threads = [threading.Thread(target=pm.get, args=("photos", "VolumeDriver")) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert calls == ["photos"]
    assert activations(server) == 1


def test_threads_that_wait_for_a_handshake_share_its_failure(plugins: Directory) -> None:
    def slow_failure(request: Request) -> bytes:
        time.sleep(0.2)
        return reply(b'{"Err": "not today"}', status="500 Internal Server Error")

    server = plugins.serve("odd", answer_with(slow_failure))
    errors: list[str] = []

    def get() -> None:
        try:
            pm.get("odd")
        except ActivationError as error:
            errors.append(str(error))

    with plugins.manager() as pm:
        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(errors) == 8
    assert all("not today" in error for error in errors)
    assert activations(server) < 8


def test_a_thread_that_waits_keeps_its_own_deadline(plugins: Directory) -> None:
    server = plugins.serve("hung", read_and_hang)
    with plugins.manager() as pm:
        leader = threading.Thread(target=lambda: pytest.raises(ActivationError, pm.get, "hung", timeout=60))
        leader.start()
        assert eventually(lambda: is_activating(pm, "hung"), 30)
        start = time.monotonic()
        with pytest.raises(ActivationError, match="another caller's handshake"):
            pm.get("hung", timeout=0.1)
        assert time.monotonic() - start < AT_ONCE
        server.close()
        leader.join()


def test_a_leader_without_time_leaves_the_handshake_to_those_who_wait(plugins: Directory) -> None:
    release = threading.Event()

    def once_released(request: Request) -> bytes:
        release.wait(30)
        return reply(b'{"Implements": ["VolumeDriver"]}')

    def lead() -> None:
        with pytest.raises(ActivationError):
            pm.get("slow", timeout=1)
        release.set()

    plugins.serve("slow", answer_with(once_released))
    with plugins.manager() as pm:
        leader = threading.Thread(target=lead)
        leader.start()
        assert eventually(lambda: is_activating(pm, "slow") or release.is_set(), 30)
        assert pm.get("slow", timeout=30).state is State.ACTIVE
        leader.join()


# --- get_all ------------------------------------------------------------------------------------------


def test_one_bad_plugin_costs_the_others_nothing(plugins: Directory) -> None:
    for number in range(5):
        plugins.serve(f"good{number}", plugin("VolumeDriver"))
    plugins.serve("other", plugin("NetworkDriver"))
    plugins.serve("hung", read_and_hang)
    plugins.serve("dead", answer()).close()
    plugins.serve("garbage", send_and_close(b"\x00\xff" * 40))
    with plugins.manager() as pm:
        start = time.monotonic()
        found = pm.get_all(VolumeDriver, timeout=3)
        assert time.monotonic() - start < AT_ONCE
        assert [each.name for each in found] == [f"good{number}" for number in range(5)]
        assert {failure.what for failure in pm.failures()} == {"plugin 'hung'", "plugin 'dead'", "plugin 'garbage'"}
        pm.get_all("VolumeDriver", timeout=0.1)
        drivers = pm.drivers(VolumeDriver, timeout=3)
        assert list(drivers) == [each.name for each in found]
        assert all(isinstance(driver, VolumeDriver) for driver in drivers.values())


def test_two_hundred_hung_plugins_cost_no_thread_and_their_neighbours_no_time(plugins: Directory) -> None:
    for number in range(20):
        plugins.serve(f"good{number:02}", plugin("VolumeDriver"))
    hung = FaultServer(hang, path=str(plugins.path / "hung.sock"), accepting=False, backlog=400)
    plugins.servers.append(hung)
    for number in range(200):
        os.link(hung.path, plugins.path / f"hung{number:03}.sock")
    os.unlink(hung.path)
    with plugins.manager() as pm:
        threads: list[int] = []
        pm.handle("VolumeDriver", lambda name, client: threads.append(threading.active_count()))
        before = threading.active_count()
        start = time.monotonic()
        found = pm.get_all("VolumeDriver", timeout=3)
        assert time.monotonic() - start < AT_ONCE
        assert [each.name for each in found] == [f"good{number:02}" for number in range(20)]
        assert len(pm.failures()) == 200
        # Each good plugin's server has a thread of its own here, for its connection.
        assert max(threads) - before < 20 + 10


def test_where_no_file_descriptor_is_left_every_plugin_fails_with_the_remedy(plugins: Directory) -> None:
    source = """
        import os, resource, sys
        from extframe import LocalRegistry, PluginManager

        with PluginManager(LocalRegistry(sys.argv[1], []), groups=()) as pm:
            names = pm.scan()
            search = pm._activator.registry
            search.scan = lambda deadline: []  # imports at first use need file descriptors
            pm.get_all("VolumeDriver")
            search.scan = lambda deadline: names
            resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
            held = []
            while True:
                try:
                    held.append(os.dup(0))
                except OSError:
                    break
            found = pm.get_all("VolumeDriver")
            for each in held:
                os.close(each)
            print(found, *[failure.exception.__cause__.message for failure in pm.failures()], sep="\\n")
            print(len(pm.get_all("VolumeDriver")), pm.failures())
    """
    for name in ("one", "other"):
        plugins.serve(name, plugin("VolumeDriver"))
    with Program(source, plugins.path) as program:
        code, said = program.end(60)
    assert code == 0, said
    empty, *failures, last = said.splitlines()
    assert empty == "[]"
    assert len(failures) == 2
    assert all("(ulimit -n)" in words for words in failures)
    assert last == "2 []"


def test_more_plugins_than_there_are_file_descriptors_take_turns(plugins: Directory) -> None:
    source = """
        import resource, sys
        from extframe import LocalRegistry, PluginManager

        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        with PluginManager(LocalRegistry(sys.argv[1], []), groups=()) as pm:
            print(len(pm.get_all("VolumeDriver")), [str(failure) for failure in pm.failures()])
    """
    server = plugins.serve("photos", plugin("VolumeDriver"), backlog=200)
    for number in range(149):
        os.link(server.path, plugins.path / f"photos{number}.sock")
    with Program(source, plugins.path) as program:
        assert program.end(60) == (0, "150 []\n")


@pytest.mark.parametrize(
    "behaviour",
    [
        in_turn(close_after_read, close_after_read, plugin("VolumeDriver")),
        in_turn(close_at_once, plugin("VolumeDriver")),
        drip(reply(b'{"Implements": ["VolumeDriver"]}'), pause=0.002),
        send_and_close(b'HTTP/1.0 200 OK\r\n\r\n{"Implements": ["VolumeDriver"]}'),
    ],
    ids=["lost twice", "closed at once", "dripping", "until the end"],
)
def test_get_all_takes_what_get_takes(plugins: Directory, behaviour: Any) -> None:
    for name in ("one", "other"):
        plugins.serve(name, behaviour)
    with plugins.manager() as pm:
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["one", "other"]
        assert pm.failures() == []


@pytest.mark.parametrize("kind", sorted(ODD_HANDSHAKES))
def test_get_all_says_of_each_handshake_what_get_says(plugins: Directory, kind: str) -> None:
    plugins.serve("odd", ODD_HANDSHAKES[kind][0])
    plugins.serve("good", plugin("VolumeDriver"))
    with plugins.manager() as pm, plugins.manager() as other:
        with pytest.raises(ActivationError) as caught:
            other.get("odd")
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["good"]
        [failure] = pm.failures()
        assert without_seconds(failure.exception) == without_seconds(caught.value)


def without_seconds(error: BaseException) -> str:
    """Return what an error says, but for how long its attempts took."""
    return re.sub(r"(?<= attempts in )[\d.]+ s", "a moment", str(error))


def test_get_all_waits_for_a_socket_that_takes_no_connection_for_now(
    plugins: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extframe.host.concurrent_activation.GRACE", 30.0)
    full = FaultServer(hang, path=str(plugins.path / "full.sock"), accepting=False, backlog=0)
    plugins.servers.append(full)
    plugins.serve("good", plugin("VolumeDriver"))
    first = socket.socket(socket.AF_UNIX)
    with first, plugins.manager() as pm:
        first.connect(full.path)
        assert [each.name for each in pm.get_all("VolumeDriver", timeout=3)] == ["good"]
        [failure] = pm.failures()
        assert "waiting for the plugin to accept the connection" in str(failure)


def test_get_all_activates_plugins_over_tcp(plugins: Directory, fault_server: Any) -> None:
    for name in ("one", "other"):
        (plugins.path / f"{name}.spec").write_text(fault_server(plugin("VolumeDriver"), "tcp").address)
    with plugins.manager() as pm:
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["one", "other"]


def test_get_all_shares_the_handshake_that_another_thread_makes(plugins: Directory) -> None:
    release = threading.Event()

    def slow() -> dict[str, list[str]]:
        release.wait(30)
        return {"Implements": ["VolumeDriver"]}

    server = plugins.serve("slow", plugin(Activate=slow))
    with plugins.manager() as pm:
        getter = threading.Thread(target=pm.get, args=("slow",))
        getter.start()
        assert eventually(lambda: is_activating(pm, "slow"), 30)
        threading.Timer(0.1, release.set).start()
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["slow"]
        getter.join()
    assert activations(server) == 1


def test_ctrl_c_in_get_all_leaves_no_handshake_under_way(plugins: Directory, request: pytest.FixtureRequest) -> None:
    servers = [plugins.serve(name, read_and_hang) for name in ("one", "other")]
    main = threading.get_ident()

    def interrupt() -> None:
        if eventually(lambda: all(server.requests for server in servers), 30):
            signal.pthread_kill(main, signal.SIGINT)

    default = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by programs in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, default))
    with plugins.manager() as pm:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            pm.get_all("VolumeDriver", timeout=60)
        for name in ("one", "other"):
            found = pm._activator.table.known(name)
            assert found is not None
            assert found.state is State.FAILED
            plugins.serve(name, plugin("VolumeDriver"))
        assert len(pm.get_all("VolumeDriver")) == 2


def test_ctrl_c_as_a_handshake_begins_leaves_it_to_other_threads(
    plugins: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        with monkeypatch.context() as patch:
            # no signal could be timed so well
            patch.setattr("extframe.host.handshake_pool.HandshakePool._add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pm.get_all("VolumeDriver")
        found: list[str] = []
        other = threading.Thread(target=lambda: found.append(pm.get("photos", timeout=10).name))
        other.start()
        other.join()
        assert found == ["photos"]


def test_get_all_does_without_threads_where_the_system_has_none(
    plugins: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        plugins.serve(name, plugin("VolumeDriver"))
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name.startswith("extframe"):
            raise RuntimeError("can't start new thread")  # what the system says at its limit
        start(thread)

    with plugins.manager() as pm, monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", start_others)
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["one", "other"]


def test_get_all_says_that_a_handshake_of_another_thread_is_late_though_that_thread_says_nothing(
    plugins: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extframe.host.concurrent_activation.GRACE", -0.2)  # as on a machine that stalls
    server = plugins.serve("stuck", hang)
    with plugins.manager() as pm:
        other = threading.Thread(target=lambda: pytest.raises(ActivationError, pm.get, "stuck", timeout=30))
        other.start()
        assert eventually(lambda: is_activating(pm, "stuck"))
        assert pm.get_all("VolumeDriver", timeout=0.3) == []
        (failure,) = pm.failures()
        assert isinstance(failure.exception, ActivationError)
        assert isinstance(failure.exception.__cause__, CallTimeout)
        assert failure.exception.__cause__.phase == "handshake"
        server.close()
        other.join()


def test_get_all_reports_a_handler_that_hangs_and_leaves_its_plugin_out(plugins: Directory) -> None:
    plugins.serve("good", plugin("VolumeDriver"))
    plugins.serve("stuck", plugin("VolumeDriver"))
    release = threading.Event()

    def sleeper(name: str, client: object) -> None:
        if name == "stuck":
            release.wait(30)

    with plugins.manager() as pm:
        handler = pm.handle("VolumeDriver", sleeper)
        try:
            assert [each.name for each in pm.get_all("VolumeDriver", timeout=3)] == ["good"]
            [failure] = pm.failures()
            assert "plugin 'stuck'" in str(failure)
            assert handler in str(failure)
        finally:
            release.set()
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["good", "stuck"]
        assert pm.failures() == []
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["good", "stuck"]


def test_get_all_calls_again_the_handlers_of_its_extension_point_that_failed(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver", "authz"))
    calls: list[str] = []

    def broken(name: str, client: object) -> object:
        calls.append("VolumeDriver")
        if len(calls) == 1:
            raise KeyError("bucket")
        return "recovered"

    with plugins.manager() as pm:
        pm.handle("VolumeDriver", broken)
        assert pm.get_all("VolumeDriver") == []
        assert len(pm.failures()) == 1
        assert [each.name for each in pm.get_all("authz")] == ["photos"]
        assert calls == ["VolumeDriver"]
        assert [each.name for each in pm.get_all("VolumeDriver")] == ["photos"]
        assert calls == ["VolumeDriver"] * 2
        assert pm.failures() == []


def test_get_all_asks_nothing_of_plugins_that_are_active(plugins: Directory) -> None:
    server = plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        first = pm.get_all("VolumeDriver")
        before = threading.active_count()
        assert pm.get_all(VolumeDriver) == first
        assert threading.active_count() <= before
    assert activations(server) == 1


def test_get_all_of_an_empty_or_missing_directory_is_empty(plugins: Directory) -> None:
    with plugins.manager() as pm:
        assert pm.get_all("VolumeDriver") == []
    with PluginManager(LocalRegistry(plugins.path / "none", [])) as pm:
        assert pm.get_all("VolumeDriver") == []


# --- handlers -----------------------------------------------------------------------------------------


def test_a_handler_that_raises_is_named_and_stops_no_other(
    plugins: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    plugins.serve("photos", plugin("VolumeDriver", "authz"))
    calls: list[str] = []

    def broken(name: str, client: object) -> object:
        calls.append("broken")
        if len(calls) == 1:
            raise KeyError("bucket")
        return "recovered"

    with plugins.manager() as pm, caplog.at_level(logging.WARNING, "extframe"):
        pm.handle("VolumeDriver", lambda name, client: "good")
        name = pm.handle("VolumeDriver", broken)
        with pytest.raises(HandlerError, match=r"broken.*KeyError: 'bucket'") as caught:
            pm.get("photos", "VolumeDriver")
        assert caught.value.handler == name
        assert isinstance(caught.value.__cause__, KeyError)
        assert [failure.exception for failure in pm.failures()] == [caught.value.__cause__]
        assert pm.get("photos", "authz").state is State.ACTIVE  # of another extension point: not asked for
        assert calls == ["broken"]
        assert pm.driver("photos", "VolumeDriver") == "recovered"
        assert calls == ["broken"] * 2
        assert pm.failures() == []
        assert pm.get("photos").driver("VolumeDriver") == "recovered"
    assert len([record for record in caplog.records if "KeyError" in record.getMessage()]) == 1


def test_get_without_an_extension_point_reports_a_failed_handler_and_does_not_raise(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver"))

    def broken(name: str, client: object) -> object:
        raise KeyError("bucket")

    with plugins.manager() as pm:
        handler = pm.handle("VolumeDriver", broken)
        assert pm.get("photos").state is State.ACTIVE
        assert len(pm.failures()) == 1
        pm.unregister(name=handler)
        assert pm.failures() == []
        assert pm.get("photos", "VolumeDriver").state is State.ACTIVE


def test_a_handler_that_hangs_costs_its_caller_the_deadline_and_is_named(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver"))
    plugins.serve("other", plugin("VolumeDriver"))
    release = threading.Event()

    def hang(name: str, client: object) -> None:
        if name == "photos":
            release.wait(60)

    with plugins.manager() as pm:
        pm.handle("VolumeDriver", hang)
        try:
            for _ in range(2):  # the one who calls it, and one who finds it called
                start = time.monotonic()
                with pytest.raises(CallTimeout, match=r"handler 'VolumeDriver:.*hang' has not returned"):
                    pm.get("photos", timeout=2.5)
                assert time.monotonic() - start < AT_ONCE
            assert pm.get("other").name == "other"
        finally:
            release.set()
        assert pm.get("photos", "VolumeDriver").name == "photos"


def test_handlers_may_call_any_method_of_the_manager(plugins: Directory) -> None:
    plugins.serve("one", plugin("VolumeDriver", Path={"Mountpoint": "/mnt/one"}))
    plugins.serve("two", plugin("VolumeDriver"))
    seen: list[object] = []

    def curious(name: str, client: Any) -> object:
        seen.append((name, pm.get(name, "VolumeDriver").state))
        seen.append(pm.get("two" if name == "one" else "one").name)
        seen.append([each.name for each in pm.get_all("VolumeDriver")])
        seen.append(client.call("VolumeDriver.Path", {"Name": "x"})["Mountpoint"] if name == "one" else None)
        pm.unregister(name=pm.handle("authz", lambda name, client: None))
        return pm.scan()

    with plugins.manager() as pm:
        pm.handle("VolumeDriver", curious)
        start = time.monotonic()
        assert pm.driver("one", "VolumeDriver", timeout=90) == ["one", "two"]
        assert time.monotonic() - start < AT_ONCE
        assert ("one", State.ACTIVE) in seen
        assert "/mnt/one" in seen


def test_a_late_handler_is_called_for_every_plugin_that_is_active(plugins: Directory) -> None:
    for name in ("one", "two", "three"):
        plugins.serve(name, plugin("VolumeDriver"))
    with plugins.manager() as pm:
        pm.get("one")
        pm.get("two")
        calls: list[str] = []
        pm.handle("VolumeDriver", lambda name, client: calls.append(name))
        assert sorted(calls) == ["one", "two"]
        pm.get_all("VolumeDriver")
        assert sorted(calls) == ["one", "three", "two"]


def test_a_handler_of_an_extension_point_without_a_hookspec_is_called(plugins: Directory) -> None:
    plugins.serve("photos", plugin("Backup"))

    class Loose:
        @hookimpl
        def backup(self, name: str) -> str:
            return f"backup of {name}"

    with plugins.manager() as pm:
        pm.register(Loose())
        assert pm.driver("photos", "Backup") == "backup of photos"


def test_two_entries_that_give_one_hook_call_it_once(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver", "volume_driver", "VolumeDriver"))
    with plugins.manager() as pm:
        calls: list[str] = []
        pm.handle("VolumeDriver", lambda name, client: calls.append(name))
        pm.get("photos")
        assert calls == ["photos"]


@pytest.mark.parametrize("entry", ["VolumeDriver", "volume_driver"])
def test_a_handler_that_failed_is_called_again_by_either_of_two_entries_that_give_its_hook(
    plugins: Directory, entry: str
) -> None:
    plugins.serve("photos", plugin("VolumeDriver", "volume_driver"))
    faults = [ValueError("at first")]

    def handler(name: str, client: object) -> str:
        if faults:
            raise faults.pop()
        return "driver"

    with plugins.manager() as pm:
        pm.handle("VolumeDriver", handler)
        with pytest.raises(HandlerError):
            pm.get("photos", entry)
        assert pm.driver("photos", entry) == "driver"
        assert pm.failures() == []


@pytest.mark.parametrize(
    "entry", ["two words", "class", "_private", "plugin_activated", "PluginLost", "1st", "a.b", "é-x"]
)
def test_an_entry_that_can_name_no_hook_is_reported_once_and_skipped(
    plugins: Directory, entry: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugins.serve("hostile", plugin(entry, "VolumeDriver"))
    with plugins.manager() as pm:
        calls: list[str] = []
        pm.handle("VolumeDriver", lambda name, client: calls.append(name))
        pm.get("hostile")
        pm.get("hostile")
        assert calls == ["hostile"]
        [failure] = pm.failures()
        assert repr(entry) in str(failure)
    assert len(caplog.records) == 1


def test_an_entry_that_reaches_a_hook_of_another_kind_is_reported(plugins: Directory) -> None:
    plugins.serve("hostile", plugin("PickOne", "Render"))

    class Hooks:
        @extframe.hookspec(firstresult=True)
        def pick_one(self, name: str, client: object) -> object:
            """Stop at the first."""

        @extframe.hookspec
        def render(self, page: str) -> object:
            """Something else entirely."""

    with plugins.manager() as pm:
        pm.add_hookspecs(Hooks)
        pm.get("hostile")
        assert sorted(str(failure.exception).split(": its ")[1].split("; ")[0] for failure in pm.failures()) == [
            "hookspec has firstresult=True",
            "hookspec takes page",
        ]


def test_monitoring_and_tracing_see_a_dispatch(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        pm.handle("VolumeDriver", lambda name, client: "driver")
        seen: list[object] = []
        undo = pm.add_hookcall_monitoring(
            lambda hook, impls, kwargs: seen.append((hook, kwargs["name"])),
            lambda outcome, hook, impls, kwargs: seen.append(outcome.get_result()),
        )
        traced: list[str] = []
        pm.trace.root.setwriter(traced.append)
        pm.enable_tracing()
        pm.get("photos")
        assert seen == [("volume_driver", "photos"), ["driver"]]
        assert any("volume_driver" in line for line in traced)
        undo()


# --- change and the end -------------------------------------------------------------------------------


def test_a_restarted_plugin_gets_a_new_handshake_and_handlers_get_what_is_new(plugins: Directory) -> None:
    first = plugins.serve("photos", plugin("VolumeDriver", Path={"Mountpoint": "/old"}))
    with plugins.manager() as pm:
        calls: list[str] = []
        for point in ("VolumeDriver", "authz"):
            pm.handle(point, lambda name, client, point=point: calls.append(point))  # type: ignore[misc]
        driver = pm.driver("photos", VolumeDriver)
        assert driver.path("x") == "/old"
        first.close()
        second = plugins.serve("photos", plugin("VolumeDriver", "authz", Path={"Mountpoint": "/new"}))
        assert driver.path("x") == "/new"  # existing drivers go on working
        assert pm.get("photos").manifest.implements == ("VolumeDriver", "authz")
        assert calls == ["VolumeDriver", "authz"]
        assert activations(second) == 1


def test_a_socket_that_is_replaced_while_the_old_plugin_lives_leads_to_the_new_one(plugins: Directory) -> None:
    old = plugins.serve("photos", plugin("VolumeDriver", Path={"Mountpoint": "/old"}))
    with plugins.manager() as pm:
        driver = pm.driver("photos", VolumeDriver)
        assert driver.path("x") == "/old"
        new = FaultServer(plugin("VolumeDriver", "authz", Path={"Mountpoint": "/new"}), path=str(plugins.path / "new"))
        plugins.servers.append(new)
        os.replace(new.path, old.path)
        assert pm.get("photos").manifest.implements == ("VolumeDriver", "authz")
        assert driver.path("x") == "/new"
    assert (activations(old), activations(new)) == (1, 1)


def test_a_restart_that_begins_with_an_empty_manifest_calls_no_handler_again(plugins: Directory) -> None:
    first = plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        calls: list[str] = []
        pm.handle("VolumeDriver", lambda name, client: calls.append(name))
        pm.get("photos")
        first.close()
        manifests = iter([b"{}", b'{"Implements": ["VolumeDriver"]}'])
        plugins.serve("photos", answer_with(lambda request: reply(next(manifests))))
        assert pm.get("photos").manifest.implements == ()
        assert pm.get("photos", "VolumeDriver").manifest.implements == ("VolumeDriver",)
        assert calls == ["photos"]


def test_a_program_that_takes_anothers_socket_is_asked_though_the_other_still_answers(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver", Get={"Volume": {"Name": "old"}}))
    with plugins.manager() as pm:
        client = pm.get("photos").client
        client.call("VolumeDriver.Get")
        new = plugins.serve("new", plugin("VolumeDriver", "LogDriver", Get={"Volume": {"Name": "new"}}))
        os.rename(new.address.removeprefix("unix://"), plugins.path / "photos.sock")
        assert pm.get("photos").manifest.implements == ("VolumeDriver", "LogDriver")
        assert client.call("VolumeDriver.Get") == {"Volume": {"Name": "new"}}


def test_a_plugin_that_moved_takes_its_drivers_along(plugins: Directory, fault_server: Any) -> None:
    old = fault_server(plugin("VolumeDriver", Path={"Mountpoint": "/old"}), "tcp")
    new = fault_server(plugin("VolumeDriver", Path={"Mountpoint": "/new"}), "tcp")
    spec = plugins.path / "photos.spec"
    spec.write_text(old.address)
    with plugins.manager() as pm:
        driver = pm.driver("photos", VolumeDriver)
        found = pm.get("photos")
        other = plugins.path / "photos.new"
        other.write_text(new.address)
        other.rename(spec)
        assert pm.get("photos") is found
        assert found.address == new.address
        assert driver.path("x") == "/new"


def test_a_refused_connection_is_a_restart_and_a_closed_idle_one_is_not(plugins: Directory, fault_server: Any) -> None:
    server = fault_server(plugin("VolumeDriver", Path={"Mountpoint": "/x"}), "tcp")
    (plugins.path / "photos.spec").write_text(server.address)
    with plugins.manager() as pm:
        driver = pm.driver("photos", VolumeDriver)
        for sock in list(server._open):
            sock.shutdown(2)
        assert driver.path("x") == "/x"
        assert pm.get("photos").state is State.ACTIVE
        assert activations(server) == 1
        server.close()
        client = pm.get("photos").client
        client.endpoint.retry = Retry(restart=0)
        with pytest.raises(ConnectError):
            client.call("VolumeDriver.Path")
        with pytest.raises(ActivationError):
            pm.get("photos")


def test_a_plugin_whose_file_went_away_is_not_found(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        pm.get("photos")
        (plugins.path / "photos.sock").unlink()
        with pytest.raises(PluginNotFound):
            pm.get("photos")
        assert [failure.what for failure in pm.failures()] == ["plugin 'photos'"]


@pytest.mark.parametrize("attempt", range(20))
def test_threads_that_are_the_first_to_use_a_manager_get_the_same_plugin(plugins: Directory, attempt: int) -> None:
    server = plugins.serve("photos", plugin("VolumeDriver"))
    with plugins.manager() as pm:
        found: list[extframe.Plugin] = []
        together = threading.Barrier(4)

        def get() -> None:
            together.wait()
            found.append(pm.get("photos"))

        threads = [threading.Thread(target=get) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [pm.get("photos")] * 4
    assert activations(server) == 1


def test_a_plugin_that_was_missed_while_it_was_away_is_the_same_when_it_is_back(plugins: Directory) -> None:
    first = plugins.serve("photos", plugin("VolumeDriver", Path={"Mountpoint": "/old"}))
    with plugins.manager() as pm:
        calls: list[str] = []
        pm.handle("VolumeDriver", lambda name, client: calls.append(name))
        found, driver = pm.get("photos"), pm.driver("photos", VolumeDriver)
        first.close()
        (plugins.path / "photos.sock").unlink()
        with pytest.raises(PluginNotFound):
            pm.get("photos", wait=0.05)
        assert found.state is State.LOST
        plugins.serve("photos", plugin("VolumeDriver", Path={"Mountpoint": "/new"}))
        assert pm.get("photos") is found
        assert driver.path("x") == "/new"
        assert calls == ["photos"]
        assert pm.failures() == []


def test_plugins_that_are_long_gone_are_kept_only_for_those_who_have_them(
    plugins: Directory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("extframe.host.plugin_table.REMEMBERED", 3)
    caplog.set_level(logging.CRITICAL, "extframe")  # else pytest keeps tracebacks, whose frames have plugins in them
    with plugins.manager() as pm:
        calls: list[str] = []

        def refuse(name: str, client: object) -> None:
            calls.append(name)
            raise RuntimeError("no")

        pm.handle("VolumeDriver", refuse)
        held = None
        for number in range(10):
            server = plugins.serve(f"p{number}", plugin("VolumeDriver"))
            found = pm.get(f"p{number}")
            held = held or found
            server.close()
            os.unlink(server.path)
            with pytest.raises(PluginNotFound):
                pm.get(f"p{number}")
        del found

        def kept() -> set[str]:
            gc.collect()  # threads that had the others may only just be ending
            return {each.name for each in pm._activator.table.plugins()}

        assert eventually(lambda: kept() == {"p0", "p7", "p8", "p9"}, 30)
        assert len(pm.failures()) == 6  # of p7, p8 and p9 two each
        calls.clear()
        for name in ("p0", "p5", "p9"):
            plugins.serve(name, plugin("VolumeDriver"))
        assert pm.get("p0") is held
        assert pm.get("p9").state is State.ACTIVE
        assert [each.name for each in pm.get_all("authz")] == []
        assert calls.count("p5") == 1


def test_get_all_of_a_closed_manager_says_so(plugins: Directory) -> None:
    pm = plugins.manager()
    pm.close()
    with pytest.raises(ExtframeError, match="this PluginManager is closed"):
        pm.get_all("VolumeDriver")


def test_a_closed_manager_says_so_and_leaves_no_connection(plugins: Directory) -> None:
    plugins.serve("photos", plugin("VolumeDriver"))
    before = len(os.listdir("/proc/self/fd"))
    pm = plugins.manager()
    driver = pm.driver("photos", VolumeDriver)
    pm.close()
    pm.close()
    with pytest.raises(ExtframeError, match="this PluginManager is closed"):
        pm.get("photos")
    with pytest.raises(ConnectError):
        driver.path("x")
    server_side = 1  # the fault server's end of the connection, until it notices
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + server_side, 30)


def test_a_plugin_that_is_found_as_the_manager_closes_is_not_given_out(plugins: Directory) -> None:
    server = plugins.serve("photos", plugin("VolumeDriver"))

    class Closing(LocalRegistry):
        def find(self, name: str) -> extframe.PluginSpec:
            pm.close()  # as another thread might
            return super().find(name)

    with PluginManager(Closing(plugins.path, []), groups=()) as pm:
        with pytest.raises(ExtframeError, match="this PluginManager is closed"):
            pm.get("photos")
        assert server.requests == []


def test_closing_wakes_those_who_wait(plugins: Directory) -> None:
    pm = plugins.manager()
    errors: list[BaseException] = []

    def get() -> None:
        try:
            pm.get("missing", wait=300, timeout=300)
        except ExtframeError as error:
            errors.append(error)

    thread = threading.Thread(target=get)
    thread.start()
    time.sleep(0.05)
    pm.close()
    thread.join(30)
    assert not thread.is_alive()
    assert "closed" in str(errors[0])


def test_ten_thousand_calls_over_twenty_methods_from_eight_threads_open_eight_connections(plugins: Directory) -> None:
    server = plugins.serve("photos", answer_with(lambda request: reply(b'{"Implements": ["X"]}')))
    with plugins.manager() as pm:
        client = pm.get("photos").client

        def work(thread: int) -> None:
            for number in range(1250):
                client.call(f"X.Method{number % 20}", {"Thread": thread})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 10_001
    assert server.connections <= 8


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_a_timeout_for_calls_that_is_none_is_refused_at_once(plugins: Directory, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is"):
        PluginManager(LocalRegistry(plugins.path, []), groups=(), timeout=timeout)
