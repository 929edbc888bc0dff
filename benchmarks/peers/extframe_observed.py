"""extframe: ``client.call`` with an observer that does nothing."""

from __future__ import annotations

from collections.abc import Callable

from extframe import CallOutcome, Client, ObservedCall, TLSConfig

from . import ARGUMENTS, METHOD


class NoOp:
    """An observer that does nothing."""

    def call_started(self, call: ObservedCall) -> None:
        """Do nothing."""

    def call_ended(self, call: ObservedCall, outcome: CallOutcome) -> None:
        """Do nothing."""


def connect(address: str, ca: str) -> Callable[[], object]:
    """Call with all safeguards that are on by default."""
    client = Client(address, tls=TLSConfig(ca_file=ca) if ca else None, observers=[NoOp()])
    return lambda: client.call(METHOD, ARGUMENTS)
