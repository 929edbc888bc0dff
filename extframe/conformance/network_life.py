"""The life of a network with one endpoint, which no container joins. Touches no other network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex

from ..errors import ExtframeError
from ..subsystems.network import EndpointInterface, IPAMData
from .answers import judge_result
from .check import Check
from .line import Line
from .rules import Outcome, Verdict, failed
from .trial import Calls, Trial, judge_creation

# Addresses that are set aside for tests of networks (RFC 2544).
POOL = IPAMData(address_space="LocalDefault", gateway="198.18.37.1/24", pool="198.18.37.0/24")
ADDRESS = EndpointInterface(address="198.18.37.2/24")


class NetworkLife:
    """A network and an endpoint. ``network`` and ``endpoint`` are what there is to take away."""

    def __init__(self, line: Line, trial: Trial) -> None:
        self._calls = Calls(line, "NetworkDriver")
        self._trial = trial
        self._ids = {"network_id": token_hex(32)}
        self._endpoint_ids = {**self._ids, "endpoint_id": token_hex(32)}
        self.network = False
        self.endpoint = False

    def checks(self) -> Iterator[Check]:
        """Yield what is tried, in its order."""
        yield Check("NetworkDriver.CreateNetwork", "created", self._create)
        if not self.network:
            return
        yield Check("NetworkDriver.CreateEndpoint", "endpoint", self._create_endpoint)
        if self.endpoint:
            yield Check("NetworkDriver.EndpointOperInfo of the new endpoint", "created", self._ask_endpoint)
            yield Check("NetworkDriver.DeleteEndpoint of the new endpoint", "created", self._delete_endpoint)
        yield Check("NetworkDriver.DeleteNetwork of the new network", "created", self._delete)

    def clean_up(self) -> None:
        """Take away what is left."""
        if self.endpoint:
            with suppress(ExtframeError):
                self._calls.ask("delete_endpoint", **self._endpoint_ids)
        if self.network:
            with suppress(ExtframeError):
                self._calls.ask("delete_network", **self._ids)

    def _create(self, line: Line) -> Outcome:
        self.network = True  # before it is answered: a call that is lost may have been carried out
        generic = {"com.docker.network.generic": dict(self._trial.options), "com.docker.network.enable_ipv6": False}
        method, answer = self._calls.ask("create_network", **self._ids, options=generic, ipv4_data=[POOL])
        self.network = answer.status == 200
        return judge_creation(method, answer)

    def _create_endpoint(self, line: Line) -> Outcome:
        self.endpoint = True
        method, answer = self._calls.ask("create_endpoint", **self._endpoint_ids, interface=ADDRESS, options={})
        self.endpoint = answer.status == 200
        outcome = judge_result(method, answer)
        if outcome.verdict is not Verdict.PASS:
            return outcome
        try:
            ADDRESS.completed(method.decode_reply(answer.body))
        except ValueError as wrong:
            return failed(str(wrong))
        return outcome

    def _ask_endpoint(self, line: Line) -> Outcome:
        return judge_result(*self._calls.ask("endpoint_oper_info", **self._endpoint_ids))

    def _delete_endpoint(self, line: Line) -> Outcome:
        self.endpoint = False
        return judge_result(*self._calls.ask("delete_endpoint", **self._endpoint_ids))

    def _delete(self, line: Line) -> Outcome:
        self.network = False
        return judge_result(*self._calls.ask("delete_network", **self._ids))
