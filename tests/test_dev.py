"""`./dev` creates .venv, updates it, repairs it and reports what is missing. With the real venv and pip, offline.

The checkout in these tests is a small one: its package has no dependencies and contains its own build backend. CI runs
both commands in the real checkout.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path

import pip as pip_module
import pytest

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parent.parent
OLD = ("2.7", "3.6", "3.7", "3.8", "3.9")

BACKEND = """
    import pathlib, time, zipfile

    def build_editable(directory, config_settings=None, metadata_directory=None):
        pathlib.Path("building").touch()
        time.sleep(SECONDS)
        version = pathlib.Path("setup.cfg").read_text().split("version =")[1].split()[0]
        name = f"extframe-{version}-py3-none-any.whl"
        metadata = f"Metadata-Version: 2.1\\nName: extframe\\nVersion: {version}\\nProvides-Extra: test\\n"
        with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
            info = f"extframe-{version}.dist-info"
            wheel.writestr(f"{info}/METADATA", metadata)
            tag = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\\nGenerator: test\\n{tag}")
            wheel.writestr(f"{info}/RECORD", "")
            wheel.writestr("pytest.py", "import sys; print('tested with', *sys.argv[1:])")
        return name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
TOUR = """
    import sys
    from importlib.metadata import version
    print(f"extframe {version('extframe')} from {sys.prefix} based on {sys.base_prefix}", *sys.argv[1:])
"""


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    path.chmod(mode)
    return path


def make_project(directory: Path, *, building: float = 0) -> Path:
    """Write a checkout whose package takes ``building`` seconds to build."""
    write(directory / "backend.py", BACKEND.replace("SECONDS", str(building)))
    write(directory / "pyproject.toml", PYPROJECT)
    write(directory / "setup.cfg", "[metadata]\nversion = 1\n")
    write(directory / "setup.py", "")
    write(directory / "examples" / "tour.py", TOUR)
    shutil.copy(CHECKOUT / "dev", directory)
    return directory


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A checkout with a space in its name."""
    return make_project(tmp_path_factory.mktemp("a checkout"))


def quick_python(path: Path, python: str | Path) -> Path:
    """Write a Python that saves seconds: a virtual environment that it creates gets the pip of this one."""
    pip = Path(pip_module.__file__).parent
    script = f"""\
        #!/bin/sh
        [ "$1 $2" = "-m venv" ] || exec "{python}" "$@"
        "{python}" -m venv --without-pip "$3" && ln -s "{pip}" "$3"/lib/python*/site-packages
    """
    return write(path, script, 0o755)


@pytest.fixture
def quick(tmp_path_factory, monkeypatch) -> None:
    """Put a quick python3 on PATH."""
    python = quick_python(tmp_path_factory.mktemp("quick") / "python3", sys.executable)
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "PYTHONPATH")}
    return {**inherited, "PIP_NO_INDEX": "1", **variables}


def dev(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``./dev`` from another directory."""
    return subprocess.run(
        ["sh", project / "dev", *arguments],
        cwd=project.parent,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


def succeeded(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def refused(ended: subprocess.CompletedProcess[str]) -> str:
    assert (ended.returncode, ended.stdout) == (1, "")
    return ended.stderr


# --- the environment ----------------------------------------------------------------------------------


def test_the_environment_is_created_once_and_updated_when_the_metadata_changes(project):
    first = succeeded(dev(project, "tour", "--fast"))
    assert "==> Creating .venv with python3" in first
    assert "==> Installing extframe" in first
    assert first.endswith(f"extframe 1 from {project}/.venv based on {sys.base_prefix} --fast\n")

    second = succeeded(dev(project, "test", "-k", "two words"))
    assert "==> Creating" not in second
    assert "==> Installing" not in second
    assert second.endswith("tested with -k two words\n")

    write(project / "setup.cfg", "[metadata]\nversion = 2\n")
    third = succeeded(dev(project, "tour"))
    assert "==> Creating" not in third
    assert "==> Installing" in third
    assert "extframe 2 from" in third


@pytest.mark.usefixtures("quick")
def test_an_environment_that_the_user_created_is_kept(tmp_path):
    project = make_project(tmp_path)
    subprocess.run(["python3", "-m", "venv", project / ".venv"], check=True, timeout=60)
    kept = write(project / ".venv" / "kept.txt", "")
    assert "extframe 1 from" in succeeded(dev(project, "tour"))
    assert kept.exists()


@pytest.mark.usefixtures("quick")
def test_an_environment_whose_python_is_gone_is_rebuilt(project):
    succeeded(dev(project, "tour"))
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    again = succeeded(dev(project, "tour"))
    assert "==> Rebuilding .venv: it has no working Python 3.10 or later with pip" in again
    assert again.splitlines()[-1].startswith("extframe ")


@pytest.mark.usefixtures("quick")
def test_another_python_rebuilds_the_environment_once(project):
    succeeded(dev(project, "tour"))
    home = pretend_python(project.parent / "other", without="turtle.py")
    other = str(quick_python(home / "quick", home / "python"))
    assert f"==> Rebuilding .venv: it was not created with {other}" in succeeded(dev(project, "tour", PYTHON=other))
    assert "Rebuilding" not in succeeded(dev(project, "tour", PYTHON=other))
    assert "Rebuilding" not in succeeded(dev(project, "tour"))


def interrupt_when_there_is(sign: str, project: Path) -> str:
    """Run ``./dev tour``, press Ctrl-C as soon as a file exists, and return what was printed."""
    running = subprocess.Popen(
        ["sh", "dev", "tour"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while running.poll() is None and not list(project.glob(sign)):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as the terminal does
    printed, _ = running.communicate(timeout=60)
    assert running.returncode == 130, printed
    return printed


@pytest.mark.usefixtures("quick")
def test_an_environment_that_is_only_half_made_is_rebuilt_by_the_next_run(tmp_path):
    project = make_project(tmp_path, building=60)
    rebuilding = "==> Rebuilding .venv: an earlier run was interrupted"
    first = interrupt_when_there_is(".venv/.dev-state", project)
    assert "==> Installing" not in first
    assert first.endswith("dev: interrupted; the same command starts over.\n")
    second = interrupt_when_there_is("building", project)
    assert rebuilding in second
    assert second.endswith("dev: interrupted; the same command starts over.\n")

    write(project / "backend.py", "raise SystemExit('no compiler')")
    third = dev(project, "test")
    assert (third.returncode, rebuilding in third.stdout) == (1, True)
    assert "no compiler" in third.stderr
    assert third.stderr.endswith("dev: pip could not install extframe: see above.\n")

    make_project(project)
    fourth = succeeded(dev(project, "tour"))
    assert rebuilding in fourth
    assert "extframe 1 from" in fourth


@pytest.mark.usefixtures("quick")
def test_the_exit_status_is_that_of_the_tests(project):
    succeeded(dev(project, "test"))
    (module,) = project.glob(".venv/lib/python*/site-packages/pytest.py")
    write(module, "raise SystemExit(3)")
    assert dev(project, "test").returncode == 3


# --- what is missing ----------------------------------------------------------------------------------


def pretend_python(directory: Path, *, without: str) -> Path:
    """Make a Python whose standard library lacks a module, as a distribution's may, and return its home."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    copy = directory / "lib" / stdlib.name
    copy.mkdir(parents=True)
    for entry in stdlib.iterdir():
        if entry.name not in (without, "site-packages"):
            (copy / entry.name).symlink_to(entry)
    base = Path(sys.base_prefix, "bin", stdlib.name)
    write(directory / "python", f'#!/bin/sh\nPYTHONHOME={directory} exec {base} "$@"\n', 0o755)
    return directory


def path_with(directory: Path, *programs: str, **scripts: str) -> str:
    """Make a PATH that has some of this machine's programs and some scripts, and nothing else."""
    directory.mkdir()
    for program in (*programs, "sh", "dirname", "tail"):
        found = shutil.which(program)
        assert found, program
        (directory / program).symlink_to(found)
    for name, text in scripts.items():
        write(directory / name, f"#!/bin/sh\n{text}\n", 0o755)
    return str(directory)


@pytest.fixture
def fresh(tmp_path) -> Path:
    return make_project(tmp_path / "checkout")


def test_on_debian_the_message_names_the_package_to_install(fresh, tmp_path):
    home = pretend_python(tmp_path / "python", without="ensurepip")
    path = path_with(tmp_path / "bin", python3=f'exec {home}/python "$@"', **{"apt-get": "exit 0"})
    version = "{}.{}.{}".format(*sys.version_info)
    assert refused(dev(fresh, "tour", PATH=path)) == textwrap.dedent(f"""\
        dev: python3 (Python {version}) cannot create a virtual environment with pip:
            ModuleNotFoundError: No module named 'ensurepip'
        Install what is missing:
            apt-get install python{version.rpartition(".")[0]}-venv     # as root, or with sudo
        or choose another Python:
            PYTHON=/path/to/python3.12 ./dev tour
        """)
    assert not (fresh / ".venv").exists()


def test_elsewhere_the_message_names_the_missing_modules(fresh, tmp_path):
    home = pretend_python(tmp_path / "python", without="venv")
    said = refused(dev(fresh, "test", PATH=path_with(tmp_path / "bin"), PYTHON=f"{home}/python"))
    assert "No module named 'venv'" in said
    assert "    the package of your system that has the modules venv and ensurepip" in said
    assert said.endswith("    PYTHON=/path/to/python3.12 ./dev test\n")


def old_pythons() -> list[Path]:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    installed = [(version, sorted(versions.glob(f"{version}.*/bin/python"))) for version in OLD]
    on_path = [shutil.which(f"python{version}") for version, there in installed if not there]
    return [there[0] for _, there in installed if there] + [Path(found) for found in on_path if found]


@pytest.mark.skipif(not old_pythons(), reason="no Python before 3.10 is installed")
def test_a_python_that_is_too_old_is_rejected_with_its_version(fresh):
    for python in old_pythons():
        said = refused(dev(fresh, "tour", PYTHON=str(python)))
        assert said.startswith(f"dev: extframe needs Python 3.10 or later: {python} is Python ")
        assert "    PYTHON=/path/to/python3.12 ./dev tour\n" in said


def test_a_later_python_is_used_where_python3_is_too_old(fresh, tmp_path):
    old = 'case $2 in *"sys.exit("*) exit 1 ;; *) echo 3.9.2 ;; esac'
    later = f'[ "$1" = -c ] && exec {sys.executable} "$@"'  # its `-m venv` fails: this test is about the choice
    path = path_with(tmp_path / "bin", "mkdir", python3=old, **{"python3.12": later})
    ended = dev(fresh, "tour", PATH=path)
    assert "==> Creating .venv with python3.12 " in ended.stdout
    assert ended.stderr == "dev: could not create .venv with python3.12: see above.\n"


def test_without_any_python_the_message_says_what_to_install(fresh, tmp_path):
    said = refused(dev(fresh, "tour", PATH=path_with(tmp_path / "bin")))
    assert said.startswith("dev: extframe needs Python 3.10 or later: python3 is not installed or does not run.\n")
    assert "apt-get install python3 python3-venv" in said


@pytest.mark.usefixtures("quick")
def test_a_python_that_does_not_exist_leaves_the_environment_as_it_is(project):
    succeeded(dev(project, "tour"))
    said = refused(dev(project, "tour", PYTHON="/nowhere/python"))
    assert "/nowhere/python is not installed or does not run" in said
    assert "Rebuilding" not in succeeded(dev(project, "tour"))


# --- the command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["tours"]])
def test_an_unknown_task_is_a_usage_error(project, arguments):
    ended = dev(project, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ./dev tour ")


def test_help_is_printed_on_request(project):
    assert succeeded(dev(project, "--help")).startswith("usage: ./dev tour ")
