"""EtcdRegistry with a cluster of three nodes of Debian's etcd: what it finds, and what it survives."""

from __future__ import annotations

import select
import signal
import ssl
from functools import partial

import pytest
from certificates import Authority
from etcd_cluster import EtcdCluster
from faultserver import eventually
from scripted_plugin import scripted

from extframe import (
    Endpoint,
    EtcdRegistry,
    ExtframeError,
    LeastOutstanding,
    PluginManager,
    PluginNotFound,
    SpecError,
    TLSConfig,
    VolumeDriver,
    hookimpl,
)


@pytest.fixture(scope="module")
def cluster(need, tmp_path_factory):
    made = EtcdCluster(need("etcd"), tmp_path_factory.mktemp("etcd"))
    yield made
    made.close()


@pytest.fixture
def registry(cluster):
    made = EtcdRegistry(cluster.url)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def empty(cluster):
    yield
    cluster.call("kv/deleterange", {"key": "AA==", "range_end": "AA=="})


def value(address: str, **metadata: object) -> dict[str, object]:
    return {"Op": 0, "Addr": address, "Metadata": metadata or None}


def test_plugins_are_found_by_the_keys_that_gos_grpc_clients_read(cluster, registry):
    cluster.put("extframe/photos/b", value("10.0.0.8:7070", zone="eu-2", weight=3, draining=True, unknown=[1]))
    cluster.put("extframe/photos/a", value("tcp://10.0.0.7:7070"))
    cluster.put("extframe/far/x", value("[fd00::1]:7070", tls=True))
    cluster.put("extframe/odd/x", value("10.0.0.9:7070") | {"Metadata": "of another program"})
    for key, unusable in {"none/x": "{}", "bad/x": "nonsense", "worse/x": value("10.0.0.7:0"), "stray": "x"}.items():
        cluster.put(f"extframe/{key}", unusable)
    cluster.put("extframe0/other/x", value("10.0.0.7:7070"))
    assert registry.scan() == ["far", "odd", "photos"]
    found = registry.find("photos")
    assert found.endpoints == (
        Endpoint("tcp://10.0.0.7:7070"),
        Endpoint("tcp://10.0.0.8:7070", zone="eu-2", weight=3, draining=True),
    )
    assert found.source == f"{cluster.url}photos"
    assert registry.stamp(found) == found.stamp
    assert registry.find("far").endpoints == (Endpoint("https://[fd00::1]:7070"),)
    with pytest.raises(PluginNotFound, match="no plugin 'none': looked for keys extframe/none/ in etcd at 127"):
        registry.find("none")
    verified = EtcdRegistry(cluster.url, plugin_tls=TLSConfig(ca_file="/ca"))
    assert verified.find("photos").endpoints[0] == Endpoint("https://10.0.0.7:7070", TLSConfig(ca_file="/ca"))
    verified.close()


def test_changes_are_noticed_and_readable_at_the_descriptor(cluster, registry):
    changes = registry.changes()
    cluster.put("extframe/photos/a", value("10.0.0.7:7070"))
    assert eventually(lambda: registry.scan() == ["photos"], 30)
    before = registry.find("photos")
    changes.drain()
    cluster.put("extframe/photos/b", value("10.0.0.8:7070"), node=2)
    assert eventually(lambda: registry.stamp(before) != before.stamp, 30)
    assert select.select([changes], [], [], 30)[0] == [changes]
    assert len(registry.find("photos").endpoints) == 2
    cluster.delete("extframe/photos/a", node=1)
    cluster.delete("extframe/photos/b", node=1)
    assert eventually(lambda: registry.scan() == [], 30)
    assert registry.stamp(before) is None
    changes.close()


def test_a_list_of_several_pages_is_that_of_one_revision(cluster, monkeypatch):
    monkeypatch.setattr("extframe.registry.etcd_gateway.PAGE", 3)
    for number in range(10):
        cluster.put(f"extframe/plugin-{number}/a", value("10.0.0.7:7070"))
    registry = EtcdRegistry(cluster.url)
    assert registry.scan() == [f"plugin-{number}" for number in range(10)]
    registry.close()


def test_a_driver_goes_on_and_moves_to_what_is_registered(cluster, registry, fault_server):
    servers = [fault_server(scripted(), kind="tcp") for _ in range(2)]
    addresses = [each.address.removeprefix("tcp://") for each in servers]
    cluster.put("extframe/photos/a", value(addresses[0]))
    seen: list[str] = []

    class Events:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            seen.append(name)

    with PluginManager(registry, groups=(), choose=LeastOutstanding()) as pm, pm.watch():
        pm.register(Events())
        driver = pm.driver("photos", VolumeDriver, wait=30)
        cluster.put("extframe/photos/b", value(addresses[1]))
        assert eventually(lambda: driver.list() == [] and len(servers[1].requests) > 1, 30)
        cluster.delete("extframe/photos/a")
        assert eventually(lambda: len(registry.find("photos").endpoints) == 1, 30)
        servers[0].close()
        for _ in range(4):
            assert driver.list() == []
        cluster.put("extframe/more/a", value(addresses[1]))
        assert eventually(lambda: "more" in seen, 30)


@pytest.mark.long
def test_a_compaction_a_dead_leader_and_a_hung_node_are_survived(cluster, registry):
    cluster.put("extframe/photos/a", value("10.0.0.7:7070"))
    assert registry.scan() == ["photos"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extframe.registry.etcd_registry.RENEW", 0.3)
        impatient = EtcdRegistry(cluster.url)
        assert impatient.scan() == ["photos"]
        for number in range(3):  # changes outside the prefix: the watch does not learn the revision
            revision = cluster.put(f"other/{number}", "x")
        cluster.call("kv/compaction", {"revision": str(revision), "physical": True})
        cluster.put("extframe/more/a", value("10.0.0.7:7070"))
        assert eventually(lambda: impatient.scan() == ["more", "photos"], 30)

        leader = cluster.leader()
        cluster.signal(leader, signal.SIGKILL)
        others = [number for number in range(3) if number != leader]
        assert eventually(lambda: _puts(cluster, "extframe/led/a", others[0]), 60)
        assert eventually(lambda: "led" in impatient.scan() and "led" in registry.scan(), 30)
        cluster.start(leader)
        cluster.wait_for(leader)

        for number in range(3):  # whichever the watch is at
            name = f"hung-{number}"
            cluster.signal(number, signal.SIGSTOP)
            try:
                assert eventually(partial(_puts, cluster, f"extframe/{name}/a", (number + 1) % 3), 60)
                assert eventually(lambda name=name: name in impatient.scan(), 30)
            finally:
                cluster.signal(number, signal.SIGCONT)
        impatient.close()


def test_what_etcd_said_last_is_used_while_all_of_it_is_down(cluster, registry, fault_server):
    server = fault_server(scripted(), kind="tcp")
    cluster.put("extframe/photos/a", value(server.address.removeprefix("tcp://")))
    with PluginManager(registry, groups=()) as pm:
        driver = pm.driver("photos", VolumeDriver)
        for number in range(3):
            cluster.signal(number, signal.SIGKILL)
        assert eventually(lambda: registry._error is not None, 30)
        assert "photos" in pm.scan()
        assert pm.driver("photos", VolumeDriver).list() == driver.list() == []
        with pytest.raises(ExtframeError, match="cannot find plugin 'absent': etcd at") as caught:
            registry.find("absent")
        assert not isinstance(caught.value, PluginNotFound)
        fresh = EtcdRegistry(cluster.url, timeout=0.5)
        with pytest.raises(ExtframeError, match="cannot list plugins: etcd at"):
            fresh.scan()
        fresh.close()
        for number in range(3):
            cluster.start(number)
        for number in range(3):
            cluster.wait_for(number)
        cluster.put("extframe/more/a", value("10.0.0.7:7070"))
        assert eventually(lambda: {"more", "photos"} <= set(pm.scan()), 30)


def test_a_user_and_a_password_are_used_and_a_token_that_is_refused_is_renewed(cluster):
    cluster.put("extframe/photos/a", value("10.0.0.7:7070"))
    for path, arguments in (
        ("auth/user/add", {"name": "root", "password": "secret"}),
        ("auth/role/add", {"name": "root"}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/enable", {}),
    ):
        cluster.call(path, arguments)
    registry = EtcdRegistry(cluster.url, user="root", password="secret")
    try:
        stranger = EtcdRegistry(cluster.url, timeout=0.5)
        with pytest.raises(ExtframeError, match="cannot list plugins"):
            stranger.scan()
        stranger.close()  # else it follows the cluster, and logs, as long as other tests run
        assert "photos" in registry.scan()
        registry._watch._token = registry._list._token = "expired"
        registry._renew()
        token = cluster.call("auth/authenticate", {"name": "root", "password": "secret"})["token"]
        cluster.put("extframe/more/a", value("10.0.0.7:7070"), Authorization=token)
        assert eventually(lambda: "more" in registry.scan(), 30)
    finally:
        registry.close()
        token = cluster.call("auth/authenticate", {"name": "root", "password": "secret"})["token"]
        cluster.call("auth/disable", {}, Authorization=token)


def test_nodes_are_verified_and_shown_the_hosts_certificate(need, tmp_path):
    authority = Authority(tmp_path)
    node, host = authority.issue("node", "127.0.0.1", "localhost"), authority.issue("host", "host.example")
    own = ssl.create_default_context(cafile=authority.ca_file)
    own.load_cert_chain(host.cert_file, host.key_file)
    cluster = EtcdCluster(
        need("etcd"),
        tmp_path,
        1,
        tls=own,
        cert_file=node.cert_file,
        key_file=node.key_file,
        trusted_ca_file=authority.ca_file,
        client_cert_auth="true",
    )
    try:
        cluster.put("extframe/photos/a", value("10.0.0.7:7070"))
        tls = TLSConfig(ca_file=authority.ca_file, cert_file=host.cert_file, key_file=host.key_file)
        registry = EtcdRegistry(cluster.url, tls=tls)
        assert registry.scan() == ["photos"]
        registry.close()
        for refused in (TLSConfig(ca_file=authority.ca_file), None):
            registry = EtcdRegistry(cluster.url.replace("etcd:", "etcds:"), tls=refused, timeout=2.0)
            with pytest.raises(ExtframeError, match="cannot list plugins: etcd at"):
                registry.scan()
            registry.close()
    finally:
        cluster.close()


def test_urls_that_cannot_be_used_are_refused():
    for url in ("http://h:1", "etcd://", "etcd:///x", "etcd://h:0"):
        with pytest.raises(SpecError):
            EtcdRegistry(url)
    with pytest.raises(SpecError, match="user="):
        EtcdRegistry("etcd://root:secret@h:1/")
    assert repr(EtcdRegistry("etcd://h")) == "EtcdRegistry('etcd://h')"


def _puts(cluster: EtcdCluster, key: str, node: int) -> bool:
    try:
        cluster.put(key, value("10.0.0.7:7070"), node=node)
    except OSError:
        return False
    return True
