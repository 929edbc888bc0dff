"""Lifecycle checks of a network with one endpoint, which no container joins. Affects no other network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex

from ..errors import ExtframeError
from ..subsystems.network import EndpointInterface, IPAMData
from .check import Check
from .driver_calls import DriverCalls, assess_creation
from .options import LifecycleOptions
from .raw_client import RawClient
from .responses import assess_result, only_logged, refusal
from .rules import Outcome, Verdict, failed, noted

# Addresses reserved for network tests (RFC 2544).
POOL = IPAMData(address_space="LocalDefault", gateway="198.18.37.1/24", pool="198.18.37.0/24")
ADDRESS = EndpointInterface(address="198.18.37.2/24")


class NetworkLifecycle:
    """Creates a network and an endpoint. ``network`` and ``endpoint`` say whether they exist."""

    def __init__(self, client: RawClient, options: LifecycleOptions) -> None:
        self._calls = DriverCalls(client, "NetworkDriver")
        self._options = options
        self._ids = {"network_id": token_hex(32)}
        self._endpoint_ids = {**self._ids, "endpoint_id": token_hex(32)}
        self.network = False
        self.endpoint = False

    def checks(self) -> Iterator[Check]:
        """Yield the checks in their order."""
        yield Check("NetworkDriver.CreateNetwork", "created", self._create)
        if not self.network:
            return
        yield Check("NetworkDriver.CreateEndpoint", "endpoint", self._create_endpoint)
        if self.endpoint:
            yield Check("NetworkDriver.EndpointOperInfo of the new endpoint", "created", self._oper_info)
            yield Check("NetworkDriver.DeleteEndpoint of the new endpoint", "created", self._delete_endpoint)
        yield Check("NetworkDriver.DeleteNetwork of the new network", "created", self._delete)

    def clean_up(self) -> None:
        """Remove what is left."""
        if self.endpoint:
            with suppress(ExtframeError):
                self._calls.call("delete_endpoint", **self._endpoint_ids)
        if self.network:
            with suppress(ExtframeError):
                self._calls.call("delete_network", **self._ids)

    def _create(self, client: RawClient) -> Outcome:
        self.network = True  # before the response: a call that is lost may have been executed
        generic = {"com.docker.network.generic": dict(self._options.options), "com.docker.network.enable_ipv6": False}
        method, response = self._calls.call("create_network", **self._ids, options=generic, ipv4_data=[POOL])
        self.network = response.status == 200 and not refusal(response)
        return assess_creation(method, response)

    def _create_endpoint(self, client: RawClient) -> Outcome:
        self.endpoint = True
        method, response = self._calls.call("create_endpoint", **self._endpoint_ids, interface=ADDRESS, options={})
        self.endpoint = response.status == 200
        outcome = assess_result(method, response)
        if outcome.verdict is not Verdict.PASS:
            return outcome
        try:
            ADDRESS.completed(method.decode_reply(response.body))
        except ValueError as wrong:
            return failed(str(wrong))
        return outcome

    def _oper_info(self, client: RawClient) -> Outcome:
        outcome = assess_result(*self._calls.call("endpoint_oper_info", **self._endpoint_ids))
        return noted(f"the engine ignores it: {outcome.reason}") if outcome.verdict is Verdict.FAIL else outcome

    def _delete_endpoint(self, client: RawClient) -> Outcome:
        self.endpoint = False
        return only_logged(assess_result(*self._calls.call("delete_endpoint", **self._endpoint_ids)))

    def _delete(self, client: RawClient) -> Outcome:
        self.network = False
        return only_logged(assess_result(*self._calls.call("delete_network", **self._ids)))
