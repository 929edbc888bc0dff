"""Versions of interfaces: old and new hosts and plugins find the highest version that both speak, or say why not."""

# ruff: noqa: B006 - defaults are declarations

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from faultserver import FaultServer, answer_with, reply

import extframe
from extframe import AsyncInterface, Client, DoesNotImplement, Interface, Key, LocalRegistry, PluginManager, rpc
from extframe.interface import declaration
from extframe.protocol import Manifest
from extframe.server import serving


class BackupV1(Interface, implements="Backup"):
    """What version 1 of a package declares."""

    @rpc("Start", returns="JobID")
    def start(self, path: str) -> str:
        raise NotImplementedError

    @rpc("Pause")
    def pause(self) -> None:
        raise NotImplementedError


class Backup(Interface, implements="Backup", version=2, accepts=(1, 2)):
    @rpc("Start", returns="JobID")
    def start(
        self,
        path: str,
        encrypt: Annotated[bool, Key(since=2)] = False,
        *,
        tags: Annotated[list[str], Key(since=2)] = [],
    ) -> str:
        raise NotImplementedError

    @rpc("Pause")
    def pause(self, seconds: Annotated[int, Key(since=2)] = 0) -> None:
        raise NotImplementedError

    @rpc("Verify", returns="Intact", since=2)
    def verify(self, job: str) -> bool:
        raise NotImplementedError

    @rpc("Follow", since=2)
    def follow(self) -> Iterator[str]:
        raise NotImplementedError


class AsyncBackup(AsyncInterface, mirrors=Backup):
    async def start(self, path: str, encrypt: bool = False, *, tags: list[str] = []) -> str:
        raise NotImplementedError

    async def pause(self, seconds: int = 0) -> None:
        raise NotImplementedError

    async def verify(self, job: str) -> bool:
        raise NotImplementedError

    def follow(self) -> AsyncIterator[str]:
        raise NotImplementedError


class BackupV3(Backup, version=3, accepts=(3,)):
    """What a host declares that has dropped versions 1 and 2."""


class OldPlugin(BackupV1):
    def start(self, path: str) -> str:
        return f"{path} plain"

    def pause(self) -> None:
        return None


class NewPlugin(Backup):
    def start(self, path: str, encrypt: bool = False, *, tags: list[str] = []) -> str:
        return f"{path} {'encrypted' if encrypt else 'plain'} {','.join(tags)}".strip()

    def pause(self, seconds: int = 0) -> None:
        return None

    def verify(self, job: str) -> bool:
        return True

    def follow(self) -> Iterator[str]:
        yield "a"


class NewestPlugin(BackupV3):
    start = NewPlugin.start


@pytest.fixture
def manager(short_path: Path) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as manager:
        yield manager


@pytest.fixture
def plugin(short_path: Path) -> Iterator[Callable[..., Any]]:
    """Serve a driver as the plugin ``copies``, or another."""
    return lambda driver, name="copies": serving(driver, name=name, directory=short_path)


# --- the handshake ------------------------------------------------------------------------------------


def test_the_manifest_has_versions_only_where_they_matter():
    with serving(NewPlugin()) as plugin, Client(plugin.address) as client:
        assert client.call("Plugin.Activate") == {"Implements": ["Backup"], "Versions": {"Backup": [1, 2]}}
    with serving(OldPlugin()) as plugin, Client(plugin.address) as client:
        assert bytes(client.call("Plugin.Activate", reply=msgspec.Raw)) == b'{"Implements":["Backup"]}\n'


def test_the_page_about_versions_shows_what_is_sent():
    page = (Path(__file__).parents[2] / "docs" / "versions.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (manifest,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    shown: dict[str, Any] = {}
    exec(code, shown)
    driver = type("Copies", (shown["Backup"],), {"start": NewPlugin.start})()
    with serving(driver) as plugin, Client(plugin.address) as client:
        assert client.call("Plugin.Activate") == json.loads(manifest)
        remote = shown["Backup"].remote(client)
        assert remote.start("/home", encrypt=True) == "/home encrypted"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"Backup": [2, 1, 2]}, (1, 2)),
        ({"backup": [2]}, (1,)),
        ({"Backup": [0, -1, True, "2", 2.5]}, (1,)),
        ({"Backup": 2}, (1,)),
        ({"Backup": []}, (1,)),
        ("1.2", (1,)),
        (None, (1,)),
        ([], (1,)),
    ],
)
def test_a_manifest_is_read_whatever_another_plugin_means_by_the_key(versions, expected):
    manifest = Manifest.parse(json.dumps({"Implements": ["Backup"], "Versions": versions}).encode())
    assert (manifest.implements, manifest.versions_of("Backup")) == (("Backup",), expected)
    assert manifest == Manifest.parse(json.dumps({"implements": ["Backup"], "versions": versions}).encode())
    hash(manifest)


# --- what a host and a plugin agree on ----------------------------------------------------------------


def test_a_new_host_and_an_old_plugin_speak_version_1(manager, plugin):
    with plugin(OldPlugin()):
        driver = manager.driver("copies", Backup)
        assert extframe.version_of(driver) == 1
        assert driver.start("/home") == driver.start("/home", encrypt=False, tags=[]) == "/home plain"
        driver.pause()
        for call, text in (
            (
                lambda: driver.start("/home", encrypt=True),
                r"start\(\) with encrypt= needs version 2 of Backup, and this ",
            ),
            (lambda: driver.start("/home", tags=["a"]), r"start\(\) with tags= .*speaks version 1; omit tags="),
            (lambda: driver.verify("1"), "verify needs version 2 of Backup, and this plugin speaks version 1"),
            (lambda: driver.follow(), "follow needs version 2"),
        ):
            with pytest.raises(DoesNotImplement, match=text) as caught:
                call()
            assert caught.value.plugin == "copies"
        with pytest.raises(TypeError, match="path: expected str, got int"):
            driver.start(5)


def test_a_new_host_and_a_new_plugin_speak_version_2(manager, plugin):
    with plugin(NewPlugin()):
        driver = manager.driver("copies", Backup)
        assert extframe.version_of(driver) == extframe.version_of(driver, Backup) == 2
        assert driver.start("/home", encrypt=True, tags=["a"]) == "/home encrypted a"
        assert driver.verify("1") is True
        assert list(driver.follow()) == ["a"]


def test_an_old_host_and_a_new_plugin_speak_version_1(manager, plugin):
    with plugin(NewPlugin()):
        driver = manager.driver("copies", BackupV1)
        assert extframe.version_of(driver) == 1
        assert driver.start("/home") == "/home plain"


def test_versions_without_a_common_one_are_refused_with_the_lists_of_both_sides(manager, plugin):
    text = "plugin 'copies' implements Backup in versions 1, 2, and this host accepts version 3: upgrade the older"
    with plugin(NewPlugin()), plugin(NewestPlugin(), "newer"):
        for use in (
            lambda: manager.get("copies", BackupV3),
            lambda: manager.driver("copies", BackupV3),
            lambda: manager.get("copies").driver(BackupV3),
        ):
            with pytest.raises(DoesNotImplement, match=text):
                use()
        assert not manager.get("copies").implements(BackupV3)
        assert manager.get("copies").implements("Backup")
        assert manager.get("copies", "Backup").implements(Backup)
        with pytest.raises(DoesNotImplement, match=r"in version 3, and this host accepts version 1"):
            manager.get("newer", BackupV1)
        assert [each.name for each in manager.get_all(BackupV3)] == list(manager.drivers(BackupV3)) == ["newer"]
        assert "versions 1, 2" in str(manager.failures()[0].exception)
        assert [each.name for each in manager.get_all("Backup")] == ["copies", "newer"]
        assert manager.failures() == []


def test_a_driver_follows_a_plugin_that_is_replaced_by_an_older_or_newer_one(manager, plugin):
    with plugin(OldPlugin()):
        driver = manager.driver("copies", Backup)
        assert extframe.version_of(driver) == 1
    with plugin(NewPlugin()):
        manager.get("copies")
        assert extframe.version_of(driver) == 2
        assert driver.start("/home", encrypt=True) == "/home encrypted"
    with plugin(NewestPlugin()):
        manager.get("copies")
        with pytest.raises(DoesNotImplement, match="in version 3, and this host accepts versions 1, 2"):
            driver.start("/home")


def test_a_client_without_a_handshake_is_taken_to_speak_the_version_of_the_interface():
    with serving(NewPlugin()) as plugin, Client(plugin.address) as client:
        driver = Backup.remote(client)
        assert extframe.version_of(driver) == 2
        assert driver.start("/home", encrypt=True) == "/home encrypted"


def test_a_parameter_that_an_older_plugin_does_not_know_is_not_sent(
    fault_server: Callable[..., FaultServer], short_path
):
    bodies = []

    def answer(request) -> bytes:
        bodies.append((request.path, request.body))
        return reply(b'{"Implements":["Backup"]}' if request.path == "/Plugin.Activate" else b'{"JobID":"1"}')

    fault_server(answer_with(answer), path=str(short_path / "copies.sock"))
    with PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as manager:
        driver = manager.driver("copies", Backup)
        driver.start("/home")
        driver.pause()
        with pytest.raises(DoesNotImplement):
            driver.verify("1")
    assert bodies[1:] == [("/Backup.Start", b'{"Path":"/home"}\n'), ("/Backup.Pause", b"")]


def test_an_async_driver_has_the_same_rules(short_path, plugin):
    async def use() -> None:
        async with extframe.AsyncPluginManager(LocalRegistry(short_path, [short_path]), groups=()) as manager:
            driver: Any = await manager.driver("copies", AsyncBackup)
            assert extframe.version_of(driver) == 1
            assert await driver.start("/home") == "/home plain"
            for call in (lambda: driver.start("/home", encrypt=True), lambda: driver.verify("1")):
                with pytest.raises(DoesNotImplement, match="needs version 2 of Backup"):
                    await call()
            with pytest.raises(DoesNotImplement, match="accepts version 3"):
                await manager.get("copies", BackupV3)
            assert await manager.get_all(BackupV3) == []

    with plugin(OldPlugin()):
        asyncio.run(use())


@pytest.mark.parametrize(
    ("driver", "interface", "message"),
    [(object(), None, "is not a driver"), (NewPlugin(), extframe.VolumeDriver, "not a driver of VolumeDriver")],
)
def test_version_of_needs_a_driver(driver, interface, message):
    plugin = NewPlugin()
    plugin._client = "its own"  # type: ignore[attr-defined]
    assert extframe.version_of(plugin) == 2
    with pytest.raises(TypeError, match=message):
        extframe.version_of(driver, interface)


# --- arguments that a plugin does not know ------------------------------------------------------------


class Lenient(BackupV1, lenient=True):
    """The same, for plugins that ignore what they do not know."""


class LenientPlugin(Lenient):
    start = OldPlugin.start


def test_an_argument_that_a_plugin_does_not_know_is_refused_unless_the_interface_is_lenient():
    arguments = {"path": "/home", "Encrypt": True, "Future": None}
    with serving(OldPlugin()) as plugin, Client(plugin.address) as client:
        with pytest.raises(extframe.RemoteError, match="'Encrypt' is not an argument of Backup.Start") as caught:
            client.call("Backup.Start", arguments)
        assert caught.value.status == 400
        assert client.call("Backup.Start", {"PATH": "/home", "Future": None})["JobID"] == "/home plain"
    with serving(LenientPlugin()) as plugin, Client(plugin.address) as client:
        assert client.call("Backup.Start", arguments)["JobID"] == "/home plain"


def test_dockers_interfaces_are_lenient_and_have_no_versions():
    for name in (
        "VolumeDriver",
        "NetworkDriver",
        "IpamDriver",
        "Authz",
        "LogDriver",
        "MetricsCollector",
        "SecretProvider",
    ):
        declared = declaration(getattr(extframe, name))
        assert (declared.lenient, declared.version, declared.accepts) == (True, 1, (1,))


# --- declarations -------------------------------------------------------------------------------------


def test_versions_are_inherited_and_kept_by_a_plugin():
    assert declaration(NewPlugin).accepts == (1, 2)
    assert declaration(type("More", (Backup,), {"__doc__": ""}, prefix="More")).version == 2
    assert (declaration(BackupV3).implements, declaration(BackupV3).accepts) == ("Backup", (3,))


def test_a_newer_method_needs_no_check_where_older_versions_are_not_accepted():
    proxy = vars(type(BackupV3.remote(Client("unix:///x.sock"))))
    assert "older" not in proxy["verify"].__code__.co_freevars
    assert "older" in vars(type(Backup.remote(Client("unix:///x.sock"))))["verify"].__code__.co_freevars


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 0}, "versions are whole numbers from 1"),
        ({"version": True}, "versions are whole numbers from 1"),
        ({"version": "2"}, "versions are whole numbers from 1"),
        ({"version": 2, "accepts": (1, "2")}, "versions are whole numbers from 1"),
        ({"version": 2, "accepts": (1, 3)}, r"version=2 is not the highest of accepts=\(1, 3\)"),
        ({"version": 2, "accepts": ()}, "not the highest"),
        ({"version": 2, "accepts": 2}, r"expected versions, such as \(1, 2\)"),
        ({"accepts": (1, 2)}, "version=1 is not the highest"),
    ],
)
def test_invalid_versions_are_refused_at_declaration(options, message):
    with pytest.raises(TypeError, match=f"Wrong: .*{message}"):
        type("Wrong", (Interface,), {}, implements="Wrong", **options)


def later(self, path: str) -> None: ...
def required(self, path: Annotated[str, Key(since=2)]) -> None: ...
def unknown(self, path: Annotated[str, Key(since=3)] = "") -> None: ...


@pytest.mark.parametrize(
    ("function", "since", "message"),
    [
        (later, 3, "since=3 is not a version of the interface, whose version= is 2"),
        (later, 0, "since=0 is not a version"),
        (unknown, 1, "since=3 is not a version"),
        (required, 1, "path was added in version 2: it needs a default, for older callers"),
    ],
)
def test_since_is_checked_at_declaration(function, since, message):
    with pytest.raises(TypeError, match=message):
        type("Wrong", (Interface,), {"f": rpc("X", since=since)(function)}, implements="Wrong", version=2)


def test_a_schema_says_since_when_a_method_or_parameter_exists():
    document = extframe.openapi(Backup)
    schemas = document["components"]["schemas"]
    assert document["info"]["version"] == "2"
    assert schemas["PluginManifest"]["example"] == {"Implements": ["Backup"], "Versions": {"Backup": [1, 2]}}
    assert document["paths"]["/Backup.Verify"]["post"]["description"] == "Since version 2."
    assert schemas["BackupStartRequest"]["properties"]["Encrypt"]["description"] == "Since version 2."
