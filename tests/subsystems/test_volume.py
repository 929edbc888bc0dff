"""VolumeDriver: the proxy and a plugin, byte for byte, and how odd replies are handled."""

# ruff: noqa: B006 - as users write it

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from scripted_client import DriverClient, ScriptedClient

from extframe import Client
from extframe.errors import ProtocolError, RemoteError
from extframe.interface import declaration, routes
from extframe.server import serving
from extframe.subsystems.volume import Volume, VolumeCapability, VolumeDriver


def driver(*replies: object, status: int = 200) -> tuple[VolumeDriver, ScriptedClient]:
    client = ScriptedClient(*replies, status=status)
    return VolumeDriver.remote(client), client


@pytest.mark.parametrize(
    ("method", "arguments", "body"),
    [
        ("create", ["photos"], b'{"Name":"photos","Opts":null}\n'),
        ("create", ["photos", {"size": "1G"}], b'{"Name":"photos","Opts":{"size":"1G"}}\n'),
        ("remove", ["photos"], b'{"Name":"photos"}\n'),
        ("mount", ["photos", "c1"], b'{"Name":"photos","ID":"c1"}\n'),
        ("unmount", ["photos", "c1"], b'{"Name":"photos","ID":"c1"}\n'),
        ("path", ["photos"], b'{"Name":"photos"}\n'),
        ("get", ["photos"], b'{"Name":"photos"}\n'),
        ("list", [], b"{}\n"),
        ("capabilities", [], b"{}\n"),
    ],
)
def test_a_request_is_byte_for_byte_what_the_engine_sends(method, arguments, body):
    volumes, client = driver({"Mountpoint": "/photos", "Volume": {}})
    getattr(volumes, method)(*arguments)
    assert client.last.body == body


def test_deadlines_and_idempotence_are_the_engines():
    methods = {each.name: each.rpc for each in declaration(VolumeDriver).methods}
    assert {name for name, rpc in methods.items() if rpc.timeout == 120.0} == {"create", "mount"}
    assert {name for name, rpc in methods.items() if rpc.idempotent} == {"get", "list", "path", "capabilities"}


def test_a_volume_is_read_whole():
    volumes, _ = driver(
        {"Volume": {"Name": "a", "Mountpoint": "/a", "Status": {"k": [1]}, "CreatedAt": "2016-09-28T17:10:31Z"}}
    )
    volume = volumes.get("a")
    assert volume == Volume(name="a", mountpoint="/a", status={"k": [1]}, created_at="2016-09-28T17:10:31Z")
    assert volume.created == datetime(2016, 9, 28, 17, 10, 31, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["", "0001-01-01T00:00:00Z", "long ago"])
def test_a_time_that_is_none_is_kept_as_it_came(text):
    volumes, _ = driver({"Volume": {"Name": "a", "CreatedAt": text}})
    assert (volumes.get("a").created_at, volumes.get("a").created) == (text, None)


def test_a_volume_is_written_without_what_the_engine_cannot_read():
    """An empty CreatedAt spoils the whole answer for the engine."""
    get, _ = routes(Kept())["VolumeDriver.Get"]
    assert get.encode_reply(Volume(name="a", mountpoint="/a")) == b'{"Volume":{"Name":"a","Mountpoint":"/a"}}\n'


@pytest.mark.parametrize("reply", [{"Volume": None}, {}, None])
def test_get_without_a_volume_means_that_there_is_none(reply):
    volumes, _ = driver(reply)
    with pytest.raises(RemoteError, match="no such volume"):
        volumes.get("a")


def test_a_volume_together_with_an_error_is_an_error():
    volumes, _ = driver({"Volume": {"Name": "a"}, "Err": "half gone"})
    with pytest.raises(RemoteError, match="half gone"):
        volumes.get("a")


def test_nulls_in_a_list_are_skipped():
    """They crash Docker's engine and Podman."""
    volumes, _ = driver({"Volumes": [None, {"Name": "a"}, None, {"name": "b", "Status": None}]})
    assert volumes.list() == [Volume(name="a"), Volume(name="b")]


@pytest.mark.parametrize("reply", [{"Volumes": None}, {"Volumes": []}, {}])
def test_no_volumes_are_an_empty_list(reply):
    assert driver(reply)[0].list() == []


@pytest.mark.parametrize("mountpoint", [None, "", "photos", "./photos", 5, ["/photos"]])
def test_a_mount_without_an_absolute_mount_point_is_an_error(mountpoint):
    """Docker and Podman would mount the container's own bundle there."""
    volumes, _ = driver({"Mountpoint": mountpoint})
    with pytest.raises(ProtocolError, match=r"at `\$.Mountpoint`"):
        volumes.mount("photos", "c1")


def test_a_path_may_be_empty():
    assert driver({"Mountpoint": ""})[0].path("photos") == ""


@pytest.mark.parametrize(
    ("scope", "meant"),
    [("local", "local"), ("global", "global"), ("GLOBAL", "global"), ("Local", "local"), ("", "local")],
)
def test_a_scope_is_read_in_any_case(scope, meant, caplog):
    assert driver({"Capabilities": {"Scope": scope}})[0].capabilities().scope == meant
    assert caplog.records == []


def test_an_unknown_scope_is_local_with_a_warning(caplog):
    assert driver({"Capabilities": {"Scope": "galactic"}})[0].capabilities().scope == "local"
    assert "'galactic'" in caplog.text


@pytest.mark.parametrize(
    "reply", [{}, None, {"Capabilities": None}, {"Capabilities": {}}, {"Err": "x"}, [], b"", b"<html>"]
)
@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_plugin_without_capabilities_has_the_default_ones(reply, status):
    assert driver(reply, status=status)[0].capabilities() == VolumeCapability(scope="local")


class Kept(VolumeDriver):
    """Keeps names, and mounts them below /volumes."""

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, str]] = {}

    def create(self, name: str, opts: dict[str, str] = {}) -> None:
        self.volumes[name] = opts

    def remove(self, name: str) -> None:
        del self.volumes[name]

    def mount(self, name: str, id: str) -> str:
        return f"/volumes/{name}"

    def unmount(self, name: str, id: str) -> None:
        pass

    def path(self, name: str) -> str:
        return f"/volumes/{name}"

    def get(self, name: str) -> Volume:
        return Volume(name=name, mountpoint=self.path(name), status={"opts": self.volumes[name]})

    def capabilities(self) -> VolumeCapability:
        return VolumeCapability(scope="global")

    def list(self) -> list[Volume]:
        return [self.get(name) for name in self.volumes]


def test_both_ends_understand_each_other():
    volumes = VolumeDriver.remote(DriverClient(Kept()))
    volumes.create("photos", {"size": "1G"})
    volumes.create("../etc")
    assert volumes.mount("photos", "c1") == volumes.path("photos") == "/volumes/photos"
    volumes.unmount("photos", id="c1")
    assert volumes.get("photos") == Volume(name="photos", mountpoint="/volumes/photos", status={"opts": {"size": "1G"}})
    assert [volume.name for volume in volumes.list()] == ["photos", "../etc"]
    assert volumes.capabilities().scope == "global"
    volumes.remove("photos")
    assert [volume.status for volume in volumes.list()] == [{"opts": {}}]


def test_a_reply_without_a_mount_point_is_refused_before_it_misleads_the_engine():
    mount, _ = routes(Kept())["VolumeDriver.Mount"]
    for path in ("", "photos", None):
        with pytest.raises(TypeError, match=r"invalid reply to VolumeDriver\.Mount"):
            mount.encode_reply(path)


def test_a_path_is_text_on_the_wire_in_both_directions(short_path):
    class Volumes(VolumeDriver):
        created = ()

        def create(self, name, opts={}):
            self.created = (name, opts)

        def mount(self, name, id):
            return Path("/mnt") / name

        def get(self, name):
            return Volume(name=name, mountpoint=Path("/mnt") / name)

    driver = Volumes()
    with serving(driver, name="photos", directory=short_path) as plugin, Client(plugin.address) as client:
        volumes = VolumeDriver.remote(client)
        volumes.create(Path("a"), {"dir": Path("/srv")})
        assert driver.created == ("a", {"dir": "/srv"})
        assert volumes.mount("a", id="1") == "/mnt/a"
        assert volumes.get("a").mountpoint == "/mnt/a"
        client.call("VolumeDriver.Create", {"Name": Path("b"), "Opts": {"dir": Path("/srv")}})
        assert driver.created == ("b", {"dir": "/srv"})
