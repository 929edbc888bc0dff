"""Settings of plugins: given by the host, validated against the interface, sent after the handshake, never shown."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from supervised import Plugins

import extframe
from extframe import (
    ActivationError,
    AsyncInterface,
    Client,
    Interface,
    LocalRegistry,
    Message,
    PluginManager,
    RemoteError,
    SpecError,
    rpc,
)
from extframe.handlers.hooks import ExtensionPoints
from extframe.interface.settings import DOCKER_POINTS, redacted
from extframe.protocol import Manifest, hook_name
from extframe.server import serving
from extframe.supervisor.config import parse_config
from extframe.testing import Error, FakePlugin

SECRET = 'correct "horse"'


class Server(Message, frozen=True):
    host_name: str = "localhost"
    port: int = 443


class BackupSettings(Message, frozen=True):
    bucket: str
    password: str = ""
    retries: int = 3
    level: Literal["low", "high"] = "low"
    servers: list[Server] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.password == self.bucket:
            raise ValueError(f"the password {self.password} is the name of the bucket")


class Backup(Interface, implements="Backup", settings=BackupSettings):
    @rpc("Start", returns="JobID")
    def start(self, path: str) -> str:
        raise NotImplementedError

    @rpc("Follow")
    def follow(self) -> Iterator[str]:
        raise NotImplementedError


class AsyncBackup(AsyncInterface, mirrors=Backup):
    async def start(self, path: str) -> str:
        raise NotImplementedError

    def follow(self) -> AsyncIterator[str]:
        raise NotImplementedError


class Copies(Backup):
    """A plugin that remembers what it was given."""

    def __init__(self) -> None:
        self.received: list[BackupSettings] = []

    def configure(self, settings: BackupSettings) -> None:
        if settings.bucket == "full":
            raise ValueError(f"bucket {settings.bucket} of {settings.password} is closed")
        self.received.append(settings)

    def start(self, path: str) -> str:
        return f"{path} to {self.received[-1].bucket}"

    def follow(self) -> Iterator[str]:
        yield self.received[-1].bucket


class AsyncCopies(AsyncBackup):
    received: BackupSettings

    async def configure(self, settings: BackupSettings) -> None:
        await asyncio.sleep(0)
        self.received = settings

    async def start(self, path: str) -> str:
        return f"{path} to {self.received.bucket}"

    async def follow(self) -> AsyncIterator[str]:
        yield self.received.bucket


@pytest.fixture
def host(short_path: Path) -> Iterator[Callable[..., PluginManager]]:
    """Make a manager that gives settings to the plugin ``copies``."""
    made: list[PluginManager] = []

    def make(settings: Any = None, **others: Any) -> PluginManager:
        given = {} if settings is None else {"copies": settings}
        made.append(PluginManager(LocalRegistry(short_path, [short_path]), groups=(), settings={**given, **others}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def plugin(short_path: Path) -> Iterator[Copies]:
    driver = Copies()
    with serving(driver, name="copies", directory=short_path):
        yield driver


def run_async(short_path: Path, settings: dict[str, Any]) -> BaseException | str:
    """Return the result of a call of the plugin in an async host, or the error."""

    async def main() -> str:
        async with extframe.AsyncPluginManager(
            LocalRegistry(short_path), groups=(), settings={"copies": settings}
        ) as pm:
            return await (await pm.driver("copies", AsyncBackup)).start("/a")

    try:
        return asyncio.run(main())
    except extframe.ExtframeError as error:
        return error


@rpc("Configure")
def configure(self: Any) -> None:
    """A function that cannot be a remote method of an interface with settings."""


# --- what the plugin gets -----------------------------------------------------------------------------


def test_a_plugin_gets_its_settings_once_with_secrets_filled_in(host, plugin, short_path, monkeypatch):
    monkeypatch.setenv("COPIES_RETRIES", "7")
    monkeypatch.setenv("COPIES_HOST", "copies.example")
    secret = short_path / "password"
    secret.write_text(f"{SECRET}\n")
    pm = host(
        {
            "Bucket": "holidays",
            "password": {"file": str(secret)},
            "retries": "${COPIES_RETRIES}",
            "level": "high",
            "servers": [{"host_name": "www.${COPIES_HOST}", "Port": 80}, {"HostName": "$${HOME}"}],
        }
    )
    assert pm.driver("copies", Backup).start("/home") == "/home to holidays"
    assert pm.driver("copies", Backup).start("/etc") == "/etc to holidays"
    servers = [Server(host_name="www.copies.example", port=80), Server(host_name="${HOME}")]
    (received,) = plugin.received
    expected = BackupSettings(bucket="holidays", password=SECRET, retries=7, level="high", servers=servers)
    assert msgspec.structs.asdict(received) == msgspec.structs.asdict(expected)
    assert run_async(short_path, {"bucket": "async"}) == "/a to async"


def test_an_async_plugin_gets_them_too_and_a_plugin_of_two_drivers_gets_those_of_both(short_path, host):
    class FilterSettings(Message, frozen=True):
        bucket: str = ""
        size: int = 0

    class Filter(Interface, implements="Filter", settings=FilterSettings):
        @rpc("Size", returns="Size")
        def size(self) -> int:
            raise NotImplementedError

    class Sized(Filter):
        def configure(self, settings: FilterSettings) -> None:
            self.given = settings

        def size(self) -> int:
            return self.given.size

    with serving(AsyncCopies(), Sized(), name="copies", directory=short_path):
        pm = host({"bucket": "both", "size": 5, "retries": 1})
        assert pm.driver("copies", Backup).start("/a") == "/a to both"
        assert pm.driver("copies", Filter).size() == 5
        assert list(pm.driver("copies", Backup).follow()) == ["both"]
        pm = host({"bucket": "both", "siez": 5})
        with pytest.raises(SpecError, match="key 'siez' is unknown"):
            pm.driver("copies", Backup)
        with pytest.raises(ActivationError, match="refused its settings: key 'siez' is unknown; did you mean 'size'"):
            host({"bucket": "both", "siez": 5}).get("copies")
    with pytest.raises(TypeError, match="Backup and Filter both have settings; write one driver class for each"):
        extframe.implements(Backup, Filter)
    with pytest.raises(TypeError, match="NoArgument cannot be served: configure"):
        serving(type("NoArgument", (Copies,), {"configure": lambda self: None})()).__enter__()


def test_settings_of_the_file_of_a_supervisor_are_completed_by_the_manager_and_resent(short_path, tmp_path):
    plugins = Plugins(short_path)
    code = tmp_path / "settings_plugin.py"
    code.write_text(
        "from extframe import Interface, Message, rpc, serve\n"
        "class S(Message):\n    bucket: str\n    password: str = ''\n    retries: int = 3\n"
        "class B(Interface, implements='Backup', settings=S):\n"
        "    @rpc('Start', returns='JobID')\n    def start(self, path: str) -> str: ...\n"
        "class P(B):\n"
        "    def configure(self, settings):\n        self.settings = settings\n"
        "    def start(self, path):\n"
        "        return f'{self.settings.bucket} {self.settings.password} {self.settings.retries}'\n"
        "serve(P(), name='copies')\n"
    )
    secret = short_path / "password"
    secret.write_text("first")
    (plugins.directory / "copies.toml").write_text(
        f'command = ["{sys.executable}", "{code}"]\n[settings]\n'
        f'bucket = "file"\npassword = {{ file = "{secret}" }}\nretries = 1\n'
    )
    plugins.write("wrong", command=["/bin/true"], settings={"buket": SECRET})
    wrong = plugins.directory / "wrong.toml"
    place = re.escape(f"{wrong}: key 'settings.buket' is unknown; did you mean 'bucket'?")
    with (
        plugins.supervisor() as supervisor,
        PluginManager(supervisor, groups=(), settings={"copies": {"retries": 9}}) as pm,
    ):
        copies = pm.driver("copies", Backup)
        assert copies.start("") == "file first 9"
        secret.write_text("second")
        supervisor.restart("copies")
        assert copies.start("") == "file second 9"  # the driver that was held
        with pytest.raises(SpecError, match=place) as raised:
            pm.driver("wrong", Backup)
        assert raised.value.source == str(wrong)
    with pytest.raises(SpecError, match="key 'settings' is of type str; expected a table"):
        parse_config(f'command = ["/bin/true"]\nsettings = "{"x" * 9}"'.encode(), "copies")


# --- restarts -----------------------------------------------------------------------------------------


def test_held_drivers_and_streams_send_the_settings_to_a_plugin_that_restarted(short_path, host):
    with serving(Copies(), name="copies", directory=short_path):
        pm = host({"bucket": "again"})
        held = pm.driver("copies", Backup)
        held.start("/a")
    with serving(driver := Copies(), name="copies", directory=short_path):
        assert held.start("/b") == "/b to again"
        assert held.start("/c") == "/c to again"
        assert [each.bucket for each in driver.received] == ["again"]
    with serving(driver := Copies(), name="copies", directory=short_path):
        assert list(held.follow()) == ["again"]
        assert pm.driver("copies", Backup).start("/d") == "/d to again"  # a new handshake

    async def main() -> None:
        async with extframe.AsyncPluginManager(
            LocalRegistry(short_path), groups=(), settings={"copies": {"bucket": "tasks"}}
        ) as pm:
            with serving(Copies(), name="copies", directory=short_path):
                held = await pm.driver("copies", AsyncBackup)
            with serving(Copies(), name="copies", directory=short_path):
                assert await held.start("/b") == "/b to tasks"
            with serving(Copies(), name="copies", directory=short_path):
                assert [each async for each in held.follow()] == ["tasks"]

    asyncio.run(main())


def test_without_settings_nothing_is_sent_until_the_plugin_needs_them(short_path, host):
    class Defaults(Message, frozen=True):
        size: int = 8

    class Filter(Interface, implements="Filter", settings=Defaults):
        @rpc("Size", returns="Size")
        def size(self) -> int:
            raise NotImplementedError

    class Sized(Filter):
        given: Defaults | None = None

        def configure(self, settings: Defaults) -> None:
            self.given = settings

        def size(self) -> int:
            assert self.given is not None
            return self.given.size

    with serving(sized := Sized(), name="copies", directory=short_path) as served, Client(served.address) as client:
        assert client.call("Plugin.Activate") == {"Implements": ["Filter"], "Settings": ["Filter"]}
        with pytest.raises(RemoteError, match="has not received its settings: call Plugin.Configure") as raised:
            Filter.remote(client).size()
        assert raised.value.status == 428
        driver = host().driver("copies", Filter)
        assert sized.given is None
        assert driver.size() == 8
        host({"size": 9}).get("copies", Filter)
        host().driver("copies", Filter)
        assert driver.size() == 9  # another host's settings stay


# --- errors -------------------------------------------------------------------------------------------

PLACE = "settings of plugin 'copies': PluginManager(settings={'copies': ...}): "


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"bucket": "b", "pasword": SECRET}, "key 'pasword' is unknown; did you mean 'password'?"),
        (
            {"bucket": "b", "zzz": SECRET},
            "key 'zzz' is unknown; expected one of bucket, password, retries, level, servers",
        ),
        ({"password": SECRET}, "key 'bucket' is missing; expected str"),
        ({"bucket": "b", "retries": SECRET}, "key 'retries' is invalid: expected int, got str"),
        ({"bucket": "b", "level": SECRET}, "key 'level' is invalid: expected one of 'low', 'high'"),
        ({"bucket": "b", "Bucket": SECRET}, "key 'Bucket' is given twice, as 'bucket' and 'Bucket'"),
        ({"bucket": "b", "servers": [{"post": 1}]}, "key 'servers[0].post' is unknown; did you mean 'port'?"),
        ({"bucket": "b", "servers": [{"port": SECRET}]}, "key 'servers[0].Port' is invalid: expected int, got str"),
        ({"bucket": SECRET, "password": SECRET}, "the password *** is the name of the bucket"),
        ({"bucket": "b", "password": "${NOT_SET}"}, "variable NOT_SET, which is not set"),
        ({"bucket": "b", "password": "${NOT SET}"}, "key 'password' has an invalid reference; expected ${NAME}"),
        ({"bucket": "b", "password": {"file": "secret"}}, "refers to the file 'secret'; expected an absolute path"),
        ({"bucket": "b", "password": {"file": "/nowhere"}}, "refers to /nowhere, which cannot be read: No such file"),
        ({"bucket": "b", "password": {"file": "/dev/null"}}, "refers to /dev/null, which is not a file"),
        ({"bucket": "b", "servers": [{"port": {1, 2}}]}, "key 'servers[0].Port' is invalid: expected int, got array"),
        ({"bucket": "b", "retries": float("nan")}, "key 'retries' is invalid: nan cannot be sent as JSON"),
        ({"bucket": "\udc80"}, "key 'bucket' is invalid: it is not a value that JSON can carry"),
    ],
)
def test_what_does_not_fit_the_interface_is_refused_before_the_plugin_is_contacted(
    short_path, host, settings, expected
):
    with FakePlugin(short_path, "copies", ["Backup"]) as fake:
        with pytest.raises(SpecError) as raised:
            host(settings).driver("copies", Backup, wait=60)
        assert str(raised.value).startswith(PLACE)
        assert expected in str(raised.value)
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
        failed = run_async(short_path, settings)
        assert str(failed) == str(raised.value)
        assert fake.calls == []
        for shown in (str(raised.value), repr(raised.value)):
            assert SECRET not in shown


def test_an_interface_that_only_the_manifest_names_is_validated_after_the_handshake(short_path, host):
    with FakePlugin(short_path, "copies") as fake:
        fake.answer("Plugin.Activate", {"Implements": ["Backup"], "Settings": ["Backup"]})
        fake.answer("Plugin.Configure", {})
        pm = host({"buket": "b"})
        assert pm.get_all(Backup) == []
        assert "key 'buket' is unknown" in str(pm.failures()[0])
        pm = host()
        with pytest.raises(SpecError, match="key 'bucket' is missing"):  # none are given
            pm.driver("copies", Backup)
        assert [call.method for call in fake.calls] == ["Plugin.Activate"] * 2
        host({"anything": [1]}).get("copies")  # the host knows no interface: the plugin validates
        assert fake.calls[-1].arguments == {"Settings": {"anything": [1]}}


def test_settings_for_a_plugin_without_are_an_error_and_for_one_of_dockers_a_warning(short_path, host, caplog):
    with FakePlugin(short_path, "copies", ["Backup"]) as fake:
        with pytest.raises(SpecError, match="plugin 'copies' takes no settings; upgrade it, or remove them"):
            host({"bucket": "b"}).driver("copies", Backup)
        fake.answer("Plugin.Activate", {"Implements": ["VolumeDriver"], "Settings": None})
        host({"bucket": SECRET}).driver("copies", extframe.VolumeDriver)
        assert {call.method for call in fake.calls} == {"Plugin.Activate"}
    assert "plugin 'copies' is not sent the settings of PluginManager(settings={'copies': ...})" in caplog.text
    points = {name for name in vars(ExtensionPoints) if not name.startswith("_")}
    assert {hook_name(point) for point in DOCKER_POINTS - {"GraphDriver"}} == points


def test_a_plugin_that_refuses_its_settings_is_quoted_without_their_values(host, plugin, short_path, caplog):
    caplog.set_level(logging.DEBUG)
    pm = host({"bucket": "full", "password": SECRET})
    with pytest.raises(ActivationError, match=r"refused its settings: bucket \*\*\* of \*\*\* is closed") as raised:
        pm.driver("copies", Backup)
    assert raised.value.method == "Plugin.Configure"
    assert isinstance(raised.value.__cause__, RemoteError)
    failed = run_async(short_path, {"bucket": "full", "password": SECRET})
    assert str(failed) == str(raised.value)
    with FakePlugin(short_path, "foreign") as fake:
        fake.answer("Plugin.Activate", {"Implements": ["Backup"], "Settings": ["Backup"]})
        fake.answer("Plugin.Configure", Error(f"{json.dumps(SECRET)} is wrong"), b"")
        with pytest.raises(
            ActivationError, match=r"'foreign' at .* refused its settings: \"\*\*\*\" is wrong"
        ) as other:
            host(foreign={"bucket": "b", "password": SECRET}).driver("foreign", Backup)
    shown = caplog.text + "".join(f"{each.value!r}{each.value.__cause__!r}" for each in (raised, other))
    assert "horse" not in shown
    assert "is closed" in caplog.text  # the words that are not settings
    assert plugin.received == []


def test_observers_and_debug_lines_have_no_value_of_a_setting(short_path, caplog):
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    class Shows:
        def call_started(self, call: Any) -> None:
            shown.append(f"{call.method} {call!r} {call.headers}")

        def call_ended(self, call: Any, outcome: Any) -> None:
            shown.append(f"{call!r} {outcome} {outcome.error!s} {outcome.error!r} {outcome.request_head!r}")

    arguments: dict[str, Any] = {"groups": (), "settings": {"copies": {"password": SECRET}}, "observers": [Shows()]}
    with FakePlugin(short_path, "copies") as fake:
        fake.answer("Plugin.Activate", {"Implements": ["Backup"], "Settings": ["Backup"]})
        fake.answer("Plugin.Configure", Error(f"{json.dumps(SECRET)} is wrong"))
        with (
            PluginManager(LocalRegistry(short_path), **arguments) as pm,
            pytest.raises(ActivationError, match="refused its settings"),
        ):
            pm.get("copies")

        async def main() -> None:
            async with extframe.AsyncPluginManager(LocalRegistry(short_path), **arguments) as pm:
                with pytest.raises(ActivationError, match="refused its settings"):
                    await pm.get("copies")

        asyncio.run(main())
    seen = "\n".join(shown)
    assert seen.count('"***" is wrong') == 4  # the text and the repr of each error
    assert caplog.text.count("Plugin.Configure on plugin 'copies'") == 2
    assert "horse" not in seen + caplog.text


def test_a_plugin_that_a_handler_refuses_gets_no_settings(short_path, host):
    class Refuse:
        @extframe.hookimpl
        def plugin_activating(self, name: str) -> None:
            raise PermissionError(f"{name} is not trusted")

    with FakePlugin(short_path, "copies") as fake:
        fake.answer("Plugin.Activate", {"Implements": ["Backup"], "Settings": ["Backup"]})
        pm = host({"bucket": "b", "password": SECRET})
        pm.register(Refuse())
        with pytest.raises(extframe.ActivationVetoed):
            pm.driver("copies", Backup)
        assert [call.method for call in fake.calls] == ["Plugin.Activate"]


def test_a_request_that_is_no_settings_is_refused_and_repeats_nothing(short_path):
    with serving(Copies(), name="copies", directory=short_path) as served, Client(served.address) as client:
        for wrong in (
            None,
            [],
            {},
            {"Settings": [SECRET]},
            {"Settings": {"bucket": [SECRET]}},
            {"Settings": {"b": SECRET}},
        ):
            with pytest.raises(RemoteError) as raised:
                client.call("Plugin.Configure", wrong)
            assert raised.value.status == 400
            assert "horse" not in str(raised.value)
    with (
        serving(extframe.VolumeDriver()) as served,
        Client(served.address) as client,
        pytest.raises(RemoteError, match="not implemented"),
    ):
        client.call("Plugin.Configure", {"Settings": {}})


def test_values_are_in_no_repr():
    settings = BackupSettings(bucket="holidays", password=SECRET)
    assert repr(settings) == "BackupSettings(bucket=***, password=***, retries=***, level=***, servers=***)"
    assert "horse" not in repr(list(settings.__rich_repr__()))
    spec = extframe.PluginSpec("copies", "unix:///x.sock", settings={"password": SECRET})
    assert "horse" not in repr(spec)
    assert replace(spec, settings=None) == spec
    assert redacted("a longer text", ["a"]) == "*** longer text"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([SECRET], "settings is of type list; expected a dict such as {'photos': {'bucket': 'b1'}}"),
        ({"copies": SECRET}, "settings['copies'] is of type str; expected a dict such as {'bucket': 'b1'}"),
        ({"copies": {1: SECRET}}, "settings['copies'] has the key 1; expected names of settings"),
    ],
)
def test_settings_of_another_type_are_refused_at_once(settings, expected):
    for kind in (PluginManager, extframe.AsyncPluginManager):
        with pytest.raises(TypeError, match=re.escape(expected)):
            kind(groups=(), settings=settings)


@pytest.mark.parametrize(
    ("declare", "expected"),
    [
        (
            lambda: type("A", (Interface,), {}, implements="A", settings=dict),
            "settings=.*dict.* is invalid: expected a class",
        ),
        (
            lambda: type("A", (extframe.VolumeDriver,), {}, settings=Server),
            "A: omit settings=; VolumeDriver is Docker's",
        ),
        (
            lambda: type("A", (Interface,), {"configure": configure}, implements="A", settings=Server),
            "A: rename the remote method configure",
        ),
    ],
)
def test_settings_that_cannot_be_declared_are_refused(declare, expected):
    with pytest.raises(TypeError, match=expected):
        declare()


def test_the_manifest_names_extension_points_only():
    body = b'{"Implements": ["A", "B"], "Settings": ["B", "C", 1, null]}'
    assert Manifest.parse(body).settings == ("B",)
    assert Manifest.parse(b'{"Implements": ["A"], "settings": {"A": true}}').settings == ()


# --- the page -----------------------------------------------------------------------------------------


def test_the_page_about_settings_runs(short_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    contract, plugin, host = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    manifest, request = map(json.loads, re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    (file,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert parse_config(file.encode(), "photos").settings is not None
    modules: dict[str, Any] = {"__name__": "acme_backup"}
    exec(contract, modules)
    module = type(os)("acme_backup")
    vars(module).update(modules)
    monkeypatch.setitem(sys.modules, "acme_backup", module)
    shown: dict[str, Any] = {"__name__": "photos", "plugins": short_path}
    exec(plugin, shown)
    photos = shown["Photos"]()
    monkeypatch.setenv("PHOTOS_PASSWORD", request["Settings"]["Password"])
    with serving(photos, name="photos", directory=short_path) as served, Client(served.address) as client:
        assert client.call("Plugin.Activate") == manifest
        exec(host, shown)
    assert shown["job"] == "/home to holidays"
    assert photos.settings == module.BackupSettings(bucket="holidays", password="correct horse", retries=5)
    with FakePlugin(short_path, "photos") as fake:
        fake.answer("Plugin.Activate", manifest)
        fake.answer("Plugin.Configure", {})
        fake.answer("Backup.Start", {"JobID": ""})
        exec(host, shown)
        assert fake.calls[1].arguments == request
    backup = module.Backup
    with serving(photos, name="photos", directory=short_path):
        rows = re.findall(r"^\| `(\{.*?\})` \| `(settings of .*)` \|$", page, re.MULTILINE)
        assert len(rows) == 4
        for given, message in rows:
            manager = PluginManager(LocalRegistry(short_path), groups=(), settings={"photos": json.loads(given)})
            with manager, pytest.raises(SpecError) as raised:
                manager.driver("photos", backup)
            assert str(raised.value) == message
