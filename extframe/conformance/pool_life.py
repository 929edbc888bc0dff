"""The life of a pool of addresses, and of an address of it. Touches no other pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ..errors import ExtframeError
from .answers import judge_result
from .check import Check
from .line import Line
from .rules import Outcome, Verdict
from .trial import Calls, Trial


class PoolLife:
    """A pool, and an address of it."""

    def __init__(self, line: Line, trial: Trial) -> None:
        self._calls = Calls(line, "IpamDriver")
        self.pool = ""
        self.address = ""

    def checks(self) -> Iterator[Check]:
        """Yield what is tried, in its order."""
        yield Check("IpamDriver.RequestPool", "pool", self._request_pool)
        if not self.pool:
            return
        yield Check("IpamDriver.RequestAddress", "pool", self._request_address)
        if self.address:
            yield Check("IpamDriver.ReleaseAddress of the new address", "pool", self._release_address)
        yield Check("IpamDriver.ReleasePool of the new pool", "pool", self._release_pool)

    def clean_up(self) -> None:
        """Give back what is left."""
        for release in (self._release_address if self.address else None, self._release_pool if self.pool else None):
            if release is not None:
                with suppress(ExtframeError):
                    release(None)

    def _request_pool(self, line: Line) -> Outcome:
        space = self._calls.result("get_default_address_spaces").local_default_address_space
        method, answer = self._calls.ask("request_pool", address_space=space)
        outcome = judge_result(method, answer)
        if outcome.verdict is Verdict.PASS:
            self.pool = method.decode_reply(answer.body).pool_id
        return outcome

    def _request_address(self, line: Line) -> Outcome:
        method, answer = self._calls.ask("request_address", pool_id=self.pool)
        outcome = judge_result(method, answer)
        if outcome.verdict is Verdict.PASS:
            self.address = method.decode_reply(answer.body).address.partition("/")[0]
        return outcome

    def _release_address(self, line: Line | None) -> Outcome:
        address, self.address = self.address, ""
        return judge_result(*self._calls.ask("release_address", pool_id=self.pool, address=address))

    def _release_pool(self, line: Line | None) -> Outcome:
        pool, self.pool = self.pool, ""
        return judge_result(*self._calls.ask("release_pool", pool_id=pool))
