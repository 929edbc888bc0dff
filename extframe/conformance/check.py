"""A check, and how errors of a call become outcomes. Contains no checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import CallTimeout, ConnectionLost, RemoteError, TransportError
from .raw_client import RawClient
from .rules import RULES, Outcome, Result, Verdict, failed


@dataclass(frozen=True)
class Check:
    """One check of a plugin.

    Args:
        name: its name in the results.
        rule: the rule that it checks, a key of ``RULES``.
        step: runs it. A transport error, and an error response that the step did not expect, is a failure.
        worst: the worst verdict it can have: WARN or NOTE where no host sends such a request.
    """

    name: str
    rule: str
    step: Callable[[RawClient], Outcome]
    worst: Verdict = Verdict.FAIL

    def run(self, client: RawClient) -> Result:
        """Run it and return the result."""
        try:
            outcome = self.step(client)
        except TransportError as error:
            outcome = failed(_reason(error, client.timeout))
        except RemoteError as error:
            outcome = failed(error.message)
        return self.result(outcome)

    def result(self, outcome: Outcome) -> Result:
        """Return an outcome as this check's result, no worse than ``worst``."""
        if outcome.verdict.severity > self.worst.severity:
            outcome = replace(outcome, verdict=self.worst)
        return Result(self.name, outcome.verdict, outcome.reason, RULES[self.rule])


def _reason(error: TransportError, timeout: float) -> str:
    if isinstance(error, CallTimeout):
        return f"{error.message} ({timeout:g} s)"
    if isinstance(error, ConnectionLost):
        return f"{error.message}; Docker's engine repeats such a call without its body"
    return error.message
