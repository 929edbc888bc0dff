"""Which instance a call goes to after a failure, by facts and by faults of real servers, in both kinds of client."""

from __future__ import annotations

import asyncio
import io
import math
import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from event_loops import eventually as eventually_async
from faultserver import FaultServer, Peer, answer_with, eventually
from restarting import Restarting
from scripted_plugin import answers, error, ok

from extframe import (
    AsyncClient,
    Breaker,
    CallTimeout,
    Client,
    ConnectError,
    ConnectionLost,
    Endpoint,
    ExtframeError,
    Manifest,
    PluginUnavailable,
    RemoteError,
    Retry,
    RoundRobin,
    SpecError,
)
from extframe.client.endpoint import PluginEndpoint
from extframe.client.failover import Failover
from extframe.client.instance_handshake import InstanceHandshake
from extframe.client.instances import Instance, Instances
from extframe.client.stream_rules import StreamRules

A, B, C = (Endpoint(f"tcp://h:{port}") for port in (1, 2, 3))
MANIFEST = Manifest(("VolumeDriver",))


def refused() -> ConnectError:
    failure = ConnectError("refused")
    failure.__cause__ = ConnectionRefusedError(111, "refused")
    return failure


def ready(*endpoints: Endpoint, manifests: tuple[Manifest, ...] = (), **options: Any) -> Instances:
    """Return instances whose handshakes were made at 0."""
    made = Instances(endpoints, **options)
    for number, instance in enumerate(made.due(0.0)):
        made.record_handshake(instance, manifests[number] if manifests else MANIFEST, 0.0)
    return made


def plugin_of(*endpoints: Endpoint, **options: Any) -> PluginEndpoint:
    """Return what the clients of a plugin share whose instances are ready."""
    made = PluginEndpoint("tcp://h:1", endpoints=endpoints, **options)
    assert made.instances is not None
    for instance in made.instances.due(0.0):
        made.instances.record_handshake(instance, MANIFEST, 0.0)
    return made


def chosen(instances: Instances, method: str = "VolumeDriver.List", count: int = 12) -> set[str]:
    found = [instances.choose(method) for _ in range(count)]
    return {each.endpoint.address for each in found if each is not None}


# --- instances ----------------------------------------------------------------------------------------


def test_an_instance_that_is_left_out_is_called_again_after_a_handshake_and_not_before():
    instances = ready(A, B)
    left = next(iter(instances))
    instances.leave_out(left, 10.0)
    assert chosen(instances) == {"tcp://h:2"}
    assert instances.due(10.05) == []
    assert instances.next_handshake == pytest.approx(10.1)
    waits, now = [], 10.0
    for _ in range(8):  # 100 ms, doubled after each failure, up to 5 s
        waits.append(instances.next_handshake - now)
        now = instances.next_handshake
        assert instances.due(now) == [left]
        assert instances.due(now) == []  # one at a time
        instances.record_failed_handshake(left, refused(), now)
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert instances.due(now, everyone=True) == [left]  # the plugin's own handshake does not wait
    instances.record_handshake(left, MANIFEST, now)
    assert chosen(instances) == {"tcp://h:1", "tcp://h:2"}
    assert instances.next_handshake == math.inf


def test_a_draining_instance_and_one_without_a_handshake_are_called_only_if_no_other_is_left():
    instances = ready(A, B)
    instances.update([A, Endpoint(B.address, draining=True), C])
    a, b, c = instances
    assert chosen(instances) == {A.address}
    assert a.is_ready  # what was known is kept, and found out again in the background
    assert instances.due(0.0) == [a, b, c]
    instances.leave_out(a, 0.0)
    assert chosen(instances) == {B.address}
    instances.leave_out(b, 0.0)
    assert chosen(instances) == {C.address}
    instances.leave_out(c, 0.0)
    assert instances.choose("VolumeDriver.List") is None
    assert {instances.last_resort(0.0).endpoint.address for _ in range(3)} == {A.address, B.address, C.address}


def test_an_update_keeps_instances_by_address_and_tls_and_is_refused_as_a_whole():
    instances = ready(A, B)
    a, _ = instances
    with pytest.raises(SpecError):
        instances.update([A, Endpoint("nonsense")])
    assert len(instances) == 2
    instances.update([C, Endpoint(A.address, weight=5), Endpoint(A.address, weight=5)])
    assert [each.endpoint.address for each in instances] == [C.address, A.address]
    assert a in instances
    assert a.endpoint.weight == 5


def test_calls_go_to_the_instances_that_have_the_method_or_the_version():
    old, new = Manifest(("VolumeDriver",)), Manifest(("VolumeDriver", "LogDriver"), (("VolumeDriver", (2, 3)),))
    seen: list[int] = []
    instances = ready(A, B, manifests=(old, new), changed=lambda: seen.append(1))
    a, b = instances
    assert instances.manifest == Manifest(("VolumeDriver", "LogDriver"))  # version 1, as in the first one
    assert chosen(instances, "LogDriver.ReadLogs") == {B.address}
    assert chosen(instances, "VolumeDriver.Get") == {A.address}  # the version that drivers speak
    assert chosen(instances, "AuthZPlugin.AuthZReq") == {A.address, B.address}  # its prefix says nothing
    instances.record_handshake(b, Manifest(new.implements, (("VolumeDriver", (1, 2, 3)),)), 0.0)
    assert instances.manifest == Manifest(("VolumeDriver", "LogDriver"))
    assert chosen(instances, "VolumeDriver.Get") == {A.address, B.address}
    instances.leave_out(b, 0.0)
    assert chosen(instances, "LogDriver.ReadLogs") == {A.address}  # the only one that is left
    changes = len(seen)
    instances.record_handshake(a, new, 0.0)
    assert len(seen) == changes + 1
    assert instances.manifest == Manifest(new.implements, (("VolumeDriver", (2, 3)),))
    instances.update([B])
    assert len(seen) == changes + 2


@pytest.mark.parametrize("fails", [False, True])
def test_a_handshake_during_which_the_registry_found_a_change_is_made_again(fails):
    instances = ready(A, B)
    instances.update([A, B])
    a, b = instances.due(1.0)
    instances.record_handshake(a, MANIFEST, 1.0)
    instances.update([A, B])  # the process that answers b's handshake may be gone
    if fails:
        instances.record_failed_handshake(b, refused(), 2.0)
    else:
        instances.record_handshake(b, MANIFEST, 2.0)
    assert instances.next_handshake == -math.inf
    assert instances.due(2.0) == [a, b]
    new = Manifest(("VolumeDriver", "LogDriver"))
    for each in (a, b):
        instances.record_handshake(each, new, 3.0)
    assert instances.due(4.0) == []
    assert instances.manifest == new


@pytest.mark.parametrize("begins_with_a_call", [True, False])
def test_a_forked_child_forgets_the_calls_and_handshakes_of_its_parent(begins_with_a_call):
    instances = Instances([A, B])
    _, b = instances.due(0.0)
    instances.record_handshake(b, MANIFEST, 0.0)
    b.calls.append(None)
    pid = os.fork()
    if pid == 0:
        if begins_with_a_call:
            instances.choose("VolumeDriver.List")
        os._exit(10 * len(instances.due(0.0)) + b.outstanding)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 10
    assert instances.due(0.0) == []


def test_threads_of_a_forked_child_do_not_wait_for_a_lock_that_a_thread_of_its_parent_held(monkeypatch):
    instances = Instances([A, B])
    due: list[list[Instance]] = []
    other = threading.Thread(target=lambda: due.append(instances.due(0.0)), daemon=True)
    make_lock, release = threading.RLock, threading.Event()

    def hold(lock: Any) -> None:
        with lock:
            held.set()
            release.wait(60)

    def make_slowly() -> Any:
        if other.ident is None:
            other.start()
            other.join(0.5)
        return make_lock()

    held = threading.Event()
    parent = threading.Thread(target=hold, args=[instances._lock])
    parent.start()
    assert held.wait(60)
    instances._forks -= 1  # as after a fork
    monkeypatch.setattr("extframe.client.instances.threading", SimpleNamespace(RLock=make_slowly))
    instances.choose("VolumeDriver.List")
    other.join(30)
    is_waiting = other.is_alive()
    release.set()
    parent.join(60)
    assert not is_waiting
    assert [len(each) for each in due] == [2]


# --- the attempts of a call ---------------------------------------------------------------------------


def attempts_of(plugin: PluginEndpoint, failure: Callable[[], Any], *, idempotent: bool = False) -> list[str]:
    """Return where a call is attempted whose attempts all end with the same failure, at once."""
    now = 100.0
    attempts = Failover(plugin, "VolumeDriver.Get", 60.0, idempotent, now)
    made = [attempts.instance.endpoint.address]
    while True:
        wait = attempts.wait_after(failure(), now)
        if wait is None or not attempts.may_continue(now + wait):
            attempts.give_up(failure(), now)
            attempts.abandon()
            assert all(each.outstanding == 0 for each in plugin.instances or ())
            return made
        now += wait
        made.append(attempts.instance.endpoint.address)


def test_a_call_fails_over_if_it_was_not_sent_or_is_idempotent():
    lost = ConnectionLost
    assert len(set(attempts_of(plugin_of(A, B, C), refused))) == 3
    assert len(attempts_of(plugin_of(A, B, C), refused)) == 3
    assert len(attempts_of(plugin_of(A, B, C), lambda: lost("lost"))) == 1
    first_three = attempts_of(plugin_of(A, B, C), lambda: lost("lost"), idempotent=True)[:3]
    assert len(set(first_three)) == 3
    late = CallTimeout("late", phase="headers")
    assert len(attempts_of(plugin_of(A, B, C), lambda: late, idempotent=True)) == 1
    full = ConnectError("no descriptor")
    full.__cause__ = OSError(24, "EMFILE")
    plugin = plugin_of(A, B)
    assert len(attempts_of(plugin, lambda: full)) == 1
    assert plugin.instances is not None
    assert all(each.is_ready for each in plugin.instances)


def test_a_restart_is_waited_for_only_when_no_instance_is_left():
    listener = Restarting()
    made = attempts_of(plugin_of(A, B, listener=listener, retry=Retry(restart=1.0)), refused)
    assert set(made[:2]) == {A.address, B.address}
    assert len(made) > 10
    assert {made.count(A.address), made.count(B.address)} <= {len(made) // 2, len(made) - len(made) // 2}
    assert len(listener.refused) == len(made) - 1  # the first one had a successor


def test_a_call_does_not_wait_to_connect_to_one_instance_while_another_is_left():
    plugin = plugin_of(A, B)
    attempts = Failover(plugin, "VolumeDriver.Create", 60.0, False, 100.0)
    first = attempts.instance
    assert attempts.wait_after(CallTimeout("late", phase="connect"), 103.0) == 0.0
    assert attempts.instance is not first
    assert not first.is_ready
    assert attempts.wait_after(CallTimeout("late", phase="connect"), 160.0) is None  # the deadline of the call
    assert attempts.instance.is_ready  # of which that says nothing
    attempts.abandon()


def test_the_circuit_breaker_is_that_of_an_instance():
    plugin = plugin_of(A, B, breaker=Breaker(failures=2, initial_delay=5.0))
    instances = plugin.instances
    assert instances is not None
    silent = CallTimeout("late", phase="status line")
    a, b = instances

    def fail_at(instance: Instance, now: float) -> None:
        attempts = Failover(plugin, "VolumeDriver.Get", 1.0, True, now)
        while attempts.instance is not instance:
            attempts.abandon()
            attempts = Failover(plugin, "VolumeDriver.Get", 1.0, True, now)
        assert attempts.wait_after(silent, now + 1.0) is None
        attempts.give_up(silent, now + 1.0)
        attempts.abandon()

    fail_at(a, 1.0)
    assert chosen(instances) == {A.address, B.address}
    fail_at(a, 2.0)
    assert chosen(instances) == {B.address}
    assert (plugin.last_error, plugin.next_try) == (None, None)  # the plugin can be called
    fail_at(b, 3.0)
    fail_at(b, 4.0)
    assert str(plugin.last_error) == str(silent)
    assert plugin.next_try == pytest.approx(8.0)
    with pytest.raises(PluginUnavailable):
        Failover(plugin, "VolumeDriver.Get", 1.0, True, 6.0)
    probe = Failover(plugin, "VolumeDriver.Get", 1.0, True, 8.5)
    assert probe.instance is a
    probe.succeed()
    assert not a.circuit.is_open


def test_a_call_goes_to_another_instance_if_a_circuit_opens_as_its_instance_is_chosen():
    plugin = plugin_of(A, B, breaker=Breaker(failures=1, initial_delay=5.0))
    a, b = plugin.instances or ()
    # By a thread that is about to leave the instance out.
    a.circuit.record_failure(refused(), 1.0, 1.0, is_probe=False, responses=0)
    for _ in range(4):
        attempts = Failover(plugin, "VolumeDriver.Get", 10.0, False, 2.0)
        assert attempts.instance is b
        attempts.abandon()
    assert (a.outstanding, b.outstanding) == (0, 0)
    with pytest.raises(PluginUnavailable):
        Failover(plugin, "VolumeDriver.Get", 10.0, False, 2.0, only=a)
    assert Failover(plugin, "VolumeDriver.Get", 10.0, False, 6.5, only=a).instance is a


def test_a_probe_that_fails_over_lets_the_next_probe_through():
    plugin = plugin_of(A, B, breaker=Breaker(failures=1, initial_delay=5.0, max_delay=600.0))
    instances = plugin.instances
    assert instances is not None
    for instance in instances:
        instance.circuit.record_failure(refused(), 0.0, 0.0, is_probe=False, responses=0)
        instances.leave_out(instance, 0.0)
    attempts = Failover(plugin, "VolumeDriver.Get", 10.0, True, 8.0)
    probed = attempts.instance
    (other,) = {*instances} - {probed}
    instances.record_handshake(other, MANIFEST, 8.0)
    assert attempts.wait_after(refused(), 9.0) == 0.0
    assert attempts.instance is other
    attempts.succeed()
    assert probed.circuit.next_try == pytest.approx(19.0)
    assert probed.circuit.admit(19.0)


def test_a_stream_that_is_lost_before_its_response_counts_against_its_instance():
    plugin = plugin_of(A, B, breaker=Breaker(failures=1))
    attempts = Failover(plugin, "LogDriver.ReadLogs", 10.0, False, 1.0)
    rules = StreamRules(11.0, 10.0, follow=True, attempts=attempts)
    rules.record_sent()
    assert attempts.instance.outstanding == 0
    lost = ConnectionLost("lost")
    rules.record_failure(lost, 500.0)
    assert lost.address == attempts.instance.endpoint.address
    assert attempts.instance.circuit.is_open
    assert not attempts.instance.is_ready


# --- real servers, both kinds of client ---------------------------------------------------------------


class Both:
    """A client of either kind with the same blocking calls."""

    def __init__(self, kind: str, endpoints: list[Endpoint], **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_async = kind == "async"
        options.setdefault("retry", Retry(lost=(), restart=0))
        self.client: Any = (AsyncClient if self._is_async else Client)(
            endpoints[0].address, endpoints=endpoints, plugin="photos", **options
        )

    def run(self, result: Any) -> Any:
        return self._loop.run_until_complete(result) if self._is_async else result

    def call(self, method: str, **options: Any) -> Any:
        return self.run(self.client.call(method, **options))

    def handshake(self) -> Manifest:
        return self.run(self.client.handshake(30.0))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Call until something holds: calls make the handshakes that are due."""

        def holds() -> bool:
            self.call("VolumeDriver.List", idempotent=True)
            self._loop.run_until_complete(asyncio.sleep(0.01))
            return condition()

        assert eventually(holds, 30)

    def close(self) -> None:
        self.run(self.client.aclose() if self._is_async else self.client.close())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


@pytest.fixture(params=["sync", "async"])
def client_of(request):
    made: list[Both] = []

    def make(*servers: FaultServer, **options: Any) -> Both:
        made.append(Both(request.param, [Endpoint(each.address) for each in servers], **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def named(name: str, *points: str) -> Any:
    """Return a plugin that answers each call with its name."""
    implements = ok({"Implements": ["VolumeDriver", *points]})
    return answer_with(answers({"Plugin.Activate": implements, "VolumeDriver.List": ok({"Err": "", "Name": name})}))


def loses_calls(peer: Peer) -> None:
    """Answer handshakes, and close the connection after any other request."""
    while (request := peer.read_request()) is not None and "Activate" in request.path:
        peer.send(ok({"Implements": ["VolumeDriver"]}))


def who(client: Both, method: str = "VolumeDriver.List", count: int = 8) -> list[str]:
    return [client.call(method)["Name"] for _ in range(count)]


def test_calls_take_turns_and_a_server_that_is_gone_is_left_out_until_it_is_back(fault_server, client_of, tmp_path):
    paths = [str(tmp_path / name) for name in "abc"]
    a, b, c = (fault_server(named(path[-1]), path=path) for path in paths)
    client = client_of(a, b, c, choose=RoundRobin())
    assert client.handshake() == MANIFEST
    assert sorted(who(client, count=6)) == list("aabbcc")
    b.close()
    assert set(who(client, count=9)) == {"a", "c"}  # not idempotent: nothing of them was sent to b
    os.unlink(paths[1])
    again = fault_server(named("b"), path=paths[1])
    client.wait_for(lambda: again.requests != [])
    client.wait_for(lambda: any(each.path == "/VolumeDriver.List" for each in again.requests))
    assert again.requests[0].path == "/Plugin.Activate"  # before any call
    a.close()
    c.close()
    again.close()
    with pytest.raises(ConnectError, match=r"attempts at 3 instances in .* s$") as caught:
        client.call("VolumeDriver.List")
    assert caught.value.plugin == "photos"


def test_a_lost_call_fails_over_only_if_it_is_idempotent(fault_server, client_of):
    a, b = fault_server(loses_calls), fault_server(named("b"))
    client = client_of(a, b)
    client.handshake()
    with pytest.raises(ConnectionLost) as lost:
        assert who(client, count=2) == ["b", "b"]
    assert lost.value.address == a.address
    client.wait_for(lambda: sum(each.path == "/VolumeDriver.List" for each in a.requests) > 1)  # without an error


def test_a_method_that_is_missing_in_one_version_is_called_in_the_other_during_an_upgrade(fault_server, client_of):
    old = fault_server(named("old"))
    new = fault_server(
        answer_with(
            answers(
                {
                    "Plugin.Activate": ok({"Implements": ["VolumeDriver", "LogDriver"]}),
                    "VolumeDriver.Grow": ok({"Name": "new"}),
                    "LogDriver.StopLogging": ok({"Name": "new"}),
                }
            )
        )
    )
    client = client_of(old, new)
    assert client.handshake() == Manifest(("VolumeDriver", "LogDriver"))
    assert set(who(client, "LogDriver.StopLogging")) == {"new"}
    assert set(who(client, "VolumeDriver.Grow")) == {"new"}  # of which manifests say nothing
    asked = [each.path for each in old.requests]
    assert asked.count("/VolumeDriver.Grow") == 1  # the first time only
    assert "/LogDriver.StopLogging" not in asked
    with pytest.raises(RemoteError) as caught:
        client.call("VolumeDriver.Shrink")
    assert caught.value.not_found
    assert caught.value.address in (old.address, new.address)


def test_streams_and_files_go_to_an_instance_that_is_left(fault_server, client_of, tmp_path):
    a, b = fault_server(named("a")), fault_server(named("b"))
    client = client_of(a, b)
    client.handshake()
    a.close()
    for _ in range(2):
        with open(__file__, "rb") as file:
            assert client.run(client.client.send_file("VolumeDriver.List", file))["Name"] == "b"
        if client._is_async:

            async def read() -> bytes:
                async with client.client.stream("VolumeDriver.List") as stream:
                    return await stream.read(1000)

            assert b'"b"' in client.run(read())
        else:
            with client.client.stream("VolumeDriver.List", follow=True) as stream:
                assert b'"b"' in stream.read()


def test_a_file_that_was_read_is_not_sent_to_another_instance(fault_server, client_of):
    old = fault_server(named("old"))
    activate = ok({"Implements": ["VolumeDriver", "LogDriver"]})
    new = fault_server(answer_with(answers({"Plugin.Activate": activate, "VolumeDriver.Put": ok({"Name": "new"})})))
    client = client_of(old, new)
    client.handshake()

    def put() -> str:
        return client.run(client.client.send_file("VolumeDriver.Put", io.BytesIO(b"photo")))["Name"]

    with pytest.raises(RemoteError) as caught:
        assert [put(), put()] == []  # one of them goes to the old one first
    assert caught.value.not_found
    assert [put(), put()] == ["new", "new"]  # the old one is known to lack the method
    assert all(b"photo" in each.body for each in new.requests if each.path == "/VolumeDriver.Put")


def test_a_client_moves_between_one_and_several_instances(fault_server, client_of):
    a, b, c = (fault_server(named(name)) for name in "abc")
    client = client_of(a)
    assert set(who(client)) == {"a"}
    client.client.retarget(b.address, endpoints=[Endpoint(b.address), Endpoint(c.address)])
    client.wait_for(lambda: set(who(client)) == {"b", "c"})
    client.client.retarget(a.address)
    assert set(who(client)) == {"a"}
    assert client.client.address == a.address


def test_a_handshake_fails_only_if_no_instance_responds(fault_server, client_of):
    a, b = fault_server(named("a")), fault_server(named("b"))
    client = client_of(a, b)
    a.close()
    assert client.handshake() == MANIFEST
    b.close()
    with pytest.raises(ConnectError):
        client_of(a, b).handshake()


def test_a_hung_instance_does_not_delay_the_handshake_for_long(fault_server, client_of):
    a, b = fault_server(lambda peer: peer.hang()), fault_server(named("b"))
    client = client_of(a, b)
    began = time.monotonic()
    assert client.handshake() == MANIFEST
    assert time.monotonic() - began < 9  # the handshake with one instance may take 10 s
    assert set(who(client)) == {"b"}


def test_settings_are_sent_to_each_instance_that_can_be_reached(fault_server, client_of):
    takes = answer_with(answers({"Plugin.Configure": ok({"Err": ""})}))
    a, b = fault_server(takes), fault_server(takes)
    client = client_of(a, b)
    client.handshake()
    for reached in ([a, b], [b]):
        client.run(client.client.call_each("Plugin.Configure", {"Volumes": {}}, timeout=30))
        assert all(server.requests[-1].path == "/Plugin.Configure" for server in reached)
        a.close()
    b.close()
    with pytest.raises(ConnectError):
        client.run(client.client.call_each("Plugin.Configure"))
    one = client_of(fault_server(answer_with(answers({"Plugin.Configure": error("no")}))))
    with pytest.raises(RemoteError, match="no"):
        one.run(one.client.call_each("Plugin.Configure"))


# --- what happens at the same moment ------------------------------------------------------------------


class SecondHandshake:
    """An instance whose first handshake fails, and whose second one is under way until ``go_on`` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self._handshakes = 0

    def __call__(self, peer: Peer) -> None:
        while peer.read_request() is not None:
            self._handshakes += 1
            if self._handshakes <= 2:  # a connection that is lost is tried again
                return
            assert self.go_on.wait(60)
            peer.send(ok({"Implements": ["VolumeDriver"]}))


@pytest.fixture
def at_first_failure(fault_server, monkeypatch):
    """Return a function that makes the endpoints of two instances; ``act`` is called as one's handshake fails."""

    def make(act: Callable[[], object]) -> tuple[SecondHandshake, list[Endpoint]]:
        second = SecondHandshake()
        server, gone = fault_server(second), fault_server(named("gone"))
        gone.close()
        acts = [act]
        is_retried = InstanceHandshake.is_retried

        def notice(handshake: Any, failure: Any, now: float) -> bool:
            retried = is_retried(handshake, failure, now)
            if not retried and handshake._instance.endpoint.address == server.address and acts:
                acts.pop()()
            return retried

        monkeypatch.setattr(InstanceHandshake, "is_retried", notice)
        return second, [Endpoint(server.address), Endpoint(gone.address)]

    return make


def test_a_handshake_that_ends_does_not_end_the_wait_for_the_next_one(at_first_failure):
    began, others = threading.Event(), []
    handshakes: list[Manifest] = []

    def act() -> None:  # in the thread of the first handshake, which has not ended
        others.append(threading.Thread(target=lambda: handshakes.append(client.handshake(60.0))))
        others[0].start()
        assert eventually(lambda: instance.under_way_until > time.monotonic(), 60)
        began.set()

    second, endpoints = at_first_failure(act)
    with Client(endpoints[0].address, endpoints=endpoints) as client:
        instance = next(iter(client.endpoint.instances))
        with pytest.raises(ExtframeError):
            client.handshake(60.0)
        assert began.wait(60)
        waiter = threading.Thread(target=lambda: handshakes.append(client.handshake(60.0)))
        waiter.start()
        waiter.join(0.3)
        second.go_on.set()
        for thread in (*others, waiter):
            thread.join(60)
    assert handshakes == [MANIFEST, MANIFEST]


def test_handshakes_that_another_thread_is_about_to_begin_are_waited_for(fault_server, monkeypatch):
    a, gone = fault_server(named("a")), fault_server(named("gone"))
    gone.close()
    made: list[Manifest] = []
    others: list[threading.Thread] = []
    due = Instances.due

    def claim_slowly(instances: Instances, now: float, **options: Any) -> list[Instance]:
        found = due(instances, now, **options)
        if not others:
            others.append(threading.Thread(target=lambda: made.append(client.handshake(60.0))))
            others[0].start()
            others[0].join(0.3)  # nothing is due for it
        return found

    monkeypatch.setattr(Instances, "due", claim_slowly)
    with Client(a.address, endpoints=[Endpoint(a.address), Endpoint(gone.address)]) as client:
        made.append(client.handshake(60.0))
        others[0].join(60)
    assert made == [MANIFEST, MANIFEST]


def test_a_handshake_that_ends_does_not_end_the_wait_for_the_next_one_of_tasks(at_first_failure):
    tasks: list[asyncio.Task[Manifest]] = []
    second, endpoints = at_first_failure(lambda: tasks.append(asyncio.create_task(client.handshake(60.0))))
    client = AsyncClient(endpoints[0].address, endpoints=endpoints)

    async def main() -> None:
        async with client:
            with pytest.raises(ExtframeError):
                await client.handshake(60.0)
            tasks.append(asyncio.create_task(client.handshake(60.0)))
            await asyncio.wait(tasks, timeout=0.3)
            second.go_on.set()
            assert await asyncio.gather(*tasks) == [MANIFEST, MANIFEST]

    asyncio.run(main())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_instance_that_is_removed_as_it_is_called_leaves_no_connections(fault_server, kind, monkeypatch):
    a, b = fault_server(named("a")), fault_server(named("b"))
    client = kind(a.address, endpoints=[Endpoint(a.address), Endpoint(b.address)], choose=First())
    make, acts = client._new_transport, [lambda: client.retarget(b.address)]

    def make_slowly(*arguments: Any) -> Any:
        made = make(*arguments)
        while acts:
            acts.pop()()  # in another thread
        return made

    monkeypatch.setattr(client, "_new_transport", make_slowly)

    def is_left(*endpoints: FaultServer) -> bool:
        return {each.endpoint.address for each in list(client._transports)} == {each.address for each in endpoints}

    async def main() -> None:
        async with client:
            await client.call("VolumeDriver.List")
            assert (await client.call("VolumeDriver.List"))["Name"] == "b"
            assert await eventually_async(lambda: is_left(b))

    if kind is AsyncClient:
        asyncio.run(main())
    else:
        with client:
            client.call("VolumeDriver.List")
            assert client.call("VolumeDriver.List")["Name"] == "b"
            assert eventually(lambda: is_left(b))


class First:
    """Chooses the first instance."""

    def choose(self, candidates: Any, turn: int) -> Any:
        return candidates[0]
