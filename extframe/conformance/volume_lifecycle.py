"""Lifecycle checks of a volume, from Create to Remove. Affects no other volume."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex

from ..errors import ExtframeError
from ..subsystems.volume import Volume
from .check import Check
from .driver_calls import DriverCalls, assess_creation
from .options import LifecycleOptions
from .raw_client import RawClient
from .responses import assess_result, refusal, words_of
from .rules import Outcome, Verdict, failed, noted, passed, skipped
from .safe_calls import assess_unknown_volume, volume_faults


class VolumeLifecycle:
    """Creates volumes. ``created`` and ``mounts`` are what is to be removed."""

    def __init__(self, client: RawClient, options: LifecycleOptions) -> None:
        self._calls = DriverCalls(client, "VolumeDriver")
        self._options = options
        self.name = f"extframe-check-{token_hex(8)}"
        self.id = token_hex(32)
        self.created: list[str] = []
        self.mounts = 0

    def checks(self) -> Iterator[Check]:
        """Yield the checks in their order."""
        yield Check("VolumeDriver.Create", "created", self._create)
        if self.name not in self.created:
            return
        yield Check("VolumeDriver.Create, a second time", "create-again", self._create_again)
        yield Check("VolumeDriver.Get of the new volume", "volume-object", self._get)
        yield Check("VolumeDriver.List with the new volume", "created", self._list)
        if self._options.mount:
            yield Check("VolumeDriver.Mount", "mount-path", self._mount)
            if self.mounts:
                yield Check("VolumeDriver.Mount, the same ID again", "mount-id", self._mount_again)
                yield Check("VolumeDriver.Unmount, twice", "mount-id", self._unmount)
        else:
            yield Check("VolumeDriver.Mount", "mount-path", lambda client: skipped("--mount checks it"))
        yield Check("VolumeDriver.Remove of the new volume", "created", self._remove)
        yield Check("VolumeDriver.Get of the removed volume", "unknown-volume", self._get_removed)
        yield Check("VolumeDriver.Create of ../NAME", "safe-names", self._create_outside)

    def clean_up(self) -> None:
        """Remove what is left. The name of what the plugin fails to remove says where it comes from."""
        while self.mounts:
            self.mounts -= 1
            with suppress(ExtframeError):
                self._calls.call("unmount", name=self.name, id=self.id)
        for name in self.created:
            with suppress(ExtframeError):
                self._calls.call("remove", name=name)

    def _create(self, client: RawClient) -> Outcome:
        self.created.append(self.name)  # before the response: a call that is lost may have been executed
        method, response = self._calls.call("create", name=self.name, opts=dict(self._options.options))
        if response.status != 200 or refusal(response):
            self.created.remove(self.name)
        return assess_creation(method, response)

    def _create_again(self, client: RawClient) -> Outcome:
        method, response = self._calls.call("create", name=self.name, opts=dict(self._options.options))
        if response.status == 200:
            return assess_result(method, response)
        return noted(f"refused: {words_of(response)}")

    def _get(self, client: RawClient) -> Outcome:
        method, response = self._calls.call("get", name=self.name)
        outcome = assess_result(method, response)
        if outcome.verdict is not Verdict.PASS:
            return outcome
        volume: Volume = method.decode_reply(response.body)
        if volume.name != self.name:
            return failed(f"it has another name, {volume.name!r}, which the engine uses from now on")
        on_the_wire = {"Name": volume.name, "Mountpoint": volume.mountpoint, "CreatedAt": volume.created_at or None}
        return next(volume_faults(on_the_wire), passed())

    def _list(self, client: RawClient) -> Outcome:
        volumes: list[Volume] = self._calls.result("list")
        return passed() if self.name in {volume.name for volume in volumes} else failed("the new volume is not listed")

    def _mount(self, client: RawClient) -> Outcome:
        self.mounts += 1
        method, response = self._calls.call("mount", name=self.name, id=self.id)
        outcome = refusal(response) or assess_result(method, response)
        if outcome.verdict is not Verdict.PASS:
            self.mounts -= 1
        return outcome

    def _mount_again(self, client: RawClient) -> Outcome:
        method, response = self._calls.call("mount", name=self.name, id=self.id)
        if response.status != 200:
            return failed(f"refused: {words_of(response)}; the engine then unmounts it from the running container")
        self.mounts += 1
        return assess_result(method, response)

    def _unmount(self, client: RawClient) -> Outcome:
        while self.mounts:
            self.mounts -= 1
            outcome = assess_result(*self._calls.call("unmount", name=self.name, id=self.id))
            if outcome.verdict is not Verdict.PASS:
                return outcome
        return passed()

    def _remove(self, client: RawClient) -> Outcome:
        outcome = assess_result(*self._calls.call("remove", name=self.name))
        if outcome.verdict is Verdict.PASS:
            self.created.remove(self.name)
        return outcome

    def _get_removed(self, client: RawClient) -> Outcome:
        method, response = self._calls.call("get", name=self.name)
        return assess_unknown_volume(method, response)

    def _create_outside(self, client: RawClient) -> Outcome:
        inside, outside = f"{self.name}-in", f"../{self.name}-out"
        for name in (inside, outside):
            self.created.append(name)
            _, response = self._calls.call("create", name=name, opts=dict(self._options.options))
            if response.status != 200 or refusal(response):
                self.created.remove(name)
                return passed(f"refused: {words_of(response)}")
        home = posixpath.dirname(self._mountpoint(inside))
        there = posixpath.normpath(self._mountpoint(outside))
        if home and there == posixpath.normpath(posixpath.join(home, outside)):
            return failed(f"{outside!r} is at {there}, outside of {home}")
        return passed()

    def _mountpoint(self, name: str) -> str:
        volume: Volume = self._calls.result("get", name=name)
        return volume.mountpoint
