"""Without what Python lacks on Windows, managers, registries and plugins over TCP work, and the rest says why not.

There is no such machine here: a subprocess removes the names (`without_unix`) before it imports extframe.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

IMPORT_ALL = """
import importlib, pkgutil
names = [each.name for each in pkgutil.walk_packages(extframe.__path__, "extframe.")]
assert len(names) > 200, names
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
for name in extframe.__all__:
    getattr(extframe, name)
"""

USE = """
import without_unix, asyncio, pathlib, sys
import pytest
from collections.abc import Iterator
import extframe
from extframe import (
    ActivationError, AsyncPluginManager, AsyncVolumeDriver, Client, ConnectError, ExtframeError, Interface,
    LocalRegistry, PluginManager, RegistryChain, SpecError, Supervisor, VolumeDriver, rpc,
)
from extframe.server import serving
from extframe.testing import FakePlugin

class Lines(Interface, implements="Lines"):
    @rpc("Tail")
    def tail(self, count: int) -> Iterator[str]:
        raise NotImplementedError

class Photos(VolumeDriver):
    def mount(self, name, id):
        return f"/mnt/{name}"
    def list(self):
        return []

class Tail(Lines):
    def tail(self, count):
        yield from map(str, range(count))

directory = pathlib.Path(sys.argv[1])
with serving(Photos(), Tail(), name="photos", directory=directory, address="tcp://127.0.0.1:0"):
    with PluginManager(RegistryChain(LocalRegistry(directory), LocalRegistry.for_app("myhost"))) as pm:
        assert pm.scan() == ["photos"]
        assert pm.driver("photos", VolumeDriver).mount("a", id="1") == "/mnt/a"
        assert list(pm.driver("photos", Lines).tail(3)) == ["0", "1", "2"]
        assert pm.get("photos").client.session.post("VolumeDriver.List").json() == {"Volumes": []}
    with PluginManager(LocalRegistry(directory)) as pm, pm.watch():
        assert pm.get("photos", wait=30).implements(VolumeDriver)
        assert list(pm.drivers(VolumeDriver)) == ["photos"]
        (directory / "unix.spec").write_text("unix:///tmp/unix.sock")
        with pytest.raises(ActivationError, match="this system has no unix sockets; use TCP: tcp://127.0.0.1:PORT"):
            pm.get("unix")

    async def main():
        async with AsyncPluginManager(LocalRegistry(directory)) as pm, pm.watch():
            volumes = await pm.driver("photos", AsyncVolumeDriver, wait=30)
            results = await asyncio.gather(*(volumes.mount(str(each), id="1") for each in range(20)))
            assert results == [f"/mnt/{each}" for each in range(20)]
            assert len(await pm.get_all(AsyncVolumeDriver)) == 1
    for kind in (without_unix.ProactorLike, asyncio.SelectorEventLoop):
        loop = kind()
        loop.run_until_complete(main())
        loop.close()

for create in (lambda: Supervisor(directory), lambda: Supervisor.for_app("myhost")):
    with pytest.raises(ExtframeError, match="Supervisor needs a Unix system"):
        create()
with pytest.raises(SpecError, match="cannot listen at .*: this system has no unix sockets"):
    serving(Photos()).__enter__()
with pytest.raises(ConnectError, match="this system has no unix sockets"):
    Client("unix:///tmp/unix.sock").call("VolumeDriver.List")
with pytest.raises(ExtframeError, match="FakePlugin needs a Unix system"):
    FakePlugin(directory).__enter__()

from click.testing import CliRunner
from extframe.cli.program import program
for command in ("ls", "doctor", "handlers", "inspect unix"):
    where = [] if command == "handlers" else ["--dir", str(directory)]
    result = CliRunner().invoke(program, [*command.split(), *where])
    assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
"""


def test_without_the_names_of_unix_plugins_over_tcp_work_and_every_module_is_importable(short_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONWARNINGS": "error::ResourceWarning"}
    ran = subprocess.run(
        [sys.executable, "-c", USE + IMPORT_ALL, str(short_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=short_path,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Error" not in ran.stderr, ran.stderr
