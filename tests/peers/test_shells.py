"""Commands that the command suggests, run by real shells: they do what they say, and run nothing from a name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from extframe.cli import shell
from extframe.cli.checks import run_checks
from extframe.cli.checks.context import CheckContext
from extframe.cli.program import program
from extframe.registry.local import LocalRegistry

SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "sh"], "zsh": ["zsh", "-f"]}

FRAGMENTS = [
    "$(touch pwned)", "`touch pwned`", ";touch pwned", "&touch pwned", "|touch pwned", "\ntouch pwned\n",
    "$'\\x0atouch'",
    "' touch pwned '", "'; touch pwned; '", '"; touch pwned; "', "\\'; touch pwned; '", "${IFS}touch", "$HOME",
    "~", "~root",
    "=touch", "%1", "!!", "!touch", "^a^b", "*", "?", "[a-z]", "{a,b}", "(touch pwned)", "<(touch pwned)",
    ">pwned", "<pwned",
    "#touch", " touch pwned", "touch pwned ", "\ttouch", "\\", "\\n", "\\\\", "-rf", "--help", "-", "+", "a b",
    "''", '""',
    "\x1b[31m", "\x07", "\r", "\x7f", "größe", "体", "\u202e", "\udcff", "&&touch pwned",
]  # fmt: skip
NAMES = [*FRAGMENTS, *(f"a{fragment}z" for fragment in FRAGMENTS)]


@pytest.fixture(params=SHELLS)
def run_script(request, tmp_path, need):
    """Run a script with one shell, in an empty directory; return that directory."""
    need(SHELLS[request.param][0])

    def run_script(*commands: str, path: str = os.environ["PATH"]) -> Path:
        directory = tmp_path / "working"
        directory.mkdir(exist_ok=True)
        (tmp_path / "script").write_text("\n".join(commands) + "\n")
        environment = {"PATH": path, "HOME": str(directory), "EDITOR": "true"}
        subprocess.run(
            [*SHELLS[request.param], str(tmp_path / "script")],
            cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return directory

    return run_script


@pytest.fixture
def record(tmp_path) -> Path:
    """A directory of programs that record their arguments in ``tmp_path / "calls"``: a field per line of hex."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("extframe", "sudo", "sudoedit", "tee", "pip"):
        script = f'#!/bin/sh\nfor each in {name} "$@"; do printf %s "$each" | od -An -v -tx1 | tr -d " \\n"; echo; done'
        (directory / name).write_text(f'{script} >>"{tmp_path}/calls"\necho >>"{tmp_path}/calls"\n')
        (directory / name).chmod(0o755)
    return directory


def recorded(tmp_path: Path) -> list[list[str]]:
    calls = (tmp_path / "calls").read_text().split("\n\n")
    return [[os.fsdecode(bytes.fromhex(field)) for field in call.split("\n") if field] for call in calls if call]


def test_there_are_a_hundred_hostile_names():
    assert len(set(NAMES)) >= 100
    assert sum(map(shell.can_quote, NAMES)) >= 80


def test_a_quoted_word_is_one_argument_in_every_shell(run_script, record, tmp_path):
    words = list(filter(shell.can_quote, NAMES))
    working = run_script(*(f"extframe {shell.quote(word)}" for word in words), path=f"{record}:{os.environ['PATH']}")
    assert recorded(tmp_path) == [["extframe", word] for word in words]
    assert list(working.iterdir()) == []


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31m", "\udcff", "\r", "\u202e"])
def test_a_name_that_single_quotes_cannot_carry_gets_no_command(name, tmp_path):
    path = f"{tmp_path}/{name}"
    assert shell.remove(path) == shell.edit(path) == shell.make_directory(path) == ""
    assert shell.move(path, "/a") == shell.move("/a", path) == shell.replace("/a", path, "x") == ""
    assert shell.as_root(shell.as_owner(shell.as_user_of(path, shell.remove(path)), path)) == ""


def place_hostile_files(home: Path) -> dict[Path, Path | None]:
    """Put files with hostile names into a directory; return what doctor's commands shall make of each path."""
    expected: dict[Path, Path | None] = {}
    for name in (each for each in NAMES if "/" not in each and "\x00" not in each):
        for extension, kind in ((".Spec", "renamed"), (".spec", "removed"), (".sock", "removed")):
            stem = f"{kind}{extension[1]}{name}"
            file = home / f"{stem}{extension}"
            if kind == "renamed" or extension == ".sock":
                file.write_text("tcp://127.0.0.1:1")
            else:
                file.symlink_to("nowhere")
            if not shell.can_quote(name):
                expected[file] = file
            else:
                expected[file] = home / f"{stem}.spec" if kind == "renamed" else None
    return expected


def test_the_commands_of_doctor_touch_nothing_but_what_they_name(run_script, short_path):
    home = short_path / "p $(touch pwned) 'q'"
    home.mkdir()
    expected = place_hostile_files(home)
    groups = run_checks(CheckContext(LocalRegistry(home), timeout=1, contact=False))
    commands = [each.command for each in groups["directories"] + groups["plugins"] if each.command]
    assert len(commands) >= 200
    working = run_script(*commands)
    assert {*home.iterdir()} == {path for path in expected.values() if path is not None}
    assert list(working.iterdir()) == []
    assert [path.name for path in short_path.iterdir()] == [home.name]


def test_a_line_is_written_as_it_is_and_the_old_file_removed(run_script, tmp_path):
    target, old = tmp_path / "it's $(touch pwned).json", tmp_path / "old `touch pwned`.spec"
    old.write_text("")
    line = r'{"Addr": "a\nb\\c $(touch pwned) %s"}'
    working = run_script(shell.replace(str(old), str(target), line))
    assert target.read_text() == f"{line}\n"
    assert not old.exists()
    assert list(working.iterdir()) == []


def test_redirections_of_files_of_root_use_tee(run_script, record, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr(os, "access", lambda *arguments, **options: False)
    command = shell.replace("/etc/it's.spec", "/etc/it's.json", "x $(touch pwned)")
    working = run_script(command, path=f"{record}:{os.environ['PATH']}")
    assert sorted(recorded(tmp_path)) == [["sudo", "rm", "/etc/it's.spec"], ["sudo", "tee", "/etc/it's.json"]]
    assert list(working.iterdir()) == []


def test_several_commands_of_root_run_in_one_shell(run_script, record, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    command = f"{shell.shell_command('chmod o-w', 'it$(touch pwned)')} && {shell.shell_command('rm', chr(39))}"
    run_script(shell.as_root(command), path=f"{record}:{os.environ['PATH']}")
    assert recorded(tmp_path) == [["sudo", "sh", "-c", command]]


def test_the_next_step_of_new_runs_in_every_shell(run_script, tmp_path):
    directory = tmp_path / "it's $(touch pwned); -x"
    line = CliRunner().invoke(program, ["new", "plugin", "photos", "--dir", str(directory)]).stderr
    line = line.removeprefix("extframe: next: ")
    change_directory = line.partition(" && ")[0]
    working = run_script(f"{change_directory} && touch here")
    assert (directory / "photos" / "here").exists()
    assert list(working.iterdir()) == []


def test_new_prints_no_command_for_a_path_that_cannot_be_quoted(tmp_path):
    result = CliRunner().invoke(program, ["new", "plugin", "photos", "--dir", str(tmp_path / "two\nlines")])
    assert result.exit_code == 0
    assert "cd " not in result.stderr
