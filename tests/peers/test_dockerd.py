"""Docker's engine with plugins in Python: the example plugins, and a network plugin, used by docker's command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import EXAMPLES, HERE, Engine, PluginProcess, build_box, running
from faultserver import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the engine runs as root")


@pytest.fixture(scope="module")
def box(need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the containers."""
    return build_box(need("go"), tmp_path_factory.mktemp("box"))


@pytest.fixture(scope="module")
def engine(need: Callable[[str], str], box: Path) -> Iterator[Engine]:
    need("dockerd")
    need("docker")
    with running(Engine()) as engine:
        engine.load(box)
        yield engine


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the volumes are."""
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def volumes(engine: Engine, root: Path) -> Iterator[PluginProcess]:
    """One for all tests: a volume plugin that the engine has known and that is gone costs it 15 s, again and again."""
    with PluginProcess(EXAMPLES / "volume_plugin.py", root) as plugin:
        yield plugin


def container_name() -> str:
    return f"ef-{os.urandom(5).hex()}"


# --- volumes ------------------------------------------------------------------------------------------


def test_volumes_are_created_listed_inspected_and_removed(engine, volumes, root):
    assert engine("volume", "create", "--driver", volumes.name, "--opt", "mode=700", "photos") == "photos"
    assert engine("volume", "ls", "--format", "{{.Driver}} {{.Name}}") == f"{volumes.name} photos"
    (found,) = engine.json("volume", "inspect", "photos")
    assert found["Mountpoint"] == str(root / "photos" / "data")
    assert found["Scope"] == "local"
    assert found["Status"] == {"mounts": 0, "options": {"mode": "700"}}
    assert engine("volume", "rm", "photos") == "photos"
    assert engine("volume", "ls", "--quiet") == ""
    assert [*root.iterdir()] == []


def test_what_a_driver_says_reaches_the_user(engine, volumes):
    refused = engine.docker("volume", "create", "--driver", volumes.name, "--opt", "size=5G", "photos")
    assert refused.returncode == 1
    assert "unknown option 'size'; there is: mode" in refused.stderr


def test_data_is_still_there_after_the_plugin_was_killed_and_the_engine_restarted(engine, volumes):
    engine("volume", "create", "--driver", volumes.name, "photos")
    engine.run("--rm", "--volume=photos:/photos", "box", "/box", "write", "/photos/one", "a picture")
    volumes.stop(signal.SIGKILL)
    volumes.start()
    read = ("--rm", "--volume=photos:/photos", "box", "/box", "read", "/photos/one")
    assert engine.run(*read) == "a picture"
    assert volumes.stop() == 0
    engine.stop()
    volumes.start()
    engine.start()
    assert engine.run(*read) == "a picture"
    assert engine.json("volume", "inspect", "photos")[0]["Status"]["mounts"] == 0
    engine("volume", "rm", "photos")


def test_docker_cp_leaves_a_running_container_its_volume(engine, volumes, tmp_path):
    """It mounts and unmounts with the ID of the running container."""
    name = container_name()
    engine("volume", "create", "--driver", volumes.name, "photos")
    engine.run("--detach", "--name", name, "--volume=photos:/photos", "box", "/box", "sleep")
    (tmp_path / "one").write_text("a picture")
    engine("cp", str(tmp_path / "one"), f"{name}:/photos/one")
    assert engine("exec", name, "/box", "read", "/photos/one") == "a picture"
    assert engine.json("volume", "inspect", "photos")[0]["Status"]["mounts"] == 1
    in_use = engine.docker("volume", "rm", "photos")
    assert "volume is in use" in in_use.stderr
    engine("rm", "--force", name)
    assert engine.json("volume", "inspect", "photos")[0]["Status"]["mounts"] == 0
    engine("volume", "rm", "photos")


def test_a_hostile_name_stays_below_the_root(engine, volumes, root):
    engine("volume", "create", "--driver", volumes.name, "../../etc/x")
    assert [path.name for path in root.iterdir()] == ["%2E.%2F..%2Fetc%2Fx"]
    assert engine("volume", "ls", "--quiet", "--filter", f"driver={volumes.name}") == "../../etc/x"


# --- networks -----------------------------------------------------------------------------------------


def test_the_engine_activates_a_network_plugin_and_makes_networks_with_it(engine):
    with PluginProcess(HERE / "null_network.py") as plugin:
        network = engine("network", "create", "--driver", plugin.name, "--subnet=10.99.0.0/24", "nothing")
        assert engine.json("network", "inspect", "nothing")[0]["Driver"] == plugin.name
        engine("network", "rm", "nothing")
        assert f"create {network}\ndelete {network}" in plugin.said


# --- authorization ------------------------------------------------------------------------------------

RULES = [
    {"allow": False, "methods": ["POST"], "paths": ["/containers/create"], "body": "'Privileged':true",
     "message": "no privileged containers"},
    {"allow": False, "paths": ["/volumes/prune"]},
    {"allow": True},
]  # fmt: skip


def test_an_authorization_plugin_allows_and_denies(need, box, tmp_path):
    need("dockerd")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"rules": RULES}))
    with (
        PluginProcess(EXAMPLES / "authz_plugin.py", policy) as plugin,
        running(Engine(), f"--authorization-plugin={plugin.name}") as engine,
    ):
        engine.load(box)
        assert engine.run("--rm", "box", "/box", "say", "hello") == "hello"
        refused = engine.docker("run", "--rm", "--network=none", "--privileged", "box", "/box", "say", "hello")
        assert refused.returncode != 0
        assert f"authorization denied by plugin {plugin.name}: no privileged containers" in refused.stderr
        assert "authorization denied" in engine.docker("volume", "prune", "--force").stderr
        policy.write_text('{"rules": []}')
        assert "authorization denied" in engine.docker("ps").stderr
        policy.write_text('{"rules": [{"allow": true}]}')
        assert engine("ps", "--quiet") == ""


# --- logs ---------------------------------------------------------------------------------------------


def test_a_log_plugin_keeps_what_containers_say_and_gives_it_back(engine, tmp_path):
    name = container_name()
    with PluginProcess(EXAMPLES / "log_plugin.py", tmp_path / "logs") as plugin:
        engine.run("--log-driver", plugin.name, "--name", name, "box", "/box", "say", "one", "two", "x" * 40_000)
        container = engine("inspect", "--format", "{{.Id}}", name)
        kept = [json.loads(line) for line in (tmp_path / "logs" / f"{container}.log").read_text().splitlines()]
        assert [line["line"] for line in kept[:2]] == ["one\n", "two\n"]
        assert engine("logs", name).splitlines() == ["one", "two", "x" * 40_000]
        assert engine("logs", "--tail=1", name).endswith("x")
        engine("rm", name)


def test_the_log_of_a_running_container_can_be_followed(engine, tmp_path):
    name = container_name()
    with PluginProcess(EXAMPLES / "log_plugin.py", tmp_path / "logs") as plugin:
        engine.run("--detach", "--log-driver", plugin.name, "--name", name, "box", "/box", "sleep", "hello")
        follow = subprocess.Popen(
            ["docker", "--host", engine.address, "logs", "--follow", name], stdout=subprocess.PIPE, text=True
        )
        assert follow.stdout.readline() == "hello\n"
        assert follow.poll() is None
        engine("kill", name)
        assert follow.wait(timeout=60) == 0
        follow.stdout.close()
        engine("rm", name)


# --- a new project ------------------------------------------------------------------------------------


def test_a_new_project_is_a_volume_plugin_that_systemd_starts_for_docker(engine, need, tmp_path):
    """`extframe new plugin`; the last test, as the engine waits for a plugin that it has known."""
    name = f"ef-{os.urandom(5).hex()}"
    command = [sys.executable, "-m", "extframe.cli", "new", "plugin", name, "--dir", tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    package = name.replace("-", "_")
    unit = (tmp_path / name / "systemd" / f"{name}.socket").read_text()
    (listen,) = re.findall("ListenStream=(.*)", unit)
    root = tmp_path / "root"
    environment = {f"{package.upper()}_ROOT": root, "PYTHONPATH": tmp_path / name / "src"}
    settings = [f"--setenv={key}={value}" for key, value in environment.items()]
    activate = [need("systemd-socket-activate"), f"--listen={listen}", *settings]
    process = subprocess.Popen([*activate, sys.executable, "-m", f"{package}.plugin"], stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: os.path.exists(listen), 60.0)
        engine("volume", "create", "--driver", name, "first")
        assert [path.name for path in root.iterdir()] == ["first"]
        engine.run("--rm", "--volume=first:/photos", "box", "/box", "write", "/photos/one", "a picture")
        assert (root / "first" / "one").read_text() == "a picture"
        engine("volume", "rm", "first")
        assert [*root.iterdir()] == []
    finally:
        process.terminate()
        process.wait(60)
        os.unlink(listen)


@pytest.mark.parametrize("kind", ["plugin", "host"])
def test_the_unit_files_of_a_new_project_are_valid(need, kind, tmp_path):
    analyze = need("systemd-analyze")
    command = [sys.executable, "-m", "extframe.cli", "new", kind, "photos", "--dir", tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    units = [*(tmp_path / "photos" / "systemd").iterdir()]
    for unit in units:
        unit.write_text(unit.read_text().replace("/opt/photos/bin/photos", "/bin/true"))
    verified = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
