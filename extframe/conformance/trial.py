"""Leave to make things, and the calls that need it. Knows no extension point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..client.http1 import Response
from ..errors import TransportError
from ..interface.methods import Method
from .answers import judge_error, judge_result
from .calls import DECLARATIONS, body_of
from .line import Line
from .rules import Outcome, Verdict, warned


@dataclass(frozen=True)
class Trial:
    """Leave to make things.

    Args:
        options: what the plugin wants of a new volume.
        mount: mount the volume, too.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    mount: bool = False


class Calls:
    """Calls to one extension point, judged and decoded."""

    def __init__(self, line: Line, point: str) -> None:
        self._line = line
        self._methods = {method.name: method for method in DECLARATIONS[point].methods}

    def ask(self, name: str, /, **arguments: Any) -> tuple[Method, Response]:
        """Call a method by its name in Python, and return it with the answer."""
        method = self._methods[name]
        return method, self._line.call(method.wire, body_of(method, arguments))

    def result(self, name: str, /, **arguments: Any) -> Any:
        """Return the result of a call; raises what a proxy raises, and TransportError for any other status."""
        method, answer = self.ask(name, **arguments)
        outcome = judge_result(method, answer)
        if outcome.verdict is not Verdict.PASS or answer.status != 200:
            raise TransportError(f"{method.wire}: {outcome.reason}")
        return method.decode_reply(answer.body)


def judge_creation(method: Method, answer: Response) -> Outcome:
    """Judge the answer of a call that makes something, and may want options for it."""
    outcome = judge_result(method, answer)
    if outcome.verdict is Verdict.FAIL and judge_error(method, answer).verdict is Verdict.PASS:
        return warned(f"refused: {outcome.reason}; --opt KEY=VALUE gives it the options that it wants")
    return outcome
