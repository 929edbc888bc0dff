"""``extframe schema``: the document on stdout or in a file, and what is wrong with an argument."""

from __future__ import annotations

import json

import pytest

import extframe as package


def test_the_document_is_written_to_stdout_or_to_a_file(run, tmp_path):
    result = run("schema", "extframe:VolumeDriver")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == package.openapi(package.VolumeDriver)
    file = tmp_path / "schema.json"
    assert run("schema", "extframe:VolumeDriver", "-o", file).stdout == ""
    assert file.read_text(encoding="utf-8") == result.stdout


def test_several_interfaces_and_another_version(run):
    result = run("schema", "extframe:NetworkDriver", "extframe:IpamDriver", "--openapi", "3.0.3")
    expected = package.openapi(package.NetworkDriver, package.IpamDriver, version="3.0.3")
    assert json.loads(result.stdout) == expected


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["VolumeDriver"], 2, "'VolumeDriver' is invalid: expected MODULE:NAME"),
        (["extframe:NoSuch"], 1, "has no 'NoSuch'"),
        (["extframe:Client"], 1, "extframe:Client: <class 'extframe.client.client.Client'> is not a driver"),
        (["no_such_module:Backup"], 1, "no module named 'no_such_module'"),
        (["extframe:VolumeDriver", "-o", "/nowhere/x.json"], 1, "cannot write /nowhere/x.json: No such file"),
        (["extframe:VolumeDriver", "--openapi", "2.0"], 2, "'2.0' is not one of '3.1.0', '3.0.3'"),
    ],
)
def test_a_wrong_argument_is_an_error_that_says_what_is_expected(run, arguments, code, message):
    result = run("schema", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
