"""Methods that block, called where an event loop runs, log one warning per calling place."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from extframe import LocalRegistry, PluginManager, VolumeDriver
from extframe.testing import FakePlugin


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "extframe.host.loop_warning"]


def use(pm: PluginManager) -> None:
    pm.get("photos")
    pm.get_all("VolumeDriver")
    pm.driver("photos", VolumeDriver)
    pm.drivers(VolumeDriver)


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        yield plugin


def test_each_place_that_blocks_an_event_loop_is_named_once(
    short_path: Path, photos: FakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    plugin_manager = PluginManager(LocalRegistry(short_path))

    async def host() -> None:
        use(plugin_manager)
        use(plugin_manager)
        await asyncio.to_thread(plugin_manager.get, "photos")

    use(plugin_manager)
    asyncio.run(asyncio.to_thread(use, plugin_manager))
    assert warnings(caplog) == []
    with plugin_manager:
        asyncio.run(host())
    line = use.__code__.co_firstlineno
    methods = ["get", "get_all", "driver", "drivers"]
    assert warnings(caplog) == [
        f"PluginManager.{method}() at {__file__}:{line + number} blocks the event loop that runs in this thread: use "
        "AsyncPluginManager, or call it in a thread with asyncio.to_thread"
        for number, method in enumerate(methods, 1)
    ]


def test_a_host_that_uses_plugins_imports_no_asyncio(short_path: Path, photos: FakePlugin) -> None:
    code = f"""
import sys, extframe
with extframe.PluginManager(extframe.LocalRegistry({str(short_path)!r}), groups=()) as pm, pm.watch():
    pm.get_all("VolumeDriver")
    pm.driver("photos", extframe.VolumeDriver)
print(*sorted(name for name in sys.modules if "async" in name))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == []
