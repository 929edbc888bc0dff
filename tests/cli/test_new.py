"""``extframe new``: projects that install, and pass their own tests, mypy --strict and ruff, in an environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import Environment, build_wheels
from faultserver import eventually

from extframe import Client, VolumeDriver, openapi

CHECKOUT = Path(__file__).parents[2]
NAMES = {"plugin": "photo-book2", "handler": "acme_volumes"}
FILES = {
    "plugin": {"src/photo_book2/__init__.py", "src/photo_book2/plugin.py", "src/photo_book2/py.typed"},
    "handler": {"src/acme_volumes/__init__.py", "src/acme_volumes/py.typed"},
}
ALWAYS = {"README.md", "ruff.toml", "setup.cfg", "setup.py"}


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
    written = environment.run("-m", "extframe.cli", "new", kind, NAMES[kind], "--dir", directory).splitlines()
    project = directory / NAMES[kind]
    assert {str(Path(path).relative_to(project)) for path in written} == ALWAYS | FILES[kind] | {
        f"tests/test_{kind}.py"
    }
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
            "MYPY_CACHE_DIR": os.devnull,
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


def test_a_new_project_installs_and_passes_its_own_tests(environment, project):
    assert re.search(r"^[1-9]\d* passed in ", run_in(project, environment, "-m", "pytest", "-q"), re.M)


def test_a_new_project_passes_mypy_strict(environment, project):
    pytest.importorskip("mypy")
    assert "Success: no issues found in" in run_in(project, environment, "-m", "mypy")


def test_a_new_project_passes_ruff_and_is_formatted(environment, project):
    pytest.importorskip("ruff")
    run_in(project, environment, "-m", "ruff", "check")
    run_in(project, environment, "-m", "ruff", "format", "--check")


def test_a_new_handler_is_one_that_hosts_load(environment, project):
    listed = run_in(project, environment, "-m", "extframe.cli", "handlers")
    assert ("acme_volumes" in listed) is (project.name == "acme_volumes")
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


def test_the_script_of_a_new_plugin_parses_its_arguments(environment, project, tmp_path):
    script = Path(environment.python).with_name(project.name)
    if not script.exists():
        assert project.name == NAMES["handler"]
        return
    root = tmp_path / "root"
    environ = {**os.environ, "PHOTO_BOOK2_ROOT": str(root)}
    for arguments, code in ((["--help"], 0), (["--lost"], 2), (["positional"], 2)):
        ended = subprocess.run([script, *arguments], env=environ, capture_output=True, text=True, timeout=60)
        assert ended.returncode == code
        assert "usage: photo-book2" in ended.stdout + ended.stderr
    assert not root.exists()


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
