"""Lifecycle checks of an address pool and one of its addresses. Affects no other pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ..errors import ExtframeError
from .check import Check
from .driver_calls import DriverCalls, assess_creation
from .options import LifecycleOptions
from .raw_client import RawClient
from .responses import assess_result, only_logged
from .rules import Outcome, Verdict


class IpamLifecycle:
    """Requests a pool and an address. ``pool`` and ``address`` are what is to be released."""

    def __init__(self, client: RawClient, options: LifecycleOptions) -> None:
        self._calls = DriverCalls(client, "IpamDriver")
        self.pool = ""
        self.address = ""

    def checks(self) -> Iterator[Check]:
        """Yield the checks in their order."""
        yield Check("IpamDriver.RequestPool", "pool", self._request_pool)
        if not self.pool:
            return
        yield Check("IpamDriver.RequestAddress", "pool", self._request_address)
        if self.address:
            yield Check("IpamDriver.ReleaseAddress of the new address", "pool", self._release_address)
        yield Check("IpamDriver.ReleasePool of the new pool", "pool", self._release_pool)

    def clean_up(self) -> None:
        """Release what is left."""
        for release in (self._release_address if self.address else None, self._release_pool if self.pool else None):
            if release is not None:
                with suppress(ExtframeError):
                    release(None)

    def _request_pool(self, client: RawClient) -> Outcome:
        space = self._calls.result("get_default_address_spaces").local_default_address_space
        method, response = self._calls.call("request_pool", address_space=space)
        outcome = assess_creation(method, response)
        if outcome.verdict is Verdict.PASS:
            self.pool = method.decode_reply(response.body).pool_id
        return outcome

    def _request_address(self, client: RawClient) -> Outcome:
        method, response = self._calls.call("request_address", pool_id=self.pool)
        outcome = assess_result(method, response)
        if outcome.verdict is Verdict.PASS:
            self.address = method.decode_reply(response.body).address.partition("/")[0]
        return outcome

    def _release_address(self, client: RawClient | None) -> Outcome:
        address, self.address = self.address, ""
        return only_logged(assess_result(*self._calls.call("release_address", pool_id=self.pool, address=address)))

    def _release_pool(self, client: RawClient | None) -> Outcome:
        pool, self.pool = self.pool, ""
        return only_logged(assess_result(*self._calls.call("release_pool", pool_id=pool)))
