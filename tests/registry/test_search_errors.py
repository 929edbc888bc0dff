"""A registry that cannot look says so: exhausted descriptors, user namespaces, file systems whose server has gone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from program import Program

from extframe import ExtframeError, LocalRegistry, PluginNotFound

EXHAUSTED = """
    import os, resource, sys
    from extframe import ExtframeError, LocalRegistry, PluginManager, PluginNotFound

    registry = LocalRegistry(sys.argv[1])
    manager = PluginManager(registry, groups=())
    spec = registry.find("p")
    assert manager.scan() == ["p"]
    assert manager.get_all("VolumeDriver", timeout=0.1) == []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    while True:
        try:
            held.append(os.dup(0))
        except OSError:
            break
    for act in (manager.scan, lambda: registry.find("p"), lambda: manager.get_all("VolumeDriver")):
        try:
            act()
        except ExtframeError as error:
            print(type(error).__name__, error)
    print(registry.stamp(spec) == spec.stamp)
    for each in held:
        os.close(each)  # Python needs one to end a thread that still runs when the program ends
"""


def test_without_file_descriptors_a_scan_is_not_empty_and_no_plugin_is_missing(short_path: Path) -> None:
    (short_path / "p.spec").write_text("tcp://localhost:1")
    with Program(EXHAUSTED, short_path, measured=False) as program:
        code, output = program.end()
    assert code == 0, output
    remedy = "raise this process's limit on open files (ulimit -n), or close files that it no longer needs"
    cannot_list = f"ExtframeError cannot list plugins: {short_path}: too many open files; {remedy}"
    source = f"ExtframeError cannot read the source of plugin 'p': {short_path}/p.spec: too many open files; {remedy}"
    assert output.splitlines() == [cannot_list, source, cannot_list, "True"]


IN_A_NAMESPACE = """
    import sys
    from extframe import ExtframeError, LocalRegistry

    try:
        LocalRegistry(sys.argv[1]).find("p")
    except ExtframeError as error:
        print(error.remedy, error)
    print(LocalRegistry(sys.argv[1], allow_unsafe=True).find("p").address)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to another user")
def test_in_a_user_namespace_files_of_unmapped_users_are_explained_without_a_chown(short_path: Path) -> None:
    unshare = shutil.which("unshare")
    # Only this user is mapped, as in a rootless container: all other users' files appear as the overflow id's.
    command = [unshare or "unshare", "--user", "--map-root-user"]
    if unshare is None or subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs user namespaces")
    path = short_path / "p.spec"
    path.write_text("tcp://localhost:1")
    os.chown(path, 1234, 0)
    program = [sys.executable, "-c", textwrap.dedent(IN_A_NAMESPACE), str(short_path)]
    lines = subprocess.run([*command, *program], capture_output=True, text=True, check=True, timeout=60).stdout
    first, second = lines.splitlines()
    assert first.startswith(f"None {path}: unsafe, because ")
    assert f"{path} belongs to user 65534, which in this user namespace means any user outside it" in first
    assert "allow_unsafe=True (--allow-unsafe)" in first
    assert "chown root" not in first
    assert second == "tcp://localhost:1"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to another user")
def test_outside_user_namespaces_user_65534_is_a_user_like_any_other(short_path: Path) -> None:
    path = short_path / "p.spec"
    path.write_text("tcp://localhost:1")
    os.chown(path, 65534, 0)
    with pytest.raises(ExtframeError, match="belongs to user 65534, who is neither root nor"):
        LocalRegistry(short_path).find("p")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM, errno.ENFILE])
def test_an_error_of_the_file_system_is_neither_missing_nor_removed(short_path: Path, monkeypatch, number) -> None:
    (short_path / "p").mkdir()
    (short_path / "p" / "p.spec").write_text("tcp://localhost:1")
    registry = LocalRegistry(short_path)
    spec = registry.find("p")
    assert registry.scan() == ["p"]

    def fail(path: object, *rest: object, **options: object) -> object:
        raise OSError(number, os.strerror(number), path)

    with monkeypatch.context() as broken:
        for function in ("lstat", "stat"):
            broken.setattr(os, function, fail)
        assert registry.scan() == ["p"]
        assert registry.stamp(spec) == spec.stamp
        with pytest.raises(ExtframeError, match="cannot search for plugin 'p': .*; ") as failed:
            registry.find("p")
        assert not isinstance(failed.value, PluginNotFound)
        broken.setattr(os, "scandir", fail)
        with pytest.raises(ExtframeError, match="cannot list plugins: .*; "):
            registry.scan()
    assert registry.find("p") == spec
