"""Several registries as one: the first that has a name counts, and one that fails hides nothing."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

import pytest
from supervised import Plugins, eventually

import extframe
from extframe import ExtframeError, LocalRegistry, PluginNotFound, PluginSpec, RegistryChain, SpecError
from extframe.concurrency.wake_pipe import WakePipe


class Inventory:
    """A registry of a host's own, which can fail, be slow and be closed."""

    def __init__(self, **plugins: str) -> None:
        self.plugins = plugins
        self.failure: Exception | None = None
        self.pause = 0.0
        self.closed = False

    def scan(self) -> list[str]:
        self._look()
        return sorted(self.plugins)

    def find(self, name: str) -> PluginSpec:
        self._look()
        if name not in self.plugins:
            raise PluginNotFound(f"no plugin {name!r}: looked in the inventory", plugin=name)
        return PluginSpec(name, self.plugins[name], stamp=self.plugins[name])

    def stamp(self, spec: PluginSpec) -> object:
        self._look()
        return self.plugins.get(spec.name)

    def why(self, spec: PluginSpec, error: Exception) -> str:
        return "is on vacation"

    def close(self) -> None:
        self.closed = True

    def _look(self) -> None:
        time.sleep(self.pause)
        if self.failure is not None:
            raise self.failure


class Broken(Inventory):
    """The same, with optional methods that raise."""

    def why(self, spec: PluginSpec, error: Exception) -> str:
        raise LookupError("no idea")

    def starts_on_use(self, name: str) -> bool:
        raise LookupError("no idea")

    def close(self) -> None:
        raise LookupError("no idea")


def spec_file(directory: Path, name: str, address: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.spec").write_text(address)


def test_the_first_registry_that_has_a_name_counts(short_path):
    first, second = short_path / "a", short_path / "b"
    spec_file(second, "photos", "tcp://127.0.0.1:2")
    spec_file(second, "music", "tcp://127.0.0.1:3")
    chain = RegistryChain(LocalRegistry(first), LocalRegistry(second))
    assert chain.directories == (str(first), str(second))
    assert chain.scan() == ["music", "photos"]
    found = chain.find("photos")
    assert found.address == "tcp://127.0.0.1:2"
    assert chain.stamp(found) == found.stamp
    spec_file(first, "photos", "tcp://127.0.0.1:1")  # it hides the second one from now on
    assert chain.stamp(found) is None
    assert chain.find("photos").address == "tcp://127.0.0.1:1"
    spec_file(first, "photos", "nonsense")
    with pytest.raises(SpecError):
        chain.find("photos")
    with pytest.raises(PluginNotFound, match=f"no plugin 'x': looked for x.sock.* in {first}.*; looked .* in {second}"):
        chain.find("x")
    with pytest.raises(TypeError, match="at least one registry"):
        RegistryChain()
    with pytest.raises(TypeError, match="has no method scan"):
        extframe.PluginManager([LocalRegistry(first), object()], groups=())  # type: ignore[list-item]


def test_a_registry_that_fails_hides_nothing(short_path, caplog):
    spec_file(short_path, "photos", "tcp://127.0.0.1:2")
    inventory = Inventory(music="tcp://127.0.0.1:3")
    chain = RegistryChain(inventory, LocalRegistry(short_path))
    assert chain.directories == ()  # an inventory is polled
    assert chain.changes() is None
    inventory.failure = KeyError("database")
    with pytest.raises(ExtframeError, match="registry Inventory could not list plugins: KeyError: 'database'"):
        chain.scan()
    inventory.failure = None
    assert chain.scan() == ["music", "photos"]
    inventory.failure = KeyError("database")
    assert chain.scan() == ["music", "photos"]
    assert "its plugins of the last scan are used" in caplog.text
    assert chain.find("photos").address == "tcp://127.0.0.1:2"
    with pytest.raises(ExtframeError, match="registry Inventory could not find plugin 'x': KeyError") as caught:
        chain.find("x")
    assert not isinstance(caught.value, PluginNotFound)


def test_an_active_plugin_stays_usable_while_its_registry_fails(short_path):
    with extframe.serving(Volumes(), name="photos", directory=short_path) as plugin:
        inventory = Inventory(photos=plugin.address)
        with extframe.PluginManager([LocalRegistry(short_path / "none"), inventory], groups=()) as pm:
            first = pm.get("photos")
            inventory.failure = OSError("the database is gone")
            assert pm.get("photos") is first
            assert "registry Inventory could not find plugin 'photos'" in str(pm.failures()[0].exception)
        assert inventory.closed


class Volumes(extframe.VolumeDriver):
    def get(self, name: str) -> extframe.Volume:
        raise NotImplementedError


def test_a_deadline_covers_a_slow_registry_in_a_chain():
    inventory = Inventory(photos="unix:///nowhere.sock")
    inventory.pause = 20.0
    with extframe.PluginManager([inventory], groups=()) as pm:
        began = time.monotonic()
        with pytest.raises(extframe.CallTimeout, match="registry RegistryChain did not find plugin 'photos' in time"):
            pm.get("photos", timeout=0.1)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("kind", [Inventory, Broken])
def test_a_registry_explains_a_failure_if_it_can(kind, caplog):
    inventory = kind(photos="unix:///nowhere.sock")
    with extframe.PluginManager([inventory], groups=()) as pm, pytest.raises(extframe.ActivationError) as caught:
        pm.get("photos")
    if kind is Inventory:
        assert str(caught.value) == "plugin 'photos' is on vacation"
    else:
        assert "there is no such socket; is the plugin running?" in str(caught.value)
        assert "registry RegistryChain could not call why(): LookupError: no idea" in caplog.text
        assert "could not call close()" in caplog.text or "registry Broken could not close" in caplog.text


def test_a_chain_passes_on_the_changes_of_its_registries(short_path):
    plugins = Plugins(short_path)
    plugins.write("photos")
    supervisor = plugins.supervisor()
    chain = RegistryChain(LocalRegistry(short_path / "none"), supervisor)
    assert str(plugins.directory) in chain.directories
    assert chain.scan() == ["photos"]
    assert chain.starts_on_use("photos")
    assert not chain.starts_on_use("x")
    before = len(os.listdir("/proc/self/fd"))
    changes = chain.changes()
    assert changes is not None
    supervisor.start("photos")
    assert select.select([changes], [], [], 30)[0]
    eventually(lambda: supervisor.status("photos").state is extframe.ProcessState.RUNNING)

    def is_quiet() -> bool:
        changes.drain()
        return not select.select([changes], [], [], 0.05)[0]

    eventually(is_quiet)  # the state is there before it is reported
    assert not chain.starts_on_use("photos")
    changes.close()
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 4)  # the supervisor's pipe to the process
    chain.close()
    with pytest.raises(ExtframeError, match="this Supervisor is closed"):
        chain.find("photos")


class NoThread(Inventory):
    def changes(self) -> object:
        raise ExtframeError("no thread")


def test_what_was_followed_ends_if_another_registry_cannot_be():
    followed = []

    class Followed(Inventory):
        def changes(self) -> WakePipe:
            followed.append(WakePipe())
            return followed[-1]

    with pytest.raises(ExtframeError, match="no thread"):
        RegistryChain(Followed(), NoThread()).changes()
    assert [pipe._closed for pipe in followed] == [True]
    changes = RegistryChain(Followed(), Followed()).changes()
    assert [pipe._closed for pipe in followed] == [True, False, False]
    changes.close()
    assert [pipe._closed for pipe in followed] == [True] * 3


class Dormant(Inventory):
    def starts_on_use(self, name: str) -> bool:
        return True


def test_what_is_found_while_two_threads_scan_the_registries_is_not_forgotten():
    class Appearing(Inventory):
        scans = 0

        def scan(self) -> list[str]:
            self.scans += 1
            if self.scans == 1:
                chain.scan()  # as a watch does meanwhile
            else:
                first.plugins["photos"] = "unix:///first.sock"
                chain.find("photos")
            return super().scan()

    first = Dormant()
    chain = RegistryChain(first, Appearing(photos="unix:///second.sock"))
    assert chain.scan() == ["photos"]
    assert chain.starts_on_use("photos")
    assert chain._found == []


def test_what_is_found_while_the_registries_are_scanned_is_not_forgotten():
    class Appearing(Inventory):
        def scan(self) -> list[str]:
            first.plugins["photos"] = "unix:///first.sock"
            chain.find("photos")
            return super().scan()

    first = Dormant()
    chain = RegistryChain(first, Appearing(photos="unix:///second.sock"))
    assert chain.scan() == ["photos"]
    assert chain.starts_on_use("photos")
    first.plugins.clear()
    chain.find("photos")
    assert not chain.starts_on_use("photos")
