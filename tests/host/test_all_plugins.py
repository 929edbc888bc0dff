"""All plugins of a kind: drivers and get_all with names and wait, call_all, describe. In threads and in event loops."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from packages import install

from extframe import (
    ActivationError,
    AsyncPluginManager,
    AsyncVolumeDriver,
    CallTimeout,
    DoesNotImplement,
    LocalRegistry,
    Outcomes,
    PluginLoadWarning,
    PluginManager,
    PluginNotFound,
    PluginsMissing,
    RemoteError,
    VolumeDriver,
)
from extframe.host.usable_plugins import Gathering
from extframe.testing import Error, FakePlugin, Fault


@pytest.fixture
def plugins(short_path: Path) -> Iterator[dict[str, FakePlugin]]:
    """Two volume plugins, one that is something else, and one that does not answer."""
    with ExitStack() as stack:

        def start(name: str, *points: str) -> FakePlugin:
            plugin = stack.enter_context(FakePlugin(short_path, name, points))
            plugin.answer("VolumeDriver.List", {"Volumes": [{"Name": name, "Mountpoint": "/mnt"}]})
            return plugin

        found = {name: start(name, "VolumeDriver") for name in ("beta", "alpha")} | {"other": start("other", "authz")}
        yield found


def get_all(directory: Path, **options: Any) -> list[str]:
    with PluginManager(LocalRegistry(directory)) as pm:
        return [plugin.name for plugin in pm.get_all("VolumeDriver", **options)]


def get_all_async(directory: Path, **options: Any) -> list[str]:
    async def main() -> list[str]:
        async with AsyncPluginManager(LocalRegistry(directory)) as pm:
            drivers = await pm.drivers(AsyncVolumeDriver, **options)
            return list(drivers)

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("get_all", [get_all, get_all_async])


@BOTH
def test_those_that_are_requested_are_returned_or_the_missing_ones_are_named(
    short_path: Path, plugins: dict[str, FakePlugin], get_all: Any
) -> None:
    assert get_all(short_path, names={"beta", "alpha"}) == ["alpha", "beta"]
    plugins["beta"].answer("Plugin.Activate", Error("out of order"))
    with pytest.raises(PluginsMissing, match="3 of 4 plugins cannot be used as VolumeDriver: 'beta': ") as missing:
        get_all(short_path, names=["beta", "other", "alpha", "gone"])
    expected = {"beta": ActivationError, "gone": PluginNotFound, "other": DoesNotImplement}
    assert {name: type(error) for name, error in missing.value.failures.items()} == expected
    with pytest.raises(TypeError, match="expected the names of plugins"):
        get_all(short_path, names="alpha")


@BOTH
def test_the_wait_is_over_once_the_last_of_them_answers(
    short_path: Path, plugins: dict[str, FakePlugin], get_all: Any
) -> None:
    plugins["alpha"].refuse()
    with ExitStack() as stack:

        def appear() -> None:
            stack.enter_context(FakePlugin(short_path, "gamma", ["VolumeDriver"]))
            plugins["alpha"].accept()

        timer = threading.Timer(0.4, appear)
        timer.start()
        assert get_all(short_path, names=["alpha", "beta", "gamma"], wait=60.0, timeout=60.0) == [
            "alpha",
            "beta",
            "gamma",
        ]
        timer.join()
    plugins["alpha"].refuse()
    timer = threading.Timer(0.4, plugins["alpha"].accept)
    timer.start()
    assert get_all(short_path, wait=60.0, timeout=60.0) == ["alpha", "beta"]  # those that the directory contains
    timer.join()
    with pytest.raises(PluginsMissing, match="1 of 1 .* 'gamma': no plugin 'gamma'"):
        get_all(short_path, names=["gamma"], wait=0.1)


def test_a_try_that_is_due_when_the_time_for_further_tries_has_just_passed_is_made(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Gathering.ended

    def ended_and_late(self: Gathering, name: str, error: Exception | None, now: float) -> float | None:
        pause = ended(self, name, error, now)
        if pause is not None:  # the next try is planned, and the machine stalls
            time.sleep(max(self.give_up - time.monotonic(), 0) + 0.05)
        return pause

    monkeypatch.setattr(Gathering, "ended", ended_and_late)
    began = time.monotonic()
    with pytest.raises(PluginsMissing, match="no plugin 'gamma'"):
        get_all(short_path, names=["gamma"], wait=0.5, timeout=60.0)
    assert time.monotonic() - began < 30


def test_what_is_left_out_is_a_warning_once_and_in_failures(
    short_path: Path, plugins: dict[str, FakePlugin], caplog: pytest.LogCaptureFixture
) -> None:
    plugins["beta"].answer("Plugin.Activate", Error("out of order"))
    with PluginManager(LocalRegistry(short_path)) as pm:
        for _ in range(2):
            assert list(pm.drivers(VolumeDriver)) == ["alpha"]
        [failure] = pm.failures()
    assert "out of order" in str(failure)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(":")[0] for text in warnings] == ["plugin 'beta' is left out"]


# --- call_all ---------------------------------------------------------------------------------------------


def names_of(outcomes: Outcomes[Any]) -> tuple[dict[str, list[str]], dict[str, type[Exception]]]:
    results = {name: [volume.name for volume in volumes] for name, volumes in outcomes.results.items()}
    return results, {name: type(error) for name, error in outcomes.errors.items()}


def call_all(directory: Path, **options: Any) -> tuple[Any, Any]:
    with PluginManager(LocalRegistry(directory)) as pm:
        pm.get_all("VolumeDriver", timeout=2.5)  # the kind of each is known
        by_method = pm.call_all(VolumeDriver, VolumeDriver.list, **options)
        by_function = pm.call_all(VolumeDriver, lambda volumes: volumes.list(), **options)
        assert names_of(by_method) == names_of(by_function)
        return names_of(by_method)


def call_all_async(directory: Path, **options: Any) -> tuple[Any, Any]:
    async def main() -> tuple[Any, Any]:
        async with AsyncPluginManager(LocalRegistry(directory)) as pm:
            await pm.get_all("VolumeDriver", timeout=2.5)
            by_method = await pm.call_all(AsyncVolumeDriver, AsyncVolumeDriver.list, **options)
            by_function = await pm.call_all(AsyncVolumeDriver, lambda volumes: volumes.list(), **options)
            assert names_of(by_method) == names_of(by_function)
            return names_of(by_method)

    return asyncio.run(main())


FAN_OUTS = pytest.mark.parametrize("call_all", [call_all, call_all_async])


@FAN_OUTS
def test_a_method_is_called_on_all_of_them_and_errors_have_the_names(
    short_path: Path, plugins: dict[str, FakePlugin], call_all: Any
) -> None:
    plugins["beta"].answer("VolumeDriver.List", Error("disk full"))
    assert call_all(short_path) == ({"alpha": ["alpha"]}, {"beta": RemoteError})
    results, errors = call_all(short_path, names=["alpha", "other", "gone"])
    assert results == {"alpha": ["alpha"]}
    assert errors == {"other": DoesNotImplement, "gone": PluginNotFound}


@FAN_OUTS
def test_one_deadline_holds_for_all_and_neither_a_hung_handshake_nor_a_hung_call_delays_the_others(
    short_path: Path, plugins: dict[str, FakePlugin], call_all: Any
) -> None:
    plugins["other"].answer("Plugin.Activate", Fault.HANG)
    plugins["beta"].answer("VolumeDriver.List", Fault.HANG)
    assert call_all(short_path, timeout=3.0) == ({"alpha": ["alpha"]}, {"beta": CallTimeout})


def test_outcomes_say_what_failed() -> None:
    outcomes = Outcomes({"alpha": 1}, {"beta": CallTimeout("late", plugin="beta")})
    assert str(outcomes) == "1 results, 1 errors: 'beta': CallTimeout: plugin 'beta': late"


# --- describe ---------------------------------------------------------------------------------------------


def test_describe_has_a_row_for_each_handler_and_plugin_and_contacts_none(
    short_path: Path, plugins: dict[str, FakePlugin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import extframe\n@extframe.hookimpl\ndef volume_driver(name): raise OSError('no disk')\n"
    for name, text in (("good", source), ("broken", "raise RuntimeError('too old')"), ("unwanted", "")):
        install(tmp_path, f"acme-{name}", module=f"rows_{name}", source=text, entry_points={name: f"rows_{name}"})
        monkeypatch.delitem(sys.modules, f"rows_{name}", raising=False)
    plugins["beta"].answer("Plugin.Activate", Error("out of order"))
    with pytest.warns(PluginLoadWarning):
        pm = PluginManager(LocalRegistry(short_path), block=["unwanted", "alp*", "extframe.*"])
    with pm:
        pm.get("other")
        assert pm.get_all("VolumeDriver") == []
        calls = len(plugins["other"].calls)
        rows = {(row.kind, row.name): row for row in pm.describe()}
        assert {len(plugins["other"].calls), len(plugins["alpha"].calls)} == {calls, 0}
        assert list(rows) == [
            *(("handler", name) for name in sorted(["broken", "good", "unwanted", *builtins(rows)])),
            *(("plugin", name) for name in ("alpha", "beta", "other")),
        ]
        good, broken = rows["handler", "good"], rows["handler", "broken"]
        assert (good.distribution, good.version, good.hooks, good.state) == (
            "acme-good",
            "1.0",
            ("volume_driver",),
            "loaded",
        )
        assert (broken.distribution, broken.state, broken.failure) == ("acme-broken", "failed", "too old")
        assert (rows["handler", "unwanted"].state, rows["plugin", "alpha"].state) == ("blocked", "blocked")
        assert rows["plugin", "alpha"].failure == "it is blocked by 'alp*' in block="
        assert (rows["plugin", "other"].state, rows["plugin", "other"].hooks) == ("active", ("authz",))
        assert rows["plugin", "beta"].state == "failed"
        assert re.search("out of order", rows["plugin", "beta"].failure)


def builtins(rows: dict[tuple[str, str], Any]) -> list[str]:
    return [name for _, name in rows if name.startswith("extframe.")]


def test_an_async_manager_describes_the_same(short_path: Path, plugins: dict[str, FakePlugin]) -> None:
    async def main() -> None:
        async with AsyncPluginManager(LocalRegistry(short_path), groups=()) as pm:
            pm.handle("VolumeDriver", print)
            assert [(row.kind, row.state) for row in await pm.describe()] == [
                ("handler", "loaded"),
                *[("plugin", "new")] * 3,
            ]

    asyncio.run(main())


def test_a_log_handler_that_raises_about_one_plugin_leaves_the_results_of_the_others(short_path: Path) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "no usable hook" in record.getMessage():
                raise ValueError("no space left for the log")

    broken = Broken(logging.WARNING)
    logging.getLogger("extframe").addHandler(broken)
    try:
        with (
            FakePlugin(short_path, "alpha", ["VolumeDriver"]),
            FakePlugin(short_path, "beta", ["not a name", "VolumeDriver"]),
            FakePlugin(short_path, "gamma", ["VolumeDriver"]),
            PluginManager(LocalRegistry(short_path)) as pm,
        ):
            began = time.monotonic()
            assert {"alpha", "gamma"} <= {plugin.name for plugin in pm.get_all("VolumeDriver", timeout=60)}
            assert time.monotonic() - began < 30
            assert [plugin.name for plugin in pm.get_all("VolumeDriver")] == ["alpha", "beta", "gamma"]
    finally:
        logging.getLogger("extframe").removeHandler(broken)
