"""``extframe explain``: extension points and methods, from their declarations."""

from __future__ import annotations

import json
import shlex

import pytest
from packages import install

from extframe.cli.explain import complete_target
from extframe.cli.interfaces import docker_interfaces, similar_method
from extframe.interface.methods import Method

METHODS = {method.wire: method for found in docker_interfaces().values() for method in found.methods}
BACKUP = """
from typing import Annotated, Any

import msgspec

import extframe


class Node(msgspec.Struct):
    name: str
    children: "list[Node]" = []


class Backup(extframe.Interface, implements="Backup", version=2, accepts=(1, 2)):
    '''Copies of directories.'''

    @extframe.rpc("Run", returns="Tree")
    def run(self, path: str, mode: int | None = None, extra: Any = 0) -> Node:
        '''Copy a directory.

        Args:
            path: the directory.
        '''
        raise NotImplementedError
"""


def explain(run, target: str) -> dict:
    return json.loads(run("explain", target, "-o", "json").stdout)


def test_an_extension_point_is_explained_with_its_methods(run):
    result = run("explain", "VolumeDriver")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "VolumeDriver (hook volume_driver)"
    assert "  VolumeDriver.Create        Create a volume." in lines
    assert max(map(len, lines)) <= 80
    names = [each["method"] for each in explain(run, "VolumeDriver")["methods"]]
    assert names == [wire for wire in METHODS if wire.startswith("VolumeDriver.")]


def test_a_method_is_explained_with_its_signature_fields_and_an_example(run):
    assert (
        run("explain", "VolumeDriver.Mount").stdout
        == """\
VolumeDriver.Mount
  mount(name: str, id: str) -> str

Mount a volume for one caller and return the absolute path of its mount point.

Request:
  Name  string, required
      the volume.
  ID  string, required
      the caller. `docker cp` mounts with the ID of a running container, so the
      same ID may be mounted twice, and is then unmounted twice.

Reply:
  Mountpoint  string, required
  Err  string
      What went wrong; "" or absent if the call succeeded.

Example:
  $ extframe call NAME VolumeDriver.Mount '{"Name": "photos", "ID": "c1"}'
  {"Mountpoint": "/mnt/photos"}
"""
    )


@pytest.mark.parametrize(("wire", "method"), METHODS.items())
def test_the_examples_are_valid_messages(run, wire: str, method: Method):
    shown = explain(run, wire)
    example = shown["example"]
    if method.signature.parameters:
        method.decode_request(json.dumps(example["request"]).encode())
    if method.stream is None:
        method.decode_reply(json.dumps(example["reply"]).encode())
    text = run("explain", wire).stdout.splitlines()
    assert max(map(len, text[: text.index("Example:")])) <= 80
    words = shlex.split(text[text.index("Example:") + 1])
    assert words[:5] == ["$", "extframe", "call", "NAME", wire]
    assert [json.loads(word) for word in words[5:]] == [each for each in [example["request"]] if each is not None]


@pytest.mark.parametrize("target", ["authz", "AuthZPlugin", "AUTHZ"])
def test_a_point_has_its_name_in_a_manifest_and_on_the_wire_in_any_case(run, target):
    assert explain(run, target)["point"] == "authz"
    assert explain(run, f"{target}.authz_req")["method"] == "AuthZPlugin.AuthZReq"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("VolumeDrivr", "no extension point 'VolumeDrivr' is known here; did you mean 'VolumeDriver'?"),
        ("Zzz.Run", "no extension point 'Zzz' is known here; known are "),
        ("VolumeDriver.Mont", "VolumeDriver has no method 'Mont'; did you mean Mount?"),
        ("VolumeDriver.Zzz", "VolumeDriver has no method 'Zzz'; it has Create, Remove, "),
        ("json:JSONDecoder", "json:JSONDecoder is not an interface: "),
        ("no_such_module:X", "no module named 'no_such_module'"),
    ],
)
def test_what_is_not_known_is_an_error_with_a_suggestion(run, target, words):
    result = run("explain", target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr


def test_extension_points_of_installed_packages_are_explained(run, tmp_path, monkeypatch):
    install(tmp_path, "acme-backup", module="acme_backup", source=BACKUP, entry_points={"backup": "acme_backup"})
    install(tmp_path, "broken", module="broken", source="raise SystemError('no')", entry_points={"broken": "broken"})
    monkeypatch.syspath_prepend(tmp_path)
    assert explain(run, "Backup")["versions"] == [1, 2]
    shown = explain(run, "backup.run")
    assert shown == explain(run, "acme_backup:Backup.Run")
    assert shown["signature"] == "run(path: str, mode: int | None = None, extra: Any = 0) -> Node"
    assert shown["example"] == {"request": {"Path": "/mnt/photos"}, "reply": {"Tree": {"name": "photos"}}}
    (tree,) = [field for field in shown["reply"] if field["key"] == "Tree"]
    assert [(field["key"], field["type"], field["fields"]) for field in tree["fields"]] == [
        ("name", "string", []),
        ("children", "list of Node", []),
    ]
    assert similar_method("backup.rn") == "Backup.Run"
    assert complete_target(None, None, "Back") == ["Backup"]
    assert complete_target(None, None, "Backup.") == ["Backup.Run"]
    monkeypatch.setenv("EXTFRAME_BLOCK", "backup")
    assert run("explain", "Backup").exit_code == 1
