"""plugin_activating: handlers that decide whether a plugin may be used, and as what."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from event_loops import eventually as eventually_async
from faultserver import eventually

from extframe import (
    ActivationError,
    ActivationVetoed,
    AsyncPluginManager,
    AsyncVolumeDriver,
    Authz,
    CallTimeout,
    DoesNotImplement,
    ExtframeError,
    LocalRegistry,
    Manifest,
    PluginManager,
    PluginSpec,
    RemoteError,
    State,
    VolumeDriver,
    hookimpl,
)
from extframe.host.approval_rules import ApprovalRules
from extframe.host.plugin import Plugin
from extframe.testing import Call, FakePlugin

POINTS = ["VolumeDriver", "authz"]
VOLUMES = {"Volumes": []}


class Policy:
    """A handler whose decision a test sets: None, a list, or an exception."""

    def __init__(self, decision: Any = None) -> None:
        self.decision = decision
        self.asked: list[tuple[str, Manifest, PluginSpec]] = []

    @hookimpl
    def plugin_activating(self, name: str, manifest: Manifest, spec: PluginSpec) -> Any:
        self.asked.append((name, manifest, spec))
        decision = self.decision(name) if callable(self.decision) else self.decision
        if isinstance(decision, BaseException):
            raise decision
        return decision


def refuse(name: str) -> BaseException:
    return PermissionError("only signed plugins")


def start(directory: Path, name: str = "photos") -> FakePlugin:
    """Start a plugin, or another process in the place of one that ended."""
    plugin = FakePlugin(directory, name, POINTS)
    plugin.answer("VolumeDriver.List", VOLUMES)
    plugin.answer("AuthZPlugin.AuthZReq", {"Allow": True})
    return plugin


@pytest.fixture
def photos(short_path: Path) -> Iterator[FakePlugin]:
    with start(short_path) as plugin:
        yield plugin


@pytest.fixture
def pm(short_path: Path) -> Iterator[PluginManager]:
    with PluginManager(LocalRegistry(short_path)) as pm:
        yield pm


def test_a_handler_that_returns_none_lets_the_plugin_pass(pm: PluginManager, photos: FakePlugin) -> None:
    policy = Policy()
    pm.register(policy)
    assert pm.driver("photos", VolumeDriver).list() == []
    assert pm.get("photos").state is State.ACTIVE
    [(name, manifest, spec)] = policy.asked
    assert (name, manifest.implements, spec.source) == ("photos", tuple(POINTS), str(photos.path))


def test_a_veto_names_handler_and_reason_and_nothing_else_is_called(pm: PluginManager, photos: FakePlugin) -> None:
    called: list[str] = []
    pm.handle("VolumeDriver", lambda name, client: called.append(name))
    events: list[str] = []

    class Log:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            events.append(f"activated {name}")

        @hookimpl
        def plugin_failed(self, name: str, error: ExtframeError) -> None:
            events.append(f"failed {type(error).__name__}")

    pm.register(Log())
    pm.register(Policy(refuse), "policy")
    with pytest.raises(
        ActivationVetoed, match="may not be used: handler 'policy' vetoed it: only signed plugins"
    ) as veto:
        pm.driver("photos", VolumeDriver, wait=60)  # waiting cannot help
    assert isinstance(veto.value, ActivationError)
    assert isinstance(veto.value.__cause__, PermissionError)
    assert (veto.value.plugin, veto.value.handler) == ("photos", "policy")
    assert pm.get_all(VolumeDriver) == []
    assert [failure.exception.__class__ for failure in pm.failures()] == [ActivationVetoed]
    assert called == []
    assert {call.method for call in photos.calls} == {"Plugin.Activate"}
    assert events in ([], ["failed ActivationVetoed"])


@pytest.mark.parametrize("decision", [False, "VolumeDriver", {"VolumeDriver": 1}, [VolumeDriver], [], ["Other"]])
def test_a_decision_that_is_none_of_the_three_is_a_veto(pm: PluginManager, photos: FakePlugin, decision: Any) -> None:
    pm.register(Policy(decision), "policy")
    with pytest.raises(ActivationVetoed, match=r"expected None, or a list of extension points|left nothing of"):
        pm.get("photos")


def test_the_strictest_of_several_handlers_decides(pm: PluginManager, photos: FakePlugin) -> None:
    pm.register(Policy(["authz", "VolumeDriver"]))
    pm.register(Policy(["authz", "NetworkDriver"]), "narrow")
    plugin = pm.get("photos")
    assert plugin.manifest.implements == ("authz",)
    assert plugin.client.manifest == plugin.manifest
    for use in (lambda: pm.get("photos", VolumeDriver), lambda: plugin.driver(VolumeDriver)):
        with pytest.raises(DoesNotImplement, match="as 'VolumeDriver': handler 'narrow' left it out, and allows authz"):
            use()
    assert pm.get_all("VolumeDriver") == []
    assert [found.name for found in pm.get_all("authz")] == ["photos"]
    with pytest.raises(DoesNotImplement):
        VolumeDriver.remote(plugin.client).list()
    pm.register(Policy(refuse), "last")
    with pytest.raises(ActivationVetoed, match="'last'"):
        pm.get("photos")


def test_a_held_driver_is_asked_for_again_after_a_restart(pm: PluginManager, short_path: Path) -> None:
    policy = Policy()
    pm.register(policy, "policy")
    with start(short_path):
        plugin = pm.get("photos", VolumeDriver)
        volumes, session = plugin.driver(VolumeDriver), plugin.client.session
        assert volumes.list() == []
    with start(short_path) as again:  # nothing but the driver notices
        assert volumes.list() == []
        assert [call.method for call in again.calls] == ["Plugin.Activate", "VolumeDriver.List"]
        assert len(policy.asked) == 2
    policy.decision = refuse
    with start(short_path) as third:
        uses: list[Callable[[], object]] = [
            volumes.list,
            lambda: plugin.client.call("VolumeDriver.List"),
            lambda: plugin.client.stream("VolumeDriver.List").__enter__(),
            lambda: session.post("VolumeDriver.List"),
            lambda: plugin.driver(VolumeDriver),
            lambda: pm.driver("photos", VolumeDriver),
        ]
        for use in uses:
            with pytest.raises(ActivationVetoed, match="only signed plugins"):
                use()
        assert plugin.state is State.FAILED
        assert {call.method for call in third.calls} == {"Plugin.Activate"}
        policy.decision = ["authz"]
        for use in uses[:-2]:
            with pytest.raises(DoesNotImplement, match="left it out"):
                use()
        assert plugin.driver(Authz) is not None
        policy.decision = None
        pm.unregister(policy)
        assert volumes.list() == []
        assert plugin.client.endpoint.guard is None  # calls cost nothing any more


def test_a_call_that_meets_a_restart_waits_for_it_as_ever(pm: PluginManager, short_path: Path) -> None:
    pm.register(Policy())
    with start(short_path) as plugin:
        volumes = pm.driver("photos", VolumeDriver)
        assert volumes.list() == []
        plugin.refuse()
        timer = threading.Timer(0.3, plugin.accept)
        timer.start()
        assert volumes.list() == []
        timer.join()


def test_a_handler_that_is_registered_late_decides_about_active_plugins_and_held_drivers(
    pm: PluginManager, photos: FakePlugin
) -> None:
    volumes = pm.driver("photos", VolumeDriver)
    pm.register(Policy(refuse), "late")
    with pytest.raises(ActivationVetoed, match="'late'"):
        volumes.list()
    assert photos.calls_of("VolumeDriver.List") == []


def test_a_handler_that_is_unregistered_during_a_handshake_narrows_nothing(
    pm: PluginManager, photos: FakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(["authz"])
    pm.register(policy)
    configure = Plugin._configure

    def unregister_and_configure(self: Plugin, *args: Any) -> None:
        if policy in pm.get_plugins():
            pm.unregister(policy)  # after its decision, before this is recorded
        configure(self, *args)

    monkeypatch.setattr(Plugin, "_configure", unregister_and_configure)
    pm.get("photos")
    assert pm.get("photos").implements("VolumeDriver")


async def resolved(value: Any) -> Any:
    """Return what a method returns, of a sync or an async object; one that raises may be given as a function."""
    value = value() if callable(value) else value
    return await value if inspect.isawaitable(value) else value


async def in_thread_or_task(call: Callable[[], Any]) -> Any:
    """Return what a method returns; one of a sync object is called in a thread."""
    found = await asyncio.to_thread(call)
    return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize("kind", [PluginManager, AsyncPluginManager])
def test_a_handler_that_is_registered_while_another_is_unregistered_decides_about_calls(
    kind: type[PluginManager | AsyncPluginManager],
    short_path: Path,
    photos: FakePlugin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pm = kind(LocalRegistry(short_path), groups=())
    registering = threading.Thread(target=lambda: pm.register(Policy(refuse), "second"))
    impls = ApprovalRules._impls

    def impls_before_the_second_handler(self: ApprovalRules[Any]) -> list[Any]:
        found = impls(self)
        if not found and not registering.ident:
            registering.start()
            registering.join(2)  # until it is registered, or waits for this thread
        return found

    async def main() -> None:
        plugin = await resolved(pm.get("photos"))
        pm.register(Policy(), "first")
        await resolved(pm.get("photos"))
        with monkeypatch.context() as patched:
            patched.setattr(ApprovalRules, "_impls", impls_before_the_second_handler)
            pm.unregister(name="first")
        registering.join(60)
        with pytest.raises(ActivationVetoed, match="'second'"):
            await resolved(lambda: plugin.client.call("VolumeDriver.List"))
        assert photos.calls_of("VolumeDriver.List") == []
        await resolved(pm.aclose() if isinstance(pm, AsyncPluginManager) else pm.close())

    asyncio.run(main())


@pytest.mark.parametrize("kind", [PluginManager, AsyncPluginManager])
def test_a_plugin_that_is_vetoed_after_get_all_has_activated_it_is_left_out(
    kind: type[PluginManager | AsyncPluginManager], short_path: Path, photos: FakePlugin
) -> None:
    pm = kind(LocalRegistry(short_path), groups=())
    release = threading.Event()

    def known() -> list[Any]:
        return [*pm._activator.table.plugins()]

    def respond(call: Call) -> object:
        release.wait(60)
        return {"Implements": POINTS}

    async def main() -> None:
        await resolved(pm.scan())
        getting = asyncio.create_task(in_thread_or_task(lambda: pm.get_all("VolumeDriver", timeout=60.0)))
        assert await eventually_async(lambda: [each for each in known() if each.name == "photos" and each.is_made])
        pm.register(Policy(lambda name: refuse(name) if name == "photos" else None))
        with pytest.raises(ActivationVetoed):
            await in_thread_or_task(lambda: pm.get("photos"))
        release.set()
        assert [plugin.name for plugin in await getting] == ["slow"]
        await resolved(pm.aclose() if isinstance(pm, AsyncPluginManager) else pm.close())

    with start(short_path, "slow") as slow:
        slow.answer("Plugin.Activate", respond)
        asyncio.run(main())


def test_a_handler_that_hangs_is_a_veto_at_the_deadline_and_costs_one_thread(
    pm: PluginManager, photos: FakePlugin, short_path: Path
) -> None:
    release = threading.Event()
    policy = Policy(lambda name: release.wait(60) and None if name == "photos" else None)
    pm.register(policy, "slow")

    def is_vetoed() -> bool:  # on a busy machine the deadline may pass during the handshake
        with pytest.raises(ActivationError) as late:
            pm.get("photos", timeout=1.0)
        is_late = "'slow' vetoed it: it did not decide in time" in str(late.value)
        return is_late and type(late.value) is ActivationVetoed and isinstance(late.value.__cause__, CallTimeout)

    with start(short_path, "music"):
        for _ in range(2):
            assert eventually(is_vetoed, 60)
        assert eventually(lambda: [each.name for each in pm.get_all("VolumeDriver", timeout=3.0)] == ["music"], 60)
        assert [name for name, _, _ in policy.asked].count("photos") == 1
    release.set()
    assert pm.get("photos").state is State.ACTIVE


def test_waiters_share_the_veto_and_a_given_manifest_is_decided_about(short_path: Path, photos: FakePlugin) -> None:
    with PluginManager(LocalRegistry(short_path), implements={"photos": ["Backup"]}) as pm:
        began, release = threading.Event(), threading.Event()

        def decide(name: str) -> BaseException:
            began.set()
            release.wait(60)
            return refuse(name)

        policy = Policy(decide)
        pm.register(policy, "policy")
        failures: list[Exception] = []

        def get() -> None:
            try:
                pm.get("photos")
            except ExtframeError as error:
                failures.append(error)

        threads = [threading.Thread(target=get) for _ in range(3)]
        threads[0].start()
        assert began.wait(60)
        for thread in threads[1:]:
            thread.start()
        plugin = pm._activator.table.known("photos")
        assert plugin is not None
        release.set()
        for thread in threads:
            thread.join(60)
        assert [type(failure) for failure in failures] == [ActivationVetoed] * 3
        assert all(isinstance(failure.__cause__, PermissionError) for failure in failures)
        assert {manifest.implements for _, manifest, _ in policy.asked} == {("Backup",)}


def test_a_monitor_that_raises_is_a_veto(pm: PluginManager, photos: FakePlugin) -> None:
    pm.register(Policy())

    def before(hook: str, *rest: object) -> None:
        if hook == "plugin_activating":
            raise RuntimeError("out of order")

    pm.add_hookcall_monitoring(before, lambda *rest: None)
    with pytest.raises(ActivationVetoed, match="plugin_activating could not be called: RuntimeError: out of order"):
        pm.get("photos")


def test_a_watch_does_not_activate_what_is_vetoed(pm: PluginManager, photos: FakePlugin, short_path: Path) -> None:
    policy = Policy(lambda name: refuse(name) if name == "photos" else None)
    activated: list[str] = []
    failed = threading.Event()

    class Log:
        @hookimpl
        def plugin_activated(self, name: str) -> None:
            activated.append(name)

        @hookimpl
        def plugin_failed(self, name: str) -> None:
            assert name == "photos"
            failed.set()

    pm.register(policy)
    pm.register(Log())
    with start(short_path, "music"), pm.watch():
        assert failed.wait(60)
        assert pm.get("music", wait=60).state is State.ACTIVE
    assert "photos" not in activated


# --- async hosts --------------------------------------------------------------------------------------------


class AsyncPolicy(Policy):
    @hookimpl
    async def plugin_activating(self, name: str, manifest: Manifest, spec: PluginSpec) -> Any:
        await asyncio.sleep(0)
        return super().plugin_activating(name, manifest, spec)


@pytest.mark.parametrize("kind", [Policy, AsyncPolicy])
def test_an_async_host_decides_alike(short_path: Path, kind: type[Policy]) -> None:
    policy = kind()

    async def main() -> None:
        async with AsyncPluginManager(LocalRegistry(short_path)) as pm:
            pm.register(policy, "policy")
            with start(short_path):
                plugin = await pm.get("photos", AsyncVolumeDriver)
                volumes, sync = plugin.driver(AsyncVolumeDriver), VolumeDriver.remote(plugin.client.sync)
                assert await volumes.list() == await asyncio.to_thread(sync.list) == []
            with start(short_path):
                assert await asyncio.to_thread(sync.list) == []  # activates it again
                assert len(policy.asked) == 2
            policy.decision = refuse
            with start(short_path) as third:
                for use in (volumes.list(), pm.get("photos"), asyncio.to_thread(sync.list)):
                    with pytest.raises(ActivationVetoed, match="'policy' vetoed it: only signed plugins"):
                        await use
                for use_now in (sync.list, lambda: plugin.driver(AsyncVolumeDriver)):  # on the loop
                    with pytest.raises(ActivationVetoed):
                        use_now()
                assert await pm.get_all("VolumeDriver") == []
                assert {call.method for call in third.calls} == {"Plugin.Activate"}
                policy.decision = ["authz"]
                for use in (volumes.list(), pm.get("photos", "VolumeDriver"), asyncio.to_thread(sync.list)):
                    with pytest.raises(DoesNotImplement, match="'policy' left it out, and allows authz"):
                        await use
                assert (await pm.get("photos")).manifest.implements == ("authz",)

    asyncio.run(main())


def test_an_async_handler_that_hangs_is_a_veto_at_the_deadline(short_path: Path, photos: FakePlugin) -> None:
    class Hanging:
        asked = 0

        @hookimpl
        async def plugin_activating(self) -> None:
            self.asked += 1
            await asyncio.Event().wait()

    async def main() -> None:
        async with AsyncPluginManager(LocalRegistry(short_path)) as pm:
            late = Hanging()
            plugin = await pm.get("photos")
            pm.register(late, "slow")
            for _ in range(2):
                with pytest.raises(ActivationVetoed, match="'slow' vetoed it: it did not decide in time"):
                    await pm.get("photos", timeout=1.0)
            with pytest.raises(ActivationVetoed):
                await plugin.client.call("VolumeDriver.List", timeout=1.0)
            assert late.asked == 1

    asyncio.run(main())


def test_errors_of_the_plugin_stay_what_they_are(pm: PluginManager, photos: FakePlugin) -> None:
    pm.register(Policy())
    with pytest.raises(RemoteError):
        pm.get("photos").client.call("VolumeDriver.Unknown")
