"""Programs that others wrote: where one is missing its tests skip with the reason, and in CI they fail."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from engines import build_static

REQUIRED = os.environ.get("EXTFRAME_REQUIRE_PEERS") == "1"


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """A function from a program's name to its path, which skips the test where there is no such program."""

    def path_of(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"needs {program}, which is not on this machine; .ci/run says which package brings it")
        return path

    return path_of


class Program:
    """A program that somebody else wrote, running. What it says goes to a file."""

    def __init__(self, command: list[str], said: Path, environment: dict[str, str]) -> None:
        self._said = said
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
            )

    def wait_for(self, pattern: str, timeout: float = 120.0) -> re.Match[str]:
        """Return the match of ``pattern`` in what the program has said, as soon as there is one."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self._process.poll() is not None
            found = re.search(pattern, said := self._said.read_text(), re.MULTILINE)
            if found:
                return found
            assert not ended, f"{self._process.args} ended with {self._process.returncode}: {said}"
            assert time.monotonic() < deadline, f"{self._process.args} has not said {pattern!r}, but: {said}"
            time.sleep(0.01)

    def stop(self) -> None:
        """Ask it to end, which lets it clean up, and kill it where it does not."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """A function that starts a program, given its command line and additions to its environment."""
    with contextlib.ExitStack() as running:

        def start_program(*command: str | Path, **environment: str | Path) -> Program:
            said = tmp_path / f"{Path(command[0]).name}-{len(list(tmp_path.iterdir()))}.log"
            program = Program([*map(str, command)], said, {name: str(value) for name, value in environment.items()})
            running.callback(program.stop)
            return program

        yield start_program


@pytest.fixture(scope="session", autouse=True)
def go_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all programs in Go: they are made of the same packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOCACHE", str(tmp_path_factory.mktemp("go-cache")))
        yield


@pytest.fixture(scope="session")
def echo_program(need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``go/echo``, built with Go's standard library alone and without network."""
    return build_static(need("go"), "echo", tmp_path_factory.mktemp("go"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for device in missing_devices(item):
        pytest.skip(f"needs the device {device}, which this machine's kernel does not offer")


def missing_devices(item: pytest.Item) -> list[str]:
    paths = (mark.args[0] for mark in item.iter_markers("device"))
    return [path for path in paths if not Path(path).exists()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Packages can be installed, devices cannot: a skip for want of a device stays one.
    if not missing_devices(item):
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where EXTFRAME_REQUIRE_PEERS=1. An expected failure is no skip."""
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"EXTFRAME_REQUIRE_PEERS=1 asks for every peer: {reason}"
