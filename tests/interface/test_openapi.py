"""OpenAPI documents: valid, stable, what real peers send, and the checked-in ones are those of the declarations."""

# ruff: noqa: B006, RUF012 - defaults are declarations

from __future__ import annotations

import copy
import datetime
import enum
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from every_method import METHODS, OWNERS
from openapi_schema_validator import OAS30Validator, OAS31Validator
from openapi_spec_validator import validate
from test_transcripts import CALLS, LOST, ODD_ANSWERS

import extframe
from extframe import AsyncInterface, Interface, Key, Message, StreamCodec, rpc
from extframe.interface.openapi import VERSIONS, openapi

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
DOCKERS = sorted({owner.__name__ for owner in OWNERS.values()})
VALIDATORS = {"3.1.0": OAS31Validator, "3.0.3": OAS30Validator}


def errors(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """Return why a value does not have a schema of a document."""
    validator = VALIDATORS[document["openapi"]]({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]


def schema_of(content: dict[str, Any]) -> dict[str, Any]:
    return content["content"]["application/json"]["schema"]


# --- an interface with everything ---------------------------------------------------------------------


class Speed(enum.Enum):
    SLOW = "slow"
    FAST = "fast"


class Job(Message, frozen=True):
    """A backup that runs.

    Args:
        id: the number that `stop` takes,
            however long.
        parent: the job that started it.
    """

    id: Annotated[int, msgspec.Meta(gt=0)]
    parent: Job | None = None
    tags: list[list[str]] = []
    notes: dict[str, Any] = {}
    label: Annotated[str, msgspec.Meta(extra_json_schema={"required": True, "maxLength": 9})] = ""
    const: Literal["job"] = "job"
    level: int = 3


class Status(Message, frozen=True):
    """What runs now."""

    jobs: list[Job] = []
    err: str = ""


class Backup(Interface, implements="Backup"):
    """Backups of paths.

    Each has a job.
    """

    @rpc("Start", returns="Job")
    def start(
        self,
        path: str,
        data: bytes = b"",
        *,
        speed: Speed = Speed.FAST,
        at: datetime.datetime | None = None,
        pair: tuple[str, int] = ("", 0),
        sizes: dict[int, float] = {},
        either: int | str | list[str] = 0,
        properties: Annotated[dict[str, str], Key("Properties", null=True)] = {},
    ) -> Job:
        """Start a backup.

        It goes on after the reply.

        Args:
            path, data: what to back up.

        Raises:
            RemoteError: no.
        """
        raise NotImplementedError

    @rpc("Status", empty_object=True, optional=True)
    def status(self) -> Status:
        raise NotImplementedError

    @rpc("Stop")
    def stop(self, id: Annotated[int, Key("ID")]) -> None:
        raise NotImplementedError

    @rpc("Name", returns="Name")
    def name(self) -> str | None:
        raise NotImplementedError

    @rpc("Follow")
    def follow(self) -> Iterator[Job]:
        raise NotImplementedError

    @rpc("Numbers")
    def numbers(self) -> Iterator[int | None]:
        raise NotImplementedError

    @rpc("Tail", stream=StreamCodec(unpack=iter, pack=bytes))  # type: ignore[arg-type]
    def tail(self) -> Iterator[str]:
        raise NotImplementedError

    @rpc("Poke", ignore_reply=True)
    def poke(self) -> None:
        raise NotImplementedError


class Places(Message, frozen=True):
    """Where things are.

    Args:
        bucket: the name of the bucket.
    """

    bucket: str
    retries: int = 3


class AsyncOnly(AsyncInterface, implements="AsyncOnly", settings=Places):
    @rpc("Run", returns="Result")
    async def run(self) -> dict[str, bytes]:
        raise NotImplementedError


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_is_valid_and_the_same_every_time(version):
    document = openapi(Backup, AsyncOnly, version=version)
    before = copy.deepcopy(document)
    validate(document)
    assert document == before
    assert json.dumps(openapi(Backup, AsyncOnly, version=version)) == json.dumps(document)


def test_settings_are_a_call_that_comes_first():
    document = openapi(AsyncOnly)
    assert list(document["paths"])[:2] == ["/Plugin.Activate", "/Plugin.Configure"]
    body = schema_of(document["paths"]["/Plugin.Configure"]["post"]["requestBody"])
    assert errors(document, body, {"Settings": {"Bucket": "b", "Retries": 1}}) == []
    assert errors(document, body, {"Settings": {"Retries": 1}}) == ["'Bucket' is a required property"]
    assert (
        document["components"]["schemas"]["Places"]["properties"]["Bucket"]["description"] == "the name of the bucket."
    )
    both = openapi(AsyncOnly, Backup)
    assert both["components"]["schemas"]["PluginManifest"]["example"]["Settings"] == ["AsyncOnly"]


def test_descriptions_are_the_docstrings():
    document = openapi(Backup)
    schemas = document["components"]["schemas"]
    start = document["paths"]["/Backup.Start"]["post"]
    assert document["info"]["description"] == "Backups of paths.\n\nEach has a job."
    assert (start["summary"], start["description"]) == ("Start a backup.", "It goes on after the reply.")
    assert schemas["Job"]["description"] == "A backup that runs."
    assert schemas["Job"]["properties"]["Id"]["description"] == "the number that `stop` takes, however long."
    assert schemas["BackupStartRequest"]["properties"]["Data"]["description"] == "what to back up."
    assert "may omit this method" in document["paths"]["/Backup.Status"]["post"]["description"]


JOB = {"Id": 1, "Label": "", "Parent": None, "Tags": [None, ["a"]], "Notes": None, "New": 1}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("wire", "side", "value", "is_valid"),
    [
        ("Backup.Start", "request", {"Path": "/"}, True),
        ("Backup.Start", "request", {"Path": "/", "Data": "eA==", "Speed": "slow", "At": None, "New": 1}, True),
        ("Backup.Start", "request", {"Path": "/", "Pair": ["a", 1], "Properties": None, "Sizes": None}, True),
        ("Backup.Start", "request", {"Path": "/", "Either": ["a"]}, True),
        ("Backup.Start", "request", {"Path": "/", "Either": {}}, False),
        ("Backup.Start", "request", {}, False),
        ("Backup.Start", "request", {"Path": None}, False),
        ("Backup.Start", "request", {"Path": "/", "Speed": "medium"}, False),
        ("Backup.Start", "request", {"Path": "/", "Properties": {"a": 1}}, False),
        ("Backup.Start", "reply", {"Job": {**JOB, "Parent": JOB}, "Err": ""}, True),
        ("Backup.Start", "reply", {"Job": {"Id": 1}}, False),
        ("Backup.Start", "reply", {"Job": {"Id": 0, "Label": ""}}, False),
        ("Backup.Start", "reply", {"Job": {**JOB, "Label": "x" * 10}}, False),
        ("Backup.Start", "reply", {"Job": {**JOB, "Const": "task"}}, False),
        ("Backup.Start", "reply", {}, False),
        ("Backup.Start", "error", {"Err": "no"}, True),
        ("Backup.Start", "error", {"Message": "no"}, False),
        ("Backup.Status", "reply", {"Jobs": None, "Err": "x"}, True),
        ("Backup.Status", "reply", {"Jobs": [None]}, False),
        ("Backup.Stop", "reply", {}, True),
        ("Backup.Stop", "reply", [], False),
        ("Backup.Name", "reply", {}, True),
        ("Backup.Poke", "reply", {"Anything": 1}, True),
        ("Plugin.Activate", "reply", {"Implements": ["Backup", "Other"]}, True),
        ("Plugin.Activate", "reply", {"Implements": "Backup"}, False),
    ],
)
def test_what_a_peer_must_send_is_required_and_what_go_sends_as_null_may_be_null(version, wire, side, value, is_valid):
    document = openapi(Backup, version=version)
    operation = document["paths"][f"/{wire}"]["post"]
    responses = operation["responses"]
    content = {"request": operation.get("requestBody"), "reply": responses["200"], "error": responses["default"]}[side]
    assert (not errors(document, schema_of(content), value)) is is_valid


def test_streams_have_the_media_type_and_the_schema_of_a_record():
    document = openapi(Backup)
    content = {
        name: document["paths"][f"/Backup.{name}"]["post"]["responses"]["200"]["content"]
        for name in ("Follow", "Numbers", "Tail")
    }
    assert content["Tail"] == {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    for name, record in (("Follow", JOB), ("Numbers", 1), ("Numbers", None)):
        assert not errors(document, content[name]["application/x-ndjson"]["schema"], record)
    assert errors(document, content["Numbers"]["application/x-ndjson"]["schema"], "a")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: openapi(), TypeError, "at least one interface"),
        (lambda: openapi(int), TypeError, "int.* is not a driver"),
        (lambda: openapi(Backup, version="2.0"), ValueError, "OpenAPI 2.0 is not supported; choose 3.1.0 or 3.0.3"),
        (
            lambda: openapi(Backup, type("Again", (Backup,), {}, prefix="Backup", implements="Again")),
            TypeError,
            "two interfaces have the method Backup.Start",
        ),
    ],
)
def test_arguments_that_cannot_be_described_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- Docker's interfaces ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCKERS)
def test_the_schemas_in_docs_are_those_of_the_declarations(name):
    """Write them with ``extframe schema extframe:NAME -o docs/schemas/NAME.json``."""
    interface = getattr(extframe, name)
    document = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    validate(document)
    assert json.dumps(document) == json.dumps(openapi(interface))
    validate(openapi(interface, version="3.0.3"))


# Answers that the engine takes, and that are odd all the same.
ODD = {
    ("docker-authz", 42): "an error without Err",
    ("docker-authz", 43): "no Allow, which denies",
    ("docker-authz", 44): "a key in lower case",
    ("docker-volume-create-odd-answers", 9): "a key in another case",
    ("docker-volume-create-odd-answers", 13): "an error without Err",
    ("docker-volume-create-odd-answers", 33): "null",
}
# The host replaces a value that the schema allows, and a parser of JSON keeps the last of two keys.
NOT_ODD_FOR_A_SCHEMA = {("docker-network-capabilities", 21), ("docker-volume-create-odd-answers", 45)}


@functools.cache
def document_of(interface: type, version: str) -> dict[str, Any]:
    return openapi(interface, version=version)


@functools.cache
def is_valid(wire: str, side: str, body: str, version: str) -> bool:
    """Return whether a body has its schema; most of them were recorded many times."""
    return next(validator_of(wire, side, version).iter_errors(json.loads(body)), None) is None


@functools.cache
def validator_of(wire: str, side: str, version: str) -> Any:
    document = document_of(OWNERS[wire], version)
    operation = document["paths"][f"/{wire}"]["post"]
    content = operation["requestBody"] if side == "request" else operation["responses"][side]
    return VALIDATORS[version]({**schema_of(content), "components": document["components"]})


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_request_of_an_engine_has_its_schema(version):
    checked = 0
    for call in CALLS:
        operation = document_of(OWNERS[call.wire], version)["paths"][f"/{call.wire}"]["post"]
        if call.from_an_engine and call.name not in LOST and call.request.strip() and "requestBody" in operation:
            assert is_valid(call.wire, "request", call.request.decode(), version), call
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("version", VERSIONS)
def test_every_ordinary_recorded_answer_has_its_schema_and_the_odd_ones_do_not(version):
    counts = {True: 0, False: 0}
    for call in CALLS:
        if not call.status or METHODS[call.wire].stream is not None:
            continue
        odd = call.name in {*ODD, *ODD_ANSWERS} - NOT_ODD_FOR_A_SCHEMA
        try:
            value = json.loads(call.reply.decode())
        except ValueError:
            assert odd or call.status != 200, call
            continue
        reports_error = isinstance(value, dict) and value.get("Err") and not call.wire.startswith("AuthZPlugin.")
        side = "200" if call.status == 200 and not reports_error else "default"
        assert is_valid(call.wire, side, call.reply.decode(), version) is not odd, (call, call.reply)
        counts[odd] += 1
    assert counts[False] > 400
    assert counts[True] > 10
