"""Hosts that others wrote for pluggy, from PyPI, with the two lines of docs/migrate.md changed: they print the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HOSTS = Path(__file__).parent.parent.parent / ".venv-hosts"
PYTHON = HOSTS / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="needs .venv-hosts, which .ci/run creates")

# Each the module, and command lines with standard input: a list of plugins, and uses of both plugins.
COMMANDS: dict[str, Sequence[tuple[Sequence[str], str]]] = {
    "sqlite_utils": [
        (["plugins"], ""),
        (["--help"], ""),
        (["memory", "select dateutil_parse('1 May 2024') as day"], ""),
        (["insert", "notes.db", "notes", "-"], '[{"body": "hello"}]'),
        (["move-tables", "notes.db", "other.db", "notes"], ""),
        (["rows", "other.db", "notes"], ""),
    ],
    "datasette": [
        (["plugins", "--all"], ""),
        (["--get", "/_memory.json?sql=select+haversine(1,2,3,4)&_shape=array"], ""),
        (["--get", "/_memory?sql=select+'{\"pretty\":[1,2]}'+as+j"], ""),
    ],
    "llm": [
        (["plugins", "--all"], ""),
        (["-m", "echo", "hello", "--no-log"], "and more"),
        (["-m", "markov", "word", "--no-log", "-o", "length", "2", "-o", "delay", "0"], ""),
    ],
}


def changed(host: str, directory: Path) -> None:
    """Copy a host's package into a directory, with the two lines changed."""
    [installed] = HOSTS.glob(f"lib/python*/site-packages/{host}")
    shutil.copytree(installed, directory / host)
    source = directory / host / "plugins.py"
    text = source.read_text()
    for old, new in (
        ("import pluggy\n", "import extframe\n"),
        ("pluggy.PluginManager(", "extframe.PluginManager(project="),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    source.write_text(text.replace("pm: pluggy.PluginManager", "pm: extframe.PluginManager"))


def outputs(host: str, directory: Path, package: Path | None) -> list[tuple[int, object, str]]:
    """Return what each command of a host prints, with its exit status, in a new directory."""
    directory.mkdir()
    environment = {
        "HOME": str(directory),
        "LLM_USER_PATH": str(directory / "llm"),
        "PATH": os.environ["PATH"],
        "PYTHONHASHSEED": "0",
        **({"PYTHONPATH": str(package)} if package else {}),
    }
    return [
        outcome(
            subprocess.run(
                [PYTHON, "-W", "always::UserWarning", "-m", host, *arguments],
                cwd=directory,
                env=environment,
                input=text,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        )
        for arguments, text in COMMANDS[host]
    ]


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, object, str]:
    """Return status and output; lists in JSON sorted, because the order of ``get_plugins()``, a set, is arbitrary."""
    try:
        printed = json.loads(done.stdout)
        printed = sorted(printed, key=json.dumps) if isinstance(printed, list) else printed
    except ValueError:
        printed = re.sub(r"[\d.]+ms", "N ms", done.stdout)  # how long datasette took
    return done.returncode, printed, done.stderr


@pytest.mark.parametrize("host", COMMANDS)
def test_a_host_by_others_prints_on_extframe_what_it_prints_on_pluggy(host: str, tmp_path: Path) -> None:
    changed(host, tmp_path / "packages")
    on_pluggy = outputs(host, tmp_path / "pluggy", None)
    on_extframe = outputs(host, tmp_path / "extframe", tmp_path / "packages")
    assert on_extframe == on_pluggy
    assert {status for status, _, _ in on_pluggy} == {0}
    assert on_pluggy[0][1] != []
    assert list((tmp_path / "packages" / host / "__pycache__").glob("plugins.*")), "the changed module was not imported"
