"""Which of several handlers' drivers is used: the host's user's choice, or else pluggy's order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packages import install

import extframe
from extframe import AsyncPluginManager, LocalRegistry, PluginManager, VolumeDriver
from extframe.testing import FakePlugin

HANDLER = """
    import extframe

    class {name}(extframe.VolumeDriver):
        def __init__(self, client): self.client = client

    @extframe.hookimpl
    def volume_driver(name, client):
        return {name}(client)
"""


@pytest.fixture
def plugins(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a plugin, photos, for which the packages acme-volumes and zeta-volumes have handlers."""
    site = short_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    for name in ("Acme", "Zeta"):
        low = name.lower()
        points = {low: f"{low}_volumes"}
        install(site, f"{low}-volumes", module=f"{low}_volumes", source=HANDLER.format(name=name), entry_points=points)
    with FakePlugin(short_path, "photos", ["VolumeDriver"]):
        yield short_path
    for name in ("acme_volumes", "zeta_volumes"):
        sys.modules.pop(name, None)


def used(directory: Path, prefer: Any, interface: Any = VolumeDriver) -> str:
    with PluginManager(LocalRegistry(directory), prefer=prefer) as pm:
        return type(pm.driver("photos", interface)).__name__


@pytest.mark.parametrize(
    ("prefer", "name"),
    [
        ({}, "Zeta"),  # loaded last
        ({"VolumeDriver": ["acme"]}, "Acme"),
        ({"VolumeDriver": ["Acme_Volumes"]}, "Acme"),  # the distribution, in any spelling
        ({"VolumeDriver": ("ac*",)}, "Acme"),
        ({"VolumeDriver": ["zeta", "acme"]}, "Zeta"),
        ({"LogDriver": ["acme"]}, "Zeta"),
    ],
)
def test_the_preferred_handlers_driver_is_used(plugins: Path, prefer: Any, name: str) -> None:
    assert used(plugins, prefer) == used(plugins, prefer, "VolumeDriver") == name


def test_extframes_own_driver_can_be_preferred(plugins: Path) -> None:
    assert used(plugins, {"VolumeDriver": ["extframe"]}) not in ("Acme", "Zeta")


def test_an_async_host_has_the_same_choice(plugins: Path) -> None:
    async def main() -> str:
        async with AsyncPluginManager(LocalRegistry(plugins), prefer={"VolumeDriver": ["acme"]}) as pm:
            return type(await pm.driver("photos", "VolumeDriver")).__name__

    assert asyncio.run(main()) == "Acme"


def test_a_preferred_handler_without_a_driver_that_fits_is_passed_over(plugins: Path) -> None:
    with PluginManager(LocalRegistry(plugins), prefer={"VolumeDriver": ["VolumeDriver:*", "acme"]}) as pm:
        pm.handle("VolumeDriver", lambda name, client: "not a VolumeDriver")
        assert pm.driver("photos", "VolumeDriver") == "not a VolumeDriver"
        assert type(pm.driver("photos", VolumeDriver)).__name__ == "Acme"


def test_a_wrapper_sees_pluggys_order_and_the_choice_is_made_among_what_it_returns(plugins: Path) -> None:
    seen: list[str] = []

    class Wrapper:
        @extframe.hookimpl(wrapper=True)
        def volume_driver(self) -> Any:
            results = yield
            seen.extend(type(result).__name__ for result in results[:2])
            return ["first", *results]

    with PluginManager(LocalRegistry(plugins), prefer={"VolumeDriver": ["acme"]}) as pm:
        pm.register(Wrapper(), "wrapper")
        assert type(pm.driver("photos", "VolumeDriver")).__name__ == "Acme"
    assert seen == ["Zeta", "Acme"]


def test_names_that_match_nothing_are_reported_once_with_a_near_miss(
    plugins: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with PluginManager(LocalRegistry(plugins), prefer={"VolumeDriver": ["acmee", "other"]}) as pm:
        for _ in range(2):
            assert type(pm.driver("photos", VolumeDriver)).__name__ == "Zeta"
    assert caplog.messages == [
        "prefer=: 'acmee' matches no handler of volume_driver; did you mean 'acme'?",
        "prefer=: 'other' matches no handler of volume_driver",
    ]
    caplog.clear()
    with pytest.warns(UserWarning, match="no hook is named 'volume_drivr'; did you mean 'volume_driver'?") as caught:
        PluginManager(LocalRegistry(plugins), prefer={"VolumeDrivr": ["acme"], "Backup": ["acme"]})
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "prefer", [None, ["acme"], "acme", {"VolumeDriver": "acme"}, {"VolumeDriver": [1]}, {1: ["acme"]}]
)
@pytest.mark.parametrize("manager", [PluginManager, AsyncPluginManager])
def test_a_choice_of_another_type_is_refused(prefer: Any, manager: Any) -> None:
    with pytest.raises(TypeError, match="prefer.* is .*; expected"):
        manager(groups=(), prefer=prefer)
