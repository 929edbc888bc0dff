"""Handlers in groups ``extframe.HOOK`` are imported when their hook is first needed, and their imports are timed."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest
from faultserver import eventually
from packages import install

from extframe import (
    ActivationVetoed,
    AsyncPluginManager,
    AsyncVolumeDriver,
    CallTimeout,
    LocalRegistry,
    PluginLoadWarning,
    PluginManager,
    VolumeDriver,
    hookimpl,
)
from extframe.handlers import entry_importer
from extframe.handlers.entry_points import EntryPoint
from extframe.testing import FakePlugin

HANDLER = """
    import extframe

    @extframe.hookimpl
    def {hook}(name, client):
        return "{module}"
"""


class Site:
    """A directory on sys.path with packages, and plugins next to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.modules: list[str] = []

    def put(self, hook: str, module: str, source: str = HANDLER, name: str = "", group: str = "") -> None:
        """Install a package with one module, which is an entry point of the group of a hook."""
        self.modules.append(module)
        source = source.format(hook=hook, module=module)
        group = group or f"extframe.{hook}"
        points = {name or module: module}
        install(
            self.directory, module.replace("_", "-"), module=module, source=source, entry_points=points, group=group
        )

    def imported(self) -> list[str]:
        return [module for module in self.modules if module in sys.modules]


@pytest.fixture
def site(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    directory = short_path / "site"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    site = Site(directory)
    yield site
    for module in site.modules:
        sys.modules.pop(module, None)


@pytest.fixture
def photos(short_path: Path) -> Iterator[LocalRegistry]:
    """A registry with two plugins, photos and music, that implement VolumeDriver."""
    with FakePlugin(short_path, "photos", ["VolumeDriver"]), FakePlugin(short_path, "music", ["VolumeDriver"]):
        yield LocalRegistry(short_path)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_of_fifty_handlers_the_two_that_are_used_are_imported(
    site: Site, photos: LocalRegistry, is_async: bool
) -> None:
    for number in range(48):
        site.put(f"hook_{number}", f"unused_{number}")
    site.put("volume_driver", "used_first")
    site.put("VolumeDriver", "used_second", HANDLER.replace("{hook}", "volume_driver"))  # the extension point's name

    async def use_async() -> Any:
        async with AsyncPluginManager(photos) as pm:
            assert site.imported() == []
            return await pm.driver("photos", "VolumeDriver"), (await pm.get_all("VolumeDriver")), pm.failures()

    def use() -> Any:
        with PluginManager(photos) as pm:
            assert site.imported() == []
            return pm.driver("photos", "VolumeDriver"), pm.get_all("VolumeDriver"), pm.failures()

    driver, plugins, failures = asyncio.run(use_async()) if is_async else use()
    assert driver == "used_second"
    assert [plugin.driver("VolumeDriver") for plugin in plugins] == ["used_second", "used_second"]
    assert failures == []
    assert site.imported() == ["used_first", "used_second"]


def test_the_general_group_and_a_named_group_are_imported_at_once(site: Site) -> None:
    site.put("volume_driver", "general", group="extframe")
    site.put("log_driver", "later")
    with PluginManager() as pm:
        assert site.imported() == ["general"]
        assert [(row.name, row.state, row.hooks) for row in pm.describe() if row.distribution == "later"] == [
            ("later", "deferred", ("log_driver",))
        ]
        assert pm.load_handlers("extframe.log_driver") == 1
        assert pm.hook.log_driver(name="a", client=None)[0] == "later"
        assert [row.state for row in pm.describe() if row.distribution == "later"] == ["loaded"]


ORDERED = """
    import extframe

    @extframe.hookimpl({options})
    def {hook}(name, client):
        return "{module}"
"""
WRAPPING = """
    import extframe

    @extframe.hookimpl(wrapper=True)
    def {hook}(name, client):
        return ["wrapped", *(yield)]
"""


def words(results: list[object]) -> list[str]:
    """Return what the handlers of these tests returned, without the built-in handler's driver."""
    return [result for result in results if isinstance(result, str)]


class Given:
    """A handler of the host's."""

    @hookimpl
    def volume_driver(self, name: str, client: object) -> str:
        return "given"


def test_a_hook_that_the_host_calls_imports_its_handlers_which_are_called_in_pluggys_order(site: Site) -> None:
    site.put("volume_driver", "comes_last", ORDERED.replace("{options}", "trylast=True"))
    site.put("volume_driver", "comes_first", ORDERED.replace("{options}", "tryfirst=True"))
    site.put("volume_driver", "goes_around", WRAPPING)
    site.put("volume_driver", "plain")
    site.put("log_driver", "unused")
    with PluginManager() as pm:
        pm.register(Given())
        expected = ["wrapped", "comes_first", "plain", "given", "comes_last"]
        assert words(pm.hook.volume_driver(name="a", client=None)) == expected
        assert words(pm.hook.volume_driver(name="a", client=None)) == expected
        assert site.imported() == ["comes_last", "comes_first", "goes_around", "plain"]


def test_a_call_with_extra_or_fewer_handlers_is_passed_to_those_and_to_what_it_imports(site: Site) -> None:
    site.put("volume_driver", "plain")
    given = Given()
    with PluginManager() as pm:
        pm.register(given)
        some = pm.subset_hook_caller("volume_driver", [given])
        assert words(some(name="a", client=None)) == ["plain"]
    sys.modules.pop("plain")
    with PluginManager() as pm:
        pm.register(given)
        extra = [lambda name: f"extra {name}"]
        seen = pm.hook.volume_driver.call_extra(extra, {"name": "a", "client": None})
        assert words(seen) == ["extra a", "plain", "given"]


def test_a_handler_that_is_imported_for_a_historic_call_is_called_once(site: Site) -> None:
    site.put("began", "late", HANDLER.replace("name, client", "name").replace('"{module}"', 'name + " {module}"'))
    markers = pluggy.HookspecMarker("extframe")

    class Specs:
        @markers(historic=True)
        def began(self, name: str) -> None: ...

    seen: list[str] = []
    with PluginManager() as pm:
        pm.add_hookspecs(Specs)
        pm.hook.began.call_historic(kwargs={"name": "a"}, result_callback=seen.append)
        assert seen == ["a late"]


def test_a_host_calls_a_hook_while_another_thread_imports_its_handlers(site: Site) -> None:
    slow = HANDLER.replace("import extframe", "import extframe, time; time.sleep(0.3)")
    site.put("volume_driver", "slow_first", slow)
    site.put("volume_driver", "slow_second", slow)
    with PluginManager() as pm:
        results: list[list[str]] = []
        threads = [
            threading.Thread(target=lambda: results.append(words(pm.hook.volume_driver(name="a", client=None))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [["slow_second", "slow_first"]] * 4


WAITING = """
    import sys
    import extframe

    begun, go_on = sys.test_events
    begun.set()
    assert go_on.wait(60)
    calls = []

    @extframe.hookimpl
    def volume_driver(name, client):
        calls.append(name)
        return "waited"
"""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """What a module with the source `WAITING` sets when its import begins, and what it waits for."""
    both = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "test_events", both, raising=False)
    return both


WAITING_WHEN_REGISTERED = """
    import sys
    import extframe

    @extframe.hookimpl
    def volume_driver(name, client):
        return "waited"

    def __dir__():  # is called when its hookimpls are searched
        begun, go_on = sys.test_events
        begun.set()
        assert go_on.wait(60)
        return ["volume_driver"]
"""


@pytest.mark.parametrize("source", [WAITING, WAITING_WHEN_REGISTERED], ids=["imported", "registered"])
def test_a_handler_that_is_installed_while_others_are_imported_and_registered_is_not_lost(
    site: Site, events: tuple[threading.Event, threading.Event], source: str
) -> None:
    begun, go_on = events
    site.put("volume_driver", "waiting", source)
    results: list[list[str]] = []
    with PluginManager() as pm:
        call = threading.Thread(target=lambda: results.append(words(pm.hook.volume_driver(name="a", client=None))))
        call.start()
        assert begun.wait(60)
        site.put("volume_driver", "installed")
        pm.load_handlers()
        waiter = threading.Thread(target=lambda: results.append(words(pm.hook.volume_driver(name="a", client=None))))
        waiter.start()
        go_on.set()
        for thread in (call, waiter):
            thread.join(60)
        assert words(pm.hook.volume_driver(name="a", client=None)) == ["installed", "waited"]
    assert results == [["installed", "waited"]] * 2


def test_callers_that_come_during_the_import_wait_for_it_each_with_its_deadline(
    site: Site, photos: LocalRegistry, events: tuple[threading.Event, threading.Event]
) -> None:
    begun, go_on = events
    site.put("volume_driver", "waiting", WAITING)
    drivers: list[Any] = []
    with PluginManager(photos) as pm:
        names = ["photos", "photos", "music"]
        threads = [threading.Thread(target=lambda n=n: drivers.append(pm.driver(n, "VolumeDriver"))) for n in names]
        for thread in threads:
            thread.start()
        assert begun.wait(60)
        assert eventually(lambda: (plugin := pm._activator.table.known("photos")) is not None and plugin.is_made)
        with pytest.raises(CallTimeout, match="the handlers of volume_driver are still being imported"):
            pm.get("photos", "VolumeDriver", timeout=0.3)
        go_on.set()
        for thread in threads:
            thread.join(60)
    assert drivers == ["waited"] * 3
    assert sorted(sys.modules["waiting"].calls) == ["music", "photos"]


def test_an_import_does_not_block_the_event_loop(
    site: Site, photos: LocalRegistry, events: tuple[threading.Event, threading.Event]
) -> None:
    begun, go_on = events
    site.put("volume_driver", "waiting", WAITING)

    async def main() -> Any:
        async with AsyncPluginManager(photos) as pm:
            task = asyncio.create_task(pm.driver("photos", "VolumeDriver"))
            while not begun.is_set():
                await asyncio.sleep(0.01)
            go_on.set()  # by this loop, while the module is imported
            return await task

    assert asyncio.run(main()) == "waited"


def test_a_module_that_fails_is_a_failure_and_the_others_are_used(site: Site, photos: LocalRegistry) -> None:
    site.put("volume_driver", "failing", "raise RuntimeError('no libfoo')")
    site.put("volume_driver", "working")
    with PluginManager(photos) as pm:
        with pytest.warns(PluginLoadWarning, match="'failing' .* RuntimeError: no libfoo"):
            driver = pm.driver("photos", "VolumeDriver")
        assert driver == "working"
        assert [failure.distribution for failure in pm.failures()] == ["failing"]


@pytest.mark.filterwarnings("error::extframe.PluginLoadWarning")
def test_a_module_that_fails_does_not_fail_the_call_where_warnings_are_errors(
    site: Site, photos: LocalRegistry
) -> None:
    site.put("volume_driver", "failing", "raise RuntimeError('no libfoo')")
    with PluginManager(photos) as pm:
        assert isinstance(pm.driver("photos", VolumeDriver), VolumeDriver)
        assert [failure.distribution for failure in pm.failures()] == ["failing"]


def test_blocked_and_hostile_names_import_nothing(site: Site, short_path: Path) -> None:
    site.put("volume_driver", "blocked")
    site.put("plugin_lost", "lost", HANDLER.replace("name, client", "name"))
    site.put("plugins", "served_elsewhere")  # the group of plugins in processes of their own
    points = ["VolumeDriver", "PluginLost", "Plugins"]
    with (
        FakePlugin(short_path, "photos", points),
        PluginManager(LocalRegistry(short_path), block=["handler:blocked"]) as pm,
    ):
        assert isinstance(pm.driver("photos", VolumeDriver), VolumeDriver)
        assert site.imported() == []
        assert [row.state for row in pm.describe() if row.name == "blocked"] == ["blocked"]


def test_a_module_may_declare_the_interface_and_have_other_hooks(site: Site, short_path: Path) -> None:
    source = """
        import extframe

        class Backup(extframe.Interface, implements="Backup"):
            '''Keeps copies.'''

            @extframe.rpc("Start")
            def start(self) -> None:
                raise NotImplementedError

        @extframe.hookimpl
        def backup(name, client):
            return extframe.remote(Backup, client)

        @extframe.hookimpl
        def volume_driver(name, client):
            return f"volumes of {name}"
    """.replace("{name}", "{{name}}")
    site.put("backup", "backup_handlers", source)
    with (
        FakePlugin(short_path, "copies", ["Backup"]),
        FakePlugin(short_path, "photos", ["VolumeDriver"]),
        PluginManager(LocalRegistry(short_path)) as pm,
    ):
        photos = pm.get("photos")
        assert site.imported() == []
        assert type(pm.driver("copies", "Backup")).__name__.endswith("Backup")
        assert photos.driver("VolumeDriver") == "volumes of photos"


EVENTS = """
    import sys
    import extframe

    @extframe.hookimpl
    def {hook}(name):
        sys.test_seen.append(("{hook}", name))
"""


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_lifecycle_hooks_are_imported_at_their_first_event_and_vetoes_at_once(
    site: Site, photos: LocalRegistry, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(sys, "test_seen", seen, raising=False)
    for hook in ("plugin_activating", "plugin_activated", "plugin_removed"):
        site.put(hook, f"on_{hook}", EVENTS)

    async def main() -> None:
        async with AsyncPluginManager(photos) as pm:
            assert site.imported() == ["on_plugin_activating"]
            await pm.get("photos")
            while len(seen) < 2:
                await asyncio.sleep(0.01)

    if is_async:
        asyncio.run(asyncio.wait_for(main(), 60))
    else:
        with PluginManager(photos) as pm:
            assert site.imported() == ["on_plugin_activating"]
            pm.get("photos")
            assert eventually(lambda: len(seen) == 2)
    assert seen == [("plugin_activating", "photos"), ("plugin_activated", "photos")]
    assert site.imported() == ["on_plugin_activating", "on_plugin_activated"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_veto_in_the_group_of_another_hook_counts_once_it_is_imported(
    site: Site, photos: LocalRegistry, is_async: bool
) -> None:
    source = """
        import extframe

        @extframe.hookimpl
        def plugin_activating(name):
            raise PermissionError(f"{name} is not trusted")
    """.replace("{name}", "{{name}}")
    site.put("volume_driver", "misplaced", source)

    async def use_async() -> None:
        async with AsyncPluginManager(photos) as pm:
            held = await pm.driver("photos", AsyncVolumeDriver)
            with pytest.raises(ActivationVetoed, match="photos is not trusted"):
                await held.list()

    if is_async:
        asyncio.run(use_async())
        return
    with PluginManager(photos) as pm:
        held = pm.driver("photos", VolumeDriver)  # which imports it
        with pytest.raises(ActivationVetoed, match="photos is not trusted"):
            held.list()


def test_a_misspelt_hook_is_reported_when_the_manager_is_created(site: Site) -> None:
    site.put("volume_drivr", "misspelt")
    with PluginManager() as pm:
        [failure] = pm.failures()
        assert "no package specifies the hook 'volume_drivr'; did you mean 'volume_driver'?" in str(failure)


# --- seconds ------------------------------------------------------------------------------------------


def test_each_import_is_timed_and_a_slow_one_is_named(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time; time.sleep(0.05)\n" + HANDLER.replace("\n    ", "\n")
    site.put("volume_driver", "slow_general", slow, group="extframe")
    site.put("volume_driver", "quick", group="extframe")
    site.put("log_driver", "slow_later", slow)
    monkeypatch.setattr(entry_importer, "SLOW", 0.04)
    with caplog.at_level(logging.DEBUG, "extframe.handlers.entry_importer"), PluginManager() as pm:
        pm.load_handlers("extframe.log_driver")
        times = pm.import_times()
    assert times["slow_general"] >= 0.05
    assert times["slow_later"] >= 0.05
    warned = [text for text in caplog.messages if "took" in text and "slow" in text]
    assert [text.partition(" took ")[0] for text in warned] == [
        "importing entry point 'slow_general' (slow_general) of slow-general 1.0",
        "importing entry point 'slow_later' (slow_later) of slow-later 1.0",
    ]
    assert warned[0].endswith("s; in a group extframe.HOOK it is imported when its hook is needed")
    assert warned[1].endswith(" s")
    assert any("entry point 'extframe.authz'" in text for text in caplog.messages)


def test_the_metadata_of_packages_are_not_read_when_nothing_is_reported(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("volume_driver", "general", group="extframe")
    site.put("log_driver", "later")
    read: list[str] = []
    monkeypatch.setattr(EntryPoint, "origin", property(lambda entry: read.append(entry.name) or (None, None)))
    logging.getLogger("extframe.handlers.entry_importer").setLevel(logging.INFO)
    try:
        with PluginManager() as pm:
            assert pm.load_handlers("extframe.log_driver") == 1
    finally:
        logging.getLogger("extframe.handlers.entry_importer").setLevel(logging.NOTSET)
    assert read == []
