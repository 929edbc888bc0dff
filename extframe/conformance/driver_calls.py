"""Calls to one extension point for lifecycle checks. Contains no checks."""

from __future__ import annotations

from typing import Any

from ..client.http1 import Response
from ..errors import TransportError
from ..interface.methods import Method
from .raw_client import RawClient
from .responses import assess_result, refusal
from .rules import Outcome, Verdict
from .safe_calls import DECLARATIONS, body_of


class DriverCalls:
    """Calls the methods of one extension point by their Python names."""

    def __init__(self, client: RawClient, point: str) -> None:
        self._client = client
        self._methods = {method.name: method for method in DECLARATIONS[point].methods}

    def call(self, name: str, /, **arguments: Any) -> tuple[Method, Response]:
        """Call a method and return it with the response."""
        method = self._methods[name]
        return method, self._client.call(method.wire, body_of(method, arguments))

    def result(self, name: str, /, **arguments: Any) -> Any:
        """Return the result of a call.

        Raises:
            RemoteError: the plugin returned an error in a 200.
            TransportError: the status is not 200, or the result is invalid.
        """
        method, response = self.call(name, **arguments)
        outcome = assess_result(method, response)
        if outcome.verdict is not Verdict.PASS or response.status != 200:
            raise TransportError(f"{method.wire}: {outcome.reason}")
        return method.decode_reply(response.body)


def assess_creation(method: Method, response: Response) -> Outcome:
    """Assess the response to a call that creates something, and may require options."""
    remedy = "; --opt KEY=VALUE sets the options that it requires"
    return refusal(response, remedy) or assess_result(method, response)
