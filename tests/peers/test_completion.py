"""Completion in real shells: a plugin's name that is completed and sent off is an argument, and is not run."""

from __future__ import annotations

import json
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest
from faultserver import eventually

NAMES = ["$(touch pwned)", "`touch pwned`", ";touch pwned", "a b&touch pwned", "it's", '"q"', "a*b", "$HOME", "größe"]

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(extframe completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit; compinit -u -D; eval "$(extframe completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "extframe completion fish | source"),
}


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], directory: Path, path: str) -> None:
        self.output = b""
        environment = {"PATH": path, "HOME": str(directory), "TERM": "dumb", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        self._process, self._primary = pty.fork()
        if self._process == 0:
            os.chdir(directory)
            os.execvpe(command[0], command, environment)

    def type(self, text: str) -> None:
        os.write(self._primary, text.encode())

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while text.encode() not in self.output:
            assert time.monotonic() < end, self.output.decode(errors="replace")
            if select.select([self._primary], [], [], 0.1)[0]:
                self.output += os.read(self._primary, 65536)

    def close(self) -> None:
        os.close(self._primary)
        os.kill(self._process, 9)
        os.waitpid(self._process, 0)


@pytest.fixture
def programs(tmp_path) -> Path:
    """A directory with the ``extframe`` command, which completes, and otherwise records its arguments."""
    directory = tmp_path / "bin"
    directory.mkdir()
    source = f"""#!{sys.executable}
import json, os, sys
if "_EXTFRAME_COMPLETE" in os.environ or sys.argv[1] == "completion":
    from extframe.cli import main
    try:
        main()
    finally:
        open({str(tmp_path / "completed")!r}, "a").write(os.environ.get("_EXTFRAME_COMPLETE", ""))
with open({str(tmp_path / "calls")!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""
    (directory / "extframe").write_text(source)
    (directory / "extframe").chmod(0o755)
    return directory


def calls(directory: Path) -> list[list[str]]:
    path = directory / "calls"
    return (
        [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_completed_name_is_one_argument_and_is_not_run(need, shell, name, programs, tmp_path, short_path):
    command, setup = SHELLS[shell]
    need(command[0])
    (short_path / f"{name}.spec").write_text("tcp://127.0.0.1:1")
    working = tmp_path / "working"
    working.mkdir()
    terminal = Terminal(command, working, f"{programs}:{os.environ['PATH']}")
    try:
        terminal.type(f"{setup}\necho rea''dy\n")
        terminal.wait_for("ready")
        terminal.type(f"extframe inspect --dir {short_path} \t")
        assert eventually(lambda: f"{shell}_complete" in (tmp_path / "completed").read_text(), 60.0)
        terminal.type("\n")  # not together with the tab, which zsh would take for a paste
        assert eventually(lambda: calls(tmp_path), 60.0), terminal.output.decode(errors="replace")
        assert calls(tmp_path) == [["inspect", "--dir", str(short_path), name]]
        assert not (working / "pwned").exists()
    finally:
        terminal.close()
