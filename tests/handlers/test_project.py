"""Managers of a pluggy project: `PluginManager(project=...)` for hosts that use pluggy already."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest
from packages import install

import extframe
from extframe import (
    AsyncPluginManager,
    ExtensionPoints,
    LifecycleHooks,
    LocalRegistry,
    PluginLoadWarning,
    PluginManager,
)
from extframe.testing import FakePlugin

hookspec, hookimpl = pluggy.HookspecMarker("notes"), pluggy.HookimplMarker("notes")


class Specs:
    """The hooks of a host, some of which are named as extframe's are."""

    @hookspec
    def authz(self, request: dict[str, str]) -> object:
        """Docker's authz takes a plugin's name and client."""

    @hookspec
    def plugin_activated(self, count: int) -> object:
        """extframe's plugin_activated takes a plugin."""

    @hookspec
    def shutdown(self) -> object:
        """No hook of extframe has no arguments."""

    @extframe.hookspec
    def greet(self, who: str) -> object:
        """Marked with extframe's marker."""


class Handler:
    """Hook implementations with the markers of the project and of extframe."""

    @hookimpl
    def authz(self, request: dict[str, str]) -> object:
        return request["user"]

    @hookimpl
    def plugin_activated(self, count: int) -> object:
        return count

    @hookimpl
    def shutdown(self) -> object:
        raise AssertionError("no plugin may call this")

    @extframe.hookimpl
    def greet(self, who: str) -> object:
        return f"hello {who}"


@pytest.fixture(params=[PluginManager, AsyncPluginManager])
def manager_class(request: pytest.FixtureRequest) -> type[PluginManager | AsyncPluginManager]:
    """The two managers, which share what is tested here."""
    cls: type[PluginManager | AsyncPluginManager] = request.param
    return cls


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on sys.path, for packages; what was imported from it is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def put(site: Path, module: str, source: str, group: str = "notes") -> None:
    """Install a package with one module, which is its only entry point."""
    name = module.replace("_", "-")
    install(site, name, module=module, source=source, entry_points={module: module}, group=group)


# --- hooks and markers --------------------------------------------------------------------------------


def test_it_has_the_projects_markers_and_no_hooks_but_those_that_the_host_adds(
    manager_class: type[PluginManager],
) -> None:
    pm = manager_class(project="notes")
    assert isinstance(pm, pluggy.PluginManager)
    assert pm.project_name == "notes"
    assert list(vars(pm.hook)) == []
    pm.add_hookspecs(Specs)
    pm.register(Handler(), "mine")
    assert sorted(vars(pm.hook)) == ["authz", "greet", "plugin_activated", "shutdown"]
    assert pm.hook.authz(request={"user": "ann"}) == ["ann"]
    assert pm.hook.plugin_activated(count=3) == [3]
    assert pm.hook.greet(who="bob") == ["hello bob"]
    pm.check_pending()


def test_hooks_of_the_host_are_not_called_for_plugins(short_path: Path) -> None:
    points = ("authz", "Shutdown", "Greet", "PluginActivated")
    with FakePlugin(short_path, "hostile", points), PluginManager(LocalRegistry(short_path), project="notes") as pm:
        pm.add_hookspecs(Specs)
        pm.register(Handler(), "mine")
        pm.get("hostile")
        failures = sorted(str(failure) for failure in pm.failures())
    assert len(failures) == 4
    assert "'Shutdown' in the manifest has no usable hook: its hookspec takes no arguments" in failures[2]
    assert "'authz' in the manifest has no usable hook: its hookspec takes request" in failures[3]


def test_extframes_hooks_are_there_when_the_host_adds_them(short_path: Path) -> None:
    activated: list[str] = []
    delivered = threading.Event()

    class Log:
        @extframe.hookimpl
        def plugin_activated(self, name: str) -> None:
            activated.append(name)
            delivered.set()

    with (
        FakePlugin(short_path, "photos", ["VolumeDriver"]),
        PluginManager(LocalRegistry(short_path), project="notes") as pm,
    ):
        pm.add_hookspecs(ExtensionPoints)
        pm.add_hookspecs(LifecycleHooks)
        pm.register(Log())
        pm.handle("VolumeDriver", lambda name, client: f"driver of {name}")
        assert pm.driver("photos", "VolumeDriver") == "driver of photos"
        assert delivered.wait(30)
    assert activated == ["photos"]


def test_an_async_manager_passes_no_lifecycle_event_to_a_hook_of_the_same_name(short_path: Path) -> None:
    async def main() -> list[Any]:
        async with AsyncPluginManager(LocalRegistry(short_path), project="notes") as pm:
            pm.add_hookspecs(Specs)
            pm.register(Handler(), "mine")
            await pm.driver("photos", extframe.AsyncVolumeDriver)
            return pm.failures()

    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        assert asyncio.run(main()) == []


# --- what a host's `plugins` command lists ------------------------------------------------------------


def test_what_extframe_registers_has_a_name_and_is_not_among_the_hosts_plugins(
    manager_class: type[PluginManager],
) -> None:
    pm = manager_class(project="notes")
    handler = Handler()
    pm.register(handler, "mine")
    name = pm.handle("Greeter", print)
    pm.load_handlers("extframe")
    assert pm.get_plugins() == {handler}
    assert pm.get_plugin(name).__name__ == name == "Greeter:print"
    assert pm.get_plugin("extframe.authz").__name__ == "extframe.authz"
    assert name in dict(pm.list_name_plugin())
    named = manager_class()
    assert {plugin.__name__ for plugin in named.get_plugins()} == {name for name, _ in named.list_name_plugin()}


# --- loading ------------------------------------------------------------------------------------------


def test_the_host_loads_its_group_when_it_is_ready(site: Path, manager_class: type[PluginManager]) -> None:
    put(site, "notes_one", "import pluggy\n@pluggy.HookimplMarker('notes')\ndef greet(who): return f'one {who}'\n")
    put(site, "notes_theme", "TEMPLATES = 'templates'")
    put(site, "notes_uses_docker", "from extframe import VolumeDriver, hookspec\n@hookspec\ndef other(): pass\n")
    put(site, "kedro_like", "import extframe\n@extframe.hookimpl\ndef greet(who): return 'k'\n", group="notes.hooks")
    pm = manager_class(project="notes")
    assert pm.list_name_plugin() == []
    pm.add_hookspecs(Specs)
    assert pm.load_handlers() == 3
    assert pm.load_handlers() == 0
    assert sorted(name for name, _ in pm.list_name_plugin()) == ["notes_one", "notes_theme", "notes_uses_docker"]
    assert sorted(vars(pm.hook)) == sorted(name for name in vars(Specs) if not name.startswith("_"))
    assert pm.hook.greet(who="ann") == ["one ann"]
    assert {info.project_name for _, info in pm.list_plugin_distinfo()} == {
        "notes-one", "notes-theme", "notes-uses-docker",
    }  # fmt: skip

    pm = manager_class(project="notes", groups="notes.hooks")
    assert pm.load_handlers() == 1
    assert pm.hook.greet(who="ann") == ["k"]


BROKEN = "import extframe, library_that_is_not_installed\n"
TEXT = (
    "'notes_broken' (notes_broken) of notes-broken 1.0 was not loaded: ModuleNotFoundError: No module named "
    "'library_that_is_not_installed'; reinstall it with its dependencies: pip install --force-reinstall notes-broken"
)


@pytest.mark.parametrize("group", ["notes", "extframe"])
def test_an_entry_point_that_fails_is_a_warning_at_the_hosts_line(
    site: Path, manager_class: type[PluginManager], group: str
) -> None:
    put(site, "notes_broken", BROKEN, group)
    put(site, "notes_fine", "import extframe\n@extframe.hookimpl\ndef greet(who): return 'fine'\n", group)

    def load() -> PluginManager:
        pm = manager_class(project="notes" if group == "notes" else None)
        if group == "notes":
            pm.load_handlers()
        return pm

    with pytest.warns(PluginLoadWarning) as caught:
        pm = load()
    assert [str(each.message) for each in caught] == [TEXT]
    assert caught[0].filename == __file__
    assert pm.hook.greet(who="ann") == ["fine"]
    assert [failure.distribution for failure in pm.failures()] == ["notes-broken"]


def test_warnings_as_errors_are_raised_when_the_rest_is_loaded(site: Path) -> None:
    put(site, "notes_broken", "raise RuntimeError('two\\nlines')")
    put(site, "notes_fine", "import extframe\n@extframe.hookimpl\ndef greet(who): return 'fine'\n")
    pm = PluginManager(project="notes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PluginLoadWarning, match="RuntimeError: two lines; update or uninstall notes-broken, or"):
            pm.load_setuptools_entrypoints("notes")
    assert pm.has_plugin("notes_fine")


def test_a_host_without_logging_prints_the_failure_and_the_command_prints_its_table(site: Path) -> None:
    put(site, "notes_broken", BROKEN, "extframe")
    host = f"import sys; sys.path.insert(0, {str(site)!r}); import extframe; extframe.PluginManager()"
    printed = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, timeout=60, check=True)
    assert f"PluginLoadWarning: {TEXT}" in printed.stderr.splitlines()[0]

    command = f"import sys; sys.path.insert(0, {str(site)!r}); from extframe.cli import main; main()"
    listed = subprocess.run(
        [sys.executable, "-c", command, "handlers"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "notes_broken" in listed.stdout
    assert "PluginLoadWarning" not in listed.stderr


# --- arguments, copies --------------------------------------------------------------------------------


@pytest.mark.parametrize("project", [3, "", b"notes"])
def test_a_project_of_another_type_is_refused(project: Any) -> None:
    with pytest.raises(TypeError, match="project is .*; expected the name of a pluggy project, such as 'datasette'"):
        PluginManager(project=project)


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_says_what_to_do_instead(manager_class: type[PluginManager], act: Any) -> None:
    with pytest.raises(TypeError, match="threads may share it, and another process creates its own .*PluginManager"):
        act(manager_class(project="notes"))
