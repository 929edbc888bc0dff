"""`serve(register=...)`: a plugin is announced while it is served, and hosts know before it stops."""

from __future__ import annotations

import logging
import time

import pytest

from extframe import Client, Endpoint, ExtframeError, SpecError, VolumeDriver, serving
from extframe.server.listeners import listen


class Photos(VolumeDriver):
    def list(self):
        return []


class Recorder:
    """A registrar that records what it is asked for, and what the plugin answers meanwhile."""

    def __init__(self, *, fails: tuple[str, ...] = ()) -> None:
        self.calls: list[object] = []
        self._fails = fails
        self._address = ""

    def announce(self, name, endpoint):
        self._address = endpoint.address
        self._record((name, endpoint))

    def drain(self):
        with Client(self._address) as client:
            self._record(f"drain: {client.call('VolumeDriver.List')}")

    def withdraw(self):
        self._record("withdraw")

    def _record(self, call):
        self.calls.append(call)
        if (call if isinstance(call, str) else "announce").partition(":")[0] in self._fails:
            raise ExtframeError("the registrar is down")


def test_a_plugin_is_announced_drained_while_it_still_answers_and_withdrawn():
    registrar = Recorder()
    with serving(Photos(), name="photos", register=registrar, zone="eu-1", drain_delay=0.3) as plugin:
        assert registrar.calls == [("photos", Endpoint(plugin.address, zone="eu-1"))]
        began = time.monotonic()
    assert time.monotonic() - began >= 0.3
    assert registrar.calls[1:3] == ["drain: {'Volumes': []}", "withdraw"]


def test_without_a_delay_nothing_is_drained():
    registrars = [Recorder(), Recorder()]
    with serving(Photos(), register=registrars):
        pass
    assert [set(each.calls[1:]) for each in registrars] == [{"withdraw"}, {"withdraw"}]


def test_a_registrar_that_fails_at_the_end_keeps_no_other_from_ending(caplog):
    registrars = [Recorder(fails=("drain", "withdraw")), Recorder()]
    with caplog.at_level(logging.WARNING), serving(Photos(), name="photos", register=registrars, drain_delay=0.01):
        pass
    assert "withdraw" in registrars[1].calls
    assert "could not drain plugin 'photos': the registrar is down" in caplog.text


def test_a_plugin_stops_gracefully_and_is_withdrawn_if_the_system_has_no_thread_for_that(monkeypatch, caplog):
    def start(thread):
        if thread.name == "extframe registrar":
            raise ExtframeError("no thread")
        thread.start()

    registrar = Recorder()
    monkeypatch.setattr("extframe.concurrency.async_threads.start", start)
    with serving(Photos(), name="photos", register=registrar, drain_delay=0.01):
        pass
    assert registrar.calls[1:] == ["withdraw"]
    assert "could not withdraw plugin 'photos': no thread" in caplog.text


def test_a_registrar_that_refuses_the_plugin_ends_serve_and_what_was_announced_is_withdrawn():
    registrars = [Recorder(), Recorder(fails=("announce",))]
    with pytest.raises(ExtframeError, match="the registrar is down"), serving(Photos(), register=registrars):
        pass
    assert "withdraw" in registrars[0].calls


def test_the_address_that_hosts_connect_to_may_be_another_with_the_same_port(short_path):
    registrar = Recorder()
    options = {"address": "tcp://127.0.0.1:0", "advertise": "tcp://localhost:{port}", "directory": short_path}
    with serving(Photos(), name="photos", register=registrar, **options) as plugin:
        port = plugin.address.rpartition(":")[2]
        assert registrar.calls == [("photos", Endpoint(f"tcp://localhost:{port}"))]
        assert (short_path / "photos.spec").read_text() == f"tcp://localhost:{port}\n"
    assert not (short_path / "photos.spec").exists()


def test_a_spec_file_can_be_left_out(short_path):
    listener = listen("photos", address="tcp://127.0.0.1:0", directory=short_path, spec_file=False)
    listener.close()
    assert list(short_path.iterdir()) == []


def test_an_address_that_no_host_can_connect_to_is_refused(short_path):
    with (
        pytest.raises(SpecError, match=r"hosts cannot connect to tcp://0.0.0.0:\d+; expected advertise= with"),
        serving(Photos(), address="tcp://0.0.0.0:0", directory=short_path, register=Recorder()),
    ):
        pass
    assert list(short_path.iterdir()) == []


@pytest.mark.parametrize(
    ("register", "error", "words"),
    [
        ("consul://c1", SpecError, "is not the URL of a registrar; expected one with etcd://, etcds://"),
        ("etcd://", SpecError, "is not an etcd URL"),
        (3, TypeError, "is not a registrar: expected a URL, or an object with announce()"),
        ([Recorder], TypeError, "is not a registrar"),
    ],
)
def test_what_is_not_a_registrar_is_refused_before_it_listens(short_path, register, error, words):
    with pytest.raises(error) as caught, serving(Photos(), directory=short_path, register=register):
        pass
    assert words in str(caught.value)
    assert list(short_path.iterdir()) == []
