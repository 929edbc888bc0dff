"""What a served plugin answers: to the engine's requests, to a driver's errors, and to what is no call."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import logging
import sys
import threading
import time

import pytest
from faultserver import eventually
from lab import BOTH, AsyncLab, SyncLab, in_threads
from wire import Wire, post

import extframe
from extframe.server import asgi_app, caller_gone, serving
from extframe.subsystems.volume import VolumeDriver

pytestmark = pytest.mark.parametrize("lab", BOTH)

CHUNKED = (
    b"POST /Lab.Work HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b'9\r\n{"Name": \r\n5\r\n"ab"}\r\n0\r\n\r\n'
)
LIKE_DOCKER = (
    b"POST /Lab.Work HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 14\r\n"
    b'Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n{"Name":"ab"}\n'
)


@pytest.fixture(scope="module")
def labs():
    """Both labs, served for all the tests that ask for ``served``."""
    drivers = {lab: lab() for lab in BOTH}
    with contextlib.ExitStack() as stack:
        yield {
            lab: (driver, stack.enter_context(serving(driver, limit=200_000)).address)
            for lab, driver in drivers.items()
        }


@pytest.fixture
def served(labs, lab):
    """A driver, and a connection to it. The driver does what its ``function`` says."""
    driver, address = labs[lab]
    driver.log.clear()
    with Wire(address) as wire:
        yield driver, wire
    driver.function = None


def read_until(wire: Wire, end: bytes) -> bytes:
    """Return what comes, up to ``end``."""
    received = b""
    while end not in received:
        data = wire.sock.recv(65536)
        assert data, received
        received += data
    return received


def waiting(lab, event: threading.Event):
    """Return work for ``lab`` that ends with the event."""

    def wait():
        assert event.wait(30)
        return ""

    async def wait_on_loop():
        return await asyncio.to_thread(wait)

    return wait if lab is SyncLab else wait_on_loop


def raising(error: BaseException):
    def work():
        raise error

    return work


# --- calls --------------------------------------------------------------------------------------------


def test_a_call_reaches_the_driver_and_its_result_the_caller(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        answer = wire.post("Lab.Work", {"Name": "ab"})
        assert (answer.status, answer.body) == (200, b'{"Result":"ab"}\n')
        assert answer.headers["content-type"] == "application/vnd.docker.plugins.v1.1+json"


def test_activation_lists_the_extension_points_of_all_drivers(lab):
    with serving(lab(), VolumeDriver()) as plugin, Wire(plugin.address) as wire:
        assert wire.post("Plugin.Activate").json == {"Implements": ["Lab", "VolumeDriver"]}


def test_a_method_without_a_result_answers_an_object_and_never_204(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        answer = wire.post("Lab.Rest")
        assert (answer.status, answer.body) == (200, b"{}\n")


def test_a_request_as_docker_sends_it_is_understood(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        wire.write(LIKE_DOCKER)
        assert read_until(wire, b"}\n").endswith(b'\r\n\r\n{"Result":"ab"}\n')


def test_a_body_in_chunks_is_understood(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        assert wire.send_bytes(CHUNKED).endswith(b'\r\n\r\n{"Result":"ab"}\n')


def test_a_request_without_any_header_is_understood(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        wire.write(b"POST /Plugin.Activate HTTP/1.1\r\n\r\n")
        assert read_until(wire, b"}\n").endswith(b'{"Implements":["Lab"]}\n')


def test_keys_match_in_any_case_and_unknown_ones_are_passed_over(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        assert wire.post("Lab.Work", {"NAME": "ab", "Colour": "blue"}).json == {"Result": "ab"}


def test_a_connection_serves_many_calls(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        wire.connect()
        first = wire.sock
        assert [wire.post("Lab.Work", {"Name": str(n)}).json["Result"] for n in range(100)] == [*map(str, range(100))]
        assert wire.sock is first


def test_two_requests_sent_at_once_are_answered_in_order(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        wire.write(LIKE_DOCKER + LIKE_DOCKER.replace(b'"ab"', b'"cd"'))
        received = read_until(wire, b'{"Result":"cd"}\n')
        assert 0 < received.index(b'{"Result":"ab"}') < received.index(b'{"Result":"cd"}')


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_what_is_not_post_is_405(served, verb):
    _, wire = served
    wire.request(verb, "/Plugin.Activate")
    answer = wire.answer()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "POST" in answer.json["Err"]


@pytest.mark.parametrize("method", ["Lab.Play", "", "lab.work", "Lab.Work/", "/Plugin.Activate", "VolumeDriver.List"])
def test_an_unknown_method_is_404(served, method):
    _, wire = served
    answer = wire.post(method, {})
    assert answer.status == 404
    assert answer.json["Err"] == answer.json["Error"] == f"{method} is not implemented by this plugin"


def test_a_method_that_the_driver_does_not_have_is_404(served):
    """Engines take a 404 for "not implemented"."""
    _, wire = served
    assert wire.post("Lab.Count", {}).status == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"{} {}", b"\xff", b'{"Name": 5}', b"[" * 100_000])
def test_a_body_that_makes_no_sense_is_400_with_the_place(served, body):
    _, wire = served
    answer = wire.post("Lab.Work", body)
    assert answer.status == 400
    assert answer.json["Err"] == answer.json["Error"] != ""
    assert wire.post("Lab.Work", {}).status == 200


def test_a_body_that_docker_lost_on_a_retry_is_400_and_no_call(served):
    driver, wire = served
    assert wire.post("Lab.Work").status == 400
    assert driver.log == []


@pytest.mark.parametrize("size", [200_000, 5_000_000])
def test_a_body_over_the_limit_is_413_and_no_call(served, size):
    driver, wire = served
    answer = wire.post("Lab.Work", {"Name": "x" * size})
    assert answer.status == 413
    assert "200000 bytes" in answer.json["Err"]
    assert answer.headers["connection"] == "close"
    assert driver.log == []
    assert wire.post("Lab.Work", {"Name": "x" * 199_000}).status == 200


def test_a_body_without_end_is_cut_off(served):
    driver, wire = served
    wire.write(b"POST /Lab.Work HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(OSError, match="Broken pipe|reset"):
        collections.deque((wire.write(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n") for _ in itertools.count()), 0)
    assert driver.log == []


def test_a_client_that_ends_in_the_middle_of_its_request_is_no_call(lab):
    driver = lab()
    with serving(driver) as plugin:
        with Wire(plugin.address) as wire:
            wire.write(LIKE_DOCKER.replace(b"Content-Length: 14", b"Content-Length: 15"))
        assert post(plugin.address, "Lab.Rest").status == 200
        assert driver.log == []


# --- what drivers raise -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("too small"), 500, "too small"),
        (ValueError(), 500, "ValueError()"),
        (KeyError("photos"), 500, "KeyError('photos')"),
        (OSError("no such file: a\udcffb"), 500, "no such file: a?b"),
        (StopIteration("next"), 500, ""),
        (asyncio.CancelledError(), 500, "the plugin stopped"),
        (NotImplementedError(), 404, "Lab.Work is not implemented"),
        (NotImplementedError("only on Linux"), 404, "only on Linux"),
        (extframe.RemoteError("no such volume", status=404), 404, "no such volume"),
        (extframe.RemoteError("busy", status=503), 503, "busy"),
        (extframe.RemoteError("said in a 200", status=200), 500, "said in a 200"),
        (extframe.RemoteError("odd", status=1000), 500, "odd"),
        (extframe.RemoteError("named", plugin="other", method="A.B"), 500, "named"),
        (extframe.ProtocolError("the other plugin talks nonsense"), 500, "the other plugin talks nonsense"),
    ],
    ids=ascii,  # one has a surrogate in it
)
def test_what_a_driver_raises_is_the_answer(served, error, status, words):
    driver, wire = served
    driver.function = raising(error)
    answer = wire.post("Lab.Work", {})
    assert answer.status == status
    assert answer.json["Err"].startswith(words)
    assert answer.json["Error"] == answer.json["Err"]
    assert wire.post("Lab.Rest").status == 200


def test_a_driver_that_calls_sys_exit_fails_one_call(served):
    driver, wire = served
    driver.function = lambda: sys.exit(3)
    assert wire.post("Lab.Work", {}).status == 500
    assert wire.post("Lab.Rest").status == 200


def test_the_traceback_is_in_the_log_and_not_on_the_wire(lab, caplog):
    def deep_inside():
        raise ValueError("too small")

    with serving(lab(deep_inside)) as plugin:
        assert b"deep_inside" not in post(plugin.address, "Lab.Work", {}).body
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "deep_inside" in caplog.text
    assert record.name.startswith("extframe.server")


def test_an_error_raised_on_purpose_is_no_error_in_the_log(lab, caplog):
    with serving(lab(raising(extframe.RemoteError("no such volume", status=404)))) as plugin:
        post(plugin.address, "Lab.Work", {})
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    "wrong", [b"bytes", None, 5, 5.5, object(), ["a"], {"Result": "a"}], ids=lambda wrong: type(wrong).__name__
)
def test_a_driver_that_returns_the_wrong_type_is_500(served, wrong, caplog):
    driver, wire = served
    driver.function = lambda: wrong
    answer = wire.post("Lab.Work", {})
    assert answer.status == 500
    assert "Lab.Work" in answer.json["Err"]
    assert "an invalid reply to Lab.Work" in caplog.text


def test_a_driver_is_checked_before_it_is_served(lab):
    class Half(lab):
        work = None

    with pytest.raises(TypeError, match="work is missing"):
        asgi_app(Half())
    with pytest.raises(TypeError, match="another driver already answers Lab"):
        asgi_app(lab(), lab())


# --- side by side -------------------------------------------------------------------------------------


def test_a_method_that_blocks_is_in_nobodys_way(lab):
    blocked = threading.Event()
    driver = lab(waiting(lab, blocked))
    with serving(driver, threads=3) as plugin, Wire(plugin.address) as stuck:
        stuck.request("POST", "/Lab.Work", b"{}")
        assert eventually(lambda: driver.log)
        assert [post(plugin.address, "Lab.Rest").status for _ in range(20)] == [200] * 20
        blocked.set()
        assert stuck.answer().status == 200


def test_activation_is_answered_while_every_thread_is_blocked(lab):
    blocked = threading.Event()
    driver = SyncLab(blocked.wait)
    with serving(driver, threads=1) as plugin, Wire(plugin.address) as stuck:
        stuck.request("POST", "/Lab.Work", b"{}")
        assert eventually(lambda: driver.log)
        assert post(plugin.address, "Plugin.Activate").status == 200
        blocked.set()


def test_no_more_methods_run_at_a_time_than_there_are_threads(lab):
    running, most, three = [], [], threading.Barrier(3)

    def work():
        running.append(1)
        most.append(len(running))
        three.wait(30)
        time.sleep(0.02)  # the time for one too many to be seen
        running.pop()
        return ""

    with serving(SyncLab(work), threads=3) as plugin:
        answers = in_threads(*[lambda: post(plugin.address, "Lab.Work", {}, timeout=60)] * 12)
    assert [answer.status for answer in answers] == [200] * 12
    assert max(most) == 3


def test_calls_for_different_names_go_side_by_side(lab):
    """Each of five mounts ends when all have begun."""
    all_have_begun = threading.Event()

    def work():
        if len(driver.log) == 5:
            all_have_begun.set()
        return waiting(lab, all_have_begun)()

    driver = lab(work)
    with serving(driver, serialize="name") as plugin:
        answers = in_threads(*(lambda n=n: post(plugin.address, "Lab.Work", {"Name": str(n)}) for n in range(5)))
    assert [answer.status for answer in answers] == [200] * 5


def test_calls_for_one_name_go_in_turn(lab):
    driver = lab()
    with serving(driver, serialize="name") as plugin:
        call = {"Name": "same", "Seconds": 0.02}
        answers = in_threads(*[lambda: post(plugin.address, "Lab.Work", call)] * 10)
        assert [answer.status for answer in answers] == [200] * 10
    assert driver.log == [("begin", "same"), ("end", "same")] * 10


def test_calls_without_the_name_need_no_turn(lab):
    blocked = threading.Event()
    driver = lab(waiting(lab, blocked))
    with serving(driver, serialize="name") as plugin, Wire(plugin.address) as slow:
        slow.request("POST", "/Lab.Work", b'{"Name": "a"}')
        assert eventually(lambda: driver.log)
        assert post(plugin.address, "Lab.Rest").status == 200
        blocked.set()
        assert slow.answer().status == 200


def test_a_call_that_fails_passes_its_turn_on(lab):
    with serving(lab(raising(ValueError("no"))), serialize="name") as plugin:
        assert [post(plugin.address, "Lab.Work", {"Name": "a"}).status for _ in range(3)] == [500] * 3


def test_serialize_names_a_parameter_that_exists(lab):
    with pytest.raises(TypeError, match="serialize='nam': no method has such a parameter"):
        asgi_app(lab(), serialize="nam")


def test_two_hundred_clients_at_once_are_all_answered(lab):
    with serving(lab()) as plugin:
        call = {"Seconds": 0.01}
        calls = (lambda n=n: post(plugin.address, "Lab.Work", {**call, "Name": str(n)}, timeout=60) for n in range(200))
        answers = in_threads(*calls)
    assert [answer.json["Result"] for answer in answers] == [*map(str, range(200))]


# --- a caller that goes -------------------------------------------------------------------------------


def test_a_method_learns_that_its_caller_is_gone(lab):
    learnt = threading.Event()

    def work():
        assert eventually(caller_gone, timeout=30)
        learnt.set()
        return ""

    async def work_on_loop():
        while not caller_gone():
            await asyncio.sleep(0.01)
        learnt.set()
        return ""

    with serving(lab(work if lab is SyncLab else work_on_loop)) as plugin:
        with Wire(plugin.address) as wire:
            wire.request("POST", "/Lab.Work", b"{}")
            assert not learnt.wait(0.2)
        assert learnt.wait(30)
        assert post(plugin.address, "Lab.Rest").status == 200


def test_a_method_whose_caller_goes_is_not_cut_off(lab):
    driver = lab()
    with serving(driver) as plugin:
        with Wire(plugin.address) as wire:
            wire.request("POST", "/Lab.Work", b'{"Name": "a", "Seconds": 0.3}')
            assert eventually(lambda: driver.log)
        assert eventually(lambda: ("end", "a") in driver.log)


def test_a_caller_who_waits_is_not_gone(lab):
    def work():
        time.sleep(0.1)
        return str(caller_gone())

    with serving(lab(work)) as plugin:
        assert post(plugin.address, "Lab.Work", {}).json == {"Result": "False"}


def test_outside_a_call_nobody_is_gone(lab):
    assert caller_gone() is False


# --- streams ------------------------------------------------------------------------------------------


def test_records_come_as_a_stream(lab):
    with serving(lab()) as plugin, Wire(plugin.address) as wire:
        answer = wire.post("Lab.Records", {"Name": "one two three"})
        assert answer.status == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.body == b"\0\0\0\3one\0\0\0\3two\0\0\0\5three"
        assert wire.post("Lab.Records", {"Name": ""}).body == b""


def test_a_record_arrives_when_it_is_there_and_not_at_the_end(lab):
    more = threading.Event()

    class Slow(lab):
        if lab is SyncLab:

            def records(self, name: str = ""):
                yield "one"
                more.wait(60)
                yield "two"
        else:

            async def records(self, name: str = ""):
                yield "one"
                await asyncio.to_thread(more.wait, 60)
                yield "two"

    with serving(Slow()) as plugin, Wire(plugin.address) as wire:
        wire.request("POST", "/Lab.Records", b"{}")
        reply = wire.getresponse()
        assert reply.read(7) == b"\0\0\0\3one"
        more.set()
        assert reply.read() == b"\0\0\0\3two"


def test_a_stream_without_a_record_begins_all_the_same(lab):
    """The engine waits for the head of the answer before it shows anything of `docker logs -f`."""
    more = threading.Event()

    class Silent(lab):
        if lab is SyncLab:

            def records(self, name: str = ""):
                more.wait(60)
                yield "one"
        else:

            async def records(self, name: str = ""):
                await asyncio.to_thread(more.wait, 60)
                yield "one"

    with serving(Silent()) as plugin, Wire(plugin.address, timeout=30) as wire:
        wire.request("POST", "/Lab.Records", b"{}")
        assert wire.getresponse().status == 200
        more.set()


def test_a_stream_that_fails_before_its_first_record_is_an_error(lab, monkeypatch):
    monkeypatch.setattr("extframe.server.streams.START_AFTER", 60.0)  # a machine that stalls starts it without a record

    class Failing(lab):
        if lab is SyncLab:

            def records(self, name: str = ""):
                raise ValueError("no such container")
                yield ""
        else:

            async def records(self, name: str = ""):
                raise ValueError("no such container")
                yield ""

    with serving(Failing()) as plugin:
        answer = post(plugin.address, "Lab.Records", {})
        assert (answer.status, answer.json["Err"]) == (500, "no such container")


def test_a_stream_that_fails_later_ends_without_its_end(lab):
    class Failing(lab):
        if lab is SyncLab:

            def records(self, name: str = ""):
                yield "one"
                raise ValueError("the disk is gone")
        else:

            async def records(self, name: str = ""):
                yield "one"
                raise ValueError("the disk is gone")

    with serving(Failing()) as plugin, Wire(plugin.address) as wire:
        received = wire.send_bytes(b"POST /Lab.Records HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        assert b"one" in received
        assert not received.endswith(b"0\r\n\r\n")


def test_a_stream_is_closed_when_its_reader_goes(lab):
    closed = threading.Event()

    class Endless(lab):
        if lab is SyncLab:

            def records(self, name: str = ""):
                try:
                    while True:
                        time.sleep(0.01)
                        yield "tick"
                finally:
                    closed.set()
        else:

            async def records(self, name: str = ""):
                try:
                    yield "tick"
                    await asyncio.sleep(60)
                finally:
                    closed.set()

    with serving(Endless()) as plugin:
        with Wire(plugin.address) as wire:
            wire.request("POST", "/Lab.Records", b"{}")
            wire.getresponse().read(8)
        assert closed.wait(30)


def test_a_stream_whose_reader_went_before_its_turn_came_is_not_left_open(lab):
    blocked, begun, ended = threading.Event(), threading.Event(), threading.Event()

    class Endless(lab):
        if lab is SyncLab:

            def records(self, name: str = ""):
                begun.set()
                try:
                    while True:
                        time.sleep(0.01)
                        yield "tick"
                finally:
                    ended.set()
        else:

            async def records(self, name: str = ""):
                begun.set()
                try:
                    yield "tick"
                    await asyncio.sleep(60)
                finally:
                    ended.set()

    driver = Endless(waiting(lab, blocked))
    with serving(driver, serialize="name") as plugin, Wire(plugin.address) as first:
        first.request("POST", "/Lab.Work", b'{"Name": "a"}')
        assert eventually(lambda: driver.log)
        with Wire(plugin.address) as reader:
            reader.request("POST", "/Lab.Records", b'{"Name": "a"}')
        time.sleep(0.2)  # the time in which it is noticed; later is right, too, and proves less
        blocked.set()
        assert post(plugin.address, "Lab.Work", {"Name": "a"}).status == 200
        assert not begun.is_set() or ended.wait(30)


def test_a_stream_learns_that_its_reader_is_gone(lab):
    learnt = threading.Event()

    class Following(SyncLab):
        def records(self, name: str = ""):
            yield "one"
            assert eventually(caller_gone, timeout=30)
            learnt.set()

    with serving(Following()) as plugin:
        with Wire(plugin.address) as wire:
            wire.request("POST", "/Lab.Records", b"{}")
            wire.getresponse().read(7)
        assert learnt.wait(30)


def test_records_that_are_none_are_500(lab):
    class Wrong(lab):
        def records(self, name: str = ""):
            return 5

    with serving(Wrong()) as plugin:
        assert post(plugin.address, "Lab.Records", {}).status == 500


# --- odds ---------------------------------------------------------------------------------------------


def test_an_async_method_under_a_decorator_that_hides_it_is_an_error_and_not_forgotten(lab):
    class Hidden(SyncLab):
        def rest(self):
            return AsyncLab().rest()

    with serving(Hidden()) as plugin:
        answer = post(plugin.address, "Lab.Rest")
        assert answer.json["Err"] == "rest returned a coroutine but is not an async def"


def test_there_must_be_a_driver(lab):
    with pytest.raises(TypeError, match="no driver to serve"):
        asgi_app()
    with pytest.raises(TypeError, match="is not a driver"):
        asgi_app(object())


def test_an_application_does_what_asgi_asks_of_it_at_start_and_end(lab):
    sent = []

    async def live():
        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive():
            return next(events)

        async def send(message):
            sent.append(message["type"])

        await asgi_app(lab())({"type": "lifespan"}, receive, send)

    asyncio.run(live())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_application_refuses_what_is_not_http(lab):
    with pytest.raises(NotImplementedError, match="websocket"):
        asyncio.run(asgi_app(lab())({"type": "websocket"}, None, None))
