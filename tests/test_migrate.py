"""docs/migrate.md: the host before and after prints the same, and then what a plugin in another process finds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faultserver import eventually
from packages import install
from printed import FILE

PAGE = Path(__file__).parent.parent / "docs" / "migrate.md"

SHOUTING = """
    import pluggy

    hookimpl = pluggy.HookimplMarker("proofread")

    @hookimpl
    def check(line):
        return ["all capitals"] if line.isupper() else []
"""

BROKEN = "import library_that_is_not_installed"

TEXT = "I recieve mail\nLOUD\ntrailing \n"


@pytest.fixture
def run(short_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs one of the page's files, with a package of checks installed."""
    for name, text in FILE.findall(PAGE.read_text()):
        (short_path / name).parent.mkdir(exist_ok=True)
        (short_path / name).write_text(text)
    for directory in ("before", "after"):
        (short_path / directory / "letter.txt").write_text(TEXT)
    site = short_path / "site"
    site.mkdir()
    entry = {"shouting": "proofread_shouting"}
    install(
        site, "proofread-shouting", module="proofread_shouting", source=SHOUTING, entry_points=entry, group="proofread"
    )

    def run_file(directory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=short_path / directory,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run_file


def test_the_host_of_the_page_prints_the_same_before_and_after(run, short_path: Path) -> None:
    for arguments in (["plugins"], ["letter.txt"]):
        before, after = (run(directory, "proofread.py", *arguments) for directory in ("before", "after"))
        assert (before.returncode, after.returncode, after.stderr) == (0, 0, "")
        assert before.stdout == after.stdout != ""
    assert before.stdout == "letter.txt:2: all capitals\nletter.txt:3: trailing whitespace\n"

    with subprocess.Popen(
        [sys.executable, "spelling.py"], cwd=short_path / "after", stderr=subprocess.DEVNULL
    ) as plugin:
        assert eventually(lambda: (short_path / "after" / "plugins" / "spelling.sock").exists())
        with_plugin = run("after", "proofread.py", "letter.txt")
        plugin.terminate()
    assert sorted(with_plugin.stdout.splitlines()) == sorted(
        [*after.stdout.splitlines(), "letter.txt:1: misspelled: recieve"]
    )


def test_a_broken_package_ends_the_host_before_and_is_a_warning_after(run, short_path: Path) -> None:
    entry = {"broken": "proofread_broken"}
    site = short_path / "site"
    install(site, "proofread-broken", module="proofread_broken", source=BROKEN, entry_points=entry, group="proofread")
    before, after = (run(directory, "proofread.py", "letter.txt") for directory in ("before", "after"))
    assert (before.returncode, before.stdout) == (1, "")
    assert after.stdout == "letter.txt:2: all capitals\nletter.txt:3: trailing whitespace\n"
    [warning, _] = after.stderr.splitlines()
    assert "PluginLoadWarning: 'broken' (proofread_broken) of proofread-broken 1.0 was not loaded" in warning


def test_the_two_lines_of_the_page_are_those_that_differ() -> None:
    page = PAGE.read_text()
    [diff] = re.findall(r"^```diff\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    files = dict(FILE.findall(page))
    removed = [line[1:] for line in diff.splitlines() if line.startswith("-")]
    assert len(removed) == 2
    assert set(removed) <= set(files["before/proofread.py"].splitlines())
