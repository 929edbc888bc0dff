"""Docker's managed plugins: names, manifests, paths, events and errors, with an engine of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from faultserver import eventually
from users import ordinary_user

from extframe import (
    ActivationError,
    AsyncPluginManager,
    ConnectError,
    DockerPlugins,
    ExtframeError,
    LocalRegistry,
    Manifest,
    PluginBlocked,
    PluginManager,
    PluginNotFound,
    RegistryChain,
    Retry,
    SpecError,
    VolumeDriver,
    hookimpl,
)
from extframe.errors import TransportError
from extframe.registry.docker_engine import DockerEngine
from extframe.registry.docker_plugins import manifest_of
from extframe.testing import FakePlugin

VOLUMES = "docker.volumedriver/1.0"
SSHFS = "vieux/sshfs:latest"


@pytest.fixture
def engine(short_path: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(short_path)
    yield engine
    engine.close()


@pytest.fixture
def registry(engine: FakeEngine) -> Iterator[DockerPlugins]:
    registry = DockerPlugins(engine.address, sockets=engine.sockets)
    yield registry
    registry.close()


@pytest.fixture
def sshfs(engine: FakeEngine) -> FakePlugin:
    """A plugin that is enabled, and says that a volume is mounted below its propagated mount."""
    engine.install(SSHFS, VOLUMES, PropagatedMount="/mnt/volumes")
    return engine.enable(SSHFS, Mount={"Mountpoint": "/mnt/volumes/photos"}, List={"Volumes": []})


class Journal:
    """A handler that puts every lifecycle event into a queue."""

    def __init__(self) -> None:
        self.events: queue.Queue[str] = queue.Queue()

    @hookimpl
    def plugin_activated(self, name: str) -> None:
        self.events.put(f"{name} activated")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        self.events.put(f"{name} removed")

    def next(self) -> str:
        return self.events.get(timeout=60)


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is noticed by looking again after a while."""
    monkeypatch.setattr("extframe.registry.notifications.RESCAN_INTERVAL", 3600.0)


# --- names --------------------------------------------------------------------------------------------


def test_enabled_plugins_are_listed_with_their_tags(engine, registry, sshfs):
    engine.install("acme/off:latest", VOLUMES)
    engine.install("acme/db:2", VOLUMES)
    engine.enable("acme/db:2")
    assert registry.scan() == ["acme/db:2", SSHFS]


def test_a_plugin_is_found_by_its_name_with_or_without_tag_and_by_its_id(engine, registry, sshfs):
    plugin_id = registry.find(SSHFS).address.split("/")[-2]
    for name in (SSHFS, "vieux/sshfs", plugin_id, plugin_id[:12]):
        assert registry.find(name).name == SSHFS
    engine.install("localhost:5000/acme/db:2", VOLUMES)
    engine.install("localhost:5000/acme/db:1", VOLUMES)
    engine.enable("localhost:5000/acme/db:2")
    assert registry.find("localhost:5000/acme/db").name == "localhost:5000/acme/db:2"
    engine.enable("localhost:5000/acme/db:1")
    for name, words in {
        "localhost:5000/acme/db": "has several: localhost:5000/acme/db:1, localhost:5000/acme/db:2; name one of them",
        "vieux/sshfs:1": f"looked for a managed plugin in Docker's engine at {engine.address}; enabled there: local",
        plugin_id[:11]: "looked for",
        "": "looked for",
    }.items():
        with pytest.raises(PluginNotFound, match=words) as missing:
            registry.find(name)
        assert missing.value.plugin == name


def test_other_names_of_a_plugin_are_the_same_plugin_which_is_activated_once(engine, registry, sshfs):
    handled = []
    with PluginManager(registry, groups=()) as pm:
        pm.handle("VolumeDriver", lambda name, client: handled.append(name))
        assert pm.get("vieux/sshfs") is pm.get(SSHFS) is pm.get_all(VolumeDriver)[0]
        asked = len(engine.requests)
        for name in ("vieux/sshfs", SSHFS):
            pm.driver(name, VolumeDriver)
        assert len(engine.requests) == asked  # its socket shows that nothing has changed
    assert handled == [SSHFS]


def test_a_plugin_that_is_installed_again_is_renewed_under_each_of_its_names(engine, registry, sshfs):
    def reinstall(number: int) -> str:
        engine.disable(SSHFS)
        engine.install(SSHFS, VOLUMES, plugin_id=f"{number:02x}" * 32)
        engine.enable(SSHFS, List={"Volumes": []})
        return registry.find(SSHFS).address

    async def use(name: str) -> None:
        async with AsyncPluginManager(registry, groups=()) as pm:
            plugin = await pm.get(name)
            address = reinstall(78)
            assert await pm.get(name) is plugin
            assert plugin.address == address

    with PluginManager(registry, groups=()) as pm:
        for number, name in enumerate(("vieux/sshfs", SSHFS), 76):
            plugin = pm.get(name)
            address = reinstall(number)
            assert pm.get(name) is plugin
            assert plugin.address == address
            assert pm.driver(name, VolumeDriver).list() == []
    asyncio.run(use("vieux/sshfs"))


def test_rules_for_a_plugin_hold_for_its_other_names(engine, registry, sshfs):
    with PluginManager(registry, groups=(), block=[SSHFS]) as pm, pytest.raises(PluginBlocked, match=SSHFS):
        pm.get("vieux/sshfs")
    for name in (SSHFS, "vieux/sshfs"):
        with PluginManager(registry, groups=(), implements={name: ["Other"]}) as pm:
            assert pm.get("vieux/sshfs").manifest.implements == ("Other",)


def test_a_disabled_plugin_is_not_found_and_the_message_has_the_command_that_enables_it(engine, registry, sshfs):
    engine.disable(SSHFS)
    command = f"docker --host {engine.address} plugin enable {SSHFS}"
    with pytest.raises(PluginNotFound, match=f"plugin {SSHFS} is disabled; enable it with: {command}$"):
        registry.find("vieux/sshfs")
    assert DockerPlugins()._command("a b") == "docker plugin enable 'a b'"


def test_a_name_with_a_slash_passes_the_registries_of_files_in_a_chain(engine, registry, sshfs, short_path):
    with PluginManager([LocalRegistry(short_path), registry], groups=()) as pm:
        assert pm.get("vieux/sshfs").name == SSHFS
        assert pm.get(SSHFS, VolumeDriver).address == registry.find(SSHFS).address
        with pytest.raises(PluginNotFound, match="looked for a managed plugin"):
            pm.get("vieux/other")
        with pytest.raises(PluginNotFound, match=r"looked for other.sock.*; looked for a managed plugin"):
            pm.get("other")
    with pytest.raises(SpecError, match="contains a slash"):
        RegistryChain(LocalRegistry(short_path), LocalRegistry(short_path)).find("vieux/sshfs")


# --- what a plugin is ---------------------------------------------------------------------------------


def test_the_configuration_says_what_a_plugin_implements_and_no_handshake_is_made(engine, registry, sshfs):
    spec = registry.find(SSHFS)
    directory = f"/data/plugins/{'01' * 32}"
    assert (spec.name, spec.source, spec.address) == (SSHFS, engine.address, sshfs.address)
    assert spec.manifest == Manifest(("VolumeDriver",))
    assert spec.paths == (("/", f"{directory}/rootfs"), ("/mnt/volumes", f"{directory}/propagated-mount"))
    assert spec.peer_uids == {os.geteuid()}
    with PluginManager(registry) as pm:
        assert pm.driver(SSHFS, VolumeDriver).mount("photos", id="1") == f"{directory}/propagated-mount/photos"
    assert [call.method for call in sshfs.calls] == ["VolumeDriver.Mount"]


def test_a_plugin_that_is_upgraded_while_it_is_looked_for_has_its_new_configuration(engine, registry, sshfs):
    def answer_and_upgrade(path: str) -> object:
        found = json.loads(json.dumps(answer(path)))
        if path == "/plugins" and engine.requests.count(path) == 1:
            engine.disable(SSHFS)
            engine.install(SSHFS, "docker.logdriver/1.0", plugin_id="01" * 32)
            engine.enable(SSHFS)
        return found

    answer = engine.answer
    engine.answer = answer_and_upgrade
    assert registry.find(SSHFS).manifest == registry.find(SSHFS).manifest == Manifest(("LogDriver",))
    assert engine.requests == ["/plugins", "/info", "/plugins"]


@pytest.mark.parametrize(
    ("types", "points", "versions"),
    [
        (["docker.networkdriver/1.0", "docker.ipamdriver/1.0"], ("NetworkDriver", "IpamDriver"), ()),
        (["docker.logdriver/1.0", "docker.authz/1.0"], ("LogDriver", "authz"), ()),
        (["docker.metricscollector/1.0", "docker.secretprovider/1.0"], ("MetricsCollector", "secretprovider"), ()),
        (["docker.VolumeDriver/2.0", "docker.csinode/1.0"], ("VolumeDriver", "csinode"), ()),
        (["acme.Backup/1.0", "acme.Backup/3.1", "x.y.Scan"], ("Backup", "Scan"), (("Backup", (1, 3)),)),
        (
            [None, "", "Backup", "docker./1.0", {"Prefix": "docker"}, "acme.Odd/x", "acme.Zero/0.9"],
            ("Backup", "Odd", "Zero"),
            (),
        ),
    ],
)
def test_types_become_extension_points(types, points, versions):
    assert manifest_of(types) == Manifest(points, versions)


def test_null_in_a_configuration_is_nothing(engine, registry):
    engine.install("acme/x:latest", interface={"Types": None})
    engine.enable("acme/x:latest")
    assert registry.find("acme/x").manifest == Manifest()


def test_what_cannot_be_used_says_why(engine, registry, sshfs):
    engine.install("acme/csi:latest", VOLUMES, interface={"ProtocolScheme": "grpc/v1"})
    engine.install("acme/evil:latest", VOLUMES, interface={"Socket": "../x.sock"})
    engine.install("acme/dead:latest", VOLUMES)
    for name in ("acme/csi:latest", "acme/dead:latest"):
        engine.enable(name)
    engine._plugins["acme/evil:latest"]["Enabled"] = True
    with pytest.raises(SpecError, match=r"acme/csi:latest: it speaks grpc/v1; expected moby.plugins.http/v1"):
        registry.find("acme/csi")
    with pytest.raises(SpecError, match=r"acme/evil:latest: .*contains a slash"):
        registry.find("acme/evil")
    (engine.sockets / ("04" * 32) / "p.sock").unlink()
    with pytest.raises(ActivationError, match=r"is enabled in Docker's engine, but its socket .*: no such file"):
        registry.find("acme/dead")
    with PluginManager(registry, groups=()) as pm:
        timer = threading.Timer(0.2, engine.enable, ["acme/dead:latest"])  # the engine starts it again
        timer.start()
        assert pm.get("acme/dead", wait=60).name == "acme/dead:latest"
        timer.join()
    (engine.sockets / ("01" * 32)).chmod(0o777)
    with pytest.raises(SpecError, match=r"is world-writable; fix with: chmod o-w"):
        registry.find(SSHFS)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_user_other_than_root_reads_that_only_root_may_enter_the_directory(engine, registry, sshfs, short_path):
    short_path.chmod(0o711)
    engine.sockets.chmod(0o700)
    (short_path / "api.sock").chmod(0o666)
    with ordinary_user():
        assert registry.scan() == [SSHFS]
        with pytest.raises(SpecError, match=r"only root may enter .*/s \(its mode is 0700\): run as root"):
            registry.find(SSHFS)
    registry.close()
    (short_path / "api.sock").chmod(0o600)
    with ordinary_user(), pytest.raises(ExtframeError, match=r"permission denied; run as root, or as a user in the gr"):
        registry.scan()


# --- the engine ---------------------------------------------------------------------------------------


def test_an_engine_that_does_not_run_is_named_with_its_address(engine, registry):
    engine.stop()
    with pytest.raises(TransportError) as failed:
        registry.scan()
    assert str(failed.value).startswith(f"cannot list plugins: Docker's engine at {engine.address}: no such file or")
    assert "start the engine, or name its address" in str(failed.value)
    with pytest.raises(SpecError, match="is not a plugin address"):
        DockerPlugins("/var/run/docker.sock")


def test_the_engines_own_words_reach_the_user(engine, registry):
    engine.failure = 403, "authorization denied by plugin x: read only"
    with pytest.raises(ExtframeError, match=r"cannot find plugin 'a': Docker's engine at .*: authorization denied by"):
        registry.find("a")


def test_active_plugins_stay_usable_while_the_engine_is_down(engine, registry, sshfs):
    with PluginManager(registry, groups=()) as pm:
        volumes = pm.driver("vieux/sshfs", VolumeDriver)
        engine.stop()
        assert pm.driver(SSHFS, VolumeDriver).list() == volumes.list() == []
        with pytest.raises(TransportError):
            pm.scan()
        engine.root = "/elsewhere"
        engine.start()
        engine.disable(SSHFS)
        engine.enable(SSHFS, Mount={"Mountpoint": "/photos"})
        pm.get(SSHFS)
        assert volumes.mount("photos", id="1") == f"/elsewhere/plugins/{'01' * 32}/rootfs/photos"


class Forgetful(DockerEngine):
    """An engine of which another thread, whose request fails, forgets the directory after each look at it."""

    @property
    def _root(self) -> str:
        found, self._known = self._known, ""
        return found

    @_root.setter
    def _root(self, value: str) -> None:
        self._known = value


@pytest.mark.parametrize("known", ["/data", ""])
def test_the_directory_of_the_engine_is_never_empty_while_a_request_of_another_thread_fails(engine, known):
    asked = Forgetful(engine.address)
    asked._root = known
    assert asked.root("find a plugin") == "/data"
    asked.close()


# --- changes ------------------------------------------------------------------------------------------


def test_a_watch_notices_plugins_that_are_enabled_disabled_and_upgraded(engine, registry, sshfs, only_events):
    journal = Journal()
    with PluginManager(registry, groups=()) as pm:
        pm.register(journal)
        with pm.watch():
            assert journal.next() == f"{SSHFS} activated"
            plugin = pm.get(SSHFS)
            volumes = plugin.driver(VolumeDriver)
            engine.disable(SSHFS)
            assert journal.next() == f"{SSHFS} removed"
            plugin.client.endpoint.retry = Retry(restart=0)
            with pytest.raises(ConnectError, match="the plugin is disabled, removed or restarting: it has no socket"):
                plugin.client.call("VolumeDriver.List")
            plugin.client.endpoint.retry = Retry()
            # Upgraded: it implements more, and its mounts are elsewhere.
            engine.install(SSHFS, VOLUMES, "docker.logdriver/1.0", plugin_id="01" * 32)
            engine.enable(SSHFS, Mount={"Mountpoint": "/mnt/volumes/photos"})
            assert journal.next() == f"{SSHFS} activated"
            assert pm.get(SSHFS).implements("LogDriver")
            assert volumes.mount("photos", id="1") == f"/data/plugins/{'01' * 32}/rootfs/mnt/volumes/photos"
            # What happens while the engine is down is noticed when it is back.
            engine.stop()
            engine.disable(SSHFS)
            engine.start()
            assert journal.next() == f"{SSHFS} removed"
    assert eventually(lambda: not [each for each in threading.enumerate() if "docker events" in each.name])


def test_an_async_watch_notices_them_too(engine, registry, sshfs, only_events):
    async def main() -> None:
        async with AsyncPluginManager(registry, groups=()) as pm, pm.watch() as events:
            assert (await anext(events)).name == SSHFS
            engine.disable(SSHFS)
            assert [(await anext(events)).kind for _ in range(2)] == ["lost", "removed"]

    asyncio.run(asyncio.wait_for(main(), 60))


def test_the_engine_repeats_what_happened_before_it_could_be_reached(engine, registry, sshfs):
    engine.stop()
    changes = registry.changes()
    before = time.time()
    engine.start()
    assert eventually(lambda: engine.since)
    assert engine.since[0] <= before
    assert eventually(lambda: select.select([changes], [], [], 0)[0])
    changes.close()
