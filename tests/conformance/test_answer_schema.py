"""Responses are validated against an OpenAPI document, Docker's and others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from conformance_runs import faults, run, with_verdict
from scripted_plugin import error, ok, scripted

import extframe
from extframe import Interface, Message, SpecError, rpc
from extframe.conformance import LifecycleOptions, Verdict, check_plugin
from extframe.server import serving

VOLUMES = extframe.openapi(extframe.VolumeDriver)


class Job(Message, frozen=True):
    id: str
    size: int = 0


class Backup(Interface, implements="Backup"):
    @rpc("Start", returns="Job")
    def start(self, path: str, keep: list[int]) -> Job:
        raise NotImplementedError

    @rpc("Follow")
    def follow(self) -> Iterator[Job]:
        raise NotImplementedError


class Backups(Backup):
    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, path: str, keep: list[int]) -> Job:
        self.started.append(path)
        return Job(id=path)

    def follow(self) -> Iterator[Job]:
        yield Job(id="1")
        raise LookupError("no more jobs")


def schema_results(results, *verdicts: Verdict) -> dict[str, str]:
    found = with_verdict(results, *(verdicts or tuple(Verdict)))
    return {name.removeprefix("schema of "): why for name, why in found.items() if name.startswith("schema of ")}


@pytest.mark.parametrize("version", ["3.1.0", "3.0.3"])
def test_a_conforming_volume_plugin_has_the_schema_of_volume_plugins(fault_server, version):
    schema = extframe.openapi(extframe.VolumeDriver, version=version)
    results = run(fault_server(scripted()).address, schema=schema)
    assert faults(results) == {}
    assert set(schema_results(results, Verdict.PASS)) >= {"Plugin.Activate", "VolumeDriver.List", "VolumeDriver.Get"}
    assert schema_results(results, Verdict.SKIP)["VolumeDriver.Mount"] == "it was not called"


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (ok({"Volumes": [{"Mountpoint": "/"}]}), Verdict.FAIL, "'Name' is a required property - at `$.Volumes[0]`"),
        (ok({"Volumes": "a"}), Verdict.FAIL, "'a' is not of type"),
        (ok({}), Verdict.FAIL, "status 200: 'Volumes' is a required property - at `$`"),
        (error("busy"), Verdict.PASS, "response"),
        (ok({"Err": "busy"}), Verdict.PASS, "response"),
        (ok({"Volumes": None}), Verdict.PASS, "response"),
    ],
)
def test_a_response_without_its_schema_is_a_failure_with_the_place(fault_server, answer, verdict, reason):
    results = run(fault_server(scripted({"VolumeDriver.List": answer})).address, schema=VOLUMES)
    assert reason in schema_results(results, verdict)["VolumeDriver.List"]


def test_an_error_in_another_form_is_a_warning(fault_server):
    text = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nbusy"
    results = run(fault_server(scripted({"VolumeDriver.List": text})).address, schema=VOLUMES)
    assert schema_results(results, Verdict.WARN)["VolumeDriver.List"].startswith("status 500: ")


def test_methods_of_other_extension_points_are_called_only_if_the_plugin_may_be_changed():
    driver = Backups()
    with serving(driver) as plugin:
        results = run(plugin.address, schema=extframe.openapi(Backup))
        assert schema_results(results, Verdict.SKIP) == dict.fromkeys(
            ["Backup.Start", "Backup.Follow"], "it was not called"
        )
        assert (faults(results), driver.started) == ({}, [])
        results = run(plugin.address, schema=extframe.openapi(Backup), lifecycle=LifecycleOptions())
    assert driver.started == ["extframe-check"]
    assert faults(results) == {}
    assert set(schema_results(results, Verdict.PASS)) == {"Plugin.Activate", "Backup.Start", "Backup.Follow"}


def test_each_line_of_a_stream_has_the_schema_of_a_record(fault_server):
    stream = b'{"Id":"1"}\n{"Id":2}\n{"Err":"x"}\n'
    plugin = scripted(
        {
            "Plugin.Activate": ok({"Implements": ["Backup"]}),
            "Backup.Start": ok({"Job": {"Id": "1"}}),
            "Backup.Follow": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(stream), stream),
        }
    )
    results = run(fault_server(plugin).address, schema=extframe.openapi(Backup), lifecycle=LifecycleOptions())
    failures = schema_results(results, Verdict.FAIL)
    assert failures == {"Backup.Follow": "status 200: line 2: 2 is not of type 'string' - at `$.Id`"}


@pytest.mark.parametrize("document", [{}, [], {"openapi": "2.0"}, {"openapi": 3}])
def test_another_document_is_a_spec_error(document):
    with pytest.raises(SpecError, match="not an OpenAPI document of version 3.0 or 3.1"):
        check_plugin("unix:///x.sock", schema=document)


def test_a_missing_validator_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openapi_schema_validator", None)
    with pytest.raises(SpecError, match=r"pip install 'extframe\[schema\]'"):
        check_plugin("unix:///x.sock", schema=VOLUMES)


def test_the_command_takes_the_document_from_a_file(monkeypatch, fault_server, tmp_path):
    from click.testing import CliRunner

    from extframe.cli.program import program

    address = fault_server(scripted()).address
    file = tmp_path / "schema.json"

    def check(text: str):
        file.write_text(text)
        return CliRunner().invoke(program, ["check", address, "--schema", str(file), "-o", "json", "--timeout", "30"])

    result = check(json.dumps(VOLUMES))
    assert result.exit_code == 0
    assert "schema of VolumeDriver.List" in {each["check"] for each in json.loads(result.stdout)}
    for text, message in (("openapi: 3.1.0", "is not JSON"), ("{}", "not an OpenAPI document")):
        result = check(text)
        assert (result.exit_code, message in result.stderr) == (2, True)
    file.unlink()
    missing = CliRunner().invoke(program, ["check", address, "--schema", str(file)])
    assert (missing.exit_code, "cannot read the schema" in missing.stderr) == (2, True)
