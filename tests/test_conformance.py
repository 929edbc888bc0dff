"""Conformance runs: plugins in good order pass, and each fault is found and named, on real sockets."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from certificates import Authority
from every_method import DECLARATIONS, METHODS
from faultserver import Peer, read_and_hang, reply
from lab import in_threads
from scripted_plugin import VOLUMES, answers, at_a_time, error, ok, scripted

import extframe
from extframe.conformance import RULES, Result, Trial, Verdict, calls, check_plugin
from extframe.server import ServerTLS, serving
from extframe.subsystems.ipam import AddressSpaces, IpamAddress, IpamDriver, IpamPool
from extframe.subsystems.metrics import MetricsCollector
from extframe.subsystems.network import EndpointInterface, JoinInfo, NetworkCapability, NetworkDriver
from extframe.subsystems.secret import Secret, SecretProvider

EXAMPLES = Path(__file__).parents[1] / "examples" / "plugins"
STEP = 1.5  # seconds, of which a plugin that hangs takes all, and one that answers next to none
SHORT = 0.3  # seconds, where nothing answers


def run(address: str, **options) -> dict[str, Result]:
    results = list(check_plugin(address, **{"timeout": 30.0, **options}))
    assert max(Counter(result.check for result in results).values()) == 1, "every check has a name of its own"
    return {result.check: result for result in results}


def those(results: dict[str, Result], *verdicts: Verdict) -> dict[str, str]:
    return {name: result.reason for name, result in results.items() if result.verdict in verdicts}


def faults(results: dict[str, Result]) -> dict[str, str]:
    return those(results, Verdict.FAIL, Verdict.WARN)


GET, LIST, CAPABILITIES = "VolumeDriver.Get", "VolumeDriver.List", "VolumeDriver.Capabilities"
ACTIVATE, ABSENT = "Plugin.Activate", "VolumeDriver: a method that does not exist"


def listing(*volumes: object) -> bytes:
    return ok({"Volumes": volumes})


def implementing(*points: str) -> bytes:
    return ok({"Implements": points})


# --- plugins in good order ----------------------------------------------------------------------------


def example(name: str):
    spec = importlib.util.spec_from_file_location(f"conforming_{name}", EXAMPLES / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Networks(NetworkDriver):
    def __init__(self, adds: str = "") -> None:
        self.held: set[str] = set()
        self.adds = adds

    def get_capabilities(self) -> NetworkCapability:
        return NetworkCapability(scope="local")

    def create_network(self, network_id, options=None, ipv4_data=(), ipv6_data=()) -> None:
        assert ipv4_data[0].pool.startswith("198.18.")
        self.held.add(network_id)

    def delete_network(self, network_id) -> None:
        self._known(network_id)
        self.held.remove(network_id)

    def create_endpoint(self, network_id, endpoint_id, interface, options=None) -> EndpointInterface:
        self._known(network_id)
        self.held.add(endpoint_id)
        return EndpointInterface(mac_address="02:00:00:00:00:01", address=self.adds)

    def endpoint_oper_info(self, network_id, endpoint_id) -> dict:
        self._known(endpoint_id)
        return {}

    def delete_endpoint(self, network_id, endpoint_id) -> None:
        self._known(endpoint_id)
        self.held.remove(endpoint_id)

    def join(self, network_id, endpoint_id, sandbox_key, options=None) -> JoinInfo:
        raise AssertionError("no check joins")

    def leave(self, network_id, endpoint_id) -> None:
        pass

    def _known(self, id: str) -> None:
        if id not in self.held:
            raise extframe.RemoteError("no such network or endpoint")


class Pools(IpamDriver):
    def __init__(self) -> None:
        self.held: set[str] = set()

    def get_default_address_spaces(self) -> AddressSpaces:
        return AddressSpaces(local_default_address_space="local", global_default_address_space="global")

    def request_pool(self, address_space, pool="", sub_pool="", options=None, v6=False) -> IpamPool:
        assert address_space == "local"
        self.held.add("p1")
        return IpamPool(pool_id="p1", pool="10.5.0.0/24")

    def release_pool(self, pool_id) -> None:
        if pool_id not in self.held:
            raise extframe.RemoteError("no such pool")
        self.held.remove(pool_id)

    def request_address(self, pool_id, address="", options=None) -> IpamAddress:
        self.held.add("10.5.0.2")
        return IpamAddress(address="10.5.0.2/24")

    def release_address(self, pool_id, address) -> None:
        self.held.discard(address)


class Secrets(SecretProvider):
    def get_secret(self, secret_name="", **rest) -> Secret:
        raise extframe.RemoteError(f"no secret {secret_name}")


@pytest.fixture
def volumes(short_path):
    return example("volume_plugin").DirectoryVolumes(short_path / "root")


@pytest.mark.parametrize("trial", [None, Trial(), Trial(mount=True)])
def test_the_example_of_a_volume_plugin_passes_and_keeps_nothing_of_it(volumes, trial):
    with serving(volumes, serialize="name") as plugin:
        results = run(plugin.address, trial=trial)
    assert faults(results) == {}
    assert volumes.list() == []
    assert ("VolumeDriver.Mount, the same ID again" in results) is (trial is not None and trial.mount)


def test_the_example_of_an_authorization_plugin_passes(short_path):
    module = example("authz_plugin")
    (short_path / "policy.json").write_text('{"rules": [{"allow": true, "methods": ["GET"]}]}')
    (driver,) = [value for value in vars(module).values() if getattr(value, "__base__", None) is extframe.Authz]
    with serving(driver(short_path / "policy.json")) as plugin:
        assert faults(run(plugin.address)) == {}


def test_the_example_of_a_log_plugin_passes(short_path):
    with serving(example("log_plugin").FileLogs(short_path / "logs")) as plugin:
        assert faults(run(plugin.address)) == {}


def test_network_ipam_and_secret_drivers_in_one_plugin_pass_and_are_asked_for_nothing_that_makes_something():
    with serving(Networks(), Pools(), Secrets()) as plugin:
        results = run(plugin.address)
    assert faults(results) == {}
    assert "IpamDriver.RequestPool" in those(results, Verdict.SKIP)
    assert "NetworkDriver.CreateNetwork" in those(results, Verdict.SKIP)


def test_a_pool_that_was_tried_is_given_back():
    pools = Pools()
    with serving(pools) as plugin:
        results = run(plugin.address, trial=Trial())
    assert faults(results) == {}
    assert results["IpamDriver.RequestAddress"].verdict is Verdict.PASS
    assert pools.held == set()


@pytest.mark.parametrize(("adds", "found"), [("", set()), ("198.18.37.2/24", {"NetworkDriver.CreateEndpoint"})])
def test_a_network_that_was_tried_is_deleted_and_an_address_that_is_given_back_is_found(adds, found):
    networks = Networks(adds)
    with serving(networks) as plugin:
        results = run(plugin.address, trial=Trial())
    assert set(faults(results)) == found
    assert results["NetworkDriver.DeleteNetwork of the new network"].verdict is Verdict.PASS
    assert networks.held == set()


def test_a_line_that_was_logged_in_a_trial_comes_back(short_path):
    with serving(example("log_plugin").FileLogs(short_path / "logs")) as plugin:
        results = run(plugin.address, trial=Trial())
    assert faults(results) == {}
    assert results["LogDriver.ReadLogs of the new log"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "what was logged is not what comes back: []"),
        (b"\x00\x00\x00\x1a\x1a\x18a line of extframe check", "the line has no newline at its end"),
        (b"\x00\x00\x00\xffx", "the stream ends"),
    ],
)
def test_a_log_that_comes_back_as_another_is_found(fault_server, answer, reason):
    logs = {
        ACTIVATE: implementing("LogDriver"),
        "LogDriver.Capabilities": ok({"Cap": {"ReadLogs": True}}),
        "LogDriver.StartLogging": ok({}),
        "LogDriver.StopLogging": ok({}),
        "LogDriver.ReadLogs": reply(answer),
    }
    results = run(fault_server(scripted(logs)).address, trial=Trial())
    assert reason in those(results, Verdict.FAIL)["LogDriver.ReadLogs of the new log"]


def test_a_metrics_collector_that_docker_would_find_by_a_file_is_warned_of():
    with serving(
        type("Metrics", (MetricsCollector,), dict.fromkeys(["start_metrics", "stop_metrics"], lambda self: None))()
    ) as plugin:
        assert set(faults(run(plugin.address))) == {"no MetricsCollector"}


def test_a_plugin_is_checked_over_tls(volumes, tmp_path):
    authority = Authority(tmp_path)
    identity = authority.issue("server", "127.0.0.1")
    tls = ServerTLS(identity.cert_file, identity.key_file)
    with serving(volumes, address="https://127.0.0.1:0", tls=tls) as plugin:
        results = run(plugin.address, tls=extframe.TLSConfig(ca_file=authority.ca_file))
    assert faults(results) == {}


def test_a_plugin_is_checked_over_tcp(volumes):
    with serving(volumes, address="tcp://127.0.0.1:0") as plugin:
        assert faults(run(plugin.address)) == {}


def test_a_scripted_plugin_in_good_order_passes(fault_server):
    assert faults(run(fault_server(scripted()).address)) == {}


# --- nothing is changed -------------------------------------------------------------------------------


def test_without_a_trial_no_method_is_called_that_makes_something(fault_server):
    server = fault_server(scripted())
    run(server.address)
    called = {request.path[1:] for request in server.requests}
    assert not called & {"VolumeDriver.Create", "VolumeDriver.Mount"}
    assert called & set(METHODS) <= set(calls.HARMLESS)


def test_what_a_trial_calls_is_called_by_it_alone(fault_server):
    every = {ACTIVATE: implementing(*(found.implements for found in DECLARATIONS))}
    server = fault_server(scripted(every))
    skipped = those(run(server.address), Verdict.SKIP)
    assert {name for name, reason in skipped.items() if "--destructive" in reason} == calls.TRIED
    called = {request.path[1:] for request in server.requests}
    assert not called & calls.TRIED
    assert not calls.TRIED & set(calls.HARMLESS)


def test_every_method_is_harmless_or_needs_a_trial_or_is_listed_as_not_tried(fault_server):
    every = ok({"Implements": [found.implements for found in DECLARATIONS]})
    results = run(fault_server(scripted({"Plugin.Activate": every})).address)
    assert set(METHODS) <= set(results)
    assert set(calls.HARMLESS) <= set(METHODS)


# --- faults of answers --------------------------------------------------------------------------------

LOST = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"


@pytest.mark.parametrize(
    ("check", "verdict", "words", "changed", "answer"),
    [
        ("handshake", "fail", "status 500", ACTIVATE, error("starting")),
        ("handshake", "fail", "the answer is empty", ACTIVATE, reply(b"")),
        ("handshake", "fail", "not JSON", ACTIVATE, reply(b"VolumeDriver")),
        ("handshake", "fail", "Implements is empty", ACTIVATE, ok({"Implements": None})),
        ("handshake", "warn", "twice", ACTIVATE, implementing("VolumeDriver", "VolumeDriver")),
        ("names in Implements", "fail", "'volumedriver' is not", ACTIVATE, implementing("volumedriver")),
        ("names in Implements", "warn", "Backup", ACTIVATE, implementing("Backup")),
        ("no MetricsCollector", "warn", "managed", ACTIVATE, implementing("MetricsCollector")),
        ("GET", "warn", "answered", "GET", implementing("VolumeDriver")),
        (ABSENT, "fail", "status 200", "absent", ok({})),
        (ABSENT, "warn", "status 500", "absent", error("what?")),
        (LIST, "fail", "Volumes[1] is null", LIST, listing({"Name": "a"}, None)),
        (LIST, "fail", "no Name", LIST, listing({"Mountpoint": "/x"})),
        (LIST, "fail", "CreatedAt ''", LIST, listing({"Name": "a", "CreatedAt": ""})),
        (LIST, "fail", "not absolute", LIST, listing({"Name": "a", "Mountpoint": "x"})),
        (LIST, "fail", "Expected", LIST, ok({"Volumes": {}})),
        (LIST, "fail", "empty body", LIST, reply(b"")),
        (LIST, "fail", "status 204", LIST, reply(b"", status="204 No Content")),
        (LIST, "fail", "status 500", LIST, error("disk on fire")),
        (LIST, "fail", "not implemented", LIST, error("what?", "404 Not Found")),
        (LIST, "warn", "podman takes it", LIST, ok({"Err": "disk on fire"})),
        (CAPABILITIES, "warn", "taken as local", CAPABILITIES, ok({"Capabilities": {"Scope": "all"}})),
        (CAPABILITIES, "warn", "404 says", CAPABILITIES, error("no")),
        (GET, "fail", "as if all were well", GET, ok({"Volume": {"Name": "a"}})),
        (GET, "warn", "neither a volume nor", GET, ok({})),
        (GET, "warn", "podman takes it", GET, ok({"Err": "no such volume"})),
        (GET, "warn", "text in the place", GET, reply(b"no", status="500 Oh")),
        (GET, "warn", "without words", GET, reply(b"{}", status="500 Oh")),
        (GET, "fail", "status 302", GET, reply(b"", status="302 Found")),
        (
            "VolumeDriver.Remove",
            "warn",
            "Error alone",
            "VolumeDriver.Remove",
            reply(b'{"Error": "no"}', status="500 Oh"),
        ),
        (f"{GET}: JSON that breaks off", "fail", "status 200", GET, ok({})),
        (f"{GET}: no body", "fail", "status 200", GET, ok({})),
        (f"{GET}: no body", "warn", "in the place of 400", GET, error("EOF")),
        ("content types of all answers", "warn", "(none)", LIST, reply(b"{}")),
        ("sizes of all answers", "warn", "2097", LIST, ok({"Padding": "x" * (2 << 20)})),
    ],
)
def test_a_fault_of_an_answer_is_found_and_named(fault_server, check, verdict, words, changed, answer):
    result = run(fault_server(scripted({changed: answer})).address)[check]
    assert (result.verdict.value, words in result.reason) == (verdict, True), result


def test_an_answer_that_breaks_off_is_found(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path == f"/{LIST}":
                peer.send(LOST)
                return
            peer.send(answers({})(request))

    failed = those(run(fault_server(behaviour).address), Verdict.FAIL)
    assert set(failed) == {LIST}
    assert "before the body that was announced" in failed[LIST]


def test_a_key_that_is_refused_is_found(fault_server):
    def strict(request) -> bytes:
        return error("what?", "400 Bad Request") if b"ExtframeCheck" in request.body else error("no such volume")

    results = run(fault_server(scripted({"VolumeDriver.Get": strict})).address)
    name = "VolumeDriver.Get: a key that is not known"
    assert those(results, Verdict.FAIL) == {name: "status 400 with it, and 500 without"}


@pytest.mark.parametrize(
    ("point", "method", "answer", "verdict", "words"),
    [
        ("IpamDriver", "IpamDriver.ReleasePool", {"Err": "x"}, "fail", "for success"),
        ("IpamDriver", "IpamDriver.ReleasePool", {"Error": "x"}, "pass", "'x'"),
        ("NetworkDriver", "NetworkDriver.GetCapabilities", {"Scope": "Local"}, "fail", "'Local'"),
        ("authz", "AuthZPlugin.AuthZReq", {}, "warn", "no Allow"),
        ("authz", "AuthZPlugin.AuthZReq", {"Allow": True, "Err": "x"}, "warn", "not read"),
        ("LogDriver", "LogDriver.Capabilities", {"ReadLogs": True}, "warn", "outside of Cap"),
        ("secretprovider", "SecretProvider.GetSecret", {"Value": "eA=="}, "fail", "as if"),
    ],
)
def test_faults_of_other_extension_points_are_found(fault_server, point, method, answer, verdict, words):
    server = fault_server(scripted({ACTIVATE: implementing(point), method: ok(answer)}))
    result = run(server.address)[method]
    assert (result.verdict.value, words in result.reason) == (verdict, True), result


@pytest.mark.parametrize(("allow", "verdict"), [(True, "fail"), (False, "pass")])
def test_an_authorization_without_a_request_is_a_fault_where_it_allows(fault_server, allow, verdict):
    asked = {"AuthZPlugin.AuthZReq": ok({"Allow": allow})}
    results = run(fault_server(scripted({ACTIVATE: implementing("authz"), **asked})).address)
    assert results["AuthZPlugin.AuthZReq: no body"].verdict.value == verdict


NONSENSE = [
    b"", b"null", b"[]", b"5", b'"x"', b"{}", b"[" * 5000, b"\xff\xfe", b'{"a": 1}{"b": 2}', b'{"x": "\\ud800"}',
    b'{"n": 1' + b"0" * 5000 + b"}", b'{"Err": 5}', b'{"Err": null, "Error": ["x"]}', b'{"Implements": 5}',
    b'{"Volume": 5}', b'{"Volume": {"Name": 5}}', b'{"Volumes": null}', b'{"Volumes": [5]}', b'{"Volumes": [[]]}',
    b'{"Volumes": [{"Name": {}, "CreatedAt": 7}]}', b'{"volumes": [{"name": "a", "mountpoint": 7}]}',
    b'{"Capabilities": []}', b'{"Capabilities": {"Scope": 5}}', b'{"capabilities": {"scope": null}}',
    b'{"Capabilities": null}', b'{"Cap": 5, "ReadLogs": 1}', b'{"Allow": "yes"}', b'{"Allow": null, "Err": {}}',
    b'{"PoolID": 5}', b'{"PoolID": "p", "Pool": "10.0.0.0/8", "Address": "x", "Mountpoint": "/x"}',
]  # fmt: skip


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_whatever_a_plugin_answers_a_run_comes_to_its_end(fault_server, status):
    every = implementing(*(found.implements for found in DECLARATIONS))
    for body in NONSENSE:
        answer = reply(body, status=status)
        all_the_same = {**dict.fromkeys(VOLUMES, answer), "absent": answer, ACTIVATE: every}
        results = run(fault_server(scripted(all_the_same)).address, trial=Trial(mount=True))
        assert list(results)[-1] == "sizes of all answers", body


@pytest.mark.parametrize("body", NONSENSE)
def test_whatever_a_plugin_answers_to_the_handshake_it_is_a_failure_and_the_end(fault_server, body):
    results = run(fault_server(scripted({ACTIVATE: reply(body)})).address)
    assert {name: result.verdict for name, result in results.items()} == {"handshake": Verdict.FAIL}


# --- faults of talking --------------------------------------------------------------------------------


def test_a_plugin_that_closes_after_every_answer_and_says_so_is_warned_of(fault_server):
    def behaviour(peer: Peer) -> None:
        if request := peer.read_request():
            peer.send(answers({})(request).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    results = run(fault_server(behaviour).address)
    assert faults(results) == {"two calls on one connection": "each answer ends its connection"}


def test_a_plugin_that_closes_without_a_word_fails(fault_server):
    def behaviour(peer: Peer) -> None:
        if request := peer.read_request():
            peer.send(answers({})(request))

    assert set(faults(run(fault_server(behaviour).address))) == {"two calls on one connection"}


def test_a_plugin_that_serves_few_connections_at_a_time_fails(fault_server):
    addresses = [fault_server(at_a_time(threads, scripted())).address for threads in (1, 3)]
    for results in in_threads(*(lambda address=address: run(address, timeout=STEP) for address in addresses)):
        failed = those(results, Verdict.FAIL)
        assert set(failed) == {"a call beside silent connections", "calls at the same time"}
        assert "the deadline passed" in failed["a call beside silent connections"]


def test_a_plugin_that_wants_a_host_fails(fault_server):
    def picky(request) -> bytes:
        wanted = dict(request.headers).get("Host")
        return VOLUMES["Plugin.Activate"] if wanted else error("no Host", "400 Bad Request")

    results = run(fault_server(scripted({"Plugin.Activate": picky})).address)
    assert those(results, Verdict.FAIL) == {"headers as Docker's engine sends them": 'status 400: {"Err": "no Host"}'}


def test_a_plugin_that_reads_podmans_content_type_fails(fault_server):
    def picky(request) -> bytes:
        kind = dict(request.headers).get("Content-Type", "application/json")
        return VOLUMES["Plugin.Activate"] if kind == "application/json" else error("415", "415 Unsupported")

    assert set(faults(run(fault_server(scripted({"Plugin.Activate": picky})).address))) == {
        "headers as podman sends them"
    }


def test_a_plugin_that_changes_its_mind_fails(fault_server):
    count = iter(range(1000))
    activate = lambda request: ok({"Implements": ["VolumeDriver", "authz"][: 1 + (next(count) % 2)]})  # noqa: E731
    assert "the second answer is another" in faults(run(fault_server(scripted({"Plugin.Activate": activate})).address))[
        "handshake, a second time"
    ]  # fmt: skip


def test_a_plugin_that_what_is_no_http_kills_is_left_alone_from_then_on(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.head.startswith(b"\x16"):
                server.behaviour = read_and_hang
                return
            peer.send(answers({})(request))

    server = fault_server(behaviour)
    begun = time.monotonic()
    results = run(server.address, timeout=STEP)
    assert time.monotonic() - begun < 10 * STEP, "each check after it would take a step"
    assert those(results, Verdict.FAIL).keys() == {"what is not HTTP", "the rest"}
    assert list(results)[-1] == "the rest"


# --- never for ever -----------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [read_and_hang, lambda peer: peer.drip(reply(1000 * b" "), 0.1)])
def test_a_plugin_that_does_not_answer_the_handshake_fails_at_the_deadline(fault_server, behaviour):
    begun = time.monotonic()
    results = check_plugin(fault_server(behaviour).address, timeout=SHORT)
    assert next(results).verdict is Verdict.FAIL
    with pytest.raises(extframe.CallTimeout):
        next(results)
    assert time.monotonic() - begun < 100 * SHORT


def test_a_method_that_hangs_costs_its_own_deadline(fault_server):
    def behaviour(peer: Peer) -> None:
        while request := peer.read_request():
            if request.path == "/VolumeDriver.List":
                peer.hang()
            peer.send(answers({})(request))

    results = run(fault_server(behaviour).address, timeout=STEP)
    assert those(results, Verdict.FAIL) == {
        "VolumeDriver.List": f"the deadline passed before the plugin began to answer ({STEP:g} s)"
    }


def test_nobody_there_is_an_error_of_the_tree(short_path):
    results = check_plugin(f"unix://{short_path}/none.sock")
    assert next(results).verdict is Verdict.FAIL
    with pytest.raises(extframe.ConnectError):
        next(results)


def test_a_handshake_that_is_closed_under_it_is_an_error_of_the_tree(fault_server):
    results = check_plugin(fault_server(lambda peer: peer.read_request()).address)
    assert "without an answer" in next(results).reason
    with pytest.raises(extframe.ConnectionLost):
        next(results)


# --- trials -------------------------------------------------------------------------------------------


class Keeper:
    """A volume plugin in memory, whose faults a test chooses."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        self.volumes: list[str] = []
        self.mounts = 0

    def answer(self, request) -> bytes:
        with contextlib.suppress(ValueError):
            arguments = json.loads(request.body or b"{}")
            act = getattr(self, f"_{request.path.rpartition('.')[2].lower()}", None)
            if act and isinstance(arguments, dict) and isinstance(arguments.get("Name", "List"), str):
                return act(arguments.get("Name"))
        return answers({})(request)

    def _create(self, name: str) -> bytes:
        if "options" in self.faults:
            return error("remote is missing")
        if name in self.volumes and "once" in self.faults:
            return error("exists")
        if name not in self.volumes:
            self.volumes.append(name)
        return ok({})

    def _get(self, name: str) -> bytes:
        if name is None:
            return error("no name", "400 Bad Request")
        if name not in self.volumes:
            return error("no such volume")
        home = "/srv/" + (name if "joins" in self.faults else name.replace("/", "%2F"))
        return ok({"Volume": {"Name": "other" if "renames" in self.faults else name, "Mountpoint": home}})

    def _list(self, name: None) -> bytes:
        return ok({"Volumes": [] if "forgets" in self.faults else [{"Name": each} for each in self.volumes]})

    def _mount(self, name: str) -> bytes:
        if self.mounts and "once" in self.faults:
            return error("already mounted")
        self.mounts += 1
        return ok({"Mountpoint": "srv" if "relative" in self.faults else "/srv"})

    def _unmount(self, name: str) -> bytes:
        if name not in self.volumes:
            return error("no such volume")
        self.mounts -= 1
        return ok({})

    def _remove(self, name: str) -> bytes:
        if name not in self.volumes:
            return error("no such volume")
        self.volumes.remove(name)
        return ok({})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("none", {}),
        ("options", {"VolumeDriver.Create": "warn"}),
        ("once", {"VolumeDriver.Create, a second time": "warn", "VolumeDriver.Mount, the same ID again": "fail"}),
        ("joins", {"VolumeDriver.Create of ../NAME": "fail"}),
        ("renames", {"VolumeDriver.Get of the new volume": "fail"}),
        ("forgets", {"VolumeDriver.List with the new volume": "fail"}),
        ("relative", {"VolumeDriver.Mount": "fail"}),
    ],
)
def test_what_goes_wrong_in_the_life_of_a_volume_is_found_and_nothing_is_left(fault_server, fault, expected):
    keeper = Keeper(fault)
    results = run(fault_server(scripted({"*": keeper.answer})).address, trial=Trial(mount=True))
    assert {name: results[name].verdict.value for name in faults(results)} == expected
    assert keeper.volumes == []


def test_a_run_that_is_broken_off_leaves_nothing(fault_server):
    keeper = Keeper()
    results = check_plugin(fault_server(scripted({"*": keeper.answer})).address, trial=Trial(mount=True))
    for result in results:
        if result.check == "VolumeDriver.Mount":
            break
    assert (len(keeper.volumes), keeper.mounts) == (1, 1)
    results.close()
    assert (keeper.volumes, keeper.mounts) == ([], 0)


def test_a_refusal_that_ipam_tells_in_a_200_is_found(fault_server):
    spaces = ok({"LocalDefaultAddressSpace": "local"})
    refused = {"IpamDriver.GetDefaultAddressSpaces": spaces, "IpamDriver.RequestPool": ok({"Error": "none left"})}
    server = fault_server(scripted({ACTIVATE: implementing("IpamDriver"), **refused}))
    assert those(run(server.address, trial=Trial()), Verdict.FAIL)["IpamDriver.RequestPool"] == "none left"


# --- rules --------------------------------------------------------------------------------------------


def test_every_rule_has_a_line_of_documentation():
    page = (Path(__file__).parents[1] / "docs" / "check.md").read_text()
    assert [name for name, rule in RULES.items() if f"| {rule.text} | {rule.source} |" not in page] == []


def test_every_rule_is_used():
    package = Path(calls.__file__).parent
    code = "".join(path.read_text() for path in package.glob("*.py") if path.name != "rules.py")
    assert [name for name in RULES if f'"{name}"' not in code] == []
