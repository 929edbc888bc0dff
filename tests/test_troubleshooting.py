"""The messages in docs/troubleshooting.md are those that users see: each is provoked and compared."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import extframe
from extframe.testing import Error, FakePlugin, Fault

PAGE = Path(__file__).parent.parent / "docs" / "troubleshooting.md"
MESSAGES = re.findall(r"^\| `(\w+(?:: .*?)?)` \|", PAGE.read_text(), re.MULTILINE)


class Backup(extframe.Interface, implements="Backup", version=2, accepts=(2,)):
    @extframe.rpc("Start")
    def start(self) -> None:
        raise NotImplementedError


class Lab:
    """A host and a fake plugin, ``photos``."""

    def __init__(self, directory: Path, fake: FakePlugin, pm: extframe.PluginManager) -> None:
        self.directory, self.fake, self.pm = directory, fake, pm

    def volumes(self, method: str, *answers: object) -> extframe.VolumeDriver:
        self.fake.answer(f"VolumeDriver.{method}", *answers)
        return self.pm.driver("photos", extframe.VolumeDriver)

    def activate(self, *answers: object, **options: Any) -> None:
        self.fake.answer("Plugin.Activate", *answers)
        self.pm.get("photos", **options)

    def world_writable(self) -> None:
        self.fake.path.chmod(0o777)
        self.pm.get("photos")

    def removed(self) -> None:
        self.fake.close()
        self.pm.get("photos")

    def blocked(self) -> None:
        with extframe.PluginManager(extframe.LocalRegistry(self.directory), block=["photos"]) as pm:
            pm.get("photos")

    def vetoed(self) -> None:
        class Policy:
            @extframe.hookimpl
            def plugin_activating(self, name: str) -> None:
                raise PermissionError("not signed")

        self.pm.register(Policy())
        self.pm.get("photos")

    def dead(self) -> None:
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(self.directory / "dead.sock"))
        self.pm.get("dead")

    def exits(self) -> None:
        (self.directory / "photos.toml").write_text('command = ["sh", "-c", "echo cannot read config.toml; exit 3"]')
        with extframe.PluginManager(extframe.Supervisor(self.directory), groups=()) as pm:
            pm.get("photos")

    def other_version(self) -> None:
        self.fake.answer("Plugin.Activate", {"Implements": ["Backup"]})
        self.pm.driver("photos", Backup)

    def handler_raises(self) -> None:
        self.pm.handle("VolumeDriver", lambda name, client: 1 / 0)
        self.pm.get("photos", "VolumeDriver")

    def keeps_failing(self) -> None:
        volumes = self.volumes("Mount", Fault.CLOSE)
        for _ in range(5):
            with pytest.raises(extframe.ConnectionLost):
                volumes.mount("a", id="c1")
        volumes.mount("a", id="c1")


PROVOKED: dict[str, Callable[[Lab], object]] = {
    "PluginNotFound: no plugin": Lab.removed,
    "PluginsMissing": lambda lab: lab.pm.get_all("VolumeDriver", names=["photos", "missing"], wait=0.1),
    "PluginBlocked": Lab.blocked,
    "SpecError: ... is world-writable": Lab.world_writable,
    "SpecError: ... cannot be": lambda lab: lab.pm.get("../photos"),
    "ActivationError: ... Connection refused": Lab.dead,
    "ActivationError: plugin 'photos' exited": Lab.exits,
    "ActivationError: ... timed out": lambda lab: lab.activate(Fault.HANG, timeout=0.2),
    "ActivationError: ... not JSON": lambda lab: lab.activate(b"<html>"),
    "ActivationVetoed": Lab.vetoed,
    "DoesNotImplement: plugin 'photos'": lambda lab: lab.pm.get("photos", "Backup"),
    "DoesNotImplement: ... version": Lab.other_version,
    "HandlerError": Lab.handler_raises,
    "ConnectionLost": lambda lab: lab.volumes("Mount", Fault.CLOSE).mount("a", id="c1"),
    "CallTimeout": lambda lab: lab.pm.get("photos").client.call("VolumeDriver.Hang", timeout=0.2),
    "PluginUnavailable": Lab.keeps_failing,
    "ProtocolError": lambda lab: lab.volumes("List", {"Volumes": [{"Name": "a"}, {"Name": 1}]}).list(),
    "RemoteError": lambda lab: lab.volumes("Get", Error("no such volume")).get("a"),
}
ELSEWHERE = {
    "ConnectError": "tests/client/test_transport.py, as another user",
    "PluginNotFound: ... the managed plugin": "tests/registry/test_docker_plugins.py, with an engine",
    "SpecError: managed plugin": "tests/peers/test_managed_plugins.py, as another user",
}


@pytest.fixture
def lab(short_path) -> Iterator[Lab]:
    fake = FakePlugin(short_path, "photos", ["VolumeDriver"])
    with fake, extframe.PluginManager(extframe.LocalRegistry(short_path)) as pm:
        fake.answer("VolumeDriver.Hang", Fault.HANG)
        yield Lab(short_path, fake, pm)


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_one_that_users_see(lab, message):
    if message.startswith(tuple(ELSEWHERE)):
        return
    (provoke,) = [provoke for beginning, provoke in PROVOKED.items() if message.startswith(beginning)]
    with pytest.raises(extframe.ExtframeError) as caught:
        provoke(lab)
    name, _, text = message.partition(": ")
    assert type(caught.value).__name__ == name
    pattern = ".*".join(re.escape(part) for part in text.split("..."))
    assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)


def test_every_kind_of_error_that_a_host_sees_is_on_the_page():
    named = {message.partition(":")[0] for message in MESSAGES}
    kinds = {
        name
        for name in extframe.__all__
        if isinstance(getattr(extframe, name), type) and issubclass(getattr(extframe, name), extframe.ExtframeError)
    }
    assert kinds - named <= {"ExtframeError", "TransportError"}
