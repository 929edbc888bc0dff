"""CallTrace: what ``extframe call -v`` writes to stderr about a call, as ``curl -v`` does. Makes no call."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import click

from .output import printable

if TYPE_CHECKING:
    from ..client.observation import CallOutcome, ObservedCall


class CallTrace:
    """An observer that writes the address, then the heads of the request and of the response.

    The log line of the call follows, with its result, sizes and times.
    """

    def call_started(self, call: ObservedCall) -> None:
        """Write where the call goes, before it may hang."""
        _write(f"* Calling {call.method} at {call.address}")

    def call_ended(self, call: ObservedCall, outcome: CallOutcome) -> None:
        """Write what was sent and what arrived."""
        head = outcome.request_head.decode("latin-1")
        for line in head.split("\r\n") if head else ():
            _write(f"> {line}")
        if head:
            _write(f"* {max(outcome.bytes_sent - len(head) - 4, 0)} bytes of JSON sent")
        if outcome.status is not None:
            _write(f"< {outcome.status} {_phrase(outcome.status)}")
            for name, value in outcome.response_headers:
                _write(f"< {name.decode('latin-1')}: {value.decode('latin-1')}")


def observers() -> tuple[CallTrace, ...]:
    """Return a trace if the command line has ``-v``."""
    return (CallTrace(),) if logging.getLogger("extframe").isEnabledFor(logging.DEBUG) else ()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _write(line: str) -> None:
    click.echo(printable(line).rstrip(), err=True)
