"""What extframe.testing gives to people who test hosts, handlers and plugins, used as they use it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from faultserver import eventually
from lab import SyncLab
from wire import Answer, Wire, post

from extframe import Volume
from extframe.testing import (  # noqa: F401 - fixtures
    Call,
    Error,
    FakePlugin,
    Fault,
    fake_plugin,
    plugin_dir,
    plugin_manager,
    serve_plugin,
)

# --- a plugin by script -------------------------------------------------------------------------------


@pytest.fixture
def fake(fake_plugin):  # noqa: F811
    return fake_plugin("photos", implements=["VolumeDriver"])


def test_a_fake_activates_with_what_it_implements(fake):
    assert post(fake.address, "Plugin.Activate").json == {"Implements": ["VolumeDriver"]}


def test_answers_come_in_turn_and_the_last_stays(fake):
    fake.answer("A.B", {"Result": 1}, Error("busy", status=503), b"no JSON")
    with Wire(fake.address) as wire:
        answers = [wire.post("A.B") for _ in range(4)]
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, b'{"Result":1}\n'),
        (503, b'{"Err":"busy"}\n'),
        (200, b"no JSON"),
        (200, b"no JSON"),
    ]


def test_an_answer_may_be_made_of_the_call(fake):
    fake.answer("A.B", lambda call: {"Result": call.arguments["Name"]})
    assert post(fake.address, "A.B", {"Name": "x"}).json == {"Result": "x"}


def test_answers_are_encoded_as_a_served_plugin_does(fake):
    volume = Volume(name="a", created_at=datetime(2026, 1, 2, tzinfo=timezone.utc).isoformat())
    fake.answer("VolumeDriver.Get", {"Volume": volume, "Path": Path("/mnt")})
    assert post(fake.address, "VolumeDriver.Get").json["Volume"]["CreatedAt"] == "2026-01-02T00:00:00+00:00"


def test_an_answer_that_cannot_be_encoded_is_refused_when_it_is_given(fake):
    with pytest.raises(TypeError, match=r"A\.B: the answer .* cannot be encoded as JSON"):
        fake.answer("A.B", {"Result": 1}, {"Result": object()})
    assert post(fake.address, "A.B").status == 404


def test_a_function_that_raises_is_a_500_and_fails_the_test(plugin_dir):  # noqa: F811
    def broken(call: Call) -> object:
        return {}["result"]

    def answered(function: Callable[[Call], object]) -> None:
        with FakePlugin(plugin_dir) as fake:
            fake.answer("A.B", function)
            answers.append(post(fake.address, "A.B"))

    answers: list[Answer] = []
    with pytest.raises(KeyError, match="result"):
        answered(broken)
    with pytest.raises(TypeError, match="cannot be encoded"):
        answered(lambda call: object())
    assert [answer.status for answer in answers] == [500, 500]
    assert answers[0].json == {"Err": "the answer's function raised KeyError: 'result'"}


def test_a_leading_slash_is_accepted_as_on_the_wire(fake):
    fake.answer("/A.B", {"Result": 1})
    assert post(fake.address, "A.B").json == {"Result": 1}
    fake.assert_called("/A.B")


def test_calls_can_be_asserted(fake):
    fake.answer("A.B", {})
    for name in "xxy":
        post(fake.address, "A.B", {"Name": name})
    fake.assert_called("A.B")
    fake.assert_called("A.B", {"Name": "y"})
    fake.assert_called("A.B", {"Name": "x"}, times=2)
    fake.assert_called("A.C", times=0)
    assert len(fake.calls_of("A.B")) == 3
    with pytest.raises(
        AssertionError, match=r"photos: A\.B was not called with {'Name': 'z'}; received {'Name': 'x'}; "
    ):
        fake.assert_called("A.B", {"Name": "z"})
    with pytest.raises(AssertionError, match=r"A\.B was not called 1 times, but 2 with"):
        fake.assert_called("A.B", {"Name": "x"}, times=1)
    with pytest.raises(AssertionError, match=r"A\.C was not called; received no calls of it"):
        fake.assert_called("A.C")


def test_the_names_of_version_0_1_remain():
    assert (Fault.DRIP, Fault.HALF) == (Fault.SLOW, Fault.TRUNCATED)


def test_it_remembers_what_it_was_asked(fake):
    with Wire(fake.address) as wire:
        wire.post("A.B", {"Name": "x"}, **{"X-Whose": "mine"})
        wire.post("A.C")
    assert [(call.method, call.arguments) for call in fake.calls] == [("A.B", {"Name": "x"}), ("A.C", None)]
    assert fake.calls[0].headers["x-whose"] == "mine"


def test_it_reads_bodies_in_chunks(fake):
    with Wire(fake.address) as wire:
        wire.request("POST", "/A.B", iter([b'{"Name":', b' "x"}']), encode_chunked=True)
        wire.answer()
    assert fake.calls[0].arguments == {"Name": "x"}


def test_a_method_without_an_answer_is_404(fake):
    assert post(fake.address, "A.B").status == 404


def test_a_script_without_answers_is_a_mistake(fake):
    with pytest.raises(TypeError, match=r"A\.B: give at least one answer"):
        fake.answer("A.B")


@pytest.mark.parametrize(
    ("fault", "beginning"),
    [(Fault.TRUNCATED, b"HTTP/1.1 200 Scripted\r\n"), (Fault.GARBAGE, b"\x16\x03"), (Fault.CLOSE, b"")],
)
def test_a_fault_that_closes_sends_what_it_says_and_closes(fake, fault, beginning):
    fake.answer("A.B", fault)
    with Wire(fake.address) as wire:
        wire.request("POST", "/A.B")
        began = time.monotonic()
        received = wire.read_until_closed(silence=30)
        assert time.monotonic() - began < 30
    assert received.startswith(beginning)
    assert (received == b"") == (beginning == b"")


def test_a_plugin_that_hangs_is_silent_and_does_not_close(fake):
    fake.answer("A.B", Fault.HANG)
    with Wire(fake.address, timeout=0.5) as wire:
        wire.request("POST", "/A.B")
        with pytest.raises(TimeoutError):
            wire.sock.recv(1)


def test_a_plugin_that_drips_sends_a_byte_at_a_time(fake):
    fake.answer("A.B", Fault.SLOW)
    with Wire(fake.address) as wire:
        began = time.monotonic()
        wire.request("POST", "/A.B")
        assert b"".join(wire.sock.recv(1) for _ in range(3)) == b"HTT"
        assert time.monotonic() - began >= 0.4


def test_half_an_answer_lacks_its_end(fake):
    fake.answer("A.B", Fault.TRUNCATED)
    with Wire(fake.address) as wire:
        wire.request("POST", "/A.B")
        head, _, body = wire.read_until_closed().partition(b"\r\n\r\n")
    assert 0 < len(body) < int(head.split(b"Content-Length: ")[1])


def test_a_fake_that_refuses_leaves_its_socket_and_may_come_back(fake):
    kept = Wire(fake.address)
    kept.post("Plugin.Activate")
    fake.refuse()
    assert fake.path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        post(fake.address, "Plugin.Activate")
    assert kept.read_until_closed() == b""
    kept.close()
    fake.accept()
    fake.accept()
    assert post(fake.address, "Plugin.Activate").status == 200


def test_a_fake_that_comes_back_takes_the_place_of_its_old_socket_in_one_step(fake):
    missed, ended = [], threading.Event()

    def look() -> None:
        while not ended.is_set():
            if not fake.path.is_socket():
                missed.append("the socket")

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(200):
        fake.refuse()
        fake.accept()
    ended.set()
    looking.join()
    assert missed == []


def test_a_fake_that_is_closed_leaves_no_socket_and_no_thread(plugin_dir):  # noqa: F811
    threads = threading.active_count()
    with FakePlugin(plugin_dir) as fake:
        fake.answer("A.B", Fault.HANG)
        wire = Wire(fake.address)
        wire.request("POST", "/A.B")
        assert eventually(lambda: fake.calls)
    assert [*plugin_dir.iterdir()] == []
    assert wire.read_until_closed() == b""
    wire.close()
    assert eventually(lambda: threading.active_count() <= threads)


# --- fixtures -----------------------------------------------------------------------------------------


def test_a_driver_that_is_served_is_in_the_plugin_directory(serve_plugin, plugin_dir):  # noqa: F811
    plugin = serve_plugin(SyncLab(), name="lab")
    other = serve_plugin(SyncLab(), name="other", address="tcp://127.0.0.1:0")
    assert {path.name for path in plugin_dir.iterdir()} == {"lab.sock", "other.spec"}
    assert post(plugin.address, "Lab.Work", {"Name": "a"}).json == {"Result": "a"}
    assert post(other.address, "Lab.Work", {"Name": "a"}).json == {"Result": "a"}


def test_the_manager_finds_what_is_served_and_what_is_faked(serve_plugin, fake, plugin_manager):  # noqa: F811
    serve_plugin(SyncLab(), name="lab")
    assert plugin_manager.scan() == ["lab", "photos"]
    assert plugin_manager.get("photos").implements("VolumeDriver")
    assert plugin_manager.get("lab").client.call("Lab.Work", {"Name": "a"}) == {"Result": "a"}


def test_the_directory_is_short_enough_for_a_socket(plugin_dir):  # noqa: F811
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(plugin_dir / ("n" * 64 + ".sock")))


def test_pytest_finds_the_fixtures_by_itself(pytester):
    pytester.makepyfile("""
        def test_fake(fake_plugin, plugin_dir):
            fake_plugin("photos")
            assert [path.name for path in plugin_dir.iterdir()] == ["photos.sock"]
    """)
    pytester.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


ASYNC_TESTS = """
    import asyncio
    import extframe
    import pytest

    MARK

    class Photos(extframe.AsyncVolumeDriver):
        async def path(self, name):
            return f"/srv/{name}"

    @pytest.mark.parametrize("number", [1, 2])
    async def test_a_plugin_is_used(async_plugin_manager, serve_plugin, number):
        serve_plugin(Photos(), name="photos")
        volumes = await async_plugin_manager.driver("photos", extframe.AsyncVolumeDriver)
        assert await volumes.path("holiday") == "/srv/holiday"
        async_plugin_manager.handle("VolumeDriver", lambda name, client: asyncio.sleep(3600))  # runs at the end
        async with async_plugin_manager.watch() as events:
            serve_plugin(Photos(), name="more")
            await events.__anext__()

    async def test_serving_is_used_as_it_is(plugin_dir):
        with extframe.serving(Photos(), name="photos", directory=plugin_dir) as plugin:
            async with extframe.AsyncClient(plugin.address) as client:
                assert await client.call("VolumeDriver.Path", {"Name": "a"}) == {"Mountpoint": "/srv/a"}

    async def test_it_is_not_used(async_plugin_manager):
        await async_plugin_manager.aclose()
"""
ASYNC_PLUGINS = {
    "pytest-asyncio": ("", "-p pytest_asyncio.plugin --asyncio-mode=auto"),
    "pytest-asyncio, strict": ("pytestmark = pytest.mark.asyncio", "-p pytest_asyncio.plugin"),
    "anyio": (
        "pytestmark = [pytest.mark.anyio, pytest.mark.parametrize('anyio_backend', ['asyncio'])]",
        "-p anyio.pytest_plugin",
    ),
}


@pytest.mark.parametrize("plugin", ASYNC_PLUGINS)
def test_async_tests_have_a_manager_of_their_loop_which_leaves_nothing_open(pytester, monkeypatch, plugin):
    mark, options = ASYNC_PLUGINS[plugin]
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(ASYNC_TESTS.replace("MARK", mark))
    scope = "asyncio_default_fixture_loop_scope=function"
    extra = ["-o", scope] if "asyncio" in plugin else []
    command = ["-p", "extframe.testing", "-W", "error", *options.split(), *extra]
    pytester.runpytest_subprocess(*command, timeout=60).assert_outcomes(passed=4)


def test_nothing_hangs_under_freezegun(pytester):
    pytest.importorskip("freezegun")
    pytester.makepyfile("""
        import freezegun, pytest
        from extframe import CallTimeout, PluginNotFound
        from extframe.testing import Fault

        @freezegun.freeze_time("2020-01-01")
        def test_frozen(fake_plugin, plugin_manager):
            fake = fake_plugin("photos", ["VolumeDriver"])
            fake.answer("VolumeDriver.List", Fault.HANG)
            with pytest.raises(CallTimeout):
                plugin_manager.get("photos").client.call("VolumeDriver.List", timeout=0.2)
            with pytest.raises(PluginNotFound):
                plugin_manager.get("missing", wait=0.1)
    """)
    pytester.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


def test_loading_it_with_pytest_costs_next_to_nothing():
    """pytest imports it in every run on every machine that has extframe."""
    code = "import sys, pytest; before = {*sys.modules}; import extframe.testing; print(*{*sys.modules} - before)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"msgspec", "requests", "pluggy", "httptools", "asyncio", "uvicorn", "ssl", "importlib_metadata"} & {
        *loaded
    }
