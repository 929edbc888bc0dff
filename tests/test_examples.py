"""The examples as their users meet them: a handler package built and pip-installed, and the tour run to its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from environments import Environment, build_wheels, built_once
from faultserver import FaultServer, Request, answer_with, reply

CHECKOUT = Path(__file__).parent.parent
EXAMPLE = CHECKOUT / "examples" / "extframe-backup"

GOOD = """
    import extframe

    @extframe.hookimpl
    def volume_driver(name, client):
        return None
"""
NO_SUCH_ARGUMENT = """
    import extframe

    @extframe.hookimpl
    def volume_driver(name, klient):
        return None
"""
BROKEN = {
    "extframe-unimportable": {"unimportable": "import a_module_that_nobody_has"},
    "extframe-exiting": {"exiting": "raise SystemExit('no licence')"},
    "extframe-pointless": {"pointless": "def volume_driver(name, client): return None"},
    "extframe-unfit": {"unfit": NO_SUCH_ARGUMENT},
    "extframe-namesake": {"backup": GOOD},  # the entry point's name is that of the example's
}
"""Packages that cannot be used: distribution -> the name of its entry point, and the source of its module."""


def write_project(directory: Path, distribution: str, entry_point: str, source: str) -> Path:
    module = distribution.replace("-", "_")
    directory.mkdir()
    (directory / f"{module}.py").write_text(textwrap.dedent(source))
    (directory / "setup.py").write_text("from setuptools import setup\n\nsetup()\n")
    (directory / "setup.cfg").write_text(
        f"[metadata]\nname = {distribution}\nversion = 2.5\n[options]\npy_modules = {module}\n"
        f"[options.entry_points]\nextframe =\n    {entry_point} = {module}\n"
    )
    return directory


def copy_project(source: Path, target: Path, *names: str) -> Path:
    """Copy what a project is built from: building writes into its directory."""
    target.mkdir()
    for path in (source / name for name in names):
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(path, target)
    return target


def build(directory: Path) -> None:
    """Build the wheels of extframe, of the example and of the broken packages, and an environment with all of them."""
    sources = directory / "sources"
    sources.mkdir()
    projects = [
        copy_project(CHECKOUT, sources / "extframe", "setup.py", "setup.cfg", "README.md", "LICENSE", "extframe"),
        copy_project(EXAMPLE, sources / "example", "setup.py", "setup.cfg", "README.md", "src"),
    ]
    for distribution, modules in BROKEN.items():
        for entry_point, source in modules.items():
            projects.append(write_project(sources / distribution, distribution, entry_point, source))
    wheels = build_wheels(directory / "wheels", *projects)
    Environment(directory / "environment", fallback="{}").install(*wheels)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return built_once(tmp_path_factory, "examples", build)


@pytest.fixture(scope="module")
def wheels(built) -> dict[str, Path]:
    """The wheels, by the name of their distribution."""
    return {wheel.name.partition("-")[0].replace("_", "-"): wheel for wheel in (built / "wheels").glob("*.whl")}


@pytest.fixture(scope="module")
def environment(built) -> Environment:
    """A virtual environment with extframe, the example and the broken packages."""
    return Environment(built / "environment", fallback="{}")


# --- what is installed --------------------------------------------------------------------------------

REPORT = """
import json, sys, extframe

with extframe.PluginManager(extframe.LocalRegistry(sys.argv[1], specs=[])) as manager:
    manager.check_pending()
    print(json.dumps({
        "extframe": extframe.__file__,
        "handlers": [name for name, handler in manager.list_name_plugin() if handler is not None],
        "distributions": {d.project_name: d.version for _, d in manager.list_plugin_distinfo()},
        "failures": {f.distribution: [f.version, f.what, type(f.exception).__name__, str(f.exception)]
                     for f in manager.failures()},
        "hooks": [name for name in ("volume_driver", "backup") if hasattr(manager.hook, name)],
    }))
"""


def report(environment: Environment, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(environment.run("-c", REPORT, "nowhere", **variables))
    assert found["extframe"].startswith(str(environment.scripts.parent))
    return found


@pytest.fixture(scope="module")
def found(environment) -> dict[str, Any]:
    return report(environment)


def test_an_installed_handler_is_found_with_its_distribution(found):
    assert "backup" in found["handlers"]
    assert found["distributions"]["extframe-backup"] == "1.0"
    assert found["hooks"] == ["volume_driver", "backup"]


def test_extframes_own_handlers_are_found_as_anybodys_are(found):
    assert "extframe.volume_driver" in found["handlers"]
    assert "extframe" in found["distributions"]


@pytest.mark.parametrize(
    ("distribution", "exception", "words"),
    [
        ("extframe-unimportable", "ModuleNotFoundError", "a_module_that_nobody_has"),
        ("extframe-exiting", "SystemExit", "no licence"),
        ("extframe-pointless", "ExtframeError", "it is not a handler"),
        ("extframe-unfit", "PluginValidationError", "klient"),
        ("extframe-namesake", "ValueError", "another handler is named 'backup'"),
    ],
)
def test_a_package_that_cannot_be_used_is_a_failure_with_its_distribution(found, distribution, exception, words):
    version, what, raised, said = found["failures"][distribution]
    assert (version, raised) == ("2.5", exception)
    (entry_point,) = BROKEN[distribution]
    assert what.startswith(f"entry point {entry_point!r}")
    assert words in said


def test_a_package_that_cannot_be_used_harms_no_other(found):
    assert found["failures"].keys() == BROKEN.keys()
    assert not found["distributions"].keys() & BROKEN.keys()


def test_a_disabled_handler_is_not_even_imported(environment):
    without = report(environment, EXTFRAME_DISABLE="unimportable,exiting")
    assert "extframe-unimportable" not in without["failures"]
    assert "extframe-exiting" not in without["failures"]


def test_disabling_a_name_disables_all_that_have_it(environment):
    without = report(environment, EXTFRAME_DISABLE="backup")
    assert "backup" not in without["handlers"]
    assert "extframe-namesake" not in without["failures"]
    assert "extframe.volume_driver" in without["handlers"]


def test_a_handler_that_is_uninstalled_is_gone(wheels, tmp_path):
    environment = Environment(tmp_path / "environment", fallback="{}")
    environment.install(wheels["extframe"], wheels["extframe-backup"])
    assert "backup" in report(environment)["handlers"]
    environment.uninstall("extframe-backup")
    without = report(environment)
    assert "backup" not in without["handlers"]
    assert without["hooks"] == ["volume_driver"]


@pytest.mark.long
def test_extframes_tests_pass_whatever_handlers_are_installed(environment):
    """These tests fail at once when they see the handlers that are installed in this environment."""
    files = [CHECKOUT / "tests" / name for name in ("handlers/test_entry_points.py", "test_public_names.py")]
    chosen = ("-k", "not another_user")  # who cannot read this environment
    passed = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *files, PYTEST_ADDOPTS="")
    assert re.search(r"^\d+ passed", passed, re.MULTILINE)


# --- what it does -------------------------------------------------------------------------------------

BACK_UP = """
import json, sys, extframe

with extframe.PluginManager(extframe.LocalRegistry(sys.argv[1], specs=[])) as pm:
    exec(sys.argv[2])
    print(json.dumps({
        "volumes": repr(volumes), "vault": repr(vault),
        "copy": [copy.id, copy.volume, copy.size], "copies": [copy.id for copy in vault.list()],
    }))
"""
USE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

COPY = {"ID": "7", "Volume": "photos", "Size": 12}
ANSWERS = {
    "rclone": {
        "/Plugin.Activate": {"Implements": ["VolumeDriver"]},
        "/VolumeDriver.Mount": {"Mountpoint": "/mnt/photos"},
        "/VolumeDriver.Unmount": {},
    },
    "vault": {
        "/Plugin.Activate": {"Implements": ["Backup"]},
        "/Backup.Save": {"Copy": COPY},
        "/Backup.Restore": {},
        "/Backup.List": {"Copies": [COPY]},
    },
}


@pytest.fixture
def plugins(short_path) -> Iterator[dict[str, FaultServer]]:
    """A volume plugin and a backup plugin, each behind its socket in ``short_path``."""

    def serve(name: str) -> FaultServer:
        def answer(request: Request) -> bytes:
            return reply(json.dumps(ANSWERS[name][request.path]).encode())

        return FaultServer(answer_with(answer), path=str(short_path / f"{name}.sock"))

    with serve("rclone") as rclone, serve("vault") as vault:
        yield {"rclone": rclone, "vault": vault}


def called(server: FaultServer) -> list[tuple[str, Any]]:
    return [(request.path, json.loads(request.body or "null")) for request in server.requests]


def test_an_installed_handler_is_called_and_its_driver_calls_the_plugins(environment, plugins, short_path):
    (use,) = USE.findall((EXAMPLE / "README.md").read_text())
    said = json.loads(environment.run("-c", BACK_UP, short_path, use))
    assert said == {
        "volumes": "<BackedUpVolumes of plugin 'rclone'>",
        "vault": "<Backup of plugin 'vault'>",
        "copy": ["7", "photos", 12],
        "copies": ["7"],
    }
    user = {"Name": "photos", "ID": "extframe-backup"}
    assert called(plugins["rclone"]) == [
        ("/Plugin.Activate", None),
        ("/VolumeDriver.Mount", user),
        ("/VolumeDriver.Unmount", user),
        ("/VolumeDriver.Mount", user),
        ("/VolumeDriver.Unmount", user),
    ]
    assert called(plugins["vault"]) == [
        ("/Plugin.Activate", None),
        ("/Backup.Save", {"Volume": "photos", "Path": "/mnt/photos"}),
        ("/Backup.Restore", {"ID": "7", "Path": "/mnt/photos"}),
        ("/Backup.List", None),
    ]


# --- the tour -----------------------------------------------------------------------------------------


def test_the_tour_runs_to_its_end_and_says_nothing_on_stderr(tmp_path):
    ended = subprocess.run(
        [sys.executable, CHECKOUT / "examples" / "tour.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDEVMODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("Observer.volume_driver(name='directories'") == 1
    assert ended.stdout.count("EventLog.plugin_activated(name='directories'") == 1
