"""Judge single answers: of calls that must succeed, must be refused, or may be either. Sends nothing."""

from __future__ import annotations

from typing import Any

from ..client.http1 import Response
from ..errors import ProtocolError, RemoteError
from ..interface.methods import Method
from ..protocol import decode_json, error_in, excerpt
from .rules import Outcome, failed, passed, warned


def judge_result(method: Method, answer: Response) -> Outcome:
    """Judge the answer of a call that has a result."""
    if answer.status != 200:
        if method.rpc.optional:
            return _judge_absence(answer)
        return failed(f"status {answer.status}: {_words(answer)}")
    if method.rpc.ignore_reply:
        return passed()
    if not answer.body.strip():
        return failed("status 200 with an empty body; expected a JSON object")
    try:
        method.decode_reply(answer.body)
    except RemoteError as error:
        return _judge_error_in_200(method, answer, error.message)
    except ProtocolError as wrong:
        return failed(wrong.message)
    return passed()


def _judge_absence(answer: Response) -> Outcome:
    if answer.status == 404:
        return passed("not implemented, as is allowed")
    return warned(f"status {answer.status}: {_words(answer)}; 404 says that it is not implemented")


def judge_refusal(method: Method, answer: Response) -> Outcome:
    """Judge the answer of a call that cannot succeed."""
    if answer.status != 200:
        return judge_error(method, answer)
    try:
        reply = decode_json(answer.body)
    except ProtocolError as wrong:
        return failed(f"status 200, and no JSON object: {wrong.message}")
    words = error_in(reply)
    if words:
        return _judge_error_in_200(method, answer, words)
    return failed(f"answered as if all were well: {excerpt(answer.body)}")


def judge_either(method: Method, answer: Response) -> Outcome:
    """Judge the answer of a call that the plugin may refuse or take for done."""
    if answer.status == 404 and method.rpc.optional:
        return _judge_absence(answer)
    return judge_result(method, answer) if answer.status == 200 else judge_error(method, answer)


def judge_error(method: Method, answer: Response) -> Outcome:
    """Judge the shape of an error."""
    if answer.status < 400:
        return failed(f"status {answer.status}, which hosts take neither for a result nor for an error that has words")
    reply = _object(answer)
    if reply is None:
        return warned(f"status {answer.status} with text in the place of a JSON object: {_words(answer)}")
    texts = {key.lower(): value for key, value in reply.items() if isinstance(value, str) and value}
    if "err" in texts:
        return passed(f"status {answer.status}: {excerpt(texts['err'].encode(), 80)}")
    if "error" in texts:
        return warned(f"status {answer.status} with Error alone: the engine shows the raw JSON")
    return warned(f"status {answer.status} without words: no Err in {excerpt(answer.body, 80)}")


def judge_malformed(method: Method, answer: Response) -> Outcome:
    """Judge the answer to a request that makes no sense."""
    if answer.status == 200:
        if method.wire.startswith("AuthZPlugin.") and (_object(answer) or {}).get("Allow") is False:
            return passed("status 200, and denied")
        return failed(f"status 200: {excerpt(answer.body)}")
    shape = judge_error(method, answer)
    if answer.status >= 500:
        return warned(f"status {answer.status} in the place of 400: {_words(answer)}")
    return shape


def _judge_error_in_200(method: Method, answer: Response, words: str) -> Outcome:
    point = method.wire.partition(".")[0]
    told = f"status 200 with the error {excerpt(words.encode(), 80)!r}"
    if point == "VolumeDriver":
        return warned(f"{told}: podman takes it for success")
    if point == "IpamDriver" and "error" not in {key.lower() for key in _object(answer) or {}}:
        return failed(f"{told} in Err: the engine takes it for success, and reads Error alone")
    return passed(told)


def _object(answer: Response) -> dict[str, Any] | None:
    try:
        reply = decode_json(answer.body)
    except ProtocolError:
        return None
    return reply if isinstance(reply, dict) else None


def _words(answer: Response) -> str:
    return excerpt(answer.body, 80) or "(nothing)"
