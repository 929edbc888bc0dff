"""Assess single responses: to calls that must succeed, must be refused, or may be either. No I/O."""

from __future__ import annotations

from typing import Any

from ..client.http1 import Response
from ..errors import ProtocolError, RemoteError
from ..interface.methods import Method
from ..protocol import decode_json, error_in, error_words, excerpt
from .rules import Outcome, Verdict, failed, noted, passed, warned


def assess_result(method: Method, response: Response) -> Outcome:
    """Assess the response to a call that must succeed."""
    if response.status != 200:
        if method.rpc.optional:
            return _assess_optional(response)
        return failed(f"status {response.status}: {words_of(response)}")
    if method.rpc.ignore_reply:
        return passed()
    if not response.body.strip():
        return failed("status 200 with an empty body; expected a JSON object")
    try:
        method.decode_reply(response.body)
    except RemoteError as error:
        return _assess_error_in_200(method, response, error.message)
    except ProtocolError as wrong:
        return failed(wrong.message)
    return passed()


def _assess_optional(response: Response) -> Outcome:
    if response.status == 404:
        return passed("not implemented, which is allowed")
    return noted(f"status {response.status}, which hosts read as not implemented; better 404: {words_of(response)}")


def assess_either(method: Method, response: Response) -> Outcome:
    """Assess the response to a call that the plugin may refuse or report as done."""
    if response.status == 404 and method.rpc.optional:
        return _assess_optional(response)
    return assess_result(method, response) if response.status == 200 else assess_error(response)


def assess_error(response: Response) -> Outcome:
    """Assess the form of an error response."""
    if response.status < 400:
        return failed(f"status {response.status}, which is neither success (200) nor an error with a message")
    reply = object_in(response)
    if reply is None:
        shown = f"status {response.status} with text instead of a JSON object: {words_of(response)}"
        return noted(shown) if response.status == 400 else warned(shown)
    message = error_in(reply)
    if not message:
        return warned(f"status {response.status} without a message: no Err in {excerpt(response.body, 80)}")
    if not any(key.lower() == "err" for key in reply):
        return warned(f"status {response.status} with Error only, so that the engine shows raw JSON: {message}")
    return passed(f"status {response.status}: {message}")


def refusal(response: Response, remedy: str = "") -> Outcome | None:
    """Return a warning with the plugin's message if this is a well-formed refusal of a valid call, else None."""
    message = error_in(object_in(response))
    if not message or (response.status != 200 and response.status < 400):
        return None
    return warned(f"refused: {message}{remedy}")


def only_logged(outcome: Outcome) -> Outcome:
    """Return the outcome for a call whose errors the engine only logs."""
    return warned(f"the engine only logs it: {outcome.reason}") if outcome.verdict is Verdict.FAIL else outcome


def assess_malformed(response: Response) -> Outcome:
    """Assess the response to a request with an invalid body."""
    if response.status == 200:
        message = error_in(object_in(response))
        return (
            noted(f"status 200 with the error {message!r}")
            if message
            else warned(f"status 200: {excerpt(response.body)}")
        )
    outcome = assess_error(response)
    if response.status >= 500 and outcome.verdict is Verdict.PASS:
        return noted(f"status {response.status} instead of 400: {words_of(response)}")
    return noted(outcome.reason) if outcome.verdict is Verdict.WARN else outcome


def _assess_error_in_200(method: Method, response: Response, message: str) -> Outcome:
    point = method.wire.partition(".")[0]
    shown = f"status 200 with the error {message!r}"
    if point == "VolumeDriver":
        return warned(f"{shown}: podman reads it as success")
    if point == "IpamDriver" and "error" not in {key.lower() for key in object_in(response) or {}}:
        return failed(f"{shown} in Err: the engine reads it as success, as it reads Error only")
    return passed(shown)


def object_in(response: Response) -> dict[str, Any] | None:
    """Return the JSON object in a response, or None."""
    try:
        reply = decode_json(response.body)
    except ProtocolError:
        return None
    return reply if isinstance(reply, dict) else None


def field_in(response: Response, name: str) -> Any:
    """Return a field of a response; ``name`` is in lower case, the key in any. None if there is none."""
    return {key.lower(): value for key, value in (object_in(response) or {}).items()}.get(name)


def words_of(response: Response) -> str:
    """Return the plugin's error message, whole; a body of text is shortened to 2,000 characters."""
    return error_words(response.body, limit=2000) or "(empty body)"
