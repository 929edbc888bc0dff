"""A host that remembers manifests: it contacts no plugin that it does not use, and waits for none that hung."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from faultserver import eventually

from extframe import (
    ActivationError,
    ActivationVetoed,
    AsyncPluginManager,
    AsyncVolumeDriver,
    ConnectError,
    LocalRegistry,
    PluginManager,
    RemoteError,
    SpecError,
    State,
    Volume,
    VolumeDriver,
    hookimpl,
)
from extframe.host import async_fan_out, fan_out, manifest_cache
from extframe.host.manifest_cache import ManifestCache, cache_path
from extframe.protocol import Manifest, PluginSpec
from extframe.testing import Error, FakePlugin, Fault

VOLUMES = {"Volumes": [{"Name": "holiday", "Mountpoint": "/mnt"}]}


@pytest.fixture
def plugins(short_path: Path) -> Iterator[dict[str, FakePlugin]]:
    with ExitStack() as stack:
        found = {}
        for name in ("alpha", "beta"):
            found[name] = stack.enter_context(FakePlugin(short_path, name, ["VolumeDriver"]))
            found[name].answer("VolumeDriver.List", VOLUMES)
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "manifests.json"


def use(directory: Path, cache: Path, *, timeout: float = 3.0) -> tuple[list[str], float]:
    """Run a host that lists the plugins, in threads; return their names and the time that it waited."""
    with PluginManager(LocalRegistry(directory), cache=cache) as pm:
        began = time.monotonic()
        found = pm.get_all("VolumeDriver", timeout=timeout)
        return [plugin.name for plugin in found], time.monotonic() - began


def use_async(directory: Path, cache: Path, *, timeout: float = 3.0) -> tuple[list[str], float]:
    """Run the same host in an event loop."""

    async def main() -> tuple[list[str], float]:
        async with AsyncPluginManager(LocalRegistry(directory), cache=cache) as pm:
            began = time.monotonic()
            found = await pm.get_all("VolumeDriver", timeout=timeout)
            return [plugin.name for plugin in found], time.monotonic() - began

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("use", [use, use_async])


def handshakes(plugin: FakePlugin) -> int:
    return len(plugin.calls_of("Plugin.Activate"))


@BOTH
def test_a_remembered_plugin_gets_its_settings_in_every_run(short_path: Path, cache: Path, use: Any) -> None:
    async def get_async(arguments: dict[str, Any]) -> None:
        async with AsyncPluginManager(LocalRegistry(short_path), cache=cache, **arguments) as pm:
            await pm.get("backup")

    with FakePlugin(short_path, "backup") as plugin:
        plugin.answer("Plugin.Activate", {"Implements": ["Backup"], "Settings": ["Backup"]})
        plugin.answer("Plugin.Configure", {})
        for bucket in ("first", "second"):
            arguments = {"settings": {"backup": {"bucket": bucket}}}
            if use is use_async:
                asyncio.run(get_async(arguments))
            else:
                with PluginManager(LocalRegistry(short_path), cache=cache, **arguments) as pm:
                    pm.get("backup")
        assert handshakes(plugin) == 1
        given = [call.arguments for call in plugin.calls_of("Plugin.Configure")]
        assert given == [{"Settings": {"bucket": "first"}}, {"Settings": {"bucket": "second"}}]


@BOTH
def test_a_remembered_plugin_is_contacted_at_its_first_call_and_again_once_its_source_changes(
    short_path: Path, plugins: dict[str, FakePlugin], cache: Path, use: Any
) -> None:
    for _ in range(2):
        assert use(short_path, cache)[0] == ["alpha", "beta"]
        assert (handshakes(plugins["alpha"]), handshakes(plugins["beta"])) == (1, 1)
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:
        drivers = pm.drivers(VolumeDriver)
        assert [volume.name for volume in drivers["alpha"].list()] == ["holiday"]
        assert pm.get("alpha").state is State.ACTIVE
    assert [len(plugin.calls) for plugin in plugins.values()] == [2, 1]
    plugins["beta"].refuse()
    plugins["beta"].accept()  # another socket
    assert use(short_path, cache)[0] == ["alpha", "beta"]
    assert (handshakes(plugins["alpha"]), handshakes(plugins["beta"])) == (1, 2)
    assert os.stat(cache).st_mode & 0o777 == 0o600


@BOTH
def test_a_plugin_that_hung_is_tried_and_delays_nothing_until_it_answers(
    short_path: Path, plugins: dict[str, FakePlugin], cache: Path, use: Any
) -> None:
    beta = plugins["beta"]
    beta.answer("Plugin.Activate", Fault.HANG)
    names, first = use(short_path, cache)
    assert (names, first >= 3.0) == (["alpha"], True)

    def is_tried() -> bool:  # on a busy machine it may not be, in the time that it is given
        tried = handshakes(beta)
        names, seconds = use(short_path, cache, timeout=60.0)
        assert (names, seconds < 30.0) == (["alpha"], True)
        return handshakes(beta) > tried

    assert eventually(is_tried, 60)
    tried = handshakes(beta)
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:
        assert list(pm.call_all(VolumeDriver, VolumeDriver.list, timeout=60.0).results) == ["alpha"]
        assert any("it failed in the last run" in str(failure) for failure in pm.failures())
        assert eventually(lambda: handshakes(beta) > tried, 30)
        beta.answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
        with pytest.raises(ActivationError):  # of the handshake under way, which hangs: a request waits for it
            pm.get("beta", timeout=0.5)
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:
        assert pm.get("beta").state is State.ACTIVE  # is waited for
    tried = handshakes(beta)
    assert use(short_path, cache)[0] == ["alpha", "beta"]
    assert handshakes(beta) == tried


@pytest.mark.parametrize("kind", [PluginManager, AsyncPluginManager])
def test_the_outcome_of_a_plugin_that_failed_in_the_last_run_is_that_of_this_one(
    kind: type[Any], short_path: Path, plugins: dict[str, FakePlugin], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins["beta"].answer("Plugin.Activate", Fault.CLOSE)
    assert use(short_path, cache)[0] == ["alpha"]
    plugins["beta"].answer("Plugin.Activate", {"Implements": ["VolumeDriver"]})
    plugins["beta"].answer("VolumeDriver.List", Error("out of order"))
    for module in (fan_out, async_fan_out):
        monkeypatch.setattr(module, "SUSPECT_GRACE", 30.0)  # a busy machine's

    async def main() -> None:
        pm = kind(LocalRegistry(short_path), cache=cache)
        if kind is PluginManager:
            outcomes = pm.call_all(VolumeDriver, VolumeDriver.list, timeout=60.0)
        else:
            outcomes = await pm.call_all(AsyncVolumeDriver, AsyncVolumeDriver.list, timeout=60.0)
        assert (list(outcomes.results), type(outcomes.errors["beta"])) == (["alpha"], RemoteError)
        assert pm.failures() == []
        await pm.aclose() if kind is AsyncPluginManager else pm.close()

    asyncio.run(main())


def test_a_plugin_that_died_since_fails_at_its_first_call_at_once_and_is_not_assumed_again(
    short_path: Path, plugins: dict[str, FakePlugin], cache: Path
) -> None:
    use(short_path, cache)
    plugins["beta"].refuse()
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:
        beta = pm.driver("beta", VolumeDriver)
        with pytest.raises(ConnectError, match="nothing listens there"):
            beta.list()  # without waiting for a restart: it was not there in this run
        with pytest.raises(ActivationError):
            pm.get("beta")
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:
        assert list(pm.drivers(VolumeDriver)) == ["alpha"]


def test_a_plugin_that_hangs_at_its_first_call_is_not_assumed_again(
    short_path: Path, plugins: dict[str, FakePlugin], cache: Path
) -> None:
    use(short_path, cache)
    plugins["beta"].answer("VolumeDriver.List", Fault.HANG)
    plugins["beta"].answer("Plugin.Activate", Fault.HANG)
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:

        def list_volumes(volumes: Any) -> list[Volume]:
            client = volumes._client
            return VolumeDriver.remote(client, timeout=0.5 if client.plugin == "beta" else 60).list()

        outcomes = pm.call_all(VolumeDriver, list_volumes)
        assert (list(outcomes.results), list(outcomes.errors)) == (["alpha"], ["beta"])
    assert use_async(short_path, cache, timeout=60.0)[0] == ["alpha"]


def test_what_is_remembered_is_decided_about_by_handlers(
    short_path: Path, plugins: dict[str, FakePlugin], cache: Path
) -> None:
    class Policy:
        @hookimpl
        def plugin_activating(self, name: str) -> list[str] | None:
            if name == "beta":
                raise PermissionError("not today")
            return None

    use(short_path, cache)
    with PluginManager(LocalRegistry(short_path), cache=cache) as pm:
        pm.register(Policy())
        assert list(pm.drivers(VolumeDriver)) == ["alpha"]
        assert handshakes(plugins["beta"]) == 1
        with pytest.raises(ActivationVetoed):
            pm.get("beta")  # now by its own words
    assert use(short_path, cache)[0] == ["alpha", "beta"]  # a veto says nothing about the plugin
    assert handshakes(plugins["beta"]) == 2


def test_a_host_that_ends_without_closing_its_manager_has_remembered(
    short_path: Path, plugins: dict[str, FakePlugin], cache: Path
) -> None:
    program = f"""
        from pathlib import Path
        import extframe
        pm = extframe.PluginManager(extframe.LocalRegistry({str(short_path)!r}), cache=Path({str(cache)!r}))
        print([plugin.name for plugin in pm.get_all("VolumeDriver")])
    """
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
        )
        assert run.stdout == "['alpha', 'beta']\n"
    assert handshakes(plugins["alpha"]) == 1


# --- the file ---------------------------------------------------------------------------------------------


SPEC = PluginSpec("alpha", "unix:///p.sock", stamp=(1, 2))
BACKUP = Manifest(("Backup",), (("Backup", (1, 2)),))


def test_entries_are_found_by_stamp_and_address_expire_and_are_merged_with_those_of_other_processes(
    cache: Path,
) -> None:
    now = [1000.0]
    first, second = (ManifestCache(str(cache), lambda: now[0]) for _ in range(2))
    other = PluginSpec("other", "unix:///p.sock", stamp="x")
    first.record_success(SPEC, BACKUP)
    second.record_success(other, BACKUP)
    second.record_success(PluginSpec("no-stamp", "unix:///p.sock"), BACKUP)
    second.record_success(PluginSpec("odd-stamp", "unix:///p.sock", stamp=object()), BACKUP)
    first.save()
    second.save()
    again = ManifestCache(str(cache), lambda: now[0])
    assert again.manifest(SPEC) == again.manifest(other) == BACKUP
    assert sorted(again._read()) == ["alpha", "other"]  # not those whose stamps mean nothing in another process
    for changed in (
        PluginSpec("alpha", "unix:///p.sock", stamp=(1, 3)),
        PluginSpec("alpha", "unix:///q.sock", stamp=(1, 2)),
    ):
        assert again.manifest(changed) is None
    again.record_failure(SPEC)
    assert (again.manifest(SPEC), again.is_suspect(SPEC)) == (None, True)
    now[0] += manifest_cache.SUSPECT_AGE / 2
    again.record_failure(SPEC)  # does not prolong it
    now[0] += manifest_cache.SUSPECT_AGE / 2
    assert not again.is_suspect(SPEC)
    assert again.manifest(other) == BACKUP
    now[0] += manifest_cache.MANIFEST_AGE
    assert again.manifest(other) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b'{"version": 2, "plugins": {}}', b'{"version": 1, "plugins": {"a": 5}}']
)
def test_a_file_that_cannot_be_used_is_ignored_and_replaced(cache: Path, content: bytes) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)
    found = ManifestCache(str(cache))
    assert found.manifest(SPEC) is None
    found.record_success(SPEC, BACKUP)
    found.save()
    assert ManifestCache(str(cache)).manifest(SPEC) == BACKUP


def test_a_file_that_others_may_write_is_ignored_and_one_that_cannot_be_written_is_a_warning(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = ManifestCache(str(cache))
    found.record_success(SPEC, BACKUP)
    found.save()
    cache.chmod(0o666)
    assert ManifestCache(str(cache)).manifest(SPEC) is None
    below_a_file = ManifestCache(str(cache / "x.json"))
    below_a_file.record_success(SPEC, BACKUP)
    below_a_file.save()
    first, *rest = caplog.messages
    assert "another user may have written it; remove it" in first
    assert "cannot be remembered in" in rest[-1]


def test_a_name_is_that_of_a_file_in_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path("myhost") == str(tmp_path / "myhost" / "extframe-manifests.json")
    assert cache_path("/var/x.json") == cache_path(Path("/var/x.json")) == "/var/x.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # is to be ignored
    assert cache_path("myhost") == os.path.expanduser("~/.cache/myhost/extframe-manifests.json")
    with pytest.raises(SpecError):
        cache_path("../myhost")
    for wrong in (5, "", True):
        with pytest.raises(TypeError, match="expected the host's name, such as 'myhost', or the path of a file"):
            PluginManager(groups=(), cache=wrong)  # type: ignore[arg-type]
