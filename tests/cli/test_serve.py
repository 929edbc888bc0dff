"""``extframe serve``: real processes, sockets and signals."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import inspect
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from faultserver import eventually

import extframe
from extframe import Client, LocalRegistry, PluginNotFound, RemoteError, TransportError
from extframe.cli import autoreload
from extframe.cli.program import program
from extframe.cli.serve_limits import LIMITS
from extframe.server.limits import ServerLimits

PHOTOS = """
import extframe

class Photos(extframe.VolumeDriver):
    def list(self):
        return [extframe.Volume(name="{name}")]

class Policy(extframe.Authz):
    def authz_req(self, **request):
        return extframe.AuthzResponse(allow=True)

    authz_res = authz_req

class Room(extframe.VolumeDriver):
    def __init__(self, root):
        pass

def broken():
    raise RuntimeError("no disk")

@extframe.implements(extframe.Authz)
class Lacking:
    pass

photos = Photos()
number = 5
"""


@pytest.fixture
def module(tmp_path) -> Path:
    """The module ``photos``, in the directory where commands are started."""
    path = tmp_path / "photos.py"
    path.write_text(PHOTOS.format(name="holiday"))
    return path


@pytest.fixture
def serve(start, module, short_path) -> Callable:
    def serve(*arguments: object, **options):
        return start("serve", *arguments, "--dir", short_path, **options)

    return serve


def volumes(directory: Path, name: str = "photos") -> list[str]:
    spec = LocalRegistry(directory, [directory]).find(name)
    with Client(spec.address, plugin=name, timeout=30.0) as client:
        return [volume["Name"] for volume in client.call("VolumeDriver.List")["Volumes"]]


def implements(directory: Path) -> list[str]:
    with Client(LocalRegistry(directory, [directory]).find("photos").address, timeout=5.0) as client:
        return client.call("Plugin.Activate")["Implements"]


def is_served(directory: Path) -> bool:
    """Wait until the plugin responds, which is a moment after its file exists."""

    def answers() -> bool:
        with contextlib.suppress(PluginNotFound, TransportError):
            return bool(implements(directory))
        return False

    return eventually(answers, 60.0)


def refusal(process) -> str:
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    (line,) = err.splitlines()
    return line.removeprefix("extframe: ")


# --- served -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["photos:Photos", "photos:photos"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_class_or_an_instance_is_served_until_a_signal_and_leaves_nothing(serve, short_path, target, number):
    process = serve(target, "--name", "photos")
    assert is_served(short_path)
    assert volumes(short_path) == ["holiday"]
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert list(short_path.iterdir()) == []


def test_several_drivers_are_one_plugin(serve, short_path):
    serve("photos:Photos", "photos:Policy", "--name", "photos")
    assert is_served(short_path)
    assert implements(short_path) == ["VolumeDriver", "authz"]


def test_a_function_that_makes_a_driver_is_called(serve, module, short_path):
    module.write_text(PHOTOS.format(name="holiday") + "\ndef make():\n    return Photos()\n")
    serve("photos:make", "--name", "photos")
    assert is_served(short_path)
    assert volumes(short_path) == ["holiday"]


def test_a_module_in_a_package_of_the_working_directory_is_found(serve, module, tmp_path, short_path):
    (tmp_path / "album").mkdir()
    module.rename(tmp_path / "album" / "plugin.py")
    serve("album.plugin:Photos", "--name", "photos")
    assert is_served(short_path)


def test_the_mode_and_the_group_of_the_socket_are_chosen(serve, short_path):
    group = grp.getgrgid(os.getgid()).gr_name
    serve("photos:Photos", "--name", "photos", "--mode", "600", "--group", group)
    assert is_served(short_path)
    path = short_path / "photos.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_gid == os.getgid()


def test_with_tcp_a_spec_file_says_where_it_listens(serve, short_path):
    process = serve("photos:Photos", "--name", "photos", "--tcp", "127.0.0.1:0")
    assert is_served(short_path)
    assert volumes(short_path) == ["holiday"]
    process.terminate()
    assert process.wait(30) == 0
    assert list(short_path.iterdir()) == []


def test_verbose_shows_what_is_done(serve, short_path):
    process = serve("photos:Photos", "--name", "photos", "-v")
    assert is_served(short_path)
    assert volumes(short_path) == ["holiday"]
    process.terminate()
    assert "plugin 'photos' (VolumeDriver) listens at unix://" in process.communicate(timeout=30)[1]


# --- refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("fotos:Photos", "fotos: no module named 'fotos', neither in "),
        ("photos.plugin:Photos", "photos.plugin: no module named 'photos.plugin', neither in "),
        ("photos:Fotos", "photos:Fotos: photos ({path}) has no 'Fotos'; did you mean Photos, Policy, Room, Lacking?"),
        ("photos:number", "photos:number is 5: expected a driver, or a function that returns one"),
        ("photos:Room", "calling photos:Room failed: TypeError: "),
        ("photos:broken", "calling photos:broken failed: RuntimeError: no disk (-v shows the traceback)"),
        ("photos:dict", "photos:dict: photos ({path}) has no 'dict'"),
        ("photos:extframe.Client.close", "calling photos:extframe.Client.close failed: TypeError: "),
        ("photos:Lacking", "Lacking cannot be served: authz_req is missing; authz_res is missing"),
        ("builtins:dict", "builtins:dict is not a driver: subclass an Interface"),
    ],
)
def test_what_cannot_be_served_is_reported_on_one_line(serve, module, short_path, target, words):
    assert refusal(serve(target, "--name", "photos")).startswith(words.replace("{path}", str(module)))
    assert list(short_path.iterdir()) == []


def test_a_module_that_cannot_be_imported_is_reported_with_its_error(serve, module):
    module.write_text("import boto4\n")
    assert refusal(serve("photos:Photos", "--name", "photos")) == "photos imports 'boto4', which is not installed"
    module.write_text("1 / 0\n")
    words = "importing photos failed: ZeroDivisionError: division by zero (-v shows the traceback)"
    assert refusal(serve("photos:Photos", "--name", "photos")) == words


def test_verbose_shows_where_an_import_failed(serve, module):
    module.write_text("1 / 0\n")
    _, err = serve("photos:Photos", "--name", "photos", "-v").communicate(timeout=30)
    assert 'photos.py", line 1, in <module>' in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos"],
        ["photos:"],
        ["photos.py:Photos()"],
        ["photos:Photos", "--mode", "rw"],
        ["photos:Photos", "--name", "../x"],
        ["photos:Photos", "--tcp", "127.0.0.1:0", "--group", "docker"],
    ],
)
def test_a_usage_error_is_2(serve, arguments):
    process = serve("--name", "photos", *arguments)
    assert process.wait(30) == 2


def test_a_missing_name_is_a_usage_error(serve):
    assert serve("photos:Photos").wait(30) == 2


def test_a_parameter_that_no_method_has_cannot_be_serialized_by(serve):
    words = "serialize='colour': no method has such a parameter"
    assert refusal(serve("photos:Photos", "--name", "photos", "--serialize", "colour")) == words


def test_the_socket_of_another_process_is_left_alone(serve, short_path):
    serve("photos:Photos", "--name", "photos")
    assert is_served(short_path)
    message = refusal(serve("photos:Photos", "--name", "photos"))
    assert message.startswith(f"cannot serve 'photos': {short_path}/photos.sock: another process answers there")
    assert volumes(short_path) == ["holiday"]


def test_a_port_in_use_is_reported(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refusal(serve("photos:Photos", "--name", "photos", "--tcp", f"127.0.0.1:{port}"))
    assert "another process listens at" in message


def test_an_unknown_group_is_reported(serve):
    message = refusal(serve("photos:Photos", "--name", "photos", "--group", "no-such-group"))
    assert message.startswith("cannot serve 'photos': group='no-such-group': this machine has no such group")


def test_a_directory_that_cannot_be_created_is_reported(start, module):
    message = refusal(start("serve", "photos:Photos", "--name", "photos", "--dir", module / "below"))
    assert message.startswith("cannot serve 'photos': ")


def test_the_environment_names_the_directory_or_the_host_program(start, module, short_path):
    start("serve", "photos:Photos", "--name", "photos", env={"EXTFRAME_DIR": str(short_path)})
    assert is_served(short_path)
    user = {"XDG_RUNTIME_DIR": str(short_path), "EXTFRAME_APP": "myhost-of-tests", "EXTFRAME_DIR": None}
    process = start("serve", "photos:Photos", "--name", "photos", env=user)
    below = Path("/run" if os.geteuid() == 0 else short_path) / "myhost-of-tests" / "plugins"
    try:
        assert is_served(below)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(below.parent, ignore_errors=True)


@pytest.mark.parametrize(
    "tcp", ["127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "::1:80", "tcp://h:1", "h:1/x", "h:-1", "", "a b:1"]
)
def test_an_invalid_tcp_address_is_a_usage_error_that_quotes_it(serve, short_path, tcp):
    process = serve("photos:Photos", "--name", "photos", "--tcp", tcp)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"'{tcp}' is invalid: expected HOST:PORT" in " ".join(err.split())
    assert list(short_path.iterdir()) == []


def test_an_unknown_tcp_host_is_a_usage_error_that_quotes_it(serve):
    process = serve("photos:Photos", "--name", "photos", "--tcp", "no-such-host.invalid:80")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "'no-such-host.invalid:80'" in err


@pytest.mark.parametrize("options", [[], ["--reload"]])
def test_the_working_directory_does_not_shadow_the_standard_library(script, module, short_path, options):
    for name in ("json", "socket", "asyncio", "logging", "signal", "subprocess", "time"):
        (module.parent / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    command = [script, "serve", "photos:Photos", "--name", "photos", "--dir", short_path, *options]
    process = subprocess.Popen(command, cwd=module.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert is_served(short_path)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert "shadowed" not in err


# --- limits -------------------------------------------------------------------------------------------


def test_every_limit_of_serve_is_an_option_with_the_same_default():
    limits = {field.name: getattr(ServerLimits(), field.name) for field in dataclasses.fields(ServerLimits)}
    parameters = inspect.signature(extframe.serve).parameters
    limits |= {name: parameters[name].default for name in ("threads", "queue_timeout", "drain")}
    assert LIMITS.keys() == limits.keys()
    for name, (read, _, meaning) in LIMITS.items():
        if name != "connections":  # depends on the limit on descriptors
            default = re.search(r"([0-9]+(?:[KM]iB)?) by default", meaning)
            assert read(default[1]) == limits[name]


@pytest.mark.parametrize("reloading", [[], ["--reload"]])
def test_limits_are_options(serve, short_path, reloading):
    sizes = ["--limit", "1KiB", "--head-limit", "1000", "--buffer", "1MiB"]
    times = ["--request-timeout", "20", "--keep-alive", "20", "--write-timeout", "9.5", "--queue-timeout", "5"]
    counts = ["--connections", "10", "--threads", "3", "--drain", "1.5"]
    serve("photos:Photos", "--name", "photos", *sizes, *times, *counts, *reloading)
    assert is_served(short_path)
    with Client(LocalRegistry(short_path).find("photos").address, timeout=30) as client:
        assert client.call("VolumeDriver.List", {"Pad": "x" * 100})["Volumes"]
        with pytest.raises(RemoteError, match="the request body exceeds 1024 bytes") as refused:
            client.call("VolumeDriver.List", {"Pad": "x" * 2000})
        assert refused.value.status == 413
        with pytest.raises(RemoteError) as refused:
            client.call("VolumeDriver.List?" + "x" * 1000)
        assert refused.value.status == 431


WRONG = {
    "--limit": ["0", "-1", "16MB", "1.5MiB", "MiB", "lots", ""],
    "--threads": ["0", "-1", "1.5", "x", ""],
    "--drain": ["0", "-1", "nan", "inf", "x", ""],
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in WRONG for value in WRONG[option]])
def test_a_limit_that_is_invalid_is_a_usage_error_that_quotes_it(option, value):
    result = CliRunner().invoke(program, ["serve", "photos:Photos", "--name", "photos", f"{option}={value}"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': '{value}' is invalid: expected " in result.output


# --- reload -------------------------------------------------------------------------------------------


def change(module: Path, text: str) -> None:
    """Write it as one change: what is written in place is empty for a moment, which is a change of its own."""
    draft = module.with_suffix(".new")
    draft.write_text(text)
    draft.replace(module)


def test_with_reload_a_change_is_served_and_a_mistake_waits_for_the_next(serve, module, short_path):
    process = serve("photos:Photos", "--name", "photos", "--reload")
    assert is_served(short_path)
    assert volumes(short_path) == ["holiday"]
    change(module, "this does not parse")
    assert eventually(lambda: not (short_path / "photos.sock").exists(), 60.0)
    change(module, PHOTOS.format(name="winter"))
    assert is_served(short_path)
    assert volumes(short_path) == ["winter"]
    process.terminate()
    assert process.wait(30) == 0
    assert list(short_path.iterdir()) == []


def test_with_reload_a_directory_may_disappear_while_it_is_searched(tmp_path, monkeypatch):
    for name in ("photos.py", "old/music.py", "venv/lib/films.py", ".git/hook.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    scan = os.scandir

    def remove_and_scan(path):
        if str(path).endswith("old"):
            shutil.rmtree(path)
        return scan(path)

    assert list(autoreload._snapshot(tmp_path)) == [tmp_path / "photos.py", tmp_path / "old" / "music.py"]
    monkeypatch.setattr(os, "scandir", remove_and_scan)
    assert list(autoreload._snapshot(tmp_path)) == [tmp_path / "photos.py"]


def test_with_reload_nothing_is_left_of_a_command_that_was_killed(serve, short_path):
    process = serve("photos:Photos", "--name", "photos", "--reload")
    assert is_served(short_path)
    process.kill()
    assert eventually(lambda: list(short_path.iterdir()) == [], 60.0)


STARTING = """
import pathlib, signal, time

def end(number, frame):
    if pathlib.Path("signalled").exists():
        raise SystemExit(0)
    pathlib.Path("signalled").touch()

signal.signal(signal.SIGTERM, {handler})
pathlib.Path("started").touch()
while True:
    time.sleep(1)
"""


def test_with_reload_a_signal_ends_a_run_that_is_only_starting(serve, module):
    module.write_text(STARTING.format(handler="signal.SIG_DFL"))
    process = serve("photos:Photos", "--name", "photos", "--reload")
    assert eventually((module.parent / "started").exists, 60.0)
    process.terminate()
    assert process.wait(30) == 0


def test_with_reload_a_signal_ends_a_run_that_is_being_stopped(serve, module):
    module.write_text(STARTING.format(handler="end"))
    process = serve("photos:Photos", "--name", "photos", "--reload")
    assert eventually((module.parent / "started").exists, 60.0)
    change(module, "photos = None")
    assert eventually((module.parent / "signalled").exists, 60.0)
    process.terminate()
    assert process.wait(30) == 0


def test_without_reload_a_change_is_not_served(serve, module, short_path):
    serve("photos:Photos", "--name", "photos")
    assert is_served(short_path)
    change(module, PHOTOS.format(name="winter"))
    assert not eventually(lambda: volumes(short_path) != ["holiday"], 1.0)
