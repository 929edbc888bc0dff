"""EtcdRegistrar with an etcd by script: replies that fail or are invalid, and what is left behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from faultserver import FaultServer, Request, eventually
from scripted_plugin import error, ok, scripted

from extframe import Endpoint, EtcdRegistrar

HERE = Endpoint("tcp://10.0.0.7:7070")
DOWN = error("etcdserver: too many requests")


class Etcd:
    """Answers of etcd, of which a test replaces the next ones."""

    def __init__(self) -> None:
        self.next: dict[str, list[bytes]] = {"lease/grant": [], "lease/keepalive": [], "kv/put": []}
        self.requests: list[tuple[str, dict]] = []
        self._granted = 0

    def answer(self, path: str) -> Callable[[Request], bytes]:
        def answer(request: Request) -> bytes:
            arguments = json.loads(request.body)
            self.requests.append((path, arguments))
            following = self.next.get(path)
            return following.pop(0) if following else self._usual(path, arguments)

        return answer

    def asked(self, path: str) -> list[dict]:
        return [arguments for found, arguments in self.requests if found == path]

    def _usual(self, path: str, arguments: dict) -> bytes:
        if path == "lease/grant":
            self._granted += 1
            return ok({"ID": str(self._granted), "TTL": arguments["TTL"]})
        return ok({"result": {"ID": arguments["ID"], "TTL": "1"}} if path == "lease/keepalive" else {"header": {}})


@pytest.fixture
def etcd() -> Etcd:
    return Etcd()


@pytest.fixture
def registrar(etcd: Etcd, fault_server: Callable[..., FaultServer]):
    paths = "lease/grant", "lease/keepalive", "lease/revoke", "kv/put"
    server = fault_server(scripted({f"v3/{path}": etcd.answer(path) for path in paths}), kind="tcp")
    made = EtcdRegistrar(server.address.replace("tcp:", "etcd:"), ttl=1, timeout=30)
    yield made
    made.withdraw()


def test_a_lease_whose_key_could_not_be_put_is_used_again(etcd, registrar):
    etcd.next["kv/put"] = [DOWN] * 3
    registrar.announce("photos", HERE)
    assert eventually(lambda: len(etcd.asked("kv/put")) == 4, 30)
    assert [each["lease"] for each in etcd.asked("kv/put")] == ["1"] * 4
    assert len(etcd.asked("lease/grant")) == 1


def test_a_key_that_may_have_been_put_is_withdrawn(etcd, registrar):
    etcd.next["kv/put"] = [DOWN] * 1000
    registrar.announce("photos", HERE)
    registrar.withdraw()
    assert etcd.asked("lease/revoke") == [{"ID": "1"}]


@pytest.mark.parametrize(
    "invalid",
    [
        {"result": {"ID": "1", "TTL": "soon"}},
        {"result": {"ID": "1", "TTL": "9" * 5000}},
        {"error": {"message": "etcdserver: no leader"}},
        [],
    ],
)
def test_a_renewal_that_is_answered_with_nonsense_is_repeated(etcd, registrar, caplog, invalid):
    etcd.next["lease/keepalive"] = [ok(invalid)]
    registrar.announce("photos", HERE)
    assert eventually(lambda: len(etcd.asked("lease/keepalive")) > 1, 30)
    assert len(etcd.asked("lease/grant")) == 1
    assert "cannot be announced in etcd" in caplog.text


@pytest.mark.parametrize("invalid", [{}, {"ID": "0"}, {"ID": "x"}])
def test_no_key_is_put_without_a_lease(etcd, registrar, invalid):
    etcd.next["lease/grant"] = [ok(invalid)]
    registrar.announce("photos", HERE)
    assert eventually(lambda: etcd.asked("kv/put"), 30)
    assert [each["lease"] for each in etcd.asked("kv/put")] == ["1"]


def test_a_mark_that_could_not_be_put_is_put_with_the_next_renewal(etcd, registrar):
    registrar.announce("photos", HERE)
    etcd.next["kv/put"] = [DOWN]
    registrar.drain()
    assert eventually(lambda: len(etcd.asked("kv/put")) == 3, 30)
    values = [json.loads(base64.b64decode(each["value"])) for each in etcd.asked("kv/put")]
    assert [each["Metadata"].get("draining", False) for each in values] == [False, True, True]
