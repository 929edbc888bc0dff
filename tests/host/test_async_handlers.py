"""Handlers in an async host: each once, each on its own, async ones on the loop and the others in threads."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest
from event_loops import NEW_LOOP, eventually, run, run_in

import extframe
from extframe import (
    AsyncPluginManager,
    AsyncVolumeDriver,
    CallTimeout,
    HandlerError,
    LocalRegistry,
    PluginManager,
    hookimpl,
    remote,
)
from extframe.testing import FakePlugin


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with FakePlugin(short_path, "photos", ["VolumeDriver"]) as plugin:
        plugin.answer("VolumeDriver.List", {"Volumes": []})
        yield plugin


@pytest.fixture
def pm(short_path: Path) -> AsyncPluginManager:
    return AsyncPluginManager(LocalRegistry(short_path), groups=(), timeout=5.0)


def results(plugin: extframe.AsyncPlugin) -> list[object]:
    return plugin.hook_calls["volume_driver"].results()


# --- order, threads, wrappers -------------------------------------------------------------------------


class Handlers:
    """Handlers of one manager, sync or async, that note who was called, and where."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: dict[str, threading.Thread] = {}

    def note(self, what: str) -> str:
        self.calls.append(what)
        self.threads[what] = threading.current_thread()
        return what

    def make(self, name: str, *, is_async: bool = False, **options: bool) -> object:
        class Sync:
            @hookimpl(**options)
            def volume_driver(_, name: str) -> str:
                return self.note(what)

        class Async:
            @hookimpl(**options)
            async def volume_driver(_, name: str) -> str:
                await asyncio.sleep(0)
                return self.note(what)

        what = name
        return Async() if is_async else Sync()

    def wrapper(self, name: str) -> object:
        class Wrapper:
            @hookimpl(wrapper=True)
            def volume_driver(_, client: object) -> Any:
                self.note(f"{name} before")
                drivers = yield
                self.note(f"{name} after")
                return [name, *drivers]

        return Wrapper()

    def register(self, pm: Any, *, is_async: bool) -> None:
        pm.register(self.make("last", trylast=True))
        pm.register(self.make("one", is_async=is_async))
        pm.register(self.make("first", is_async=is_async, tryfirst=True))
        pm.register(self.wrapper("inner"))
        pm.register(self.make("two"))
        pm.register(self.wrapper("outer"))


@pytest.mark.parametrize("loop", NEW_LOOP)
def test_order_wrappers_and_results_are_those_of_the_sync_host(
    pm: AsyncPluginManager, photos: FakePlugin, short_path: Path, loop: str
) -> None:
    expected, found = Handlers(), Handlers()
    with PluginManager(LocalRegistry(short_path), groups=()) as sync:
        expected.register(sync, is_async=False)
        drivers = sync.get("photos").hook_calls["volume_driver"].results()

    async def main() -> None:
        found.register(pm, is_async=True)
        async with pm:
            assert results(await pm.get("photos")) == drivers

    run_in(loop, main)
    assert found.calls == expected.calls
    assert drivers[:2] == ["outer", "inner"]
    on_loop = {what for what, thread in found.threads.items() if thread is threading.main_thread()}
    assert on_loop == {"one", "first"}


def test_async_generators_are_refused_with_words(pm: AsyncPluginManager) -> None:
    class Generator:
        @hookimpl
        async def volume_driver(self) -> AsyncIterator[str]:
            yield "driver"

    class Wrapper:
        @hookimpl(wrapper=True)
        async def volume_driver(self) -> AsyncIterator[str]:
            yield "driver"

    class OldWrapper:
        @hookimpl(hookwrapper=True)
        def volume_driver(self) -> Iterator[None]:
            yield

    with pytest.raises(pluggy.PluginValidationError, match="is an async generator; a wrapper is a generator: def"):
        pm.register(Generator())
    with pytest.raises(pluggy.PluginValidationError, match="wrapper=True.*not a generator function"):
        pm.register(Wrapper())
    with pytest.raises(pluggy.PluginValidationError, match="old-style hookwrapper"):
        pm.register(OldWrapper())


def test_monitors_see_a_dispatch_as_one_hook_call(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    seen: list[Any] = []

    async def main() -> None:
        pm.handle("VolumeDriver", lambda name, client: "driver")
        pm.add_hookcall_monitoring(
            lambda hook, impls, arguments: seen.append((hook, len(impls), arguments["name"])),
            lambda outcome, hook, impls, arguments: seen.append((hook, outcome.get_result())),
        )
        async with pm:
            await pm.get("photos")

    run(main)
    assert seen == [("volume_driver", 1, "photos"), ("volume_driver", ["driver"])]


# --- failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["on the loop", "in a thread", "in a wrapper"])
def test_what_a_handler_raises_is_its_failure_and_stops_no_other(
    pm: AsyncPluginManager, photos: FakePlugin, raised: BaseException, where: str
) -> None:
    if where == "on the loop" and isinstance(raised, KeyboardInterrupt):
        pytest.skip("Ctrl-C in the loop's thread ends the loop")
    calls: list[str] = []

    def fail(name: str, client: object) -> None:
        calls.append("bad")
        raise raised

    async def fail_on_loop(name: str, client: object) -> None:
        await asyncio.sleep(0)
        fail(name, client)

    class Wrapper:
        @hookimpl(wrapper=True)
        def volume_driver(self) -> Any:
            yield
            fail("", None)

    async def good(name: str, client: object) -> str:
        calls.append("good")
        return "driver"

    async def main() -> None:
        pm.handle("VolumeDriver", good)
        if where == "in a wrapper":
            pm.register(Wrapper(), "bad")
        else:
            pm.handle("VolumeDriver", fail_on_loop if where == "on the loop" else fail)
        async with pm:
            assert await pm.get_all("VolumeDriver") == []
            with pytest.raises(HandlerError) as caught:
                await pm.get("photos", "VolumeDriver")
            assert caught.value.__cause__ is raised
            [failure] = pm.failures()
            assert failure.exception is raised
            assert results(pm._activator.table.known("photos")) == ["driver"]

    run(main)
    assert sorted(calls) == ["bad", "bad", "good"]


def test_a_failed_handler_alone_is_called_again(pm: AsyncPluginManager, photos: FakePlugin) -> None:
    calls: list[str] = []

    async def broken(name: str, client: object) -> str:
        calls.append("broken")
        if len(calls) < 3:
            raise KeyError("no such bucket")
        return "recovered"

    async def main() -> None:
        pm.handle("VolumeDriver", lambda name, client: calls.append("good"))
        pm.handle("VolumeDriver", broken)
        async with pm:
            with pytest.raises(HandlerError, match="VolumeDriver:test_a_failed_.*broken.* KeyError"):
                await pm.get("photos", "VolumeDriver")
            assert await pm.driver("photos", "VolumeDriver") == "recovered"
            assert pm.failures() == []

    run(main)
    assert calls == ["broken", "good", "broken"]


@pytest.mark.parametrize("is_async", [True, False], ids=["on the loop", "in a thread"])
def test_a_handler_that_hangs_costs_each_caller_its_own_deadline(
    pm: AsyncPluginManager, photos: FakePlugin, is_async: bool
) -> None:
    release, started = threading.Event(), threading.Event()

    def hang(name: str, client: object) -> str:
        started.set()
        release.wait(60)
        return "driver"

    async def hang_on_loop(name: str, client: object) -> str:
        started.set()
        await eventually(release.is_set, 60)
        return "driver"

    async def main() -> None:
        handler = pm.handle("VolumeDriver", hang_on_loop if is_async else hang)
        async with pm:
            patient = asyncio.ensure_future(pm.driver("photos", "VolumeDriver"))
            cancelled = asyncio.ensure_future(pm.get("photos"))
            assert await eventually(started.is_set)
            for _ in range(2):
                with pytest.raises(CallTimeout, match=f"handler '{handler}' has not returned"):
                    await pm.get("photos", timeout=0.1)
            cancelled.cancel()
            assert not patient.done()
            release.set()
            assert await patient == "driver"

    try:
        run(main)
    finally:
        release.set()


def test_cancelling_the_caller_that_started_the_handlers_does_not_cancel_them(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    calls: list[str] = []

    async def slow(name: str, client: object) -> str:
        calls.append("began")
        await asyncio.sleep(0.05)
        calls.append("ended")
        return "driver"

    async def main() -> None:
        pm.handle("VolumeDriver", slow)
        async with pm:
            first = asyncio.ensure_future(pm.get("photos"))
            assert await eventually(lambda: calls)
            first.cancel()
            assert await pm.driver("photos", "VolumeDriver") == "driver"

    run(main)
    assert calls == ["began", "ended"]


# --- registering --------------------------------------------------------------------------------------


def test_a_handler_that_comes_late_is_called_for_active_plugins_and_one_that_went_never_again(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    calls: list[str] = []

    async def late(name: str, client: object) -> None:
        calls.append(name)

    async def main() -> None:
        async with pm:
            await pm.get("photos")
            names = [pm.handle("VolumeDriver", late), await asyncio.to_thread(pm.handle, "VolumeDriver", late)]
            assert await eventually(lambda: len(calls) == 2)
            for name in names:
                pm.unregister(name=name)
            gone = Handlers().make("gone")
            pm.register(gone)
            await pm.get("photos")
            assert results(await pm.get("photos")) == ["gone"]
            pm.unregister(gone)
            assert results(await pm.get("photos")) == []
            reference = weakref.ref(gone)
            del gone
            assert await eventually(lambda: reference() is None)

    run(main)
    assert calls == ["photos", "photos"]


def test_a_late_handler_that_hangs_is_a_failure_of_its_own(photos: FakePlugin, short_path: Path) -> None:
    release = asyncio.Event()

    async def hang(name: str, client: object) -> None:
        await release.wait()

    async def main() -> None:
        async with AsyncPluginManager(LocalRegistry(short_path), groups=(), timeout=0.1) as pm:
            await pm.get("photos", timeout=30)
            pm.handle("VolumeDriver", hang)
            assert await eventually(pm.failures)
            [failure] = pm.failures()
            assert isinstance(failure.exception, CallTimeout)
            release.set()
            assert await eventually(lambda: pm.failures() == [])

    run(main)


# --- what handlers do ---------------------------------------------------------------------------------


def test_handlers_are_given_an_async_client_and_call_through_it_or_through_its_sync_one(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    async def on_loop(name: str, client: extframe.AsyncClient) -> object:
        driver = remote(extframe.VolumeDriver, client)
        assert await driver.list() == []
        return driver

    def in_thread(name: str, client: extframe.AsyncClient) -> object:
        assert remote(extframe.VolumeDriver, client.sync).list() == []
        return "sync"

    def of_the_wrong_kind(name: str, client: extframe.AsyncClient) -> object:
        return extframe.VolumeDriver.remote(client)

    async def main() -> None:
        pm.handle("VolumeDriver", on_loop)
        pm.handle("VolumeDriver", in_thread)
        wrong = pm.handle("VolumeDriver", of_the_wrong_kind)
        async with pm:
            with pytest.raises(HandlerError, match="AsyncVolumeDriver"):
                await pm.get("photos", "VolumeDriver")
            pm.unregister(name=wrong)
            assert isinstance(await pm.driver("photos", AsyncVolumeDriver), AsyncVolumeDriver)
            assert results(await pm.get("photos"))[0] == "sync"

    run(main)


def test_one_handler_serves_both_kinds_of_host(pm: AsyncPluginManager, photos: FakePlugin, short_path: Path) -> None:
    def handler(name: str, client: Any) -> object:  # as in docs/asyncio.md
        sync = getattr(client, "sync", client)
        assert remote(extframe.VolumeDriver, sync).list() == []
        return remote(extframe.VolumeDriver, client)

    async def main() -> None:
        pm.handle("VolumeDriver", handler)
        async with pm:
            assert await (await pm.driver("photos", AsyncVolumeDriver)).list() == []
            assert results(await pm.get("photos", "VolumeDriver")) != []

    run(main)
    with PluginManager(LocalRegistry(short_path), groups=()) as sync:
        sync.handle("VolumeDriver", handler)
        assert sync.driver("photos", extframe.VolumeDriver).list() == []
        with pytest.raises(pluggy.PluginValidationError, match="use AsyncPluginManager"):
            sync.handle("VolumeDriver", main)  # type: ignore[arg-type]


def test_a_handler_may_use_and_close_its_manager_and_what_it_leaves_behind_is_outside(
    pm: AsyncPluginManager, photos: FakePlugin, short_path: Path
) -> None:
    inside: list[bool] = []
    background: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def look_later() -> None:
        await over.wait()
        inside.append(extframe.handlers.hook_claims.inside_handler())

    async def nested(name: str, client: object) -> str:
        inside.append(extframe.handlers.hook_claims.inside_handler())
        background.append(asyncio.ensure_future(look_later()))
        other = await pm.get("music")
        assert (await pm.get("photos")).name == "photos"  # does not wait for this very handler
        return other.name

    async def closing(name: str, client: object) -> str:
        await pm.aclose()
        return "closed"

    async def main() -> None:
        pm.handle("VolumeDriver", nested)
        with FakePlugin(short_path, "music", ["Backup"]):
            async with pm:
                assert await pm.driver("photos", "VolumeDriver") == "music"
                over.set()
                await asyncio.gather(*background)
                pm.handle("Backup", closing)
                music = pm._activator.table.known("music")
                assert await eventually(lambda: music.hook_calls and music.hook_calls["backup"].results())
                assert music.state is extframe.State.CLOSED

    run(main)
    assert inside == [True, False]


def test_context_variables_have_the_values_of_the_code_that_requested_the_plugin(
    pm: AsyncPluginManager, photos: FakePlugin
) -> None:
    import contextvars

    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    seen: list[str] = []

    async def on_loop(name: str, client: object) -> None:
        seen.append(user.get())

    async def main() -> None:
        pm.handle("VolumeDriver", on_loop)
        pm.handle("VolumeDriver", lambda name, client: seen.append(user.get()))
        user.set("ann")
        async with pm:
            await pm.get("photos")

    run(main)
    assert seen == ["ann", "ann"]
