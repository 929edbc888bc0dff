"""EtcdRegistrar and `serve(register="etcd://...")` with Debian's etcd: leases, draining, and what is lost and found."""

from __future__ import annotations

import base64
import json
import logging
import signal
import sys
import textwrap

import pytest
from etcd_cluster import EtcdCluster
from faultserver import eventually

from extframe import Endpoint, EtcdRegistrar, EtcdRegistry, ExtframeError, PluginManager, SpecError, VolumeDriver

HERE = Endpoint("tcp://10.0.0.7:7070", zone="eu-1")
PATIENCE = 60


@pytest.fixture(scope="module")
def cluster(need, tmp_path_factory):
    made = EtcdCluster(need("etcd"), tmp_path_factory.mktemp("etcd"), nodes=1)
    yield made
    made.close()


@pytest.fixture
def registrar(cluster):
    made = EtcdRegistrar(cluster.url, ttl=9)  # a machine that stalls for less than 6 seconds loses no lease
    yield made
    made.withdraw()


def entries(cluster: EtcdCluster) -> dict[str, dict]:
    """Return the keys and values, and the lease of each."""
    found = cluster.call("kv/range", {"key": "AA==", "range_end": "AA=="}).get("kvs", [])
    return {
        base64.b64decode(each["key"]).decode(): {**json.loads(base64.b64decode(each["value"])), "lease": each["lease"]}
        for each in found
    }


def leases(cluster: EtcdCluster) -> list[str]:
    return [each["lease"] for each in entries(cluster).values()]


def remaining(cluster: EtcdCluster, lease: str) -> int:
    """Return the seconds for which a lease lives if nothing renews it; -1 if it has ended."""
    return int(cluster.call("lease/timetolive", {"ID": lease})["TTL"])


def test_an_instance_has_a_key_while_it_is_announced_with_a_mark_while_it_drains(cluster, registrar):
    registrar.announce("photos", HERE)
    key = "extframe/photos/10.0.0.7:7070"
    assert eventually(lambda: entries(cluster), PATIENCE)
    ((found, value),) = entries(cluster).items()
    assert (found, value["Addr"], value["Op"]) == (key, "10.0.0.7:7070", 0)
    assert value["Metadata"]["zone"] == "eu-1"
    registry = EtcdRegistry(cluster.url)
    assert registry.find("photos").endpoints == (HERE,)
    registrar.drain()
    assert eventually(lambda: registry.find("photos").endpoints[0].draining, PATIENCE)
    registrar.withdraw()
    assert eventually(lambda: registry.scan() == [], PATIENCE)
    registry.close()


def test_a_lease_is_kept_alive_and_replaced_if_it_is_lost(cluster, registrar, caplog):
    registrar.announce("photos", HERE)
    assert eventually(lambda: entries(cluster), PATIENCE)
    (first,) = entries(cluster).values()
    with caplog.at_level(logging.WARNING):
        cluster.call("lease/revoke", {"ID": first["lease"]})
        # At the next renewal, which may be at once.
        assert eventually(lambda: leases(cluster) not in ([], [first["lease"]]), PATIENCE)
    assert "lost its lease" in caplog.text
    (second,) = entries(cluster).values()
    assert second["lease"] != first["lease"]
    seconds = [remaining(cluster, second["lease"])]  # fewer and fewer, until the lease is renewed
    assert eventually(
        lambda: seconds.append(remaining(cluster, second["lease"])) or seconds[-1] > seconds[-2], PATIENCE
    )
    (kept,) = entries(cluster).values()
    assert kept["lease"] == second["lease"]


def test_etcd_may_be_down_when_a_plugin_starts_and_when_it_stops(need, tmp_path, caplog):
    cluster = EtcdCluster(need("etcd"), tmp_path, nodes=1)
    try:
        cluster.signal(0, signal.SIGKILL)
        registrar = EtcdRegistrar(cluster.url, ttl=3)
        with caplog.at_level(logging.WARNING):
            registrar.announce("photos", HERE)
        assert "plugin 'photos' cannot be announced in etcd" in caplog.text
        cluster.start(0)
        cluster.wait_for(0)
        assert eventually(lambda: entries(cluster), PATIENCE)
        cluster.signal(0, signal.SIGKILL)
        registrar.drain()
        registrar.withdraw()
    finally:
        cluster.close()


def test_what_cannot_be_announced_is_an_error(cluster, registrar):
    with pytest.raises(SpecError, match="at least 1 second"):
        EtcdRegistrar(cluster.url, ttl=0.5)
    with pytest.raises(SpecError, match="cannot be a plugin's name"):
        registrar.announce("../x", HERE)
    registrar.announce("photos", HERE)
    with pytest.raises(ExtframeError, match="announces plugin 'photos': use another registrar for 'videos'"):
        registrar.announce("videos", HERE)


PLUGIN = """
    import sys, extframe

    class Photos(extframe.VolumeDriver):
        def path(self, name):
            return "/srv/" + name

    registrar = extframe.EtcdRegistrar(sys.argv[1], ttl=6)  # no lease is lost where a machine stalls
    options = {"address": "tcp://127.0.0.1:0", "drain_delay": float(sys.argv[2])}
    extframe.serve(Photos(), name="photos", register=registrar, **options)
"""


def test_served_instances_are_found_drained_at_sigterm_and_gone_after_kill_9(cluster, start, tmp_path):
    (tmp_path / "plugin.py").write_text(textwrap.dedent(PLUGIN))
    registry = EtcdRegistry(cluster.url)
    with PluginManager(registry, groups=()) as pm:
        first, second = (start(sys.executable, tmp_path / "plugin.py", cluster.url, "1") for _ in range(2))
        assert eventually(lambda: registry.scan() and len(registry.find("photos").endpoints) == 2, PATIENCE)
        volumes = pm.driver("photos", VolumeDriver, wait=PATIENCE)
        first.stop()
        for _ in range(50):  # the instance that is left answers all
            assert volumes.path("a") == "/srv/a"
        assert eventually(lambda: len(registry.find("photos").endpoints) == 1, PATIENCE)
        second.kill()
        assert eventually(lambda: registry.scan() == [], PATIENCE)  # its lease has ended
