"""What all commands share: exit codes, signals, pipes, terminals, completion and documentation."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from faultserver import answer_with, eventually, read_and_hang, reply
from terminals import read_terminal

from extframe.cli.exit_codes import ExitCode
from extframe.cli.program import COMMANDS, program

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_version_is_that_of_the_package(run):
    assert run("--version").stdout == f"extframe {version('extframe')}\n"


def test_the_help_of_every_command_has_examples(run):
    for command in ([], *([name] for name in COMMANDS)):
        text = run(*command, "--help").stdout
        assert "Examples:\n" in text
        assert re.search(r"^    ?(.*\| )?(\w+=\w+ )?extframe ", text, re.MULTILINE)


def test_an_unknown_command_is_a_usage_error(run):
    assert run("lost").exit_code == ExitCode.USAGE


def test_the_help_lists_every_command(run):
    listed = re.findall(r"^  ([a-z]+)  ", run("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)


def test_a_command_imports_no_other(extframe):
    code = "import sys; from extframe.cli.program import COMMANDS, program\ntry: program(['ls', '--help'])\n"
    code += "except SystemExit: print(*(each for each in COMMANDS if f'extframe.cli.{each}' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "ls"


@pytest.mark.parametrize("module", [None, "extframe", "extframe.cli"])
def test_the_script_does_what_the_modules_do(script, module, short_path):
    (short_path / "json.py").write_text("raise SystemExit('shadowed')")
    command = [script] if module is None else [sys.executable, "-m", module]
    arguments = ["ls", "--dir", str(short_path), "-o", "json"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30, cwd=short_path)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", f"extframe: no plugins in {short_path}\n", 0)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_says_what_to_install(tmp_path, missing):
    primary, terminal = pty.openpty()  # rich is for terminals
    code = f"import sys; sys.modules[{missing!r}] = None; from extframe.cli import main; main()"
    command = [sys.executable, "-c", code, "handlers"]
    done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, text=True, timeout=30, cwd=tmp_path)
    os.close(primary)
    os.close(terminal)
    assert done.returncode == 1
    expected = f"extframe: the command needs {missing}, which is not installed: pip install 'extframe[cli]'\n"
    assert done.stderr == expected


def test_another_missing_module_is_not_blamed_on_the_extra():
    code = "import sys; sys.modules['msgspec'] = None; from extframe.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "ls"], capture_output=True, text=True, timeout=30)
    assert "msgspec" in done.stderr
    assert "extframe[cli]" not in done.stderr


# --- signals and pipes --------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """A child inherits an ignored SIGINT, as shells give it to what they run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("command", [["call", "hung", "VolumeDriver.List"], ["inspect", "hung"], ["ls"]])
def test_ctrl_c_ends_a_call_that_hangs_with_130_and_no_traceback(start, add, command, short_path):
    server = add("hung", read_and_hang)
    process = start(*command, "--dir", short_path, "--timeout", "60")
    assert eventually(lambda: server.requests, timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (ExitCode.INTERRUPTED, "", "")


def test_ctrl_c_while_the_command_is_loaded_ends_it_quietly(extframe, tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")  # the moment of a signal is not ours to choose
    done = extframe("ls", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.INTERRUPTED, "", "")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_wait_for_standard_input(start, add, short_path):
    add("rclone")
    read_end, write_end = os.pipe()
    process = start("call", "rclone", "VolumeDriver.Get", "-", "--dir", short_path, stdin=read_end)
    os.write(write_end, b'{"Name": ')
    assert eventually(lambda: is_drained(read_end), timeout=60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    os.close(read_end)
    os.close(write_end)
    assert (process.returncode, err) == (ExitCode.INTERRUPTED, "")


def is_drained(pipe: int) -> bool:
    return not select.select([pipe], [], [], 0)[0]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["ls"], ExitCode.OK),
        (["ls", "-o", "yaml"], ExitCode.OK),
        (["ls", "--help"], ExitCode.OK),
        (["--help"], ExitCode.OK),
        (["watch"], ExitCode.OK),
        (["inspect", "lost"], ExitCode.UNREACHABLE),  # what the command found out counts without a reader, too
        (["check", "lost"], ExitCode.UNREACHABLE),
        (["doctor"], ExitCode.FAILURE),
    ],
    ids=str,
)
def test_a_closed_pipe_is_no_error(start, leave_dead_socket, command, code, short_path):
    leave_dead_socket("lost")
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {"EXTFRAME_DIR": str(short_path)}
    process = start(*command, stdout=write_end, stderr=subprocess.STDOUT, env=environment)
    os.close(write_end)
    assert process.wait(60) == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line_and_1(start, add, short_path):
    add("rclone")
    with open("/dev/full", "w") as full:
        process = start("ls", "--no-contact", "--dir", short_path, stdout=full)
        _, err = process.communicate(timeout=30)
    assert err == "extframe: cannot write to standard output: No space left on device\n"
    assert process.returncode == ExitCode.FAILURE


# --- terminals ----------------------------------------------------------------------------------------


def test_a_terminal_gets_colours(on_terminal, add, short_path):
    add("rclone")
    assert "\x1b[32mactive  \x1b[0m" in on_terminal("ls", "--dir", short_path)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_must_not_have_colours_gets_none(on_terminal, add, environment, short_path):
    add("rclone")
    shown = on_terminal("ls", "--dir", short_path, **environment)
    assert "active" in shown
    assert "\x1b" not in shown


def test_a_pipe_gets_no_colours_even_if_they_are_forced(extframe, add, short_path):
    add("rclone")
    done = extframe("ls", "--dir", short_path, env={"FORCE_COLOR": "1", "TERM": "xterm", "CLICOLOR_FORCE": "1"})
    assert "active" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_narrow_terminal_gets_every_character(on_terminal, add, speaks, short_path):
    point = "Driver" * 60
    server = add("wide", speaks(point))
    shown = on_terminal("ls", "-o", "wide", "--dir", short_path, COLUMNS="40", TERM="dumb")
    assert shown.splitlines()[1].split()[2:] == [point, server.path, server.address]


def test_extension_points_that_do_not_fit_a_terminal_are_counted(on_terminal, extframe, add, speaks, short_path):
    points = ["VolumeDriver", "NetworkDriver", "IpamDriver", "authz", "LogDriver", "MetricsCollector", "secretprovider"]
    add("everything", speaks(*points))
    add("photos")
    shown = on_terminal("ls", "--dir", short_path, COLUMNS="80", TERM="dumb").splitlines()
    assert shown[1:] == [
        "everything  active  VolumeDriver, NetworkDriver, IpamDriver, authz, +3",
        "photos      active  VolumeDriver",
    ]
    assert "VolumeDriver, +6\n" in on_terminal("ls", "--dir", short_path, COLUMNS="20", TERM="dumb")
    assert ", ".join(points) in extframe("ls", "--dir", short_path).stdout


@pytest.mark.parametrize(
    ("command", "term", "words"),
    [
        (
            ["call", "slow", "VolumeDriver.List"],
            "xterm",
            b"\x1b[Kextframe: waiting for slow to answer VolumeDriver.List, 2",
        ),
        (["call", "slow", "VolumeDriver.List"], "dumb", b"extframe: waiting for slow to answer VolumeDriver.List\r\n"),
        (["check", "slow"], "xterm", b"extframe: checking the handshake, 1"),
        (["doctor"], "xterm", b"extframe: checking plugins, "),
    ],
)
def test_a_slow_command_says_on_a_terminal_what_it_waits_for(start, add, command, term, words, short_path):
    released = threading.Event()
    add("slow", answer_with(lambda request: released.wait(60) and reply(b"{}")))
    primary, terminal = pty.openpty()
    process = start(*command, "--dir", short_path, stderr=terminal, stdout=subprocess.DEVNULL, env={"TERM": term})
    os.close(terminal)
    shown = b""
    while words not in shown and (chunk := read_terminal(primary)):
        shown += chunk
    assert words in shown
    released.set()
    while chunk := read_terminal(primary):
        shown += chunk
    os.close(primary)
    process.wait(60)
    assert shown.rpartition(words)[2].count(b"\r\x1b[K") >= (1 if term == "xterm" else 0), "the line is removed"


def test_markup_from_a_plugin_is_not_interpreted(on_terminal, add, speaks, short_path):
    add("hostile", speaks("[red]x[/red]", ":boom:"))
    shown = on_terminal("ls", "--dir", short_path, COLUMNS="300")
    assert "[red]x[/red], :boom:" in re.sub(r"\x1b\[[\d;]*m", "", shown)


def test_escape_sequences_do_not_reach_a_terminal_either(on_terminal, add, speaks, short_path):
    add("hostile", speaks("\x1b[2Jx"))
    assert "\\x1b[2Jx" in on_terminal("ls", "--dir", short_path, COLUMNS="300")


# --- completion ---------------------------------------------------------------------------------------


@pytest.fixture
def complete(extframe):
    """Complete the last of some words, as bash asks for it."""

    def complete(*words: object) -> list[str]:
        environment = {
            "_EXTFRAME_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["extframe", *map(str, words)]),
            "COMP_CWORD": str(len(words)),
        }
        done = extframe(env=environment)
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.split()]

    return complete


@pytest.mark.parametrize("command", ["inspect", "call"])
def test_plugin_names_are_completed_without_connecting(complete, add, command, short_path):
    servers = [add("rclone"), add("rexray"), add("weave")]
    assert complete(command, "--dir", short_path, "r") == ["rclone", "rexray"]
    assert [server.connections for server in servers] == [0, 0, 0]


@pytest.mark.parametrize("options", [["--dir", "/x", "--app", "y"], ["--app", "../x"], ["--dir", "/no/such"]])
def test_a_completion_that_fails_is_silent(complete, options):
    assert complete("inspect", *options, "r") == []


def test_a_directory_that_cannot_be_read_is_silent_in_a_completion(complete, short_path):
    (short_path / "loop").symlink_to("loop")
    assert complete("inspect", "--dir", short_path / "loop", "r") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(run, extframe, shell):
    """tests/peers/test_completion.py runs them."""
    script = run("completion", shell).stdout
    assert "_EXTFRAME_COMPLETE" in script
    assert extframe(env={"_EXTFRAME_COMPLETE": f"{shell}_source"}).stdout.strip() == script.strip()


def test_the_methods_of_a_plugin_are_completed(complete, add, speaks, leave_dead_socket, short_path):
    add("photos", speaks("VolumeDriver"))
    leave_dead_socket("dead")
    at = ["--dir", short_path]
    assert complete("call", *at, "photos", "VolumeDriver.L") == ["VolumeDriver.List"]
    assert complete("call", *at, "photos", "Log") == [], "photos implements no LogDriver"
    for unknown in ("dead", "none", "../x"):
        assert "LogDriver.StartLogging" in complete("call", *at, unknown, "Log")


# --- documentation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name):
    _, found, section = PAGE.read_text().partition(f"## `extframe {name}")
    assert found, f"docs/cli.md has no section for {name}"
    section = section.partition("\n## ")[0] + PAGE.read_text().partition("## Common options")[2]
    command = program.get_command(click.Context(program), name)
    options = [option for parameter in command.params for option in parameter.opts if option[0] == "-"]
    assert [option for option in options if f"`{option}" not in section] == []


def test_the_page_lists_the_exit_codes():
    rows = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert [int(code) for code in rows] == [code.value for code in ExitCode]


# --- where plugins are --------------------------------------------------------------------------------

LOOKING = [["ls"], ["inspect", "a"], ["call", "a", "VolumeDriver.List"], ["check", "a"], ["doctor"]]


@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_every_command_reads_the_directory_from_the_environment(run, add, command, short_path):
    server = add("a")
    run(*command, env={"EXTFRAME_DIR": str(short_path)})
    assert server.connections > 0


@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_every_command_reads_the_host_from_the_environment(run, command):
    result = run(*command, env={"EXTFRAME_APP": "no-such-host-of-tests"})
    assert "no-such-host-of-tests/plugins" in result.output


@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_every_command_accepts_unsafe_sources_on_request(run, add, command, short_path):
    server = add("a")
    short_path.chmod(0o777)
    run(*command, "--dir", short_path)
    assert server.connections == 0
    run(*command, "--dir", short_path, "--allow-unsafe")
    assert server.connections > 0


def test_an_option_takes_precedence_over_the_environment(run, add, short_path):
    add("a")
    for environment in ({"EXTFRAME_DIR": "/no/such"}, {"EXTFRAME_APP": "no-such-host"}):
        assert "a  " in run("ls", "--dir", short_path, env=environment).stdout
    environment = {"EXTFRAME_DIR": str(short_path)}
    assert "no plugins in" in run("ls", "--app", "no-such-host-of-tests", env=environment).stderr


def test_a_directory_and_a_host_exclude_each_other(run):
    assert run("ls", "--dir", "/x", "--app", "y").exit_code == ExitCode.USAGE
    result = run("ls", env={"EXTFRAME_DIR": "/x", "EXTFRAME_APP": "y"})
    assert result.exit_code == ExitCode.USAGE
    assert "EXTFRAME_DIR and EXTFRAME_APP exclude each other" in result.stderr


def test_watch_reads_the_directory_from_the_environment(start, short_path):
    process = start("watch", env={"EXTFRAME_DIR": str(short_path)})
    assert process.stderr.readline() == f"extframe: watching {short_path}; press Ctrl-C to stop\n"


def test_names_are_completed_in_the_directory_of_the_environment(complete, add, short_path, monkeypatch):
    add("rclone")
    monkeypatch.setenv("EXTFRAME_DIR", str(short_path))
    assert complete("inspect", "r") == ["rclone"]
