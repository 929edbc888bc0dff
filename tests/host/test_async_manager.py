"""AsyncPluginManager: the promises of PluginManager, kept in an event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faultserver
import pytest
from event_loops import NEW_LOOP, eventually, open_sockets, run, run_in
from faultserver import FaultServer, answer, hang, send_and_close
from program import Program

import extframe
from extframe import (
    ActivationError,
    AsyncPluginManager,
    AsyncVolumeDriver,
    CallTimeout,
    DoesNotImplement,
    ExtframeError,
    LocalRegistry,
    PluginManager,
    PluginNotFound,
    PluginSpec,
    State,
    VolumeDriver,
    hookimpl,
)
from extframe.testing import Call, Error, FakePlugin, Fault

MANIFEST = {"Implements": ["VolumeDriver"]}
SEED = int(os.environ.get("EXTFRAME_SEED", "13"))


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        plugin.answer("VolumeDriver.List", {"Volumes": [{"Name": "holiday", "Mountpoint": "/mnt"}]})
        yield plugin


@pytest.fixture
def pm(short_path: Path) -> AsyncPluginManager:
    return AsyncPluginManager(LocalRegistry(short_path))


class Held:
    """An answer that a plugin gives once it is released."""

    def __init__(self, *answers: object) -> None:
        self.release = threading.Event()
        self.calls = 0
        self._answers = list(answers)

    def __call__(self, call: Call) -> object:
        self.calls += 1
        self.release.wait(60)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


# --- get, driver, scan --------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", NEW_LOOP)
def test_plugins_are_found_activated_and_called_through_typed_drivers(
    pm: AsyncPluginManager, photos: FakePlugin, short_path: Path, loop: str
) -> None:
    async def main() -> None:
        with FakePlugin(short_path, "music", ["VolumeDriver", "Backup"]):
            async with pm:
                assert await pm.scan() == ["music", "photos"]
                volumes = await pm.driver("photos", AsyncVolumeDriver)
                assert [volume.name for volume in await volumes.list()] == ["holiday"]
                assert isinstance(await pm.driver("photos", "VolumeDriver"), AsyncVolumeDriver)
                assert list(await pm.drivers(AsyncVolumeDriver)) == ["music", "photos"]
                plugin = await pm.get("music", "Backup")
                assert (plugin.state, plugin.implements(AsyncVolumeDriver)) == (State.ACTIVE, True)
                assert [each.name for each in await pm.get_all("Backup")] == ["music"]
                assert pm.failures() == []
                with pytest.raises(DoesNotImplement, match="'photos' does not implement 'Backup'"):
                    await pm.get("photos", "Backup")
        assert plugin.state is State.CLOSED

    run_in(loop, main)
    assert len(photos.calls_of("Plugin.Activate")) == 1


def test_a_sync_interface_is_refused_with_the_name_of_the_async_one(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    async def main() -> None:
        async with pm:
            for use in (pm.driver("photos", VolumeDriver), pm.drivers(VolumeDriver)):  # type: ignore[type-var, call-overload]
                with pytest.raises(TypeError, match="VolumeDriver is not async: .* drivers of AsyncVolumeDriver"):
                    await use
            assert await pm.get("photos", VolumeDriver)

    run(main)


def test_the_loop_goes_on_during_a_handshake(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    held = Held(MANIFEST)
    photos.answer("Plugin.Activate", held)

    async def main() -> None:
        async with pm:
            getting = asyncio.ensure_future(pm.get("photos"))
            assert await eventually(lambda: held.calls)
            for _ in range(100):
                await asyncio.sleep(0)  # a loop that waits for the plugin never gets here
                assert not getting.done()
            held.release.set()
            assert (await getting).state is State.ACTIVE

    run(main)


def test_many_tasks_share_one_handshake_and_one_call_of_each_handler(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    given: list[str] = []

    async def handler(name: str, client: object) -> None:
        await asyncio.sleep(0.01)
        given.append(name)

    async def main() -> None:
        pm.handle("VolumeDriver", handler)
        async with pm:
            plugins = await asyncio.gather(*(pm.get("photos", "VolumeDriver") for _ in range(50)))
            assert {id(plugin) for plugin in plugins} == {id(plugins[0])}

    run(main)
    assert given == ["photos"]
    assert len(photos.calls_of("Plugin.Activate")) == 1


def test_waiting_for_a_plugin_ends_when_it_answers_and_a_missing_one_fails_at_once(
    pm: AsyncPluginManager, short_path: Path
) -> None:
    async def main() -> None:
        async with pm:
            with pytest.raises(PluginNotFound, match=r"looked for late\.sock"):
                await pm.get("late")
            waiting = asyncio.ensure_future(pm.get("late", wait=60, timeout=60))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            with FakePlugin(short_path, "late"):
                assert (await waiting).name == "late"

    run(main)


# --- the lead -----------------------------------------------------------------------------------------


def test_a_cancelled_leader_hands_the_lead_on_and_each_waiter_has_its_own_deadline(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    held = Held(MANIFEST)
    photos.answer("Plugin.Activate", held)

    async def main() -> None:
        async with pm:
            leader = asyncio.ensure_future(pm.get("photos"))
            assert await eventually(lambda: held.calls == 1)
            late = asyncio.ensure_future(pm.get("photos", timeout=0.05))
            others = [asyncio.ensure_future(pm.get("photos")) for _ in range(3)]
            with pytest.raises(ActivationError, match="another caller's handshake did not end in time"):
                await late
            others[0].cancel()  # a waiter: nothing happens to the others
            leader.cancel()
            assert await eventually(lambda: held.calls == 2)
            held.release.set()
            results = await asyncio.gather(leader, *others, return_exceptions=True)
            assert [type(result) for result in results[:2]] == [asyncio.CancelledError] * 2
            assert [getattr(result, "state", result) for result in results[2:]] == [State.ACTIVE] * 2

    run(main)
    assert held.calls == 2


def test_a_handshake_that_failed_failed_for_those_who_waited_for_it(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    held = Held(Error("not today"))
    photos.answer("Plugin.Activate", held)

    async def main() -> None:
        async with pm:
            getting = [asyncio.ensure_future(pm.get("photos")) for _ in range(5)]
            assert await eventually(lambda: held.calls)
            held.release.set()
            errors = await asyncio.gather(*getting, return_exceptions=True)
            assert [type(error) for error in errors] == [ActivationError] * 5
            assert {"not today" in str(error) for error in errors} == {True}

    run(main)
    assert held.calls == 1


# --- what the sync manager does -----------------------------------------------------------------------

FAULTS: dict[str, Any] = {
    "hangs": hang,
    "closes": send_and_close(b""),
    "garbage": send_and_close(b"\x00\xff" * 40),
    "no handshake": answer(b"404 page not found\n", status="404 Not Found"),
    "not JSON": answer(b"<html>"),
    "no manifest": answer(b"[]"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["get", "get_all"])
def test_faults_have_the_same_words_failures_and_states_in_both_hosts(
    short_path: Path, fault: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("concurrent_activation", "async_activation"):  # a machine may stall as the deadline passes
        monkeypatch.setattr(f"extframe.host.{host}.GRACE", 30.0)
    arguments = ["VolumeDriver"] if method == "get_all" else ["bad", "VolumeDriver"]
    timeout = 2.2 if fault == "hangs" else 60.0  # longer than a machine stalls

    def outcome(use: Callable[[], Any]) -> str:
        try:
            return repr(use())
        except ExtframeError as error:
            return f"{type(error).__name__}: {error}"

    def seen(pm: Any, result: str) -> list[object]:
        plugin = pm._activator.table.known("bad")
        texts = [result, *(str(failure) for failure in pm.failures()), repr(plugin.last_error)]
        return [
            plugin.state,
            *(re.sub("; the timeout was [.0-9]+ s|(?<= attempts) in [.0-9]+ s", "", text) for text in texts),
        ]

    async def awaited() -> list[object]:
        async with AsyncPluginManager(LocalRegistry(short_path), groups=()) as pm:
            try:
                result = repr(await getattr(pm, method)(*arguments, timeout=timeout))
            except ExtframeError as error:
                result = f"{type(error).__name__}: {error}"
            return seen(pm, result)

    with FaultServer(FAULTS[fault], path=str(short_path / "bad.sock")):
        with PluginManager(LocalRegistry(short_path), groups=()) as pm:
            result = outcome(lambda: getattr(pm, method)(*arguments, timeout=timeout))
            expected = seen(pm, result)
        assert run(awaited) == expected
    assert "bad" in str(expected)


def test_one_bad_plugin_costs_the_others_nothing(pm: AsyncPluginManager, short_path: Path) -> None:
    async def main() -> None:
        with FakePlugin(short_path, "hung") as hung, FakePlugin(short_path, "dead") as dead:
            hung.answer("Plugin.Activate", Fault.HANG)
            dead.refuse()
            with FakePlugin(short_path, "good", ["VolumeDriver"]):
                async with pm:
                    found = await pm.get_all(VolumeDriver, timeout=3.0)
                    assert [plugin.name for plugin in found] == ["good"]
                    assert {failure.what for failure in pm.failures()} == {"plugin 'hung'", "plugin 'dead'"}

    run(main)


def test_a_restarted_plugin_is_activated_again_and_keeps_its_driver(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    given: list[str] = []

    async def main() -> None:
        pm.handle("VolumeDriver", lambda name, client: given.append(name))
        async with pm:
            volumes = await pm.driver("photos", AsyncVolumeDriver)
            photos.refuse()
            photos.accept()
            assert await pm.driver("photos", AsyncVolumeDriver) is not None
            assert await volumes.list()

    run(main)
    assert given == ["photos"]
    assert len(photos.calls_of("Plugin.Activate")) == 2


# --- registries ---------------------------------------------------------------------------------------


class SlowRegistry:
    """A registry that answers once it is released, as one that asks a server may."""

    def __init__(self, spec: PluginSpec) -> None:
        self.spec = spec
        self.asked: list[str] = []
        self.release = threading.Event()

    def scan(self) -> list[str]:
        self._wait("scan")
        return [self.spec.name]

    def find(self, name: str) -> PluginSpec:
        self._wait("find")
        return self.spec

    def stamp(self, spec: PluginSpec) -> object:
        self._wait("stamp")
        return spec.stamp

    def _wait(self, method: str) -> None:
        self.asked.append(method)
        assert threading.current_thread() is not threading.main_thread()
        self.release.wait(60)


def test_a_registry_that_blocks_is_called_in_a_thread_and_left_behind_at_the_deadline(photos: FakePlugin) -> None:
    registry = SlowRegistry(PluginSpec("photos", photos.address, stamp=1))

    async def main() -> None:
        async with AsyncPluginManager(registry) as pm:
            for use in (
                pm.get("photos", timeout=0.05),
                pm.scan(timeout=0.05),
                pm.get_all("VolumeDriver", timeout=0.05),
            ):
                with pytest.raises(CallTimeout, match=r"registry SlowRegistry did not .* is still running"):
                    await use
            cancelled = asyncio.ensure_future(pm.get("photos"))
            assert await eventually(lambda: registry.asked.count("find") == 2)
            cancelled.cancel()
            registry.release.set()
            assert (await pm.get("photos")).state is State.ACTIVE
            assert [plugin.name for plugin in await pm.get_all("VolumeDriver")] == ["photos"]
            assert await pm.scan() == ["photos"]

    run(main)


# --- loops and the end --------------------------------------------------------------------------------


def test_a_manager_belongs_to_the_loop_of_its_first_await(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    async def use() -> None:
        await pm.get("photos")

    async def main() -> None:
        await use()
        with pytest.raises(RuntimeError, match="AsyncPluginManager was first used in another event loop"):
            await asyncio.to_thread(asyncio.run, use())
        await pm.aclose()

    run(main)
    with pytest.raises(RuntimeError, match="another event loop, which is closed"):
        run(use)
    assert len(photos.calls_of("Plugin.Activate")) == 1


def test_closing_ends_waits_handlers_and_watches(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    held, started, cancelled = Held(MANIFEST), list[str](), list[str]()

    async def stuck(name: str, client: object) -> None:
        started.append(name)
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.append(name)

    async def read(events: Any) -> list[str]:
        return [event.kind async for event in events]

    async def main() -> None:
        pm.handle("Backup", stuck)
        with FakePlugin(photos.path.parent, "music", ["Backup"]) as music:
            photos.answer("Plugin.Activate", held)
            handshake = asyncio.ensure_future(pm.get("photos"))
            waiting = asyncio.ensure_future(pm.get("missing", wait=60, timeout=60))
            handling = asyncio.ensure_future(pm.get("music"))
            async with pm.watch() as events:
                reading = asyncio.ensure_future(read(events))
                assert await eventually(lambda: held.calls and started)
                await pm.aclose()
                assert "activated" in await reading
            for each in (handshake, waiting, handling, pm.get("photos"), pm.get_all("Backup")):
                with pytest.raises(ExtframeError):
                    await each
            with pytest.raises(ExtframeError, match="is closed"):
                pm.watch()
            assert music.calls

    try:
        run(main)
    finally:
        held.release.set()
    assert cancelled == ["music"]


def test_a_task_that_is_cancelled_as_the_manager_is_closed_is_cancelled(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    photos.answer("Plugin.Activate", Fault.HANG)

    async def use_again_and_again() -> None:
        while True:
            try:
                await pm.get("photos")
            except ExtframeError:  # noqa: PERF203
                await asyncio.sleep(0.01)

    async def main() -> None:
        using = asyncio.ensure_future(use_again_and_again())
        assert await eventually(lambda: photos.calls)
        using.cancel()
        await pm.aclose()
        await asyncio.wait({using}, timeout=30)  # it would go on forever
        is_cancelled = using.cancelled()
        using.cancel()
        assert is_cancelled

    run(main)


def test_a_close_waits_for_what_a_handler_does_at_its_end(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    class Writer:
        is_running = has_written = False

        @hookimpl
        async def volume_driver(self, name: str, client: object) -> None:
            self.is_running = True
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.1)
                self.has_written = True

    writer = Writer()

    async def main() -> None:
        pm.register(writer)
        using = asyncio.ensure_future(pm.get("photos"))
        assert await eventually(lambda: writer.is_running)
        await pm.aclose(timeout=30)
        assert writer.has_written
        await asyncio.gather(using, return_exceptions=True)

    run(main)


def test_a_close_that_is_cancelled_while_it_waits_for_tasks_closes_the_registry(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closable(LocalRegistry):
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    registry = Closable(short_path, [])
    is_waiting = threading.Event()

    async def wait_long(deadline: float) -> None:
        is_waiting.set()
        await asyncio.sleep(60)

    async def main() -> None:
        pm = AsyncPluginManager(registry, groups=())
        assert await pm.scan() == []
        monkeypatch.setattr(pm._activator.tasks, "close", wait_long)
        closing = asyncio.ensure_future(pm.aclose())
        assert await eventually(is_waiting.is_set)
        closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled()
        assert registry.is_closed

    run(main)


def test_a_manager_that_was_never_used_is_closed_without_a_loop_of_its_own(pm: AsyncPluginManager) -> None:
    run(pm.aclose)

    async def main() -> None:
        with pytest.raises(ExtframeError, match="this PluginManager is closed"):
            await pm.get("photos")
        await pm.aclose()

    run(main)


def test_a_handler_that_hangs_in_a_thread_does_not_keep_the_program_from_ending(
    short_path: Path, photos: FakePlugin
) -> None:
    source = f"""
        import asyncio, time
        import extframe

        def hang(name, client):
            time.sleep(3600)

        async def main():
            async with extframe.AsyncPluginManager(extframe.LocalRegistry({str(short_path)!r}), groups=()) as pm:
                await pm.get("photos")
                pm.handle("VolumeDriver", hang)
                try:
                    await pm.get("photos", timeout=1.0)
                except extframe.CallTimeout as error:
                    print(error)

        asyncio.run(main())
    """
    with Program(source, measured=False) as program:
        code, output = program.end()
    assert code == 0, output
    assert "handler 'VolumeDriver:hang' has not returned" in output


def test_a_forked_child_uses_the_manager_in_a_loop_of_its_own(short_path: Path, photos: FakePlugin) -> None:
    source = f"""
        import asyncio, os
        import extframe

        pm = extframe.AsyncPluginManager(extframe.LocalRegistry({str(short_path)!r}))

        async def use():
            volumes = await pm.driver("photos", extframe.AsyncVolumeDriver)
            return [volume.name for volume in await volumes.list()]

        async def main():
            print(await use(), flush=True)
            if not os.fork():
                print("child", asyncio.run(use()), flush=True)
                os._exit(0)
            os.wait()
            print("parent", await use())
            await pm.aclose()

        asyncio.run(main())
    """
    with Program(source, measured=False) as program:
        code, output = program.end()
    assert code == 0, output
    assert output.splitlines() == ["['holiday']", "child ['holiday']", "parent ['holiday']"]


def test_a_manager_that_nothing_closes_leaves_no_warning_when_its_loop_ends(
    short_path: Path, photos: FakePlugin
) -> None:
    photos.answer("VolumeDriver.Mount", Fault.HANG)
    source = f"""
        import asyncio, gc, warnings
        import extframe

        warnings.simplefilter("error")

        async def wait(name, client):
            await asyncio.sleep(3600)

        async def main():
            pm = extframe.AsyncPluginManager(extframe.LocalRegistry({str(short_path)!r}))
            volumes = await pm.driver("photos", extframe.AsyncVolumeDriver)
            await volumes.list()
            tasks = [asyncio.ensure_future(volumes.mount("holiday", "c1"))]
            pm.handle("VolumeDriver", wait)
            tasks += [asyncio.ensure_future(pm.get("photos")), asyncio.ensure_future(pm.get("late", wait=60))]
            async with pm.watch():
                await asyncio.sleep(0.1)
            return tasks  # asyncio.run cancels them

        tasks = asyncio.run(main())
        print([task.cancelled() for task in tasks])
        del tasks
        gc.collect()
    """
    with Program(source, measured=False) as program:
        code, output = program.end()
    assert code == 0, output
    assert output.splitlines() == ["[True, True, True]"]


# --- random cancellations -----------------------------------------------------------------------------


async def use_and_cancel(pm: AsyncPluginManager, fakes: list[FakePlugin], generator: random.Random) -> None:
    """Use some plugins in tasks, cancel most of them at a random moment, and check that the others succeed."""
    names = [fake.name for fake in fakes]
    uses = [pm.get(name, "VolumeDriver", wait=60, timeout=60) for name in generator.choices(names, k=3)]
    tasks = [asyncio.ensure_future(use) for use in (*uses, pm.get_all("VolumeDriver"))]
    for _ in range(generator.choice([0, 1, 2, 4, 8, 16])):
        await asyncio.sleep(0)
    for task in generator.sample(tasks, 3):
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in results if isinstance(each, Exception)] == []


@pytest.mark.parametrize("loop", NEW_LOOP)
def test_random_cancellations_leave_one_call_of_each_handler_and_nothing_behind(
    pm: AsyncPluginManager, short_path: Path, caplog: pytest.LogCaptureFixture, loop: str
) -> None:
    names = [f"plugin{number}" for number in range(5)]
    given: list[tuple[str, str]] = []

    async def on_loop(name: str, client: extframe.AsyncClient) -> None:
        await client.call("VolumeDriver.List")
        given.append(("async", name))

    def in_thread(name: str, client: extframe.AsyncClient) -> None:
        client.sync.call("VolumeDriver.List")
        given.append(("def", name))

    async def main() -> None:
        pm.handle("VolumeDriver", on_loop)
        pm.handle("VolumeDriver", in_thread)
        generator = random.Random(SEED)
        fakes = [FakePlugin(short_path, name, ["VolumeDriver"]) for name in names]
        for fake in fakes:
            fake.answer("VolumeDriver.List", {"Volumes": []})
        async with pm:
            for _ in range(300):
                await use_and_cancel(pm, fakes, generator)
                if generator.random() < 0.1 and len(given) == 2 * len(names):
                    restarted = generator.choice(fakes)
                    restarted.refuse()
                    restarted.accept()
            assert len(await pm.get_all("VolumeDriver")) == len(names)
        for fake in fakes:
            fake.close()

    before = open_sockets()
    with caplog.at_level(logging.WARNING):
        run_in(loop, main)
    assert faultserver.eventually(lambda: not open_sockets() - before, 30)  # the fakes' threads close theirs
    assert sorted(given) == sorted((kind, name) for kind in ("async", "def") for name in names)
    assert caplog.records == []
