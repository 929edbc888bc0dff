"""EtcdTable: values that cannot be used, and changes while a spec is made."""

from __future__ import annotations

import threading

from extframe.protocol import PluginSpec
from extframe.registry import etcd_table
from extframe.registry.etcd_gateway import KeyValue
from extframe.registry.etcd_table import EtcdTable


def found(key: str, value: bytes) -> KeyValue:
    return KeyValue(f"extframe/{key}".encode(), value)


def test_a_value_that_is_nested_too_deeply_is_ignored():
    table = EtcdTable("extframe/", "etcd://h", None)
    nested = b"[" * 100_000 + b"]" * 100_000
    table.put(found("photos/a", b'{"Addr": "10.0.0.7:7070"}'))
    table.put(found("photos/b", b'{"Addr": "10.0.0.8:7070", "Metadata": ' + nested + b"}"))
    assert [each.address for each in table.spec("photos").endpoints] == ["tcp://10.0.0.7:7070"]


def test_a_change_while_a_spec_is_made_is_not_lost(monkeypatch):
    table = EtcdTable("extframe/", "etcd://h", None)
    table.put(found("photos/a", b'{"Addr": "10.0.0.7:7070"}'))
    change = threading.Thread(target=table.put, args=[found("photos/b", b'{"Addr": "10.0.0.8:7070"}')])

    def make(*args, **options):
        if change.ident is None:
            change.start()
            change.join(0.2)
        return PluginSpec(*args, **options)

    monkeypatch.setattr(etcd_table, "PluginSpec", make)
    table.spec("photos")
    change.join(30)
    assert len(table.spec("photos").endpoints) == 2
