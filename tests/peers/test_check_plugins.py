"""``extframe check`` of plugins that others wrote, from PyPI: each ``fail`` is a defect that a host suffers from.

docs/check.md lists the results, with those of plugins that this test cannot install.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from extframe import LocalRegistry, PluginManager

PEERS = Path(__file__).parent.parent.parent / ".venv-peers" / "bin"

pytestmark = pytest.mark.skipif(not PEERS.exists(), reason="needs .venv-peers, which .ci/run creates")

# Each a function that returns the command line and the environment of a plugin that listens at DIRECTORY/p.sock.
Start = Callable[[Path], tuple[list[object], Mapping[str, object]]]


def wolphin(directory: Path) -> tuple[list[object], Mapping[str, object]]:
    """Volumes in a directory, with Flask and gunicorn."""
    (directory / "volumes").mkdir()
    options = ["--workers=1", "--umask=0o117", f"--bind=unix:{directory}/p.sock"]
    return [PEERS / "gunicorn", *options, "wolphin_driver.wsgi:app"], {"BASE_DIR": directory / "volumes"}


def easyfuse(directory: Path) -> tuple[list[object], Mapping[str, object]]:
    """FUSE mounts, with aiohttp."""
    (directory / "mounts").mkdir()
    places = ["-s", directory / "p.sock", "-m", directory / "mounts", "-d", directory / "mounts.json"]
    return [PEERS / "python", "-m", "easyfuse", *places], {}


def buttervolume(directory: Path) -> tuple[list[object], Mapping[str, object]]:
    """BTRFS subvolumes, with bottle and waitress."""
    places = {
        "BUTTERVOLUME_SOCKET": directory / "p.sock",
        "BUTTERVOLUME_VOLUMES_PATH": f"{directory}/volumes/",
        "BUTTERVOLUME_SNAPSHOTS_PATH": f"{directory}/snapshots/",
        "BUTTERVOLUME_SCHEDULE": directory / "schedule.csv",
    }
    return [PEERS / "buttervolume", "run"], places


def pyvolume(directory: Path) -> tuple[list[object], Mapping[str, object]]:
    """Directories, with Flask's development server, over TCP. It looks for programs that it does not use here."""
    programs = directory / "programs"
    programs.mkdir()
    for name in ("sudo", "sshfs"):
        (programs / name).write_text('#!/bin/sh\nexec "$@"\n')
        (programs / name).chmod(0o755)
    script = """
import socket, sys
from pyvolume import manager
from werkzeug.serving import make_server
manager.app.config["volmer"] = manager.VolumeManager("ephemeral", prefix=sys.argv[1])
server = make_server("127.0.0.1", 0, manager.app, threaded=True)
open(sys.argv[2], "w").write(f"tcp://127.0.0.1:{server.port}")
server.serve_forever()
"""
    (directory / "volumes").mkdir()
    places = [directory / "volumes", directory / "p.spec"]
    return [PEERS / "python", "-c", script, *places], {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin"}


def plugin_api(directory: Path) -> tuple[list[object], Mapping[str, object]]:
    """An IPAM driver without methods, made with docker-plugin-api, which is pyipam's and pyveth's framework."""
    script = """
import flask, sys, waitress
from docker_plugin_api import Plugin
Plugin.functions.append("IpamDriver")
app = flask.Flask("p")
app.register_blueprint(Plugin.app)
waitress.serve(app, unix_socket=sys.argv[1])
"""
    return [PEERS / "python", "-c", script, directory / "p.sock"], {}


OUTSIDE = "which leaves the directory of the volumes"
# The failures of each, and why they are justified.
PLUGINS: Mapping[Start, Mapping[str, str]] = {
    wolphin: {},
    easyfuse: {"VolumeDriver.Create of ../NAME": OUTSIDE},
    buttervolume: {},
    pyvolume: {
        "VolumeDriver.Remove of the new volume": "docker volume rm fails: it unmounts what was never mounted",
        "VolumeDriver.Get of the removed volume": "so that the volume remains",
        "VolumeDriver.Create of ../NAME": OUTSIDE,
    },
    plugin_api: {
        "IpamDriver.GetDefaultAddressSpaces": "without it the engine does not register the driver",
        "IpamDriver.RequestPool": "it has no such method",
    },
}


@pytest.mark.parametrize(("plugin", "defects"), PLUGINS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_plugin_by_others_fails_only_what_is_a_defect(start, short_path, plugin: Start, defects: Mapping[str, str]):
    command, environment = plugin(short_path)
    start(*command, **environment)
    results = check(short_path)
    failed = {name: result["reason"] for name, result in results.items() if result["verdict"] == "fail"}
    assert failed.keys() == defects.keys(), failed
    assert results["handshake"]["verdict"] == "pass"
    assert len(results) > 20


def check(directory: Path) -> dict[str, dict[str, str]]:
    with PluginManager(LocalRegistry(directory)) as pm:
        pm.get("p", wait=60)
    command = [sys.executable, "-m", "extframe.cli", "check", "p", "--dir", directory, "-o", "json", "--destructive"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=directory)
    return {line["check"]: line for line in json.loads(done.stdout)}
