"""Two plugins that need different versions of one library both answer in one host, from wheels that are built here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from environments import build_wheels
from wheelhouse import repack_extframe, write_plugin, write_wheel, write_wheelhouse

import extframe
from extframe.supervisor.environments.installers import Sources
from extframe.supervisor.environments.operations import Environments, Options

EXAMPLE = Path(__file__).parents[2] / "examples" / "conflicting-plugins"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("conflicting")
    sources = shutil.copytree(EXAMPLE, directory / "example")
    house = write_wheelhouse(directory / "wheels")
    build_wheels(house, sources / "acme-warm", sources / "acme-cold", sources / "colours-1")
    build_wheels(house, sources / "colours-2")  # pip refuses to build it together with the first
    return house


def environments_in(directory: Path, wheels: Path) -> Environments:
    options = Options(Sources((str(wheels),), offline=True))
    return Environments(str(directory), str(directory / "environments"), options)


def test_two_plugins_with_conflicting_dependencies_answer_in_one_host(wheels, short_path):
    for name in ("warm", "cold"):
        environments_in(short_path, wheels).install(name, [f"acme-{name}"])
    host = subprocess.run(
        [sys.executable, EXAMPLE / "host.py", short_path], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert (host.stdout, host.stderr) == ("warm: orange\ncold: azure\n", "")
    places = [short_path / "environments" / name for name in ("warm", "cold")]
    used = subprocess.run(["du", "-sk", *places], capture_output=True, text=True, check=True).stdout.splitlines()
    assert int(used[1].split()[0]) < 5000  # KiB that the second environment needs beyond the first


def test_an_environment_may_hold_another_extframe_and_an_upgrade_restarts_the_plugin(wheels, tmp_path, short_path):
    own = shutil.copytree(wheels, tmp_path / "wheels")
    repack_extframe(own, "0.0.9")
    write_wheel(own, "acme-library", "1.0", {"acme_library.py": b"VERSION = '1'\n"})
    write_plugin(own, "photos", "extframe==0.0.9", "acme-library", library="acme_library")
    environments = environments_in(short_path, own)
    environments.install("photos", ["acme-photos"])
    with extframe.PluginManager(extframe.Supervisor(short_path), groups=()) as pm:
        said = pm.get("photos").client.call("Greeter.Greet", {"Name": "Ada"})
        assert said == {"Text": "Ada: photos 1.0, acme_library 1, extframe 0.0.9"}
        write_plugin(own, "photos", "acme-library", library="acme_library", version="1.1")
        environments.upgrade("photos")
        said = pm.get("photos").client.call("Greeter.Greet", {"Name": "Ada"})
        assert said["Text"].startswith("Ada: photos 1.1, acme_library 1, extframe ")
        assert "0.0.9" not in said["Text"]
