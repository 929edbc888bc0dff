"""``extframe doctor``: each diagnosis is provoked with real files, sockets, processes and packages."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from faultserver import FaultServer, answer, close_after_read, hang, read_and_hang
from packages import install
from program import Program

from extframe.cli.checks import CHECKS, handshakes, run_checks
from extframe.cli.checks.context import CheckContext
from extframe.cli.checks.diagnosis import Verdict, problem
from extframe.cli.shell import quote
from extframe.registry.local import LocalRegistry

ROOT = os.geteuid() == 0
NOBODY_UID = 65534
as_root = pytest.mark.skipif(not ROOT, reason="needs root, to give files to another user")

Rows = list[dict[str, str]]

HANDLER = """
import extframe

@extframe.hookimpl
def volume_driver(name, client):
    open("called", "w").close()
"""


class Report:
    """The output of the command as rows, and its exit code."""

    def __init__(self, text: str, code: int) -> None:
        self.rows: Rows = json.loads(text)
        self.code = code
        for row in self.rows:  # whatever a test looks for
            remedy = row["remedy"] or ""
            assert not remedy.endswith((":", ";", ".", " ")), row
            assert row["command"] or "; to " not in remedy, row

    def of(self, subject: object) -> Rows:
        """Return the rows about a subject that are not ok."""
        return [row for row in self.rows if row["subject"] == str(subject) and row["verdict"] != "ok"]

    def one(self, subject: object, verdict: str, *words: str) -> dict[str, str]:
        """Return the only row about a subject whose text has these words."""
        (found,) = [row for row in self.of(subject) if all(word in row["what"] for word in words)]
        assert found["verdict"] == verdict
        return found

    def wrong(self, *groups: str) -> Rows:
        groups = groups or ("directories", "plugins")
        return [row for row in self.rows if row["verdict"] != "ok" and row["group"] in groups]


@pytest.fixture
def home(short_path: Path) -> Path:
    """A directory of plugins that every user may read."""
    short_path.chmod(0o755)
    directory = short_path / "p"
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
def plugin(home, fault_server, speaks):
    """Start a plugin with this name and behaviour in ``home``."""

    def plugin(name: str, behaviour=None) -> FaultServer:
        server = fault_server(behaviour or speaks("VolumeDriver"), path=str(home / f"{name}.sock"))
        os.chmod(home / f"{name}.sock", 0o660)
        return server

    return plugin


@pytest.fixture
def spec(home):
    """Write a spec file into ``home``: text unchanged, anything else as JSON."""

    def spec(name: str, content: object = "tcp://127.0.0.1:1") -> Path:
        path = home / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o644)
        return path

    return spec


@pytest.fixture
def diagnosed(run, home):
    """Run the command in this process."""

    def diagnosed(*arguments: object, directory: Path = home) -> Report:
        result = run("doctor", "--dir", directory, "-o", "json", *arguments)
        assert result.stderr == ""
        return Report(result.stdout, result.exit_code)

    return diagnosed


UNPRIVILEGED = f"""
    import os, sys
    from click.testing import CliRunner
    from extframe.cli.program import program

    arguments = ["doctor", *sys.argv[1:]]
    CliRunner().invoke(program, arguments)  # imports modules that an unprivileged user may be unable to read
    if os.geteuid() == 0:
        os.setgroups([]), os.setgid({NOBODY_UID}), os.setuid({NOBODY_UID})
    program.main(arguments, prog_name="extframe")
"""


@pytest.fixture
def diagnosed_unprivileged(home):
    """Run the command as an unprivileged user."""

    def diagnosed_unprivileged(*arguments: object) -> Report:
        arguments = arguments or ("--dir", home)
        with Program(UNPRIVILEGED, *arguments, "-o", "json", "--timeout", "30", measured=False) as program:
            code, said = program.end()
        return Report(said, code)

    return diagnosed_unprivileged


def run_command(row: dict[str, str]) -> None:
    subprocess.run(["bash", "-c", row["command"]], check=True, timeout=10, stdin=subprocess.DEVNULL)


# --- the report ------------------------------------------------------------------------------------------


def test_without_problems_every_line_is_ok_and_the_code_is_0(diagnosed, plugin, home):
    server = plugin("rclone")
    report = diagnosed()
    assert (report.code, report.wrong()) == (0, [])
    (row,) = [row for row in report.rows if row["group"] == "plugins"]
    assert row == {
        "group": "plugins",
        "verdict": "ok",
        "subject": "rclone",
        "what": "responds; implements VolumeDriver",
        "where": server.path,
        "remedy": None,
        "command": None,
    }
    assert [row["what"] for row in report.rows if row["subject"] == str(home)] == ["1 plugin"]


def test_the_code_is_0_with_warnings_and_1_with_problems(diagnosed, spec, home):
    spec("README")
    assert (diagnosed().code, diagnosed().wrong()[0]["verdict"]) == (0, "warning")
    FaultServer(hang, path=str(home / "dead.sock")).close()
    assert diagnosed().code == 1


def test_each_plugin_gets_one_handshake_and_no_handler_is_called(plugin, home, extframe, tmp_path):
    install(tmp_path, "extframe-a", module="moda", source=HANDLER, entry_points={"a": "moda"})
    server = plugin("rclone")
    done = extframe("doctor", "--dir", home, "-o", "json", env={"PYTHONPATH": str(tmp_path)})
    report = Report(done.stdout, done.returncode)
    assert (report.code, report.wrong(), done.stderr) == (0, [], "")
    assert not (tmp_path / "called").exists()
    assert [request.path for request in server.requests] == ["/Plugin.Activate"]


def test_without_contact_no_connection_is_opened(diagnosed, plugin):
    server = plugin("rclone")
    report = diagnosed("--no-contact")
    assert (report.code, server.connections) == (0, 0)
    assert "not contacted" in next(row["what"] for row in report.rows if row["subject"] == "rclone")


def test_the_text_has_groups_of_lines_with_remedies(run, plugin, home):
    plugin("rclone")
    (home / "weave.spec").symlink_to("nowhere")
    result = run("doctor", "--dir", home)
    found = result.stdout[result.stdout.index("directories") : result.stdout.index("\n\nhandlers")]
    assert found.splitlines() == [
        "directories",
        f"  ok  {home}: 2 plugins",
        "",
        "plugins",
        f"  ok       rclone ({home}/rclone.sock): responds; implements VolumeDriver",
        f"  problem  weave ({home}/weave.spec): is a dangling link to nowhere",
        "           remove it:",
        f"             rm {home}/weave.spec",
    ]
    assert result.stderr == "extframe: 1 problem, no warnings\n"
    assert result.exit_code == 1


def test_a_command_that_fixes_several_problems_is_printed_once(run, spec, home):
    spec("a.spec")
    spec("b.spec")
    home.chmod(0o777)
    found = run("doctor", "--dir", home, "--no-contact").stdout
    assert found.count(f"chmod o-w {home}") == 1
    assert found.count("fixed by the command above") == 2


def test_a_terminal_gets_colours(start, home, plugin):
    plugin("rclone")
    primary, terminal = pty.openpty()
    process = start("doctor", "--dir", home, stdout=terminal, env={"TERM": "xterm-256color"})
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(primary, 65536):
            shown += chunk
    except OSError:  # Linux has EIO where the other end is closed
        pass
    os.close(primary)
    assert process.wait(30) == 0
    assert b"\x1b[1mplugins\x1b[0m" in shown
    assert re.search(rb"\x1b\[32mok *\x1b\[0m *rclone", shown)


def test_escape_sequences_do_not_reach_the_terminal(run, plugin, home):
    plugin("rude", answer(b"\x1b]0;title\x07", status="500 Internal Server Error"))
    (home / "\x1b[31mred.spec").write_text("tcp://h:1")
    shown = run("doctor", "--dir", home).stdout
    assert not [character for character in shown if not character.isprintable() and character != "\n"]
    assert "\\x1b]0;title\\x07" in shown


def test_suggested_commands_use_the_same_directory(diagnosed, home, plugin):
    plugin("hung", read_and_hang)
    found = diagnosed("--timeout", "0.5").one("hung", "problem")["command"]
    assert found == f"extframe doctor --timeout 5 --dir {home}"


def test_a_check_that_raises_is_a_problem_and_does_not_stop_the_others(home):
    class Registry(LocalRegistry):
        def scan(self) -> list[str]:
            raise RuntimeError("out of order")

    found = run_checks(CheckContext(Registry(home, [home]), timeout=1))
    assert Verdict.OK in {diagnosis.verdict for diagnosis in found["handlers"]}
    assert "RuntimeError: out of order" in found["plugins"][0].what


def test_the_groups_are_in_the_order_of_the_checks(home):
    found = run_checks(CheckContext(LocalRegistry(home, [home]), timeout=1))
    assert list(found) == list(dict.fromkeys(title for title, _ in CHECKS))


def test_a_directory_can_vanish_during_the_checks(home, spec):
    spec("a.spec")

    class Registry(LocalRegistry):
        def scan(self) -> list[str]:
            names = super().scan()
            shutil.rmtree(home, ignore_errors=True)
            return names

    found = run_checks(CheckContext(Registry(home, [home]), timeout=1))
    assert not [each for group in found.values() for each in group if "the check failed" in each.what]


# --- problems, and the commands that fix them ---------------------------------------------------------


def place_open_directory(home: Path) -> None:
    home.chmod(0o777)


def place_open_file(home: Path) -> None:
    (home / "a.json").write_text('{"Addr": "tcp://127.0.0.1:1"}')
    (home / "a.json").chmod(0o666)


def place_dangling_link(home: Path) -> None:
    (home / "a.sock").symlink_to("nowhere")


def place_dead_socket(home: Path) -> None:
    FaultServer(hang, path=str(home / "a.sock")).close()
    (home / "a.sock").chmod(0o660)


def place_file_as_socket(home: Path) -> None:
    (home / "a.sock").write_text("")


def place_other_case(home: Path) -> None:
    (home / "a.Json").write_text('{"Addr": "tcp://127.0.0.1:1"}')


def place_socket_of_another_name(home: Path) -> None:
    FaultServer(hang, path=str(home / "a.socket")).close()


def place_name_of_two_lines(home: Path) -> None:
    (home / "two\nlines' \udcff.spec").write_text("tcp://h:1")


def place_file_in_anothers_directory(home: Path) -> None:
    (home / "a").mkdir()
    (home / "a" / "b.spec").write_text("tcp://h:1")


def place_two_of_one_name(home: Path) -> None:
    for name in ("a.spec", "a.json"):
        (home / name).write_text('{"Addr": "tcp://127.0.0.1:1"}' if name.endswith("json") else "tcp://127.0.0.1:1")


def place_pipe(home: Path) -> None:
    os.mkfifo(home / "a.spec")


FIXABLE = [
    (place_open_directory, "problem", "{home}", "is world-writable"),
    (place_open_file, "problem", "a", "is world-writable"),
    (place_dangling_link, "problem", "a", "is a dangling link"),
    (place_dead_socket, "problem", "a", "nothing listens there: connection refused"),
    (place_file_as_socket, "warning", "{home}/a.sock", "is not a socket"),
    (place_other_case, "warning", "{home}/a.Json", "must be .json in lower case"),
    (place_socket_of_another_name, "warning", "{home}/a.socket", "must end in .sock"),
    (place_file_in_anothers_directory, "warning", "{home}/a/b.spec", "only a.spec is, for the plugin"),
    (place_two_of_one_name, "warning", "a", "more than once: {home}/a.spec takes precedence"),
    (place_pipe, "problem", "a", "is a FIFO"),
]


@pytest.mark.parametrize(("place", "verdict", "subject", "words"), FIXABLE)
def test_a_problem_is_reported_with_the_command_that_fixes_it(diagnosed, home, place, verdict, subject, words):
    place(home)
    subject, words = subject.format(home=home), words.format(home=home)
    run_command(diagnosed().one(subject, verdict, words))
    assert [row for row in diagnosed().of(subject) if words in row["what"]] == []


@as_root
@pytest.mark.parametrize("name", ["", "a.spec"])
def test_a_source_of_another_user_is_a_problem_and_the_command_fixes_it(diagnosed, home, spec, name):
    spec("a.spec")
    os.chown(home / name, NOBODY_UID, 0)
    row = diagnosed("--no-contact").one("a" if name else home, "problem", f"belongs to user {NOBODY_UID}")
    assert row["command"] == f"chown root {home / name}"
    run_command(row)
    assert diagnosed("--no-contact").wrong() == []


@pytest.mark.parametrize(
    "path", ["/run/plain", "/run/a b", "/run/it's $HOME", "/run/two\nlines", "/run/\udcff'\\", "/run/größe"]
)
def test_a_quoted_path_is_the_path_to_a_shell(path):
    done = subprocess.run(["bash", "-c", f"printf %s {quote(path)}"], capture_output=True, check=True, timeout=10)
    assert done.stdout == os.fsencode(path)


# --- directories --------------------------------------------------------------------------------------


def test_a_missing_directory_is_ok_if_another_exists(home):
    found = run_checks(CheckContext(LocalRegistry(home / "none", [home]), timeout=1))["directories"]
    assert [(each.verdict, each.subject) for each in found] == [
        (Verdict.OK, f"{home}/none"),
        (Verdict.OK, str(home)),
    ]
    assert "the first plugin creates it" in found[0].what


def test_it_is_a_warning_if_no_directory_exists_and_the_command_creates_one(diagnosed, home):
    missing = home / "not" / "there"
    run_command(diagnosed(directory=missing).one(missing, "warning", "and neither does any other"))
    assert missing.is_dir()
    assert diagnosed(directory=missing).wrong() == []


def test_a_file_in_place_of_a_directory_is_a_problem(home):
    directory = home / "d"
    directory.write_text("")
    case = CheckContext(LocalRegistry(directory, [directory]), timeout=1)
    (row,) = run_checks(case)["directories"]
    assert (row.verdict, "is not a directory" in row.what) == (Verdict.PROBLEM, True)
    run_command({"command": row.command})
    assert (home / "d.old").is_file()


@pytest.mark.parametrize(("target", "words"), [("nowhere", "which does not exist"), ("d", "which does not exist")])
def test_a_directory_that_is_a_dangling_link_is_a_problem(home, target, words):
    directory = home / "d"
    directory.symlink_to(target)
    (row, *_) = run_checks(CheckContext(LocalRegistry(directory, [directory]), timeout=1))["directories"]
    assert row.verdict is Verdict.PROBLEM
    assert f"is a link to {home}/{target}" in row.what
    if target == "nowhere":
        assert words in row.what
        run_command({"command": row.command})
        assert directory.is_dir()


@pytest.mark.parametrize(("room", "verdict"), [(-1, "problem"), (8, "warning"), (40, "ok")])
def test_a_directory_whose_path_is_too_long_for_sockets_is_reported(diagnosed, home, room, verdict):
    directory = home / ("d" * (107 - len("/.sock") - room - len(f"{home}/")))
    directory.mkdir()
    rows = [row for row in diagnosed(directory=directory).rows if row["subject"] == str(directory)]
    assert rows[-1]["verdict"] == verdict
    assert ("at most 107 bytes" in rows[-1]["what"]) == (verdict != "ok")


@as_root
def test_a_directory_that_cannot_be_read_is_reported(diagnosed_unprivileged, home):
    home.chmod(0o700)
    row = diagnosed_unprivileged().one(home, "problem", "can neither list it", "nor enter it")
    assert row["command"].endswith(f"chmod o+rx {home}")


@as_root
def test_a_parent_directory_that_cannot_be_entered_is_named(diagnosed_unprivileged, home):
    home.parent.chmod(0o700)
    row = diagnosed_unprivileged().one(home, "problem", f"cannot enter {home.parent}")
    assert f"extframe doctor --dir {home}" in row["command"]
    assert row["command"].startswith("sudo ")


@as_root
def test_a_subdirectory_that_cannot_be_read_is_reported(diagnosed_unprivileged, home):
    (home / "own").mkdir(mode=0o700)
    diagnosed_unprivileged().one(home / "own", "warning", f"cannot enter {home}/own")


@as_root
def test_a_link_into_a_directory_that_cannot_be_entered_is_reported(diagnosed_unprivileged, home):
    (home.parent / "closed").mkdir(mode=0o700)
    (home / "a.spec").symlink_to(home.parent / "closed" / "a.spec")
    diagnosed_unprivileged().one(home / "a.spec", "warning", f"cannot enter {home.parent}/closed")


@as_root
def test_a_command_that_this_user_cannot_run_has_sudo(diagnosed_unprivileged, home):
    place_dead_socket(home)
    assert diagnosed_unprivileged("--dir", home, "--no-contact").wrong() == []
    (home / "b.spec").symlink_to("nowhere")
    assert diagnosed_unprivileged().one("b", "problem")["command"] == f"sudo rm {home}/b.spec"
    home.chmod(0o757)
    assert diagnosed_unprivileged().one(home, "problem")["command"] == f"sudo chmod o-w {home}"
    os.chown(home, 1, 0)
    expected = f"chown root {home} && chmod o-w {home}"
    assert diagnosed_unprivileged().one(home, "problem")["command"] == f"sudo sh -c '{expected}'"


def test_an_unprivileged_user_without_directories_gets_a_report(diagnosed_unprivileged, home):
    report = diagnosed_unprivileged("--app", "no-such-host")
    assert report.wrong("directories")
    assert not [row for row in report.rows if "the check failed" in row["what"]]


def test_other_files_are_reported_on_one_line_without_hidden_ones(diagnosed, spec, home):
    for name in ("README", "a.spec~", "b.json.bak", ".gitkeep", "c1", "c2", "c3"):
        spec(name)
    (home / "certificates").mkdir()
    row = diagnosed().one(home, "warning", "has files that are not plugins")
    assert row["what"].endswith(": README, a.spec~, b.json.bak, c1, c2 and 1 more")


def test_a_spec_file_among_the_sockets_is_reported_with_its_directory(home):
    sockets, specs = home / "run", home / "etc"
    sockets.mkdir()
    specs.mkdir()
    (sockets / "a.spec").write_text("tcp://127.0.0.1:1")
    (specs / "b.sock").write_text("")
    case = CheckContext(LocalRegistry(sockets, [specs]), timeout=1)
    found = {each.subject: each for each in run_checks(case)["directories"] if each.verdict is Verdict.WARNING}
    assert f"files belong in {sockets}" in found[f"{specs}/b.sock"].what
    run_command({"command": found[f"{sockets}/a.spec"].command})
    assert LocalRegistry(sockets, [specs]).scan() == ["a"]


# --- sources ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.spec", "localhost:80", "it has no scheme"),
        ("a.spec", "tcp://h:1\ntcp://h:2", "line 2"),
        ("a.json", '{"Addr": 1}', "`$.Addr`"),
        ("a.json", "{}", "key 'Addr' is missing"),
    ],
)
def test_a_spec_file_that_cannot_be_read_is_a_problem_with_its_line_or_key(diagnosed, spec, name, content, words):
    path = spec(name, content)
    row = diagnosed().one("a", "problem", words)
    assert (row["where"], row["command"]) == (str(path), f"${{EDITOR:-vi}} {path}")


def test_a_directory_under_a_spec_files_name_is_a_problem(diagnosed, home):
    (home / "a.spec").mkdir()
    diagnosed().one("a", "problem", "is a directory; expected a file")


def test_a_spec_file_that_this_user_may_not_read_is_a_problem(diagnosed_unprivileged, spec):
    path = spec("a.spec")
    path.chmod(0)
    row = diagnosed_unprivileged().one("a", "problem", "permission denied")
    assert row["command"].endswith(f"chmod a+r {path}")


def test_a_socket_whose_path_is_too_long_is_a_problem(diagnosed, home):
    deep = home / ("d" * (100 - len(str(home))))
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/longer.sock")
    os.close(here)
    (deep / "longer.sock").chmod(0o660)
    row = diagnosed(directory=deep).one("longer", "problem", "at most 107 bytes")
    assert "shorter path" in row["remedy"]


def test_two_names_of_one_file_hide_nothing(diagnosed, spec, home):
    spec("a.spec")
    (home / "a").mkdir()
    (home / "a" / "a.spec").symlink_to("../a.spec")
    assert not [row for row in diagnosed("--no-contact").wrong() if row["subject"] == "a"]


# --- contact ------------------------------------------------------------------------------------------


def test_a_plugin_that_hangs_is_a_problem_and_costs_the_others_nothing(diagnosed, plugin):
    plugin("good")
    plugin("hung", hang)
    report = diagnosed("--timeout", "3")
    row = report.one("hung", "problem", "does not respond within 3 s")
    if sys.platform == "linux":
        assert f"process {os.getpid()} (" in row["what"]
    assert report.of("good") == []


def test_all_plugins_are_activated_if_there_are_more_than_run_at_a_time(diagnosed, plugin, monkeypatch):
    monkeypatch.setattr(handshakes, "CONCURRENCY", 2)
    for number in range(5):
        plugin(f"p{number}")
    found = [row["what"] for row in diagnosed().rows if row["group"] == "plugins"]
    assert found == ["responds; implements VolumeDriver"] * 5


def test_a_spec_file_with_the_address_of_no_listener_is_a_problem(diagnosed, spec, home):
    spec("a.spec")
    spec("b.spec", f"unix://{home}/none.sock")
    report = diagnosed()
    assert report.one("a", "problem", "nothing listens at tcp://127.0.0.1:1")["command"] == f"rm {home}/a.spec"
    report.one("b", "problem", "no such socket")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answer(b"<html>nginx</html>"), "its response is not a plugin's: not JSON"),
        (answer(b'{"Implements": 1}'), "its response is not a plugin's"),
        (close_after_read, "accepts the handshake but does not respond"),
    ],
)
def test_a_plugin_with_an_invalid_response_is_a_problem_with_check_as_the_remedy(
    diagnosed, plugin, home, behaviour, words
):
    plugin("odd", behaviour)
    assert diagnosed().one("odd", "problem", words)["command"] == f"extframe check --dir {home} odd"


def test_a_plugin_that_returns_an_error_is_a_problem_with_its_message(diagnosed, plugin):
    plugin("sick", answer(b'{"Err": "no disk"}', status="500 Internal Server Error"))
    diagnosed().one("sick", "problem", "the handshake returned an error: no disk")


def test_an_unknown_host_name_is_a_problem(diagnosed, spec):
    spec("far.spec", "tcp://no-such-host.invalid:1")
    diagnosed("--timeout", "60").one("far", "problem", "no-such-host.invalid")


def test_a_manifest_that_is_empty_is_a_problem(diagnosed, plugin, speaks):
    plugin("idle", speaks())
    diagnosed().one("idle", "problem", "implements no extension point")


def test_an_entry_without_a_usable_hook_is_a_warning(diagnosed, plugin, speaks):
    plugin("odd", speaks("VolumeDriver", "plugin_lost", "Über Driver"))
    report = diagnosed()
    report.one("odd", "warning", "'plugin_lost' in the manifest has no usable hook")
    report.one("odd", "warning", "'Über Driver' in the manifest has no usable hook")
    assert (len(report.of("odd")), report.code) == (2, 0)


def test_an_extension_point_without_a_handler_is_a_warning_with_its_hook(diagnosed, plugin, speaks):
    plugin("typo", speaks("VolumDriver", "Teapot"))
    report = diagnosed()
    report.one("typo", "warning", "hook 'volum_driver'", "may have meant 'volume_driver'")
    row = report.one("typo", "warning", "implements Teapot, but no installed handler", "hook 'teapot'")
    assert (row["command"], "meant" in row["what"]) == ("extframe handlers", False)


def test_an_extension_point_whose_handler_is_blocked_says_so(diagnosed, plugin, monkeypatch):
    monkeypatch.setenv("EXTFRAME_DISABLE", "extframe.volume_driver")
    plugin("rclone")
    diagnosed().one(
        "rclone", "warning", "'extframe.volume_driver' is blocked by 'extframe.volume_driver' in EXTFRAME_DISABLE"
    )


@as_root
@pytest.mark.parametrize("group", [0, 4])
def test_a_user_who_cannot_connect_gets_the_group_that_can(diagnosed_unprivileged, plugin, home, group):
    path = plugin("rclone").path
    os.chown(path, 0, group)
    row = diagnosed_unprivileged().one("rclone", "problem", "this user cannot connect there")
    expected = r"sudo usermod -aG \S+ \"\$\(id -un\)\"" if group else f"sudo extframe doctor --dir {home}"
    assert re.fullmatch(expected, row["command"])


@as_root
def test_a_socket_in_a_directory_that_cannot_be_entered_is_reported(diagnosed_unprivileged, spec, home):
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    spec("a.spec", f"unix://{closed}/a.sock")
    row = diagnosed_unprivileged().one("a", "problem", "cannot connect")
    assert f"cannot enter {closed}" in row["remedy"]


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path):
    from certificates import Authority

    return Authority(tmp_path)


@pytest.fixture
def tls(spec):
    """Write the spec file of an https plugin where nobody listens, with this TLSConfig."""
    return lambda **config: spec("far.json", {"Addr": "https://127.0.0.1:1", "TLSConfig": config})


def test_https_in_a_spec_file_is_a_warning_and_the_command_writes_one_that_can_name_an_authority(diagnosed, spec, home):
    spec("far.spec", "https://127.0.0.1:1")
    run_command(diagnosed("--no-contact").one("far", "warning", "a .spec file cannot name another authority"))
    written = LocalRegistry(home, [home]).find("far")
    assert (written.source, written.tls.ca_file) == (f"{home}/far.json", "/path/to/ca.pem")


def test_a_certificate_that_is_not_trusted_is_a_problem_with_the_remedy(
    diagnosed, spec, fault_server, authority, speaks
):
    server = fault_server(speaks("VolumeDriver"), kind="tcp", tls=authority.issue("far", "127.0.0.1").server_context())
    spec("far.spec", f"https://127.0.0.1:{server.port}")
    report = diagnosed()
    report.one("far", "problem", "certificate is refused", "CAFile")
    report.one("far", "warning", "needs a certificate that this system trusts")


def test_https_in_a_spec_file_is_ok_if_the_system_trusts_the_certificate(
    diagnosed, spec, fault_server, authority, speaks, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", authority.ca_file)  # what OpenSSL takes for the system's
    context = authority.issue("far", "127.0.0.1").server_context()
    server = fault_server(speaks("VolumeDriver"), kind="tcp", tls=context)
    spec("far.spec", f"https://127.0.0.1:{server.port}")
    assert (diagnosed().of("far"), diagnosed().code) == ([], 0)


def test_a_plugin_that_is_not_verified_is_a_warning(diagnosed, tls):
    tls(InsecureSkipVerify=True)
    diagnosed("--no-contact").one(
        "far", "warning", "with InsecureSkipVerify, anyone on the network path can impersonate it"
    )


def test_a_certificate_file_that_is_missing_is_one_problem(diagnosed, tls, home):
    path = tls(CAFile=f"{home}/none.pem")
    row = diagnosed().one("far", "problem")
    assert f"CAFile {home}/none.pem: No such file" in row["what"]
    assert row["command"] == f"${{EDITOR:-vi}} {path}"


def test_a_certificate_file_without_certificates_is_a_problem(diagnosed, tls, spec):
    tls(CAFile=str(spec("README", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")))
    diagnosed().one("far", "problem", "no certificates in PEM form")


@pytest.mark.parametrize(("mode", "command"), [(0o600, "chmod a+r {path}"), (0o000, "chmod a+r {path}")])
def test_a_certificate_that_this_user_may_not_read_is_a_problem(diagnosed_unprivileged, tls, home, mode, command):
    path = home.parent / "ca.pem"
    path.write_text("")
    path.chmod(mode if ROOT else 0)
    tls(CAFile=str(path))
    row = diagnosed_unprivileged().one("far", "problem", "Permission denied")
    assert row["command"].endswith(command.format(path=path))


def test_a_key_that_this_user_may_not_read_is_given_to_them(diagnosed_unprivileged, tls, home, authority):
    own = authority.issue("own")
    for source, name, mode in ((own.cert_file, "own.pem", 0o644), (own.key_file, "own.key", 0o000)):
        shutil.copy(source, home.parent / name)
        (home.parent / name).chmod(mode)
    tls(CertFile=f"{home.parent}/own.pem", KeyFile=f"{home.parent}/own.key")
    assert 'chown "$(id -un)"' in diagnosed_unprivileged().one("far", "problem", "KeyFile")["command"]


def test_a_certificate_that_has_expired_is_a_problem_and_one_that_is_about_to_a_warning(
    diagnosed, tls, authority, monkeypatch
):
    old = authority.issue("old", expired=True)
    tls(CertFile=old.cert_file, KeyFile=old.key_file, CAFile=authority.ca_file)
    os.chmod(old.key_file, 0o600)
    ends = f"{old.certificate.not_valid_after_utc:%Y-%m-%d}"
    assert diagnosed("--no-contact").one("far", "problem", f"CertFile expired on {ends}")["where"] == old.cert_file
    assert len(diagnosed("--no-contact").of("far")) == 1
    from extframe.cli.checks import certificates

    monkeypatch.setattr(certificates, "SOON", certificates.SOON * 10)  # the authority's is valid for 28 days
    diagnosed("--no-contact").one("far", "warning", "the certificate in CAFile expires on")


@pytest.mark.parametrize("year", [2049, 2051])  # UTCTime, GeneralizedTime
def test_the_end_of_a_certificate_is_read_in_both_forms_of_time(tmp_path, authority, year):
    from datetime import datetime, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from extframe.cli.checks.certificate_expiry import expiry_dates

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    end = datetime(year, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1 << 150).not_valid_before(datetime(2020, 1, 1)).not_valid_after(end)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "two.pem").write_bytes(b"# a comment\n" + pem + Path(authority.ca_file).read_bytes())
    assert expiry_dates(str(tmp_path / "two.pem"))[0] == end
    assert len(expiry_dates(str(tmp_path / "two.pem"))) == 2


def test_a_key_that_every_user_may_read_is_a_warning_and_the_command_fixes_it(diagnosed, tls, authority):
    own = authority.issue("own")
    os.chmod(own.key_file, 0o644)
    tls(CertFile=own.cert_file, KeyFile=own.key_file)
    run_command(diagnosed("--no-contact").one("far", "warning", "its private key is readable for all users"))
    assert diagnosed("--no-contact").of("far") == []


def test_a_tls_configuration_without_https_is_a_warning(diagnosed, spec):
    spec("near.json", {"Addr": "tcp://127.0.0.1:1", "TLSConfig": {"CAFile": "/none"}})
    diagnosed("--no-contact").one("near", "warning", "unused TLSConfig")


# --- handlers -----------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    """Install a package into ``tmp_path`` whose handler has the name of its module."""

    def package(distribution: str, source: str, name: str = "") -> None:
        module = distribution.replace("-", "_")
        install(tmp_path, distribution, module=module, source=source, entry_points={name or module: module})

    return package


@pytest.fixture
def diagnosed_with(extframe, tmp_path, home):
    """Run the command in a process that has the packages in ``tmp_path``."""

    def diagnosed_with(*arguments: object, **environment: str) -> Report:
        env = {"PYTHONPATH": str(tmp_path), **environment}
        done = extframe("doctor", "--dir", home, "-o", "json", *arguments, env=env)
        assert done.stderr == ""
        return Report(done.stdout, done.returncode)

    return diagnosed_with


def test_loaded_packages_are_listed_with_their_number_of_handlers(diagnosed_with, package):
    package("backup", HANDLER)
    found = {row["subject"]: row["what"] for row in diagnosed_with().rows if row["group"] == "handlers"}
    assert found["backup 1.0"] == "1 handler loaded"
    assert any(subject.startswith("extframe ") and what == "7 handlers loaded" for subject, what in found.items())


def test_an_entry_point_that_needs_another_package_is_a_problem(diagnosed_with, package):
    package("backup", "import no_such_module")
    report = diagnosed_with()
    row = report.one("backup of backup 1.0", "problem", "ModuleNotFoundError: No module named 'no_such_module'")
    assert row["command"] == f"{sys.executable} -m pip install --force-reinstall backup"
    assert report.code == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('no libfoo')", "RuntimeError: no libfoo"),
        ("raise SystemExit", "SystemExit"),
        ("x = 1", "it is not a handler"),
        (HANDLER.replace("client", "klient"), "PluginValidationError"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_a_problem_and_can_be_left_out(diagnosed_with, package, source, words):
    package("backup", source)
    command = diagnosed_with(EXTFRAME_BLOCK="extframe.authz").one("backup of backup 1.0", "problem", words)["command"]
    assert command == "export EXTFRAME_BLOCK=extframe.authz,backup"
    assert diagnosed_with(EXTFRAME_BLOCK=command.partition("=")[2]).wrong("handlers") == []


def test_of_two_packages_with_one_name_the_one_that_is_never_called_is_a_problem(diagnosed_with, package):
    package("extframe-a", HANDLER, name="backup")
    package("extframe-b", HANDLER, name="backup")
    row = diagnosed_with().one("backup of extframe-b 1.0", "problem", "extframe-a 1.0 has a handler named 'backup'")
    assert row["command"].endswith("-m pip uninstall extframe-b")


def test_entry_points_that_cannot_be_read_are_a_problem(diagnosed_with, package, tmp_path):
    package("backup", HANDLER)
    (tmp_path / "backup-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff")
    row = diagnosed_with().one("* of backup 1.0", "problem", "cannot be loaded")
    assert row["command"].endswith("install --force-reinstall backup")


def test_a_hook_that_nothing_specifies_is_a_warning_with_the_nearest_one(diagnosed_with, package, tmp_path):
    package("backup", HANDLER.replace("volume_driver", "volum_drivr"))
    report = diagnosed_with()
    row = report.one("backup of backup", "warning", "hook 'volum_drivr'", "did you mean 'volume_driver'?")
    assert row["where"] == f"{tmp_path}/backup.py:4"
    assert report.code == 0


@pytest.mark.parametrize("mark", ["@extframe.hookimpl(optionalhook=True)", "@extframe.hookimpl"])
def test_a_hook_without_a_specification_is_ok_if_it_says_so_or_a_plugin_reaches_it(
    diagnosed_with, package, plugin, speaks, mark
):
    package("tea", HANDLER.replace("volume_driver", "teapot").replace("@extframe.hookimpl", mark))
    if "optionalhook" not in mark:
        plugin("kettle", speaks("Teapot"))
    assert diagnosed_with().wrong("handlers", "plugins") == []


def test_a_blocked_name_is_listed_and_an_unknown_one_is_a_warning(diagnosed_with, package):
    package("backup", "raise AssertionError('must not be imported')")
    report = diagnosed_with(EXTFRAME_DISABLE="bakup, backup,zzz")
    row = report.one("bakup", "warning", "matches no handler and no plugin", "did you mean 'backup'?")
    assert row["command"] == "export EXTFRAME_DISABLE=backup,zzz"
    assert report.one("zzz", "warning")["command"] == "export EXTFRAME_DISABLE=bakup,backup"
    assert (report.of("backup"), report.code) == ([], 0)
    assert diagnosed_with(EXTFRAME_DISABLE="zzz").one("zzz", "warning")["command"] == "unset EXTFRAME_DISABLE"


def test_what_a_package_prints_is_not_in_the_output_and_verbose_shows_its_traceback(extframe, package, tmp_path, home):
    package("noisy", "print('hello')\nraise RuntimeError('broken')")
    environment = {"PYTHONPATH": str(tmp_path)}
    quiet = extframe("doctor", "--dir", home, env=environment)
    verbose = extframe("doctor", "--dir", home, "-v", env=environment)
    assert "hello" not in quiet.stdout
    assert "Traceback" not in quiet.stderr
    assert "RuntimeError: broken" in quiet.stdout
    assert "Traceback" in verbose.stderr


# --- the environment ----------------------------------------------------------------------------------


def test_the_environment_names_extframe_its_place_and_what_it_needs(diagnosed):
    found = {row["subject"].split()[0]: row for row in diagnosed().rows if row["group"] == "environment"}
    assert Path(found["extframe"]["where"]).samefile(Path(importlib.util.find_spec("extframe").origin).parent)
    assert re.search(r"pluggy \d+\.\d+.*, msgspec \d", found["dependencies"]["what"])
    assert f"({os.geteuid()})" in found["user"]["subject"]


def write_metadata(directory: Path, name: str, version: str, *lines: str) -> None:
    metadata = directory / f"{name}-{version}.dist-info"
    metadata.mkdir()
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    (metadata / "METADATA").write_text(f"{text}\n")


def test_a_dependency_that_is_too_old_or_missing_is_a_problem(diagnosed_with, tmp_path):
    wanted = ["pluggy>=1.6", "no-such-package (>=2)", "msgspec>=0.0.0", "rich ; extra == 'cli'"]
    write_metadata(tmp_path, "extframe", "9.0", *(f"Requires-Dist: {each}" for each in wanted))
    write_metadata(tmp_path, "pluggy", "1.5.0")
    report = diagnosed_with()
    row = report.one("pluggy 1.5.0", "problem", "too old; extframe needs pluggy>=1.6")
    assert row["command"] == f"{sys.executable} -m pip install --upgrade 'pluggy>=1.6'"
    report.one("no-such-package", "problem", "is not installed")
    assert report.of("msgspec") == []
    assert [row["what"].split()[0] for row in report.rows if row["subject"] == "dependencies"] == ["msgspec"]
    assert report.code == 1


@pytest.mark.parametrize(
    ("version", "least", "fits"),
    [
        ("1.6", "1.6.0", True),
        ("1.10", "1.9", True),
        ("1.5.9", "1.6", False),
        ("2.0rc1", "1.6", True),
        ("10", "9", True),
    ],
)
def test_versions_are_compared_by_their_numbers(diagnosed_with, tmp_path, version, least, fits):
    write_metadata(tmp_path, "extframe", "9.0", f"Requires-Dist: somepackage>={least}")
    write_metadata(tmp_path, "somepackage", version)
    assert bool(diagnosed_with().of(f"somepackage {version}")) != fits


def test_a_package_that_is_imported_from_elsewhere_than_it_is_installed_is_a_warning(diagnosed_with, tmp_path):
    write_metadata(tmp_path, "extframe", "9.0")
    (tmp_path / "extframe").mkdir()
    diagnosed_with().one("extframe", "warning", f"installed in {tmp_path}/extframe")


def test_a_package_that_is_not_installed_is_a_problem(tmp_path, home):
    site = Path(importlib.util.find_spec("click").origin).parent.parent
    for entry in site.iterdir():
        if "extframe" not in entry.name:
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "extframe").symlink_to(Path(importlib.util.find_spec("extframe").origin).parent)
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; from extframe.cli import main; main()"
    command = [sys.executable, "-S", "-c", code, "doctor", "--dir", str(home), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd="/")
    row = Report(done.stdout, done.returncode).one("extframe", "problem", "imported but not installed")
    assert "-m pip install" in row["command"]


def test_a_limit_on_descriptors_that_is_low_for_the_plugins_is_a_warning(extframe, home):
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = extframe("doctor", "--dir", home, "-o", "json", preexec_fn=lower)
    row = Report(done.stdout, done.returncode).one("file descriptors", "warning", "the limit is 100")
    assert row["command"] == "ulimit -n 128"
    assert done.returncode == 0


# --- commands -----------------------------------------------------------------------------------------


def test_the_socket_of_a_managed_plugin_is_left_to_docker(diagnosed, home):
    engine_id = "0123456789abcdef" * 4
    (home / engine_id).mkdir()
    FaultServer(hang, path=str(home / engine_id / "loki.sock")).close()
    report = diagnosed()
    (row,) = [row for row in report.rows if row["subject"] == str(home / engine_id)]
    assert (row["verdict"], row["command"]) == ("ok", None)
    assert "managed (v2) plugin" in row["what"]
    assert report.wrong() == []


@as_root
def test_the_directory_of_a_managed_plugin_may_be_closed(diagnosed_unprivileged, home):
    (home / ("f" * 64)).mkdir(mode=0o700)
    assert diagnosed_unprivileged().wrong() == []


def test_a_name_that_cannot_be_quoted_gets_a_remedy_without_a_command(diagnosed, home):
    path = home / "two\nlines' \udcff.spec"
    path.write_text("tcp://h:1")
    row = diagnosed().one(path, "warning", "control character")
    assert row["command"] is None
    assert "no command is shown" in row["remedy"]


def test_a_remedy_ends_in_a_colon_only_before_a_command(run, home, plugin, speaks):
    (home / "two\nlines").symlink_to("nowhere")
    for name in ("a.SOCK", "sub\x07.Spec", "c.sock"):
        (home / name).write_text("")
    (home / "d.spec").mkdir()
    plugin("idle", speaks())
    text = run("doctor", "--dir", home).stdout
    lines = text.splitlines()
    ends = [number for number, line in enumerate(lines) if line.endswith(":")]
    assert len(ends) >= 3
    assert all(re.match(r" {9,}\S", lines[number + 1]) for number in ends)


def test_a_directory_above_that_others_can_write_is_a_problem_and_the_command_fixes_it(diagnosed, home):
    home.parent.chmod(0o777)
    run_command(diagnosed("--no-contact").one(home, "problem", f"{home.parent} is world-writable"))
    assert diagnosed("--no-contact").wrong() == []


def test_what_allow_unsafe_accepts_is_a_warning(diagnosed, home, plugin):
    plugin("rclone")
    home.chmod(0o777)
    assert diagnosed().code == 1
    report = diagnosed("--allow-unsafe")
    report.one(home, "warning", "is world-writable", "another user can impersonate its plugins")
    assert report.code == 0


def test_suggested_commands_allow_unsafe_as_this_one_did(diagnosed, home, plugin, speaks):
    plugin("idle", speaks())
    command = diagnosed("--allow-unsafe").one("idle", "problem")["command"]
    assert command == f"extframe call --dir {home} --allow-unsafe idle Plugin.Activate"


def test_a_plugin_whose_name_starts_with_a_dash_is_an_argument_of_the_command(diagnosed, home, plugin, speaks):
    plugin("-rf", speaks())
    command = diagnosed().one("-rf", "problem")["command"]
    assert command == f"extframe call --dir {home} -- -rf Plugin.Activate"


@pytest.mark.parametrize("name", ["-r evil", "$(touch pwned)", "a; b", "a\nb"])
def test_no_pip_command_has_a_package_name_that_is_not_one(diagnosed_with, package, tmp_path, name):
    package("backup", "import no_such_module")
    (metadata,) = tmp_path.glob("backup-*.dist-info")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    rows = [row for row in diagnosed_with().rows if row["group"] == "handlers" and row["verdict"] == "problem"]
    assert rows
    assert all(row["command"] is None or ("touch" not in row["command"] and "-r" not in row["command"]) for row in rows)


@pytest.mark.parametrize(("command", "remedy"), [("", "restart it"), ("true", "restart it; to see its response")])
def test_a_remedy_introduces_a_command_only_if_there_is_one(command, remedy):
    found = problem("photos", "does not respond", remedy="restart it; to see its response", command=command)
    assert (found.remedy, found.command) == (remedy, command)
