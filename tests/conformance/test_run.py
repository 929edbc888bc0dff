"""Conformance runs on real sockets: conforming plugins pass, nothing is changed, every run ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from certificates import Authority
from conformance_runs import SHORT, STEP, example, faults, implementing, run, with_verdict
from conforming_drivers import Networks, Pools, Secrets
from every_method import DECLARATIONS, METHODS
from faultserver import Peer, read_and_hang, reply
from scripted_plugin import answers, error, ok, scripted

import extframe
from extframe import conformance
from extframe.conformance import LifecycleOptions, Verdict, check_plugin, safe_calls
from extframe.server import ServerTLS, serving
from extframe.subsystems.metrics import MetricsCollector


@pytest.fixture
def volumes(short_path: Path):
    return example("volume_plugin").DirectoryVolumes(short_path / "root")


# --- conforming plugins -------------------------------------------------------------------------------


@pytest.mark.parametrize("lifecycle", [None, LifecycleOptions(), LifecycleOptions(mount=True)])
def test_the_example_volume_plugin_passes_and_keeps_no_volume(volumes, lifecycle):
    with serving(volumes, serialize="name") as plugin:
        results = run(plugin.address, lifecycle=lifecycle)
    assert faults(results) == {}
    assert volumes.list() == []
    assert ("VolumeDriver.Mount, the same ID again" in results) is (lifecycle is not None and lifecycle.mount)


def test_the_example_authorization_plugin_passes(short_path):
    module = example("authz_plugin")
    (short_path / "policy.json").write_text('{"rules": [{"allow": true, "methods": ["GET"]}]}')
    (driver,) = [value for value in vars(module).values() if getattr(value, "__base__", None) is extframe.Authz]
    with serving(driver(short_path / "policy.json")) as plugin:
        assert faults(run(plugin.address)) == {}


def test_the_example_log_plugin_passes_and_returns_the_line_that_was_logged(short_path):
    with serving(example("log_plugin").FileLogs(short_path / "logs")) as plugin:
        results = run(plugin.address, lifecycle=LifecycleOptions())
    assert faults(results) == {}
    assert results["LogDriver.ReadLogs of the new log"].verdict is Verdict.PASS


def test_network_ipam_and_secret_drivers_in_one_plugin_pass_and_create_nothing():
    with serving(Networks(), Pools(), Secrets()) as plugin:
        results = run(plugin.address)
    assert faults(results) == {}
    assert "IpamDriver.RequestPool" in with_verdict(results, Verdict.SKIP)
    assert "NetworkDriver.CreateNetwork" in with_verdict(results, Verdict.SKIP)


def test_a_metrics_collector_is_for_managed_plugins_only():
    methods = dict.fromkeys(["start_metrics", "stop_metrics"], lambda self: None)
    with serving(type("Metrics", (MetricsCollector,), methods)()) as plugin:
        assert faults(run(plugin.address)) == {"no MetricsCollector": "MetricsCollector is for managed plugins only"}
        assert faults(run(plugin.address, implements=["MetricsCollector"])) == {}


def test_a_plugin_is_checked_over_tls(volumes, tmp_path):
    authority = Authority(tmp_path)
    identity = authority.issue("server", "127.0.0.1")
    tls = ServerTLS(identity.cert_file, identity.key_file)
    with serving(volumes, address="https://127.0.0.1:0", tls=tls) as plugin:
        results = run(plugin.address, tls=extframe.TLSConfig(ca_file=authority.ca_file))
    assert faults(results) == {}
    assert "a client that half-closes" in with_verdict(results, Verdict.SKIP)


def test_a_plugin_is_checked_over_tcp(volumes):
    with serving(volumes, address="tcp://127.0.0.1:0") as plugin:
        assert faults(run(plugin.address)) == {}


# --- plugins without a handshake, or with a wrong one -------------------------------------------------


def test_a_plugin_without_a_handshake_fails_with_a_hint_and_is_checked_as_what_it_is_said_to_implement(fault_server):
    server = fault_server(scripted({"Plugin.Activate": error("404 page not found", "404 Not Found")}))
    (failure,) = run(server.address).values()
    assert (failure.verdict, "--implements NAME" in failure.reason) == (Verdict.FAIL, True)
    results = run(server.address, implements=["VolumeDriver"], lifecycle=LifecycleOptions())
    assert results["handshake"].reason == "status 404; checked as VolumeDriver"
    assert results["headers as Docker's engine sends them"].verdict is Verdict.PASS
    assert results["concurrent calls"].verdict is Verdict.PASS
    assert results["VolumeDriver.List"].verdict is Verdict.PASS
    assert results["VolumeDriver.Create"].verdict is Verdict.PASS


def test_a_wrong_name_in_the_handshake_suggests_the_right_one_and_can_be_replaced(fault_server):
    wrong = {"Plugin.Activate": implementing("LoggingDriver")}
    server = fault_server(scripted({**wrong, "LogDriver.Capabilities": ok({"Cap": {"ReadLogs": False}})}))
    assert "is 'LogDriver' meant?" in run(server.address)["names in Implements"].reason
    results = run(server.address, implements=["LogDriver"])
    assert results["handshake"].verdict is Verdict.NOTE
    assert results["LogDriver.Capabilities"].verdict is Verdict.PASS


def test_only_known_extension_points_can_be_named():
    with pytest.raises(extframe.SpecError, match="'Backup' cannot be checked: expected one of VolumeDriver"):
        check_plugin("unix:///nowhere.sock", implements=["Backup"])


def test_the_old_names_still_work_with_a_warning(fault_server):
    with pytest.warns(DeprecationWarning, match="use LifecycleOptions"):
        options = conformance.Trial(mount=True)
    with pytest.warns(DeprecationWarning, match="use lifecycle="):
        results = list(check_plugin(fault_server(scripted()).address, trial=options))
    assert "VolumeDriver.Mount" in {result.check for result in results if result.verdict is not Verdict.SKIP}
    with pytest.raises(AttributeError, match="Trail"):
        _ = conformance.Trail


# --- nothing is changed -------------------------------------------------------------------------------


def test_without_lifecycle_checks_only_safe_methods_are_called(fault_server):
    every = {"Plugin.Activate": implementing(*(found.implements for found in DECLARATIONS))}
    server = fault_server(scripted(every))
    results = run(server.address)
    skipped = with_verdict(results, Verdict.SKIP)
    called = {request.path[1:] for request in server.requests}
    assert called & set(METHODS) <= set(safe_calls.SAFE_CALLS)
    assert {name for name, reason in skipped.items() if "--destructive" in reason} == safe_calls.LIFECYCLE_METHODS
    assert not safe_calls.LIFECYCLE_METHODS & set(safe_calls.SAFE_CALLS)
    assert set(METHODS) <= set(results), "every method is checked, or listed as skipped"
    assert set(safe_calls.SAFE_CALLS) <= set(METHODS)


# --- every run ends -----------------------------------------------------------------------------------

BODIES = [
    b"", b"null", b"[]", b"5", b'"x"', b"{}", b"[" * 5000, b"\xff\xfe", b'{"a": 1}{"b": 2}', b'{"x": "\\ud800"}',
    b'{"n": 1' + b"0" * 5000 + b"}", b'{"Err": 5}', b'{"Err": null, "Error": ["x"]}', b'{"Implements": 5}',
    b'{"Volume": 5}', b'{"Volume": {"Name": 5}}', b'{"Volumes": null}', b'{"Volumes": [5]}', b'{"Volumes": [[]]}',
    b'{"Volumes": [{"Name": {}, "CreatedAt": 7}]}', b'{"volumes": [{"name": "a", "mountpoint": 7}]}',
    b'{"Capabilities": []}', b'{"Capabilities": {"Scope": 5}}', b'{"capabilities": {"scope": null}}',
    b'{"Capabilities": null}', b'{"Cap": 5, "ReadLogs": 1}', b'{"Allow": "yes"}', b'{"Allow": null, "Err": {}}',
    b'{"PoolID": 5}', b'{"PoolID": "p", "Pool": "10.0.0.0/8", "Address": "x", "Mountpoint": "/x"}',
]  # fmt: skip


@pytest.mark.parametrize("status", ["200 OK", pytest.param("404 Not Found", marks=pytest.mark.long)])
def test_whatever_a_plugin_returns_a_run_is_completed(fault_server, status, monkeypatch):
    monkeypatch.setattr("extframe.conformance.method_checks.PAUSE", 0.0)
    every = tuple(found.implements for found in DECLARATIONS)
    for body in BODIES:
        response = reply(body, status=status)
        server = fault_server(scripted({"*": response, "Plugin.Activate": response, "GET": response}))
        results = run(server.address, implements=every, lifecycle=LifecycleOptions(mount=True))
        assert list(results)[-1] == "sizes of all responses", body


@pytest.mark.parametrize("body", BODIES)
def test_whatever_a_plugin_returns_to_the_handshake_is_a_failure_that_ends_the_run(fault_server, body):
    results = run(fault_server(scripted({"Plugin.Activate": reply(body)})).address)
    assert {name: result.verdict for name, result in results.items()} == {"handshake": Verdict.FAIL}


@pytest.mark.parametrize("behaviour", [read_and_hang, lambda peer: peer.drip(reply(1000 * b" "), 0.1)])
def test_a_plugin_that_does_not_answer_the_handshake_fails_at_the_deadline(fault_server, behaviour):
    begun = time.monotonic()
    results = check_plugin(fault_server(behaviour).address, timeout=SHORT)
    assert next(results).verdict is Verdict.FAIL
    with pytest.raises(extframe.CallTimeout):
        next(results)
    assert time.monotonic() - begun < 100 * SHORT


def test_a_method_that_hangs_fails_at_its_own_deadline_and_nothing_else_does(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path == "/VolumeDriver.List":
                peer.hang()
            peer.send(answers({})(request))

    failed = with_verdict(run(fault_server(behaviour).address, timeout=STEP), Verdict.FAIL)
    assert set(failed) == {"VolumeDriver.List"}
    assert f"({STEP:g} s)" in failed["VolumeDriver.List"]


def test_a_plugin_that_stops_responding_ends_the_run_with_a_failure(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path == "/VolumeDriver.Path":
                server.behaviour = read_and_hang
                return
            peer.send(answers({})(request))

    server = fault_server(behaviour)
    results = run(server.address, timeout=STEP)
    assert list(results)[-1] == "the remaining checks"
    assert with_verdict(results, Verdict.FAIL) == {
        "the remaining checks": "the plugin stopped responding after this check: VolumeDriver.Path"
    }


def test_a_dead_socket_raises_a_connect_error(short_path):
    results = check_plugin(f"unix://{short_path}/none.sock")
    assert next(results).verdict is Verdict.FAIL
    with pytest.raises(extframe.ConnectError):
        next(results)


def test_a_handshake_whose_connection_is_closed_raises_connection_lost(fault_server):
    results = check_plugin(fault_server(lambda peer: peer.read_request()).address)
    assert next(results).verdict is Verdict.FAIL
    with pytest.raises(extframe.ConnectionLost):
        next(results)
