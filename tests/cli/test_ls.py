"""``extframe ls``, on real sockets and files."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from faultserver import answer, close_after_read, eventually, hang, read_and_hang
from program import Program

from extframe.cli import discovery, output
from extframe.host.plugin import State
from extframe.registry.local import LocalRegistry


def listing(result) -> dict[str, dict]:
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_a_plugin_is_listed_with_source_address_state_and_what_it_implements(run, add, speaks, short_path):
    server = add("rclone", speaks("VolumeDriver", "authz"))
    short, wide = run("ls", "--dir", short_path), run("ls", "--dir", short_path, "-o", "wide")
    assert [line.split() for line in short.stdout.splitlines()] == [
        ["NAME", "STATE", "IMPLEMENTS"],
        ["rclone", "active", "VolumeDriver,", "authz"],
    ]
    assert [line.split() for line in wide.stdout.splitlines()] == [
        ["NAME", "STATE", "IMPLEMENTS", "SOURCE", "ADDRESS"],
        ["rclone", "active", "VolumeDriver,", "authz", server.path, server.address],
    ]
    assert (short.exit_code, short.stderr, wide.exit_code, wide.stderr) == (0, "", 0, "")


def test_json_has_the_same_for_programs(run, add, speaks, short_path):
    server = add("rclone", speaks("VolumeDriver", "authz"))
    assert json.loads(run("ls", "--dir", short_path, "-o", "json").stdout) == [
        {
            "name": "rclone",
            "source": server.path,
            "address": server.address,
            "state": "active",
            "implements": ["VolumeDriver", "authz"],
            "next_try": None,
            "reason": None,
        }
    ]


def test_the_states_are_those_of_a_plugin():
    states = {
        discovery.PluginStatus("a").state,
        discovery.PluginStatus("a", implements=()).state,
        discovery.PluginStatus("a", error=OSError()).state,
    }
    assert states == {State.NEW.value, State.ACTIVE.value, State.FAILED.value}


def test_sockets_and_spec_files_are_found_in_one_directory(run, add, fault_server, speaks, short_path):
    add("one")
    remote = fault_server(speaks("NetworkDriver"), kind="tcp")
    (short_path / "two.spec").write_text(remote.address)
    (short_path / "three.json").write_text(json.dumps({"Addr": remote.address}))
    rows = listing(run("ls", "--dir", short_path, "-o", "json"))
    assert list(rows) == ["one", "three", "two"]
    assert rows["two"]["address"] == rows["three"]["address"] == remote.address
    assert rows["two"]["source"] == str(short_path / "two.spec")


def test_without_contact_no_connection_is_opened(run, add, short_path):
    server = add("rclone")
    rows = listing(run("ls", "--no-contact", "--dir", short_path, "-o", "json"))
    assert rows["rclone"] == {
        "name": "rclone",
        "source": server.path,
        "address": server.address,
        "state": "new",
        "implements": None,
        "next_try": None,
        "reason": None,
    }
    assert server.connections == 0


def test_without_contact_nothing_is_imported_that_only_calls_need(short_path):
    heavy = "requests urllib3 ssl socket importlib_metadata pluggy httptools rich asyncio extframe.client.client"
    code = (
        "import sys; before = {*sys.modules}; from extframe.cli import main\n"
        f"sys.argv = ['extframe', 'ls', '--no-contact', '--dir', {str(short_path)!r}]\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code\n"
        f"print(*{{*{heavy.split()}}} & {{*sys.modules}} - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=short_path, timeout=30)
    assert (done.stdout.strip(), done.returncode) == ("", 0)


def test_plugins_that_hang_cost_the_others_nothing(run, add, short_path):
    add("good")
    for name in ("hung-1", "hung-2", "hung-3", "hung-4"):
        add(name, read_and_hang)
    add("hung-5", hang)
    started = time.monotonic()
    rows = listing(run("ls", "--dir", short_path, "--timeout", "3", "-o", "json"))
    assert time.monotonic() - started < 15, "one after the other they would take 15"
    assert rows["good"]["state"] == "active"
    assert {rows[f"hung-{number}"]["state"] for number in range(1, 6)} == {"failed"}


def test_more_plugins_than_are_asked_at_once_are_all_asked(run, add, short_path, monkeypatch):
    monkeypatch.setattr(discovery, "CONCURRENCY", 2)
    for number in range(5):
        add(f"p{number}")
    rows = listing(run("ls", "--dir", short_path, "-o", "json"))
    assert [row["state"] for row in rows.values()] == ["active"] * 5


def test_a_host_name_that_does_not_resolve_in_time_is_given_up(run, short_path, monkeypatch):
    (short_path / "far.spec").write_text("tcp://far.example:1")
    tired = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: tired.wait(60) and [])
    started = time.monotonic()
    rows = listing(run("ls", "--dir", short_path, "--timeout", "0.2", "-o", "json"))
    assert time.monotonic() - started < 30
    assert rows["far"]["state"] == "failed"
    tired.set()


def test_a_socket_without_a_listener_is_failed_with_the_remedy(run, leave_dead_socket, short_path):
    leave_dead_socket("dead")
    rows = listing(run("ls", "--dir", short_path, "-o", "json"))
    assert rows["dead"]["state"] == "failed"
    assert rows["dead"]["implements"] is None
    assert "'dead'" in rows["dead"]["reason"]
    assert f"remove {short_path}/dead.sock" in rows["dead"]["reason"]


@pytest.mark.parametrize("behaviour", [answer(b"<html>nginx</html>"), close_after_read, answer(status="503 Busy")])
def test_a_plugin_with_an_invalid_response_is_failed(run, add, behaviour, short_path):
    add("odd", behaviour)
    result = run("ls", "--dir", short_path, "-o", "wide")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith("NEXT TRY  LAST ERROR")
    assert " failed " in result.stdout


def test_a_broken_spec_file_is_failed_with_and_without_contact(run, short_path):
    (short_path / "broken.spec").write_text("localhost:8080")
    for options in ([], ["--no-contact"]):
        rows = listing(run("ls", "--dir", short_path, "-o", "json", *options))
        assert rows["broken"]["state"] == "failed"
        assert rows["broken"]["address"] is None
        assert rows["broken"]["source"] == str(short_path / "broken.spec")
        assert str(short_path / "broken.spec") in rows["broken"]["reason"]


def test_the_table_has_the_path_of_a_broken_spec_file_once(run, short_path):
    (short_path / "broken.spec").write_text("localhost:8080")
    _, row = run("ls", "--dir", short_path, "-o", "wide").stdout.splitlines()
    assert row.startswith(f"broken  failed  -           {short_path}/broken.spec  -  ")
    assert row.count(str(short_path)) == 1


def test_a_source_that_others_may_write_is_failed_with_the_command_that_fixes_it(run, add, short_path):
    os.chmod(add("open").path, 0o777)
    result = run("ls", "--dir", short_path, "-o", "json")
    assert f"chmod o-w {short_path}/open.sock" in listing(result)["open"]["reason"]


def test_a_long_reason_is_shortened_in_the_table_and_whole_in_json(run, add, short_path):
    words = "no space left, " * 20 + "END"
    add("full", answer(words.encode(), status="500 Internal Server Error"))
    table, whole = run("ls", "--dir", short_path, "-o", "wide"), run("ls", "--dir", short_path, "-o", "json")
    reason = table.stdout.splitlines()[1].partition("  on use    ")[2].strip()
    assert reason.startswith("no space left") or "no space left" in reason
    assert reason.endswith("...")
    assert len(reason) <= output.REASON_WIDTH
    assert table.stderr == f"hint: see the full errors:\n  extframe ls -o yaml --dir {short_path}\n"
    assert words in listing(whole)["full"]["reason"]


def test_only_reasons_are_truncated(run, add, speaks, short_path):
    point = "Driver" * 60
    add("wide", speaks(point))
    assert point in run("ls", "--dir", short_path, env={"COLUMNS": "40"}).stdout


def test_escape_sequences_of_a_plugin_do_not_reach_the_terminal(run, add, speaks, short_path):
    points = ["\x1b[31mred", "two\nlines", "\x9b2J", "\u202egnp", "a\rb"]
    add("hostile", speaks(*points))
    table, whole = run("ls", "--dir", short_path), run("ls", "--dir", short_path, "-o", "json")
    assert not [character for character in table.stdout if not character.isprintable() and character != "\n"]
    assert len(table.stdout.splitlines()) == 2
    assert "\\x1b[31mred, two\\nlines, \\x9b2J, \\u202egnp, a\\rb" in table.stdout
    assert not [character for character in whole.stdout if not character.isprintable() and character != "\n"]
    assert listing(whole)["hostile"]["implements"] == points


def test_a_reason_in_the_words_of_a_plugin_is_escaped_too(run, add, short_path):
    add("hostile", answer(b"\x1b]0;title\x07 oops", status="500 Internal Server Error"))
    assert "\\x1b]0;title\\x07 oops" in run("ls", "--dir", short_path, "-o", "wide").stdout


def test_names_in_any_script_are_shown_as_they_are(run, add, short_path):
    add("größe-体")
    assert "größe-体  " in run("ls", "--dir", short_path).stdout
    assert '"größe-体"' in run("ls", "--dir", short_path, "-o", "json").stdout


def test_a_stream_that_is_not_unicode_gets_valid_json(extframe, add, short_path):
    add("größe-体")
    done = extframe("ls", "--no-contact", "--dir", short_path, "-o", "json", env={"PYTHONIOENCODING": "latin-1"})
    assert [row["name"] for row in json.loads(done.stdout)] == ["größe-体"]


def test_a_stream_that_is_not_unicode_gets_a_table_with_escapes(extframe, add, short_path):
    add("wei-体")
    done = extframe("ls", "--no-contact", "--dir", short_path, env={"PYTHONIOENCODING": "latin-1"})
    assert "wei-\\u4f53  " in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


def test_an_empty_directory_gives_no_data_and_one_line_that_names_it(run, short_path):
    result = run("ls", "--dir", short_path)
    assert (result.stdout, result.stderr, result.exit_code) == ("", f"extframe: no plugins in {short_path}\n", 0)
    assert json.loads(run("ls", "--dir", short_path, "-o", "json").stdout) == []


def test_a_missing_directory_is_said_to_be_missing(run, short_path):
    result = run("ls", "--dir", short_path / "gone")
    assert result.stderr == f"extframe: no plugins in {short_path}/gone (no such directory)\n"
    assert (result.stdout, result.exit_code) == ("", 0)


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_directory_that_cannot_be_read_is_one_line_and_1(run, output, short_path):
    (short_path / "loop").symlink_to("loop")
    result = run("ls", "--dir", short_path / "loop", "-o", output)
    assert (result.exit_code, result.stdout) == (1, "[]\n" if output == "json" else "")
    assert result.stderr == f"extframe: cannot list plugins: {short_path}/loop: too many levels of symbolic links\n"


def test_a_directory_that_this_user_cannot_read_is_1_and_the_plugins_elsewhere_are_listed(short_path):
    source = """
        import os, sys
        from extframe.cli.program import program
        import extframe.cli.ls, extframe.cli.hosted_plugins, extframe.registry.local, extframe.registry.search_errors
        import extframe.supervisor.directories
        if os.geteuid() == 0:
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        os.environ |= {"XDG_RUNTIME_DIR": sys.argv[1], "XDG_CONFIG_HOME": sys.argv[1] + "/config"}
        program.main(["ls", "--no-contact", "--app", "myhost", "--allow-unsafe"])
    """
    closed = short_path / "myhost" / "plugins"
    closed.mkdir(parents=True)
    closed.chmod(0o300)
    specs = short_path / "config" / "myhost" / "plugins"
    specs.mkdir(parents=True)
    (specs / "seen.spec").write_text("tcp://127.0.0.1:1")
    short_path.chmod(0o755)
    with Program(source, short_path, measured=False) as program:
        code, said = program.end()
    assert code == 1
    assert "seen  new    -\n" in said
    assert f"extframe: cannot list plugins: {closed}: permission denied" in said


def test_names_alone_are_listed_without_a_handshake(run, add, short_path):
    servers = [add("photos"), add("music")]
    result = run("ls", "-q", "--dir", short_path)
    assert (result.stdout, result.exit_code) == ("music\nphotos\n", 0)
    assert [server.connections for server in servers] == [0, 0]


def test_a_filter_selects_by_name_state_and_extension_point(run, add, speaks, leave_dead_socket, short_path):
    add("photos")
    add("policy", speaks("authz", "LogDriver"))
    leave_dead_socket("old")
    for filters, expected in (
        (["name=p*"], ["photos", "policy"]),
        (["name=photos", "name=old"], ["old", "photos"]),
        (["state=failed"], ["old"]),
        (["implements=authz"], ["policy"]),
        (["implements=*Driver", "name=po*"], ["policy"]),
        (["state=active", "name=old"], []),
    ):
        options = [word for each in filters for word in ("--filter", each)]
        result = run("ls", "-q", "--dir", short_path, *options)
        assert (result.stdout.split(), result.exit_code) == (expected, 0)
        assert [row["name"] for row in json.loads(run("ls", "--dir", short_path, "-o", "json", *options).stdout)] == (
            expected
        )
    assert result.stderr == "extframe: no plugin matches the filter\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--filter", "photos"], "expected name=PATTERN, state=STATE or implements=PATTERN"),
        (["--filter", "size=1"], "expected name=PATTERN, state=STATE or implements=PATTERN"),
        (["--filter", "state=dead"], "expected active, failed, new"),
        (["--no-contact", "--filter", "implements=authz"], "use it without --no-contact"),
    ],
)
def test_a_filter_that_cannot_work_is_a_usage_error(run, arguments, words, short_path):
    result = run("ls", "--dir", short_path, *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_yaml_has_the_same_as_json(run, add, speaks, leave_dead_socket, short_path):
    yaml = pytest.importorskip("yaml")
    add("photos", speaks("VolumeDriver", "no", "\x1b[31mred", "1.5", "a: b", "größe", "\U000e0001", "- x", ""))
    leave_dead_socket("old")
    (short_path / "broken.spec").write_text("")
    results = {output: run("ls", "--dir", short_path, "-o", output).stdout for output in ("json", "yaml")}
    assert yaml.safe_load(results["yaml"]) == json.loads(results["json"])
    assert "- name: photos\n  source: /" in results["yaml"]
    assert not [each for each in results["yaml"] if not each.isprintable() and each != "\n"]
    assert yaml.safe_load(run("ls", "--dir", short_path, "--filter", "name=x", "-o", "yaml").stdout) == []


def test_a_failed_plugin_has_a_hint_with_the_command_that_shows_why(run, leave_dead_socket, short_path):
    leave_dead_socket("dead")
    result = run("ls", "--dir", short_path)
    assert result.stderr == f"hint: see why a plugin failed:\n  extframe ls -o wide --dir {short_path}\n"


def test_the_timeout_in_a_reason_is_the_one_that_was_given(run, add, short_path):
    add("hung", read_and_hang)
    for command in (["ls", "-o", "wide"], ["inspect", "hung"], ["call", "hung", "VolumeDriver.List"]):
        arguments = [*command, "--dir", short_path, "--timeout", "0.21"]
        # A machine that stalls has no time left before the plugin is asked.
        assert eventually(lambda arguments=arguments: "the timeout was 0.21 s" in run(*arguments).output)


def test_a_plugin_that_goes_away_while_it_is_looked_at_is_not_listed(add, short_path):
    add("gone")
    add("here")
    registry = LocalRegistry(short_path)
    names = registry.scan()
    (short_path / "gone.sock").unlink()
    assert [each.name for each in discovery.find_all(registry, names)] == ["here"]


def test_without_a_directory_dockers_are_searched(run):
    rows = listing(run("ls", "--no-contact", "-o", "json"))
    assert list(rows) == LocalRegistry().scan()


def test_app_names_the_directories_of_a_host(run):
    registry = LocalRegistry.for_app("no-such-host")
    result = run("ls", "--app", "no-such-host")
    assert [place for place in (registry.sockets, *registry.specs) if place not in result.stderr] == []


@pytest.mark.parametrize("arguments", [["--dir", "/x", "--app", "y"], ["--app", "../x"], ["--timeout", "nan"]])
def test_invalid_options_are_usage_errors(run, arguments):
    result = run("ls", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("timeout", ["0", "-1", "soon"])
def test_an_invalid_timeout_says_what_is_expected(run, timeout):
    result = run("ls", "--timeout", timeout)
    assert result.exit_code == 2
    assert f"{timeout!r} is invalid: expected a number of seconds greater than 0" in result.stderr


def test_verbose_shows_the_log_on_stderr(run, add, short_path):
    add("rclone")
    quiet, verbose = run("ls", "--dir", short_path), run("ls", "--dir", short_path, "-v")
    assert quiet.stdout == verbose.stdout
    assert quiet.stderr == ""
    assert "info: extframe.host.plugin: plugin 'rclone'" in verbose.stderr


def test_the_log_ends_with_the_command(run, short_path):
    logger = logging.getLogger("extframe")
    before = logger.level, list(logger.handlers)
    run("ls", "--no-contact", "-v", "--dir", short_path)
    assert (logger.level, logger.handlers) == before
