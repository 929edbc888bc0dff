"""`extframe check` on plugins that take settings: what is served by extframe conforms, other mistakes are found."""

from __future__ import annotations

import pytest
from conformance_runs import STEP, faults, run
from faultserver import FaultServer
from scripted_plugin import error, ok, scripted

import extframe
from extframe.conformance import Verdict
from extframe.server import serving


class Places(extframe.Message):
    bucket: str
    retries: int = 3


class Copies(extframe.Interface, implements="Copies", settings=Places):
    @extframe.rpc("Start", returns="JobID")
    def start(self) -> str:
        raise NotImplementedError


class Plugin(Copies):
    def configure(self, settings: Places) -> None:
        self.settings = settings

    def start(self) -> str:
        return self.settings.bucket


def test_a_plugin_that_extframe_serves_takes_settings_as_the_rules_say():
    with serving(Plugin()) as plugin:
        results = run(plugin.address, schema=extframe.openapi(Copies))
        assert faults(results) == {}
        checked = [name for name in results if "Configure" in name or "Settings" in name]
        assert len(checked) == 6
        assert results["schema of Plugin.Configure"].verdict is Verdict.PASS
        with extframe.Client(plugin.address) as client, pytest.raises(extframe.RemoteError, match="not received"):
            Copies.remote(client).start()  # nothing was changed
        with_lifecycle = run(
            plugin.address,
            schema=extframe.openapi(Copies),
            lifecycle=extframe.conformance.LifecycleOptions(),
        )
        assert with_lifecycle["schema of Copies.Start"].verdict is Verdict.PASS  # the settings were sent before


@pytest.mark.parametrize(
    ("settings", "configure", "expected"),
    [
        (["Copies"], ok({}), {"Plugin.Configure: an unknown key": (Verdict.FAIL, "accepted settings")}),
        (["Copies"], None, {"Plugin.Configure: an unknown key": (Verdict.FAIL, "is not implemented")}),
        (["Other"], None, {"names in Settings": (Verdict.WARN, "'Other' is not in Implements")}),
        (True, None, {"names in Settings": (Verdict.NOTE, "not a list")}),
        (
            ["VolumeDriver"],
            error("no", "400 Bad Request"),
            {"names in Settings": (Verdict.WARN, "Docker's engine sends")},
        ),
    ],
)
def test_mistakes_are_found(settings, configure, expected):
    manifest = {"Implements": ["Copies", "VolumeDriver"], "Settings": settings}
    changes = {"Plugin.Activate": ok(manifest), **({} if configure is None else {"Plugin.Configure": configure})}
    with FaultServer(scripted(changes)) as plugin:
        results = run(plugin.address, timeout=STEP * 4)
    for name, (verdict, reason) in expected.items():
        assert results[name].verdict is verdict
        assert reason in results[name].reason
