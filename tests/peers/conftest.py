"""Programs that others wrote: where one is missing its tests skip with the reason, and in CI they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

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
