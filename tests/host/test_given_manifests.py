"""Plugins whose handshake is missing or wrong: the host names what they implement."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultserver import FaultServer
from scripted_plugin import error, ok, scripted

import extframe
from extframe import LocalRegistry, Manifest, PluginManager, PluginSpec, VolumeDriver

NO_HANDSHAKE = {"Plugin.Activate": error("404 page not found", "404 Not Found")}


@pytest.fixture
def server(fault_server, short_path: Path) -> FaultServer:
    """A volume plugin without a handshake, called ``managed``."""
    return fault_server(scripted(NO_HANDSHAKE), path=str(short_path / "managed.sock"))


@pytest.fixture
def registry(short_path: Path) -> LocalRegistry:
    return LocalRegistry(short_path, [short_path])


def test_a_handshake_of_404_says_what_to_write(server, registry):
    with PluginManager(registry, groups=()) as pm, pytest.raises(extframe.ActivationError) as failed:
        pm.get("managed")
    assert "it has no handshake" in str(failed.value)
    assert "PluginManager(implements={'managed': [...]})" in str(failed.value)


def test_a_plugin_without_a_handshake_is_used_as_what_it_is_said_to_implement(server, registry):
    handled = []
    with PluginManager(registry, groups=(), implements={"managed": ["VolumeDriver"]}) as pm:
        pm.handle("VolumeDriver", lambda name, client: handled.append(name))
        assert pm.driver("managed", VolumeDriver).list() == []
        assert [plugin.name for plugin in pm.get_all("VolumeDriver")] == ["managed"]
        with pytest.raises(extframe.DoesNotImplement):
            pm.get("managed", "LogDriver")
    assert handled == ["managed"]
    assert "/Plugin.Activate" not in {request.path for request in server.requests}


def test_a_wrong_handshake_is_replaced_also_in_a_watch(fault_server, registry, short_path):
    wrong = {"Plugin.Activate": ok({"Implements": ["LoggingDriver"]}), "LogDriver.Capabilities": ok({"Cap": {}})}
    server = fault_server(scripted(wrong), path=str(short_path / "loki.sock"))
    with PluginManager(registry, groups=(), implements={"loki": ("LogDriver",)}) as pm:
        seen = []
        pm.handle("LogDriver", lambda name, client: seen.append(name))
        with pm.watch():
            assert pm.get("loki", "LogDriver", wait=30).manifest == Manifest(("LogDriver",))
    assert seen == ["loki"]
    assert "/Plugin.Activate" not in {request.path for request in server.requests}


def test_a_registry_can_set_the_manifest(server):
    class Managed:
        def scan(self):
            return ["managed"]

        def find(self, name):
            return PluginSpec(name, server.address, manifest=Manifest(("VolumeDriver",)))

        def stamp(self, spec):
            return 1

    with PluginManager(Managed(), groups=()) as pm:
        assert pm.driver("managed", VolumeDriver).list() == []


@pytest.mark.parametrize("wrong", ["loki", ["loki"], {"loki": "LogDriver"}, {"loki": []}, {"loki": [5]}, {5: ["X"]}])
def test_what_is_not_a_mapping_of_names_to_lists_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="expected"):
        PluginManager(groups=(), implements=wrong)
