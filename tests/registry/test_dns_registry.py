"""Plugins in DNS: names, instances, addresses, time to live and failures, with a server on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from dns_server import DNSServer
from faultserver import eventually

from extframe import (
    CallTimeout,
    ConnectError,
    DNSRegistry,
    Endpoint,
    ExtframeError,
    PluginManager,
    PluginNotFound,
    Served,
    SpecError,
    TLSConfig,
    Volume,
    VolumeDriver,
    hookimpl,
    serving,
)

DOMAIN = "plugins.example"


@pytest.fixture
def server() -> Iterator[DNSServer]:
    server = DNSServer()
    server.records[DOMAIN, "PTR"] = [f"rclone.{DOMAIN}"]
    server.records[f"rclone.{DOMAIN}", "SRV"] = ["0 1 9000 a.example"]
    server.records["a.example", "A"] = ["127.0.0.1"]
    yield server
    server.close()


@pytest.fixture(autouse=True)
def short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records with a TTL of 0 are kept for 0.05 s. A watch looks for nothing that was not reported to it."""
    monkeypatch.setattr("extframe.registry.refreshing_cache.SHORTEST", 0.05)
    monkeypatch.setattr("extframe.registry.notifications.RESCAN_INTERVAL", 3600.0)


@pytest.fixture
def registry(server: DNSServer) -> Callable[..., DNSRegistry]:
    """A function that creates a registry which asks the server."""
    return lambda domain=DOMAIN, **options: DNSRegistry(domain, nameservers=[server.address], **options)


def addresses(registry: DNSRegistry, name: str = "rclone") -> list[str]:
    return [endpoint.address for endpoint in registry.find(name).endpoints]


# --- names --------------------------------------------------------------------------------------------


def test_ptr_records_list_the_plugins_and_names_are_in_lower_case(server, registry):
    server.records[DOMAIN, "PTR"] = [
        f"Rclone.{DOMAIN}", f"backup.{DOMAIN.upper()}", DOMAIN, "rclone.elsewhere", f"a.b.{DOMAIN}",
        f"\\195\\182l.{DOMAIN}", f"\\255.{DOMAIN}", f"a\\009b.{DOMAIN}",
    ]  # fmt: skip
    found = registry(names=["Photos"])
    assert found.scan() == ["backup", "photos", "rclone", "öl"]
    assert found.find("RCLONE").name == "rclone"


@pytest.mark.parametrize(
    ("service", "owner"),
    [
        ("{name}", "rclone.plugins.example"),
        ("_{name}._tcp", "_rclone._tcp.plugins.example"),
        ("_plugin._tcp.{name}", "_plugin._tcp.rclone.plugins.example"),
        ("acme-{name}-v1", "acme-rclone-v1.plugins.example"),
    ],
)
def test_the_names_of_srv_records_follow_a_pattern(server, registry, service, owner):
    server.records[DOMAIN, "PTR"] = [owner, f"_other._udp.{DOMAIN}", f"acme--v1.{DOMAIN}"]
    server.records[owner, "SRV"] = ["0 1 9000 a.example"]
    found = registry(service=service)
    assert found.find("rclone").source == f"SRV {owner}"
    assert "rclone" in found.scan()


def test_dns_sd_is_a_domain_of_its_own(server, registry):
    server.records["_acme._tcp.plugins.example", "PTR"] = ["rclone._acme._tcp.plugins.example"]
    server.records["rclone._acme._tcp.plugins.example", "SRV"] = ["0 1 9000 a.example"]
    found = registry("_acme._tcp.plugins.example.")
    assert found.scan() == ["rclone"]
    assert addresses(found) == ["tcp://127.0.0.1:9000"]


def test_a_name_never_leads_to_another_domain(server, registry):
    server.records["a.b.plugins.example", "SRV"] = ["0 1 9000 a.example"]
    found = registry()
    with pytest.raises(PluginNotFound, match=r"^no plugin 'a.b': looked for SRV records of a\\.b.plugins.example$"):
        found.find("a.b")
    for name, words in {"a/b": "contains a slash", "": "is empty"}.items():
        with pytest.raises(SpecError, match=words):
            found.find(name)
    with pytest.raises(PluginNotFound, match="DNS cannot have the name: A DNS label is > 63 octets"):
        found.find("x" * 64)


# --- instances ----------------------------------------------------------------------------------------


def test_instances_have_the_weights_and_priorities_of_their_records(server, registry):
    server.records[f"rclone.{DOMAIN}", "SRV"] = [
        "10 5 9000 spare.example", "1 0 9000 a.example", "1 20 9001 b.example", "1 20 0 b.example", "0 0 80 .",
    ]  # fmt: skip
    server.records["b.example", "A"] = ["127.0.0.3", "127.0.0.2"]
    server.records["spare.example", "AAAA"] = ["::1"]
    spec = registry().find("rclone")
    assert spec.endpoints == (
        Endpoint("tcp://127.0.0.2:9001", weight=20),
        Endpoint("tcp://127.0.0.3:9001", weight=20),
        Endpoint("tcp://127.0.0.1:9000", weight=1),
        Endpoint("tcp://[::1]:9000", weight=5, draining=True),
    )
    assert spec.address == "tcp://127.0.0.2:9001"
    server.additional = False
    assert registry().find("rclone") == spec
    assert "AAAA spare.example" in server.questions


def test_a_target_of_one_dot_and_no_records_mean_that_there_is_no_plugin(server, registry):
    server.records[f"rclone.{DOMAIN}", "SRV"] = ["0 0 0 ."]
    server.records[f"other.{DOMAIN}", "A"] = ["127.0.0.1"]
    for name in ("rclone", "other", "missing"):
        with pytest.raises(PluginNotFound, match=f"looked for SRV records of {name}.{DOMAIN}"):
            registry().find(name)


def test_with_tls_instances_have_the_names_that_their_certificates_are_for(registry):
    tls = TLSConfig(ca_file="/etc/acme/ca.pem")
    spec = registry(tls=tls).find("rclone")
    assert (spec.address, spec.tls) == ("https://a.example:9000", tls)
    assert spec.endpoints == (Endpoint("https://a.example:9000", tls),)


# --- time to live -------------------------------------------------------------------------------------


def test_records_are_asked_for_again_when_they_have_expired_and_not_before(server, registry):
    server.ttl = 3600
    found = registry()
    for _ in range(3):
        spec = found.find("rclone")
        assert found.stamp(spec) == spec.stamp
        assert found.scan() == ["rclone"]
    assert server.questions == ["SRV rclone.plugins.example", "PTR plugins.example"]


def test_an_expired_stamp_is_refreshed_in_the_background(server, registry):
    found = registry()
    spec = found.find("rclone")
    server.records[f"rclone.{DOMAIN}", "SRV"].append("0 1 9001 a.example")
    assert eventually(lambda: found.stamp(spec) != spec.stamp)
    assert addresses(found) == ["tcp://127.0.0.1:9000", "tcp://127.0.0.1:9001"]
    del server.records[f"rclone.{DOMAIN}", "SRV"]
    assert eventually(lambda: found.stamp(spec) is None)
    with pytest.raises(PluginNotFound):
        found.find("rclone")


def test_while_dns_fails_the_last_records_are_used(server, registry, caplog):
    found = registry()
    spec = found.find("rclone")
    assert found.scan() == ["rclone"]
    found._lookup._timeout = 0.1  # not before, as a busy machine may need longer for an answer
    for mode, words in {"fail": "SERVFAIL", "silent": "did not answer SRV rclone.plugins.example within 0.1 s"}.items():
        server.mode = mode
        assert eventually(lambda words=words: found.stamp(spec) == spec.stamp and words in caplog.text)
        assert found.find("rclone") == spec
        assert found.scan() == ["rclone"]
    server.mode = "answer"
    server.records[f"rclone.{DOMAIN}", "SRV"] = ["0 1 9001 a.example"]
    assert eventually(lambda: addresses(found) == ["tcp://127.0.0.1:9001"])


def test_dns_that_never_answered_is_an_error_and_not_a_missing_plugin(server, registry):
    server.mode = "fail"
    with pytest.raises(
        ExtframeError, match=r"^cannot find plugin 'rclone': DNS could not answer SRV rclone.plug"
    ) as no:
        registry().find("rclone")
    assert not isinstance(no.value, PluginNotFound)
    server.mode = "silent"
    with pytest.raises(CallTimeout, match=r"^cannot list plugins: DNS did not answer PTR plugins.example within 0.1 s"):
        registry(timeout=0.1).scan()


# --- in a host ----------------------------------------------------------------------------------------


class Volumes(VolumeDriver):
    """Has one volume, whose name says which instance was called."""

    def __init__(self) -> None:
        self.name = f"of instance {id(self)}"

    def list(self) -> list:
        return [Volume(name=self.name)]


class Journal:
    """A handler that lists the plugins that came and went."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @hookimpl
    def plugin_activated(self, name: str) -> None:
        self.events.append(f"+{name}")

    @hookimpl
    def plugin_removed(self, name: str) -> None:
        self.events.append(f"-{name}")


@pytest.fixture
def serve(short_path: Path) -> Callable[[], AbstractContextManager[Served]]:
    """A function that serves volumes at a free port."""
    return lambda: serving(Volumes(), name="volumes", address="tcp://127.0.0.1:0", spec_directory=short_path)


def test_a_watch_notices_a_plugin_that_appears_moves_and_disappears(server, registry, serve):
    del server.records[DOMAIN, "PTR"]
    journal = Journal()
    with serve() as first, serve() as second, PluginManager(registry(), groups=()) as pm:
        pm.register(journal)
        with pm.watch():
            assert eventually(lambda: "PTR plugins.example" in server.questions)
            announce(server, first.address)
            server.records[DOMAIN, "PTR"] = [f"rclone.{DOMAIN}"]
            assert eventually(lambda: journal.events == ["+rclone"], 60)
            volumes = pm.driver("rclone", VolumeDriver)
            announce(server, second.address)
            assert eventually(lambda: pm.get("rclone").address == second.address, 60)
            assert len(volumes.list()) == 1
            del server.records[DOMAIN, "PTR"], server.records[f"rclone.{DOMAIN}", "SRV"]
            assert eventually(lambda: journal.events[-1] == "-rclone", 60)


def test_after_a_refused_connection_dns_is_asked_before_the_records_expire(server, registry, serve):
    server.ttl = 3600
    with PluginManager(registry(), groups=()) as pm, serve() as second:
        with serve() as first:
            announce(server, first.address)
            plugin = pm.get("rclone", VolumeDriver)
        announce(server, second.address)

        def moves() -> bool:
            with suppress(ConnectError, CallTimeout):
                plugin.client.call("VolumeDriver.List", timeout=0.2)
            return pm.get("rclone").address == second.address

        assert eventually(moves)
        assert len(plugin.driver(VolumeDriver).list()) == 1


def test_each_instance_is_called_and_one_that_ends_is_left_out(server, registry, serve):
    with PluginManager(registry(), groups=()) as pm, serve() as first:
        with serve() as second:
            announce(server, first.address, second.address)
            volumes = pm.driver("rclone", VolumeDriver)
            assert len({volumes.list()[0].name for _ in range(10)}) == 2
        assert len({volumes.list()[0].name for _ in range(10)}) == 1
        announce(server, first.address)
        assert eventually(lambda: len(pm.get("rclone").spec.endpoints) == 1)
        assert len(volumes.list()) == 1


def announce(server: DNSServer, *addresses: str) -> None:
    ports = [address.rpartition(":")[2] for address in addresses]
    server.records[f"rclone.{DOMAIN}", "SRV"] = [f"0 1 {port} a.example" for port in ports]


# --- arguments ----------------------------------------------------------------------------------------


def test_wrong_arguments_say_what_was_expected(registry):
    for options, words in (
        ({"domain": "a..b"}, "'a..b' is not a domain"),
        ({"service": "_plugin._tcp"}, "expected labels with {name} once"),
        ({"service": "{name}."}, "expected labels with {name} once"),
        ({"names": ["a/b"]}, "contains a slash"),
    ):
        with pytest.raises(SpecError, match=words.replace("{", r"\{").replace("..", r"\.\.")):
            registry(**options)
    for nameserver in ("dns.example", "127.0.0.1:x", "[::1]:99999", ""):
        with pytest.raises(SpecError, match="is not the address of a DNS server"):
            DNSRegistry(DOMAIN, nameservers=[nameserver])
    for nameserver in ("10.0.0.2", "::1", "[::1]:5353"):
        assert repr(DNSRegistry(DOMAIN, nameservers=[nameserver])) == "DNSRegistry('plugins.example')"
    with pytest.raises(TypeError, match="are sequences"):
        DNSRegistry(DOMAIN, names="rclone")


def test_without_dnspython_the_message_says_what_to_install(tmp_path: Path):
    (tmp_path / "dns.py").write_text("raise ImportError('not installed')")
    source = "import extframe\ntry:\n    extframe.DNSRegistry('x')\nexcept extframe.ExtframeError as e:\n    print(e)"
    done = subprocess.run(
        [sys.executable, "-c", source], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "DNSRegistry needs dnspython; install it with: pip install 'extframe[dns]'\n", done.stderr
