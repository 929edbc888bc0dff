"""Environments are built by uv and by pip, offline, from real wheels, and replaced only when they are complete."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest
from wheelhouse import write_plugin, write_wheel

from extframe import ExtframeError, PluginNotFound, SpecError
from extframe.supervisor.config import PythonPlugin
from extframe.supervisor.config_files import ConfigFiles
from extframe.supervisor.environments import installers
from extframe.supervisor.environments.commands import Commands
from extframe.supervisor.environments.installers import Sources
from extframe.supervisor.environments.lock_file import Lock, Package, parse_lock
from extframe.supervisor.environments.operations import Environments, Options
from extframe.supervisor.environments.store import python_of, status_of_environment

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Host:
    """A host's directories, and a directory of wheels. The extframe in it is empty: these plugins are not started."""

    def __init__(self, directory: Path) -> None:
        self.configs = directory / "plugins.d"
        self.root = directory / "environments"
        self.wheels = directory / "wheels"
        self.wheels.mkdir()
        write_wheel(self.wheels, "extframe", "0.1.0", {"extframe.py": b""})
        write_plugin(self.wheels, "photos")

    def environments(
        self, installer: str = "uv", *, offline: bool = True, links: bool = True, **options
    ) -> Environments:
        sources = Sources((str(self.wheels),) if links else (), offline)
        return Environments(str(self.configs), str(self.root), Options(sources, installer, **options))

    def said(self, name: str = "photos") -> str:
        """Return what the module of a plugin's current environment says of its version."""
        python = python_of(str(self.root), name)
        program = "import importlib.metadata as m; print(m.version('acme-photos'))"
        return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()

    def lock(self, name: str = "photos") -> Path:
        return self.configs / f"{name}.lock"

    def left(self) -> list[str]:
        """Return what is in the directory of the environment beside what is documented."""
        return [each.name for each in (self.root / "photos").iterdir() if each.name.startswith(".")]


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path)


def test_a_plugin_is_installed_upgraded_synced_and_uninstalled(host):
    steps = []
    environments = host.environments(progress=lambda *step: steps.append(step[0]))
    installed = environments.install("photos", ["acme-photos>=1"])
    assert installed.plugin == PythonPlugin("acme_photos:Plugin", "photos")
    assert installed.changed
    assert {"resolving", "installing"} <= set(steps)
    assert ConfigFiles([str(host.configs)]).read("photos").config.python == installed.plugin
    lock = parse_lock(host.lock().read_text(), "photos.lock")
    assert lock == installed.lock
    assert (lock.python, lock.requirements) == (VERSION, ("acme-photos>=1",))
    assert [each.name for each in lock.packages] == ["acme-photos", "extframe"]
    first = python_of(str(host.root), "photos")
    assert host.said() == "1.0"

    # Nothing new, then something new. Settings of the user remain; the environment before remains usable.
    assert not environments.upgrade("photos").changed
    toml = host.configs / "photos.toml"
    toml.write_text(toml.read_text() + 'restart = "never"\n')
    write_plugin(host.wheels, "photos", version="1.1")
    assert environments.upgrade("photos").changed
    assert host.said() == "1.1"
    assert ConfigFiles([str(host.configs)]).read("photos").config.restart == "never"
    assert Path(first).exists()

    # What was resolved is what sync builds, on a machine that has only the configuration and the wheels.
    subprocess.run(["rm", "-r", host.root], check=True)
    write_plugin(host.wheels, "photos", version="1.2")
    assert environments.sync("photos").changed
    assert not environments.sync("photos").changed
    assert host.said() == "1.1"
    assert host.left() == []

    environments.uninstall("photos")
    assert list(host.configs.iterdir()) == []
    assert [each.name for each in host.root.iterdir() if each.name[0] != "."] == []
    with pytest.raises(PluginNotFound, match=r"no plugin 'photos' was installed: looked for .*photos\.lock"):
        environments.uninstall("photos")


@pytest.mark.long
def test_pip_syncs_without_network_what_it_downloaded_before(host):
    host.environments("pip").install("photos", ["acme-photos"])
    current = host.root / "photos"
    subprocess.run(["rm", "-r", current, host.wheels], check=True)
    assert host.environments("pip", links=False).sync("photos").changed
    assert host.said() == "1.0"


def test_a_project_and_a_wheel_on_this_machine_are_locked_by_the_hash_of_their_wheels(host, tmp_path):
    wheel = write_plugin(tmp_path, "photos", version="3.0")
    installed = host.environments().install("photos", [str(wheel)])
    assert "acme-photos==3.0 \\\n    --hash=sha256:" in installed.lock.text
    assert host.said() == "3.0"
    wheel.unlink()
    subprocess.run(["rm", "-r", host.root / "photos"], check=True)
    assert host.environments().sync("photos").changed  # from the copy that was kept


@pytest.mark.long
def test_environments_are_readable_for_all_run_their_scripts_and_share_their_files(host):
    points = "[console_scripts]\nhello = hello:main\n"
    source = b"def main(): print('hello')\nx = '" + 500_000 * b"x" + b"'\n"
    path_file = f"import pathlib; pathlib.Path({str(host.root / 'run')!r}).touch()\n".encode()
    write_wheel(host.wheels, "hello", "1", {"hello.py": source, "hello.pth": path_file}, entry_points=points)
    before = os.umask(0o077)
    try:
        for name in ("photos", "thumbs"):
            write_plugin(host.wheels, name, "hello")
            host.environments("pip").install(name, [f"acme-{name}"])
    finally:
        os.umask(before)
    environment = host.root / "photos" / "current"
    paths = [host.configs / "photos.toml", host.lock(), *(environment / "lib").rglob("*")]
    assert [path for path in paths if not path.stat().st_mode & 0o004] == []
    assert any(path.suffix == ".pyc" for path in paths)

    assert not (host.root / "run").exists()  # no code of the wheel ran so far
    script = environment / "bin" / "hello"
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == "hello\n"
    assert (host.root / "run").exists()

    directories = [host.root / "photos", host.root / "thumbs"]
    used = subprocess.run(["du", "-sk", *directories], capture_output=True, text=True, check=True).stdout
    first, second = (int(line.split()[0]) for line in used.splitlines())
    assert first > 1000  # source and bytecode
    assert second < 500


# --- what fails leaves what was there -----------------------------------------------------------------


@pytest.mark.long
def test_a_changed_package_file_is_not_installed(host):
    """Neither one that differs from the lock file, nor one that was changed in the store."""
    host.environments("pip").install("photos", ["acme-photos"])
    (kept,) = [path for path in host.root.glob(".wheels/*/*.whl") if "photos" in path.name]
    subprocess.run(["rm", "-r", host.root / "photos"], check=True)
    write_plugin(kept.parent, "photos", "another")
    for installer in ("uv", "pip"):
        with pytest.raises(ExtframeError, match=r"(?i)cannot install the packages: .*hash"):
            host.environments(installer).sync("photos")
    write_plugin(host.wheels, "photos", "another")  # the same version with other content
    kept.unlink()
    for installer, act in (("uv", "install"), ("pip", "download")):
        with pytest.raises(ExtframeError, match=rf"(?is)cannot {act} the packages: .*hash"):
            host.environments(installer).sync("photos")
    assert status_of_environment(str(host.root), "photos").path == ""


@pytest.mark.long
def test_an_index_that_cannot_be_reached_is_an_error_that_names_it(host, monkeypatch):
    host.environments("pip").install("photos", ["acme-photos"])
    for variable in ("PIP_INDEX_URL", "UV_INDEX_URL"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    for installer in ("uv", "pip"):
        with pytest.raises(ExtframeError, match=r"(?i)cannot resolve acme-other, extframe: .*127\.0\.0\.1|refused"):
            host.environments(installer, offline=False, links=False).install("photos", ["acme-other"])
    assert host.said() == "1.0"
    assert host.left() == []


def test_a_missing_interpreter_is_an_error_that_says_what_to_do(host):
    with pytest.raises(ExtframeError, match=r"no python3\.99 in PATH: install it, or name its path"):
        host.environments("pip").install("photos", ["acme-photos"], python="3.99")
    with pytest.raises(ExtframeError, match=r"/bin/nothing is not a program"):
        host.environments("pip").install("photos", ["acme-photos"], python="/bin/nothing")
    with pytest.raises(ExtframeError, match=r"version '3' is invalid"):
        host.environments("pip").install("photos", ["acme-photos"], python="3")
    assert not (host.root / "photos").exists()


def test_an_environment_that_lost_its_interpreter_is_built_again_by_sync(host):
    host.environments().install("photos", ["acme-photos"])
    python = host.root / "photos" / "current" / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.99")
    with pytest.raises(SpecError, match=r"has lost its interpreter /usr/bin/python3\.99; .*extframe sync photos"):
        python_of(str(host.root), "photos")
    host.environments().sync("photos")
    assert host.said() == "1.0"


def test_an_environment_that_is_missing_or_unsafe_is_not_used(host):
    with pytest.raises(SpecError, match=r"environment 'photos' is not installed in .*extframe sync photos"):
        python_of(str(host.root), "photos")
    host.environments().install("photos", ["acme-photos"])
    (host.root / "photos").chmod(0o777)
    with pytest.raises(SpecError, match=r"environment 'photos': unsafe, because .* world-writable.* chmod o-w"):
        python_of(str(host.root), "photos")
    assert python_of(str(host.root), "photos", allow_unsafe=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_directory_that_this_user_cannot_write_is_an_error(host):
    host.configs.mkdir()
    process = os.fork()
    if not process:
        code = 1
        with contextlib.suppress(BaseException):
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
            try:
                host.environments("pip").install("photos", ["acme-photos"])
            except ExtframeError as error:
                code = 0 if "cannot change " in str(error) and "ermission denied" in str(error) else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


BACKEND = """
import os, pathlib, time
def get_requires_for_build_wheel(settings=None):
    pathlib.Path({started!r}).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
"""


def test_an_install_that_is_killed_changes_nothing_and_the_next_waits_for_what_it_started(host, tmp_path):
    host.environments().install("photos", ["acme-photos"])
    started = tmp_path / "started"
    project = tmp_path / "slow"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "acme-photos"\nversion = "2.0"\n'
    )
    (project / "backend.py").write_text(textwrap.dedent(BACKEND.format(started=str(started))))
    with tarfile.open(tmp_path / "acme_photos-2.0.tar.gz", "w:gz") as archive:
        archive.add(project, "acme_photos-2.0")
    arguments = ["--dir", str(host.configs), "--installer", "uv", "--offline", "--find-links", str(host.wheels)]
    command = [sys.executable, "-m", "extframe.cli", "install", "photos"]
    host_root = host.configs / "environments"
    host.root.rename(host_root)
    host.root = host_root
    killed = subprocess.Popen([*command, str(tmp_path / "acme_photos-2.0.tar.gz"), *arguments])
    while not started.exists() or not started.read_text():
        assert killed.poll() is None
        time.sleep(0.02)
    builder = int(started.read_text())
    killed.kill()
    killed.wait()
    assert host.said() == "1.0"
    assert host.left() != []

    write_plugin(host.wheels, "photos", version="1.1")
    following = subprocess.Popen([*command, "acme-photos", *arguments], stderr=subprocess.PIPE, text=True)
    assert following.stderr is not None
    assert "waiting for another extframe command" in following.stderr.readline()
    assert following.poll() is None
    os.kill(builder, signal.SIGKILL)
    _, said = following.communicate(timeout=120)
    assert following.returncode == 0, said
    assert host.said() == "1.1"
    assert host.left() == []


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        ("--index-url=http://example.com", "is not a requirement: expected one such as 'acme-photos>=2'"),
        ("acme photos", "is not a requirement"),
        ("acme @ git+https://example.com/acme", "cannot be locked, because a repository has no hash"),
        ("./nowhere", "/nowhere does not exist; expected a wheel"),
        ("a\n--index-url=http://example.com", "is not a requirement"),
    ],
)
def test_a_requirement_that_cannot_be_locked_is_refused(host, requirement, said):
    with pytest.raises(SpecError, match=said):
        host.environments().install("photos", [requirement])


@pytest.mark.parametrize("name", ["", ".wheels", "../x", 'a"b', "-x"])
def test_a_name_that_is_no_directory_is_refused(host, name):
    with pytest.raises(SpecError, match="is invalid: expected letters, digits"):
        host.environments().install(name, ["acme-photos"])


def test_packages_without_a_plugin_and_with_several_are_errors(host):
    points = "[extframe.plugins]\na = many:A\nb = many:B\n"
    write_wheel(host.wheels, "many", "1", {"many.py": b""}, entry_points=points)
    with pytest.raises(ExtframeError, match=r"none of the packages has a plugin: expected an entry point"):
        host.environments().install("photos", ["extframe"])
    with pytest.raises(ExtframeError, match=r"have the plugins a, b; select one with --plugin"):
        host.environments().install("photos", ["many"])
    assert status_of_environment(str(host.root), "photos").path == ""
    assert host.environments().install("photos", ["many"], plugin="b").plugin.plugin == "many:B"
    assert host.environments().upgrade("photos").plugin.plugin == "many:B"


def test_a_file_that_starts_another_program_is_not_overwritten(host):
    host.configs.mkdir()
    (host.configs / "photos.toml").write_text('command = ["/bin/true"]\n')
    with pytest.raises(SpecError, match=r"starts another program under the name 'photos'"):
        host.environments().install("photos", ["acme-photos"])


def test_an_environment_that_another_plugin_uses_is_not_uninstalled(host):
    host.environments().install("photos", ["acme-photos"])
    (host.configs / "thumbs.toml").write_text('python = { plugin = "acme_photos:Plugin", environment = "photos" }\n')
    with pytest.raises(SpecError, match=r"thumbs\.toml uses the environment 'photos'"):
        host.environments().uninstall("photos")
    assert host.said() == "1.0"


def test_without_uv_and_pip_the_error_says_what_to_install(host, monkeypatch):
    monkeypatch.setattr(installers, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExtframeError, match=r"environments need uv or pip: pip install 'extframe\[environments\]'"):
        Environments(str(host.configs), str(host.root)).install("photos", ["acme-photos"])
    with pytest.raises(ExtframeError, match=r"uv is not installed: pip install"):
        host.environments("uv").install("photos", ["acme-photos"])


# --- lock files ---------------------------------------------------------------------------------------

DIGEST = f"sha256:{64 * 'a'}"


def test_a_lock_file_is_read_as_it_was_written():
    url = Package("direct", "", (DIGEST,), "https://example.com/direct-1.whl")
    lock = Lock("3.12", ("acme>=2", "direct"), (Package("acme", "2.1", (DIGEST, DIGEST)), url))
    assert parse_lock(lock.text, "x.lock") == lock
    assert Lock("3.13", lock.requirements, lock.packages).key != lock.key
    assert Lock("3.12", ("acme",), lock.packages[::-1]).key == lock.key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acme==1", "line 2 is 'acme==1'; expected NAME==VERSION --hash=sha256:DIGEST"),
        ("acme==1 --hash=md5:aa", "line 2 is "),
        ("--index-url http://example.com", "line 2 is "),
        (f"acme>=1 --hash={DIGEST}", "line 2 is "),
        (f"acme @ file:///tmp/acme.whl --hash={DIGEST}", "line 2 is "),
        ("# python: 3.12", "expected one line such as '# python: 3.13'"),
    ],
)
def test_a_lock_file_with_anything_but_hashed_packages_is_refused(text, said):
    with pytest.raises(SpecError, match=rf"^x\.lock: {said}"):
        parse_lock(f"# python: 3.12\n{text}\n", "x.lock")


def test_a_program_that_is_interrupted_has_ended_before_what_it_wrote_is_removed(tmp_path):
    program = "import pathlib, sys, time; print(flush=True); time.sleep(1); pathlib.Path(sys.argv[1]).touch()"

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with open(tmp_path / "lock", "w") as lock, pytest.raises(KeyboardInterrupt):
        Commands(lock.fileno()).run([sys.executable, "-c", program, str(tmp_path / "end")], "wait", line=interrupt)
    assert (tmp_path / "end").exists()
