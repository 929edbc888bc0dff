"""The life of a volume, from Create to Remove. Touches no other volume."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex

from ..errors import ExtframeError
from ..subsystems.volume import Volume
from .answers import judge_error, judge_refusal, judge_result
from .calls import volume_faults
from .check import Check
from .line import Line
from .rules import Outcome, Verdict, failed, passed, skipped, warned
from .trial import Calls, Trial, judge_creation


class VolumeLife:
    """The life of one volume. ``created`` and ``mounts`` are what there is to take away."""

    def __init__(self, line: Line, trial: Trial) -> None:
        self._calls = Calls(line, "VolumeDriver")
        self._trial = trial
        self.name = f"extframe-check-{token_hex(8)}"
        self.id = token_hex(32)
        self.created: list[str] = []
        self.mounts = 0

    def checks(self) -> Iterator[Check]:
        """Yield what is tried, in its order."""
        yield Check("VolumeDriver.Create", "created", self._create)
        if self.name not in self.created:
            return
        yield Check("VolumeDriver.Create, a second time", "create-again", self._create_again)
        yield Check("VolumeDriver.Get of the new volume", "volume-object", self._get)
        yield Check("VolumeDriver.List with the new volume", "created", self._list)
        if self._trial.mount:
            yield Check("VolumeDriver.Mount", "mount-path", self._mount)
            if self.mounts:
                yield Check("VolumeDriver.Mount, the same ID again", "mount-id", self._mount_again)
                yield Check("VolumeDriver.Unmount, as often", "mount-id", self._unmount)
        else:
            yield Check("VolumeDriver.Mount", "mount-path", lambda line: skipped("--mount tries it"))
        yield Check("VolumeDriver.Remove of the new volume", "created", self._remove)
        yield Check("VolumeDriver.Get of the removed volume", "unknown-volume", self._get_removed)
        yield Check("VolumeDriver.Create of ../NAME", "safe-names", self._create_outside)

    def clean_up(self) -> None:
        """Take away what is left. What a plugin that fails at that leaves behind has a name that says whose it is."""
        while self.mounts:
            self.mounts -= 1
            with suppress(ExtframeError):
                self._calls.ask("unmount", name=self.name, id=self.id)
        for name in self.created:
            with suppress(ExtframeError):
                self._calls.ask("remove", name=name)

    def _create(self, line: Line) -> Outcome:
        self.created.append(self.name)  # before it is answered: a call that is lost may have been carried out
        method, answer = self._calls.ask("create", name=self.name, opts=dict(self._trial.options))
        if answer.status != 200:
            self.created.remove(self.name)
        return judge_creation(method, answer)

    def _create_again(self, line: Line) -> Outcome:
        method, answer = self._calls.ask("create", name=self.name, opts=dict(self._trial.options))
        if answer.status == 200:
            return judge_result(method, answer)
        return warned(f"refused: {judge_error(method, answer).reason}")

    def _get(self, line: Line) -> Outcome:
        method, answer = self._calls.ask("get", name=self.name)
        outcome = judge_result(method, answer)
        if outcome.verdict is not Verdict.PASS:
            return outcome
        volume: Volume = method.decode_reply(answer.body)
        if volume.name != self.name:
            return failed(f"it has another name, {volume.name!r}, which the engine uses from then on")
        on_the_wire = {"Name": volume.name, "Mountpoint": volume.mountpoint, "CreatedAt": volume.created_at or None}
        return next(map(failed, volume_faults(on_the_wire)), passed())

    def _list(self, line: Line) -> Outcome:
        volumes: list[Volume] = self._calls.result("list")
        return passed() if self.name in {volume.name for volume in volumes} else failed("it is not listed")

    def _mount(self, line: Line) -> Outcome:
        self.mounts += 1
        method, answer = self._calls.ask("mount", name=self.name, id=self.id)
        outcome = judge_result(method, answer)
        if outcome.verdict is not Verdict.PASS:
            self.mounts -= 1
        return outcome

    def _mount_again(self, line: Line) -> Outcome:
        method, answer = self._calls.ask("mount", name=self.name, id=self.id)
        if answer.status != 200:
            words = judge_error(method, answer).reason
            return failed(f"refused: {words}; the engine then unmounts it under the container that runs")
        self.mounts += 1
        return judge_result(method, answer)

    def _unmount(self, line: Line) -> Outcome:
        while self.mounts:
            self.mounts -= 1
            outcome = judge_result(*self._calls.ask("unmount", name=self.name, id=self.id))
            if outcome.verdict is not Verdict.PASS:
                return outcome
        return passed()

    def _remove(self, line: Line) -> Outcome:
        outcome = judge_result(*self._calls.ask("remove", name=self.name))
        if outcome.verdict is Verdict.PASS:
            self.created.remove(self.name)
        return outcome

    def _get_removed(self, line: Line) -> Outcome:
        return judge_refusal(*self._calls.ask("get", name=self.name))

    def _create_outside(self, line: Line) -> Outcome:
        inside, outside = f"{self.name}-in", f"../{self.name}-out"
        for name in (inside, outside):
            self.created.append(name)
            method, answer = self._calls.ask("create", name=name, opts=dict(self._trial.options))
            if answer.status != 200:
                return passed(f"refused: {judge_error(method, answer).reason}")
        home = posixpath.dirname(self._mountpoint(inside))
        there = posixpath.normpath(self._mountpoint(outside))
        if home and there == posixpath.normpath(posixpath.join(home, outside)):
            return failed(f"{outside!r} is at {there}, outside of {home}")
        return passed()

    def _mountpoint(self, name: str) -> str:
        volume: Volume = self._calls.result("get", name=name)
        return volume.mountpoint
