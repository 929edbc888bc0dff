"""Lifecycle checks find faults, and remove whatever they created."""

from __future__ import annotations

import contextlib
import json

import pytest
from conformance_runs import faults, implementing, run, with_verdict
from conforming_drivers import Networks, Pools
from faultserver import reply
from scripted_plugin import answers, error, ok, scripted

from extframe.conformance import LifecycleOptions, Verdict, check_plugin
from extframe.server import serving


class Keeper:
    """A volume plugin in memory, with the faults that a test chooses."""

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
        if name.startswith("../") and "polite" in self.faults:
            return ok({"Err": f"{name} is not a name"})
        if name not in self.volumes:
            self.volumes.append(name)
        return ok({})

    def _get(self, name: str) -> bytes:
        if name is None:
            return error("no name", "400 Bad Request")
        if name not in self.volumes:
            return ok({"Err": "no such volume"}) if "polite" in self.faults else error("no such volume")
        home = "/srv/" + (name if "joins" in self.faults else name.replace("/", "%2F"))
        return ok({"Volume": {"Name": "other" if "renames" in self.faults else name, "Mountpoint": home}})

    def _list(self, name: None) -> bytes:
        return ok({"Volumes": [] if "forgets" in self.faults else [{"Name": each} for each in self.volumes]})

    def _mount(self, name: str) -> bytes:
        if "unmountable" in self.faults:
            return error("no such device")
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
        ("polite", {}),  # an error with status 200: the name is refused, though podman does not show it
        ("options", {"VolumeDriver.Create": "warn"}),
        ("once", {"VolumeDriver.Create, a second time": "note", "VolumeDriver.Mount, the same ID again": "fail"}),
        ("unmountable", {"VolumeDriver.Mount": "warn"}),
        ("joins", {"VolumeDriver.Create of ../NAME": "fail"}),
        ("renames", {"VolumeDriver.Get of the new volume": "fail"}),
        ("forgets", {"VolumeDriver.List with the new volume": "fail"}),
        ("relative", {"VolumeDriver.Mount": "fail"}),
    ],
)
def test_a_fault_in_the_lifecycle_of_a_volume_is_found_and_no_volume_is_left(fault_server, fault, expected):
    keeper = Keeper(fault)
    results = run(fault_server(scripted({"*": keeper.answer})).address, lifecycle=LifecycleOptions(mount=True))
    assert {name: results[name].verdict.value for name in faults(results)} == expected
    assert keeper.volumes == []


def test_a_run_that_is_closed_removes_what_it_created(fault_server):
    keeper = Keeper()
    results = check_plugin(fault_server(scripted({"*": keeper.answer})).address, lifecycle=LifecycleOptions(mount=True))
    for result in results:
        if result.check == "VolumeDriver.Mount":
            break
    assert (len(keeper.volumes), keeper.mounts) == (1, 1)
    results.close()
    assert (keeper.volumes, keeper.mounts) == ([], 0)


def test_a_pool_is_released():
    pools = Pools()
    with serving(pools) as plugin:
        results = run(plugin.address, lifecycle=LifecycleOptions())
    assert faults(results) == {}
    assert results["IpamDriver.RequestAddress"].verdict is Verdict.PASS
    assert pools.held == set()


def test_a_pool_that_is_refused_in_a_200_is_a_warning_with_the_plugins_words(fault_server):
    spaces = ok({"LocalDefaultAddressSpace": "local"})
    refused = {"IpamDriver.GetDefaultAddressSpaces": spaces, "IpamDriver.RequestPool": ok({"Error": "none left"})}
    server = fault_server(scripted({"Plugin.Activate": implementing("IpamDriver"), **refused}))
    result = run(server.address, lifecycle=LifecycleOptions())["IpamDriver.RequestPool"]
    assert (result.verdict, "refused: none left" in result.reason) == (Verdict.WARN, True)


@pytest.mark.parametrize(("adds", "found"), [("", set()), ("198.18.37.2/24", {"NetworkDriver.CreateEndpoint"})])
def test_a_network_is_deleted_and_an_address_that_the_host_had_set_is_a_failure(adds, found):
    networks = Networks(adds)
    with serving(networks) as plugin:
        results = run(plugin.address, lifecycle=LifecycleOptions())
    assert set(with_verdict(results, Verdict.FAIL)) == set(faults(results)) == found
    assert results["NetworkDriver.DeleteNetwork of the new network"].verdict is Verdict.PASS
    assert networks.held == set()


def test_what_the_engine_only_logs_or_ignores_is_not_a_failure(fault_server):
    methods = ("DeleteNetwork", "DeleteEndpoint", "EndpointOperInfo")
    network = {"Plugin.Activate": implementing("NetworkDriver")}
    network |= {f"NetworkDriver.{name}": ok({}) for name in ("GetCapabilities", "CreateNetwork", "CreateEndpoint")}
    network |= {f"NetworkDriver.{name}": error("busy") for name in methods}
    results = run(fault_server(scripted(network)).address, lifecycle=LifecycleOptions())
    assert results["NetworkDriver.EndpointOperInfo of the new endpoint"].verdict is Verdict.NOTE
    assert results["NetworkDriver.DeleteEndpoint of the new endpoint"].verdict is Verdict.WARN
    assert results["NetworkDriver.DeleteNetwork of the new network"].verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "expected the line that was logged, got []"),
        (b"\x00\x00\x00\x1a\x1a\x18a line of extframe check", "the line does not end in a newline"),
        (b"\x00\x00\x00\xffx", "the stream ends"),
    ],
)
def test_a_log_that_is_not_returned_as_it_was_written_is_a_failure(fault_server, body, reason):
    logs = {
        "Plugin.Activate": implementing("LogDriver"),
        "LogDriver.Capabilities": ok({"Cap": {"ReadLogs": True}}),
        "LogDriver.StartLogging": ok({}),
        "LogDriver.StopLogging": ok({}),
        "LogDriver.ReadLogs": reply(body),
    }
    results = run(fault_server(scripted(logs)).address, lifecycle=LifecycleOptions())
    assert reason in with_verdict(results, Verdict.FAIL)["LogDriver.ReadLogs of the new log"]
