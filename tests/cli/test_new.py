"""``extframe new``: projects that install, and pass their own tests, mypy --strict and ruff, in an environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from environments import Environment, build_wheels
from faultserver import eventually

from extframe import Client, VolumeDriver, openapi

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHECKOUT = Path(__file__).parents[2]
NAMES = {"plugin": "photo-book2", "handler": "acme_volumes", "host": "disk-monitor"}
METADATA = {"plugin": "pyproject.toml", "handler": "setup.cfg", "host": "pyproject.toml"}
FILES = {
    "plugin": {
        "src/photo_book2/__init__.py", "src/photo_book2/plugin.py", "src/photo_book2/py.typed",
        "systemd/photo-book2.service", "systemd/photo-book2.socket",
    },
    "handler": {"src/acme_volumes/__init__.py", "src/acme_volumes/py.typed"},
    "host": {
        *(f"src/disk_monitor/{name}" for name in ("__init__.py", "example.py", "interface.py", "main.py", "py.typed")),
        "systemd/disk-monitor.service", "tests/conftest.py",
    },
}  # fmt: skip
ALWAYS = {".github/workflows/ci.yml", ".gitignore", "README.md"}
SETTINGS = {"pyproject.toml": {"pyproject.toml"}, "setup.cfg": {"ruff.toml", "setup.cfg", "setup.py"}}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    """An environment with extframe from a wheel: templates that are no part of it would be missed."""
    directory = tmp_path_factory.mktemp("new")
    sources = directory / "extframe"
    shutil.copytree(CHECKOUT / "extframe", sources / "extframe", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, sources)
    environment = Environment(directory / "environment", fallback="{}")
    environment.install(*build_wheels(directory / "wheels", sources))
    return environment


def new(environment: Environment, kind: str, directory: Path) -> Path:
    metadata = METADATA[kind]
    arguments = ("new", kind, NAMES[kind], "--metadata", metadata, "--dir", directory)
    written = environment.run("-m", "extframe.cli", *arguments).splitlines()
    project = directory / NAMES[kind]
    expected = ALWAYS | SETTINGS[metadata] | FILES[kind] | {f"tests/test_{kind}.py"}
    assert {str(Path(path).relative_to(project)) for path in written} == expected
    assert all(Path(path).is_file() for path in written)
    return project


def run_in(project: Path, environment: Environment, *arguments: str) -> str:
    ended = subprocess.run(
        [environment.python, *arguments],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": "",
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
            "RUFF_NO_CACHE": "true",
            "MYPY_CACHE_DIR": str(environment.scripts / "mypy-cache"),  # one for all projects
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module", params=NAMES)
def project(environment, request, tmp_path_factory) -> Iterator[Path]:
    """A new project, as it is, and installed from its wheel."""
    project = new(environment, request.param, tmp_path_factory.mktemp(request.param))
    built = shutil.copytree(project, tmp_path_factory.mktemp("built") / project.name)
    environment.install(*build_wheels(built / "wheels", built))
    yield project
    environment.uninstall(project.name)


@pytest.mark.long
def test_a_new_project_installs_and_passes_its_own_tests(environment, project):
    assert re.search(r"^[1-9]\d* passed in ", run_in(project, environment, "-m", "pytest", "-q"), re.M)


@pytest.mark.long
def test_a_new_project_passes_mypy_strict(environment, project):
    pytest.importorskip("mypy")
    assert "Success: no issues found in" in run_in(project, environment, "-m", "mypy")


def test_new_projects_pass_ruff_and_are_formatted_whatever_their_name(run, tmp_path):
    pytest.importorskip("ruff")
    for metadata in SETTINGS:
        for kind in NAMES:
            for name in ("a", "photo-book2", "zzzzzzzzz-mmmmmmmmmm-cccccccccc-dddddddd"):
                assert (
                    run("new", kind, name, "--metadata", metadata, "--dir", tmp_path / metadata / kind).exit_code == 0
                )
    for arguments in (["check"], ["format", "--check"]):
        ended = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", tmp_path],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("kind", NAMES)
def test_both_files_of_metadata_say_the_same(run, tmp_path, kind):
    for metadata in SETTINGS:
        run("new", kind, "photos", "--metadata", metadata, "--dir", tmp_path / metadata)
    wheels = {}
    for metadata in SETTINGS:
        settings = tmp_path / metadata / "photos"
        if metadata == "setup.cfg":
            config = ConfigParser()
            config.read(settings / "setup.cfg")
            points = {key: config["options.entry_points"][key] for key in config["options.entry_points"]}
            wheels[metadata] = (
                config["metadata"]["description"],
                config["options"]["install_requires"].split(),
                {group: [each.strip() for each in text.split("\n") if each] for group, text in points.items()},
                {key: text.split() for key, text in config["options.extras_require"].items()},
            )
        else:
            project = tomllib.loads((settings / "pyproject.toml").read_text())["project"]
            groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
            wheels[metadata] = (
                project["description"],
                project["dependencies"],
                {
                    group: [f"{key} = {value}" for key, value in found.items()]
                    for group, found in groups.items()
                    if found
                },
                project["optional-dependencies"],
            )
    assert wheels["setup.cfg"] == wheels["pyproject.toml"]


def test_the_workflow_of_a_new_project_runs_what_its_readme_says(run, tmp_path):
    yaml = pytest.importorskip("yaml")
    for kind in NAMES:
        run("new", kind, "photos", "--dir", tmp_path / kind)
        project = tmp_path / kind / "photos"
        workflow = yaml.safe_load((project / ".github" / "workflows" / "ci.yml").read_text())
        commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
        assert commands == [
            "python -m pip install -e '.[test,dev]'", "python -m pytest", "mypy", "ruff check", "ruff format --check",
        ]  # fmt: skip
        for command in commands[1:-1]:
            assert f"$ {command}\n" in (project / "README.md").read_text()


@pytest.mark.long
def test_a_new_host_runs_the_example_as_its_readme_says(environment, project, short_path):
    if project.name != NAMES["host"]:
        return
    script = environment.scripts / project.name
    (short_path / "disk.toml").write_text('python = { plugin = "disk_monitor.example:DiskSpace" }\n')
    ended = subprocess.run([script, "--once", "--dir", short_path], capture_output=True, text=True, timeout=60)
    assert "disk: " in ended.stderr
    assert "of the disk is free" in ended.stderr
    with subprocess.Popen([script, "--dir", short_path], stderr=subprocess.PIPE, text=True) as running:
        assert any("of the disk is free" in line for line in running.stderr)
        running.send_signal(signal.SIGTERM)
        running.stderr.read()  # what it logs as it stops needs a reader
    assert running.returncode == 0
    explained = run_in(project, environment, "-m", "extframe.cli", "explain", "DiskMonitorCheck.Run")
    assert "run() -> Status" in explained


@pytest.mark.long
def test_a_new_handler_is_one_that_hosts_load(environment, project):
    listed = run_in(project, environment, "-m", "extframe.cli", "handlers")
    assert (project.name in listed) is (project.name != NAMES["plugin"])
    assert "failed" not in listed


def test_a_new_plugin_is_served_as_its_readme_says(start, run, short_path, tmp_path):
    assert run("new", "plugin", "photos", "--dir", tmp_path).exit_code == 0
    root = {"PHOTOS_ROOT": str(tmp_path / "root"), "PYTHONPATH": str(tmp_path / "photos" / "src")}
    start("serve", "photos.plugin:make_driver", "--name", "photos", "--dir", short_path, env=root)
    address = f"unix://{short_path}/photos.sock"
    assert eventually(lambda: run("check", address).exit_code == 0, 60.0)
    assert run("check", address, "--destructive", "--mount").exit_code == 0
    with Client(address) as client:
        client.call("VolumeDriver.Create", {"Name": "../x", "Opts": None})
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["%2E%2E%2Fx"]


@pytest.mark.long
def test_the_script_of_a_new_plugin_parses_its_arguments(environment, project, tmp_path):
    script = Path(environment.python).with_name(project.name)
    if project.name != NAMES["plugin"]:
        return
    root = tmp_path / "root"
    environ = {**os.environ, "PHOTO_BOOK2_ROOT": str(root)}
    for arguments, code in ((["--help"], 0), (["--lost"], 2), (["positional"], 2)):
        ended = subprocess.run([script, *arguments], env=environ, capture_output=True, text=True, timeout=60)
        assert ended.returncode == code
        assert "usage: photo-book2" in ended.stdout + ended.stderr
    assert not root.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("language", "files", "version"),
    [
        ("go", {".gitignore", "README.md", "VolumeDriver.json", "go.mod", "main.go"}, "3.0.3"),
        (
            "typescript",
            {".gitignore", "README.md", "VolumeDriver.json", "package.json", "src/main.ts", "tsconfig.json"},
            "3.1.0",
        ),
    ],
)
def test_a_plugin_in_another_language_starts_from_its_schema(environment, tmp_path, language, files, version):
    """tests/peers/test_languages.py builds and checks them."""
    arguments = ("new", "plugin", "photo-book2", "--language", language, "--dir", tmp_path)
    written = environment.run("-m", "extframe.cli", *arguments).splitlines()
    project = tmp_path / "photo-book2"
    assert {str(Path(path).relative_to(project)) for path in written} == files
    assert json.loads((project / "VolumeDriver.json").read_text()) == openapi(VolumeDriver, version=version)


# --- what it says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NAMES)
def test_it_says_what_to_do_next(run, tmp_path, kind):
    result = run("new", kind, "photos", "--dir", tmp_path)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"extframe: next: cd {tmp_path}/photos && pip install -e '.[test,dev]' && python -m pytest")


def test_a_project_that_exists_is_left_as_it_is(run, tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("new", "plugin", "photos", "--dir", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"extframe: {tmp_path}/photos already exists: choose another name, or another --dir\n"
    assert list(tmp_path.rglob("*")) == [tmp_path / "photos"]


def test_a_dangling_link_is_not_replaced(run, tmp_path):
    (tmp_path / "photos").symlink_to("nowhere")
    assert run("new", "plugin", "photos", "--dir", tmp_path).exit_code == 1


@pytest.mark.parametrize(
    "name", ["../x", "", ".", "a/b", "Photos", "1st", "a--b", "-a", "class", "json", "extframe", "tests", "é", "a" * 41]
)
def test_an_invalid_name_is_a_usage_error(run, tmp_path, name):
    result = run("new", "plugin", "--dir", tmp_path, "--", name)
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_write_error_is_reported_and_leaves_nothing(run, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("new", "plugin", "photos", "--dir", tmp_path / "file" / "below")
    assert result.exit_code == 1
    assert result.stderr.startswith("extframe: cannot write ")


def test_a_failure_half_way_leaves_no_half_of_a_project(run, tmp_path, monkeypatch):
    def no_space(self, *arguments, **options):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", no_space)
    result = run("new", "plugin", "photos", "--dir", tmp_path)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_project_has_the_mode_that_the_umask_gives(run, tmp_path):
    run("new", "plugin", "photos", "--dir", tmp_path)
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "photos").stat().st_mode == (tmp_path / "plain").stat().st_mode
