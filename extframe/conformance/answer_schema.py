"""Check the responses of a plugin against an OpenAPI document. Knows the document's terms, and sends nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..client.http1 import Response
from ..errors import ProtocolError, SpecError
from ..protocol import decode_json
from .rules import Outcome, failed, passed, skipped, warned

_JSON, _LINES = "application/json", "application/x-ndjson"


class AnswerSchema:
    """The schemas of a plugin's responses.

    Args:
        document: an OpenAPI document of version 3.0 or 3.1, as ``extframe schema`` writes it.

    Raises:
        SpecError: it is not such a document, or no validator is installed.
    """

    def __init__(self, document: object) -> None:
        version = document.get("openapi") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(version, str) or version[:4] not in ("3.0.", "3.1."):
            raise SpecError(f"the schema is not an OpenAPI document of version 3.0 or 3.1: openapi is {version!r}")
        self._components = document.get("components", {})
        self._operations: Mapping[str, Any] = {
            path.lstrip("/"): item["post"] for path, item in document.get("paths", {}).items() if "post" in item
        }
        self._validator = _validator_class(version)
        self._validators: dict[str, Any] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """The calls of the document, such as ``VolumeDriver.Mount``."""
        return tuple(self._operations)

    @property
    def points(self) -> tuple[str, ...]:
        """The extension points of the document, which are its tags."""
        tags = (tag for operation in self._operations.values() for tag in operation.get("tags", ()))
        return tuple(dict.fromkeys(tags))

    def points_of(self, method: str) -> tuple[str, ...]:
        """Return the extension points of a call."""
        return tuple(self._operations[method].get("tags", ()))

    def example(self, method: str) -> bytes:
        """Return the smallest request that the document allows."""
        schema = _content(self._operations[method].get("requestBody", {})).get(_JSON, {}).get("schema")
        return b"" if schema is None else json.dumps(self._example(schema)).encode() + b"\n"

    def assess(self, method: str, responses: list[Response]) -> Outcome:
        """Return whether all responses to a method have their schemas. Errors without ``Err`` are a warning."""
        wrong = [(response, fault) for response in responses if (fault := self._fault(method, response))]
        for response, fault in sorted(wrong, key=lambda item: item[0].status != 200):
            reason = f"status {response.status}: {fault}"
            return failed(reason) if response.status == 200 else warned(reason)
        if not responses:
            return skipped("it was not called")
        return passed(f"{len(responses)} responses" if len(responses) > 1 else "1 response")

    def _fault(self, method: str, response: Response) -> str:
        """Return why a response does not have its schema, with the place; "" if it has."""
        responses = self._operations[method].get("responses", {})
        described = responses.get(str(response.status)) or responses.get("default")
        if described is None:
            return "the schema has no such status"
        content = _content(described)
        if _LINES in content and response.status == 200:
            return next(self._faulty_lines(content[_LINES]["schema"], response.body), "")
        if _JSON not in content:
            return ""
        try:
            value = decode_json(response.body)
        except ProtocolError as wrong:
            return wrong.message
        fault = self._mismatch(content[_JSON]["schema"], value)
        if (
            fault and isinstance(value, dict) and value.get("Err")
        ):  # an error with status 200, which another rule judges
            error = _content(responses.get("default", {})).get(_JSON)
            return self._mismatch(error["schema"], value) if error else fault
        return fault

    def _faulty_lines(self, schema: Mapping[str, Any], body: bytes) -> Iterator[str]:
        lines = [line for line in body.splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            try:
                value = decode_json(line)
            except ProtocolError as wrong:
                yield f"line {number}: {wrong.message}"
                continue
            is_error = number == len(lines) and isinstance(value, dict) and value.keys() == {"Err"}
            fault = "" if is_error else self._mismatch(schema, value)
            if fault:
                yield f"line {number}: {fault}"

    def _mismatch(self, schema: Mapping[str, Any], value: object) -> str:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            self._validators[key] = self._validator({**schema, "components": self._components})
        error = next(self._validators[key].iter_errors(value), None)
        return "" if error is None else f"{error.message} - at `{error.json_path}`"

    def _example(self, schema: Mapping[str, Any]) -> Any:
        while "$ref" in schema:
            schema = self._components["schemas"][schema["$ref"].rpartition("/")[2]]
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return self._example(schema[key][0])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "null")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            properties = schema.get("properties", {})
            return {key: self._example(properties.get(key, {})) for key in schema.get("required", ())}
        if kind == "array":
            return [self._example(schema["items"])] * schema.get("minItems", 0) if "items" in schema else []
        return {"string": "extframe-check", "integer": 1, "number": 1.0, "boolean": False}.get(kind)


def _content(described: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = described.get("content", {})
    return found


def _validator_class(version: str) -> Any:
    try:
        from openapi_schema_validator import OAS30Validator, OAS31Validator
    except ImportError as missing:
        raise SpecError("checking a schema needs openapi-schema-validator: pip install 'extframe[schema]'") from missing
    return OAS31Validator if version.startswith("3.1") else OAS30Validator
