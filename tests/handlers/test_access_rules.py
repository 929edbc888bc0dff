"""Which handlers and plugins may take part: allow and block lists, of the host and of the environment."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from packages import install

import extframe
from extframe import AsyncPluginManager, LocalRegistry, PluginBlocked, PluginManager, PluginNotFound
from extframe.testing import FakePlugin

HANDLER = """
    import extframe

    @extframe.hookimpl
    def volume_driver(name, client):
        return __name__
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on sys.path with three packages of handlers, none of which is imported yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for distribution, name in (("acme-volumes", "acme"), ("acme-logs", "logs"), ("photos-handler", "photos")):
        module = f"access_{name}"
        install(tmp_path, distribution, module=module, source=HANDLER, entry_points={name: module})
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


class ListeningRegistry(LocalRegistry):
    """A registry that notes what it is asked for."""

    asked: list[str]

    def find(self, name: str) -> extframe.PluginSpec:
        self.asked.append(name)
        return super().find(name)


@pytest.fixture
def registry(short_path: Path) -> ListeningRegistry:
    registry = ListeningRegistry(short_path)
    registry.asked = []
    return registry


def imported(pm: PluginManager) -> set[str]:
    own = {name for name, _ in pm.list_name_plugin() if not name.startswith("extframe.")}
    assert own == {name for name in ("acme", "logs", "photos") if f"access_{name}" in sys.modules}
    return own


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ({"block": ["acme"]}, {}, {"logs", "photos"}),
        ({"block": ["ACME_*"]}, {}, {"photos"}),  # distributions, in any spelling
        ({"block": ["handler:photos", "plugin:acme"]}, {}, {"acme", "logs"}),
        ({"allow": ["acme-*"]}, {}, {"acme", "logs"}),
        ({"allow": ["plugin:photos"]}, {}, {"acme", "logs", "photos"}),  # says nothing about handlers
        ({"allow": []}, {}, set()),
        ({}, {"EXTFRAME_ALLOW": "logs , photos", "EXTFRAME_BLOCK": "photos"}, {"logs"}),
        ({"allow": ["acme"]}, {"EXTFRAME_ALLOW": "*"}, {"acme"}),  # the environment allows no more than the host
        ({}, {"EXTFRAME_DISABLE": "acme", "EXTFRAME_BLOCK": "logs", "EXTFRAME_ALLOW": ""}, {"photos"}),
    ],
)
def test_handlers_that_may_not_take_part_are_not_imported(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    environment: dict[str, str],
    expected: set[str],
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    pm = PluginManager(**arguments)
    assert imported(pm) == expected
    assert pm.has_plugin("extframe.volume_driver")
    assert pm.failures() == []


def test_a_blocked_name_is_refused_whoever_registers_it_until_it_is_unblocked() -> None:
    pm = PluginManager(groups=(), block=["acme*"])
    handler = FakePlugin
    assert pm.is_blocked("acme.volumes")
    assert pm.register(handler, "acme.volumes") is None
    assert pm.unblock("acme.volumes")
    assert not pm.unblock("acme.volumes")
    assert pm.register(handler, "acme.volumes") == "acme.volumes"
    assert pm.is_blocked("acme.others")


def test_plugins_that_may_not_take_part_are_neither_listed_nor_looked_up_nor_contacted(
    short_path: Path, registry: ListeningRegistry
) -> None:
    with (
        FakePlugin(short_path, "acme", ["VolumeDriver"]) as acme,
        FakePlugin(short_path, "photos", ["VolumeDriver"]) as photos,
        PluginManager(registry, groups=(), block=["plugin:ph*"]) as pm,
        pm.watch(),
    ):
        assert pm.scan() == ["acme"]
        assert [plugin.name for plugin in pm.get_all("VolumeDriver")] == ["acme"]
        with pytest.raises(PluginBlocked, match=r"plugin 'photos' is blocked by 'plugin:ph\*' in block="):
            pm.get("photos", wait=60)  # waiting cannot help
        assert pm.failures() == []
        assert "photos" not in registry.asked
        assert acme.calls
        assert not photos.calls


def test_an_async_manager_has_the_same_lists(short_path: Path, registry: ListeningRegistry) -> None:
    async def main() -> None:
        async with AsyncPluginManager(registry, groups=(), allow=["acme"]) as pm:
            assert await pm.scan() == ["acme"]
            with pytest.raises(PluginNotFound, match=r"plugin 'acmee' is not in allow=, which has 'acme'"):
                await pm.get("acmee", wait=60)
            assert (await pm.get("acme")).name == "acme"

    with FakePlugin(short_path, "acme", ["VolumeDriver"]), FakePlugin(short_path, "acmee", ["VolumeDriver"]):
        asyncio.run(main())
    assert registry.asked == ["acme"]


def test_an_entry_that_matches_nothing_is_a_warning_with_a_near_miss(
    site: Path, registry: ListeningRegistry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTFRAME_BLOCK", "acmee,music,handler:zzz")
    with pytest.warns(UserWarning, match="matches") as warned:
        pm = PluginManager(registry, allow=["*"], block=["acme-volume", "photos"])
    expected = [
        "block=: 'acme-volume' matches no handler; did you mean 'acme-volumes'?",
        "EXTFRAME_BLOCK: 'acmee' matches no handler; did you mean 'acme'?",
        "EXTFRAME_BLOCK: 'handler:zzz' matches no handler",
    ]
    assert [str(each.message) for each in warned] == expected
    assert {each.filename for each in warned} == {__file__}
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == expected
    caplog.clear()
    with FakePlugin(registry.directories[0], "musik", ["VolumeDriver"]), warnings.catch_warnings(), pm:
        warnings.simplefilter("error")  # later ones are only logged
        pm.get("musik")
        pm.scan()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "EXTFRAME_BLOCK: 'music' matches no handler; the name of a plugin is similar; did you mean 'musik'?"
    ]


def test_an_entry_that_matches_a_plugin_or_a_handler_is_no_warning(
    site: Path, registry: ListeningRegistry, short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakePlugin(short_path, "tapes", ["VolumeDriver"]):
        PluginManager(registry, block=["tapes", "acme", "zzz"]).scan()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "block=: 'zzz' matches no handler and no plugin"
    ]


@pytest.mark.parametrize("wrong", [5, ["acme", 5], [""], {"acme": 1}])
def test_lists_of_something_else_are_refused(wrong: Any) -> None:
    for arguments in ({"allow": wrong}, {"block": wrong}):
        with pytest.raises(
            TypeError, match=r"expected names and patterns of handlers and plugins, such as \['acme-\*'\]"
        ):
            PluginManager(groups=(), **arguments)
