"""``import extframe`` imports nothing heavy, and type checkers see the same public names as programs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import make_stub
import pytest
from program import Program

import extframe

HEAVY = {"msgspec", "requests", "requests_unixsocket", "urllib3", "pluggy", "httptools", "importlib_metadata"}
HEAVY |= {"asyncio", "click", "rich", "socket", "ssl", "typing", "uvicorn"}
FOR_PLUGINS = HEAVY - {"pluggy", "importlib_metadata", "typing", "socket"}  # some importlib_metadata imports socket
FOR_PLUGINS |= {
    "extframe.client.client",
    "extframe.client.http1",
    "extframe.client.transport",
    "extframe.host.activation",
    "extframe.host.plugin",
    "extframe.interface.declarations",
    "extframe.protocol",
}

BUILD = """
import sys

before = set(sys.modules)
import extframe

with extframe.PluginManager() as manager:
    manager.register(object(), "one more")
print(*(name for name, _ in manager.list_name_plugin()))
print(*sys.modules.keys() - before)
"""


def run_python(code: str, cwd: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_stub_for_type_checkers_has_the_names_of_the_table():
    assert make_stub.STUB.read_text() == make_stub.stub(), "run: python tests/make_stub.py"


def test_no_name_is_listed_twice():
    listed = [name for names in extframe._PUBLIC.values() for name in names.split()]
    assert sorted(listed) == extframe.__all__


@pytest.mark.parametrize("name", extframe.__all__)
def test_a_public_name_is_the_object_that_its_module_defines(name):
    assert getattr(extframe, name) is getattr(import_module(f"extframe.{extframe._HOMES[name]}"), name)


@pytest.mark.parametrize("name", extframe.__all__)
def test_a_public_name_has_a_docstring_of_its_own(name):
    value = getattr(extframe, name)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}("), "this is what dataclass writes when there is none"


def test_importing_extframe_imports_nothing_heavy(tmp_path):
    before, after = run_python(
        "import sys; print(*sys.modules); import extframe; print(*sys.modules)", cwd=tmp_path
    ).splitlines()
    assert not (set(after.split()) - set(before.split())) & HEAVY


UNUSED = ("async", "supervisor", "dns", "etcd", "docker", "opentelemetry", "prometheus", "failover", "manifest_cache")


def test_a_host_imports_nothing_of_what_it_does_not_use(tmp_path):
    code = """
import sys, extframe
with extframe.serving(extframe.VolumeDriver()) as plugin:
    print(plugin.directory, flush=True)
    sys.stdin.read()
"""
    use = f"""
import sys, extframe
with extframe.PluginManager(extframe.LocalRegistry(sys.argv[1])) as pm:
    client = pm.get("plugin", extframe.VolumeDriver).client
    assert client.call("Plugin.Activate") == {{"Implements": ["VolumeDriver"]}}
    with client.stream("Plugin.Activate") as stream:
        stream.read()
print(*(name for name in sys.modules if any(part in name for part in {UNUSED}) and "asyncio" not in name))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        directory = server.stdout.readline().strip()
        found = subprocess.run(
            [sys.executable, "-c", use, directory], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
        )
        server.stdin.close()
    assert found.stdout.split() == []


def test_importing_extframe_imports_none_of_its_modules(tmp_path):
    modules = run_python("import sys, extframe; print(*sys.modules)", cwd=tmp_path).split()
    assert [name for name in modules if name.startswith("extframe")] == ["extframe"]


def test_importing_extframe_starts_no_thread(tmp_path):
    assert run_python("import extframe, threading; print(threading.active_count())", cwd=tmp_path) == "1\n"


def test_building_a_manager_imports_nothing_that_only_a_plugin_needs(tmp_path):
    handlers, modules = run_python(BUILD, cwd=tmp_path).splitlines()
    assert "extframe.volume_driver" in handlers
    assert set(modules.split()) & FOR_PLUGINS == set()


def test_dir_lists_names_that_were_not_used_yet(tmp_path):
    missing = run_python("import extframe; print(*{*extframe.__all__} - {*dir(extframe)})", cwd=tmp_path)
    assert missing.split() == []


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'extframe' has no attribute 'Plugn'"):
        _ = extframe.Plugn
    with pytest.raises(ImportError, match="Plugn"):
        from extframe import Plugn  # noqa: F401


def test_a_star_import_gives_exactly_the_public_names(tmp_path):
    code = "before = {*globals()}; from extframe import *; print(*sorted({*globals()} - before - {'before'}))"
    assert run_python(code, cwd=tmp_path).split() == sorted(extframe.__all__)


@pytest.mark.parametrize("name", ["py.typed", "__init__.pyi"])
def test_the_wheel_has_the_files_for_type_checkers(name):
    assert Path(extframe.__file__).with_name(name).is_file()


def test_the_tests_import_the_extframe_that_is_installed(tmp_path):
    """Not the checkout that pytest was started in: a file that the wheel lacks must fail."""
    installed = run_python("import extframe; print(extframe.__file__)", cwd=tmp_path).strip()
    assert extframe.__file__ == installed
    assert distribution("extframe").metadata["Requires-Python"] == ">=3.10"


def test_the_module_that_version_0_1_documented_for_messages_is_an_alias_that_warns():
    sys.modules.pop("extframe.messages", None)
    with pytest.warns(DeprecationWarning, match="use extframe.parse_time"):
        alias = import_module("extframe.messages")
    assert alias.parse_time is extframe.parse_time


def test_a_name_that_cannot_be_imported_for_lack_of_descriptors_is_an_error_of_ours():
    source = """
        import os, resource
        import extframe
        extframe.ExtframeError
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        while True:
            try:
                os.dup(0)
            except OSError:
                break
        try:
            extframe.PluginManager
        except extframe.ExtframeError as error:
            print(error)
    """
    with Program(source, measured=False) as program:
        code, output = program.end()
    assert code == 0, output
    assert output.startswith("cannot import extframe.PluginManager: [Errno 24] Too many open files")
