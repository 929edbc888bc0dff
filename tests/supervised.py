"""A supervisor in a directory of its own, with plugins that start in no time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import extframe

TINY = Path(__file__).with_name("tiny_plugin.py")
PATIENCE = 15.0  # seconds: a machine that stalls is no fault of what is tested


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until ``condition()`` is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what or condition}"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Plugins:
    """A directory with the files of a supervisor."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "plugins.d"
        self.run = directory / "run"
        self.directory.mkdir()

    def write(self, name: str, *actions: str, **keys: object) -> Path:
        """Write NAME.toml for the tiny plugin, or for another ``command``."""
        keys.setdefault("command", [sys.executable, "-I", "-S", str(TINY), *actions])
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if not isinstance(value, dict)]
        for key, value in keys.items():
            if isinstance(value, dict):
                lines += [f"[{key}]", *(f"{name} = {json.dumps(each)}" for name, each in value.items())]
        path = self.directory / f"{name}.toml"
        draft = path.with_suffix(".new")
        draft.write_text("\n".join(lines))
        os.replace(draft, path)
        return path

    def supervisor(self, **options: object) -> extframe.Supervisor:
        """Return a supervisor of the directory."""
        return extframe.Supervisor(self.directory, run_directory=self.run, **options)  # type: ignore[arg-type]
