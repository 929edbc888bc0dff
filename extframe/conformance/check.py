"""What a check is, and how its errors become verdicts. Knows no check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import CallTimeout, ConnectionLost, RemoteError, TransportError
from .line import Line
from .rules import RULES, Outcome, Result, failed


@dataclass(frozen=True)
class Check:
    """Something to try.

    Args:
        name: what it is called in the results.
        rule: its rule, a key of ``RULES``.
        step: tries it; a transport error is a failure, and so is a plugin's error that it did not expect.
    """

    name: str
    rule: str
    step: Callable[[Line], Outcome]

    def run(self, line: Line) -> Result:
        """Try it."""
        try:
            outcome = self.step(line)
        except TransportError as error:
            outcome = failed(_reason(error, line.timeout))
        except RemoteError as error:
            outcome = failed(error.message)
        return self.result(outcome)

    def result(self, outcome: Outcome) -> Result:
        """Return an outcome of it as a result."""
        return Result(self.name, outcome.verdict, outcome.reason, RULES[self.rule])


def _reason(error: TransportError, timeout: float) -> str:
    if isinstance(error, CallTimeout):
        return f"{error.message} ({timeout:g} s)"
    if isinstance(error, ConnectionLost):
        return f"{error.message}; the engine sends such a call again, without its body"
    return error.message
