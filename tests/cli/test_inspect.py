"""``extframe inspect``, on real sockets and files."""

from __future__ import annotations

import json
import shlex

from faultserver import answer, answer_with, read_and_hang, reply


def properties(result) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(" ") for line in result.stdout.splitlines())}


def test_a_plugin_is_shown_with_what_it_implements_and_the_hooks_that_take_it(run, add, speaks, short_path):
    server = add("rclone", speaks("VolumeDriver", "authz"))
    result = run("inspect", "rclone", "--dir", short_path)
    assert properties(result) == {
        "name": "rclone",
        "source": server.path,
        "address": server.address,
        "tls": "-",
        "state": "active",
        "implements": "VolumeDriver, authz",
        "hooks": "volume_driver, authz",
    }
    assert (result.exit_code, result.stderr) == (0, "")


def test_json_has_the_same_for_programs(run, add, speaks, short_path):
    server = add("rclone", speaks("VolumeDriver"))
    assert json.loads(run("inspect", "rclone", "--dir", short_path, "-o", "json").stdout) == {
        "name": "rclone",
        "source": server.path,
        "address": server.address,
        "state": "active",
        "implements": ["VolumeDriver"],
        "next_try": None,
        "reason": None,
        "versions": {},
        "settings": [],
        "tls": None,
        "paths": {},
        "endpoints": [],
        "hooks": {"VolumeDriver": "volume_driver"},
    }


def test_tls_settings_are_shown(run, short_path):
    spec = {"Addr": "https://127.0.0.1:1", "TLSConfig": {"InsecureSkipVerify": True}}
    (short_path / "far.json").write_text(json.dumps(spec))
    result = run("inspect", "far", "--dir", short_path)
    assert properties(result)["tls"] == "insecure_skip_verify=True"
    whole = json.loads(run("inspect", "far", "--dir", short_path, "-o", "json").stdout)
    assert whole["tls"]["insecure_skip_verify"] is True


def test_the_instances_of_a_plugin_are_shown(run, fault_server, speaks, short_path):
    addresses = [fault_server(speaks("VolumeDriver")).address, fault_server(speaks("LogDriver")).address]
    spec = {"Addrs": [addresses[0], {"Addr": addresses[1], "Draining": True, "Zone": "eu-1"}]}
    (short_path / "far.json").write_text(json.dumps(spec))
    found = properties(run("inspect", "far", "--dir", short_path))
    assert found["instances"] == f"{addresses[0]}, {addresses[1]} draining"
    assert found["implements"] == "VolumeDriver, LogDriver"
    whole = json.loads(run("inspect", "far", "--dir", short_path, "-o", "json").stdout)
    assert whole["endpoints"][1] == {
        "address": addresses[1],
        "tls": None,
        "zone": "eu-1",
        "weight": 1,
        "draining": True,
    }


def test_a_dead_plugin_is_shown_and_the_exit_code_says_that_it_could_not_be_reached(run, leave_dead_socket, short_path):
    leave_dead_socket("dead")
    result = run("inspect", "dead", "--dir", short_path)
    assert result.exit_code == 5
    assert properties(result)["state"] == "failed"
    (line,) = result.stderr.splitlines()
    assert line.startswith("extframe: plugin 'dead' at unix://")
    assert f"remove {short_path}/dead.sock" in line


def test_a_hung_plugin_is_5_and_the_hint_names_the_option(run, add, short_path):
    add("hung", read_and_hang)
    result = run("inspect", "hung", "--dir", short_path, "--timeout", "0.2")
    assert result.exit_code == 5
    assert result.stderr.splitlines()[1:] == [
        "hint: allow more time:",
        f"  extframe inspect --timeout 2 hung --dir {short_path}",
    ]


def test_a_plugin_that_answers_the_handshake_with_an_error_is_4_with_its_message(run, add, short_path):
    add("busy", answer(b'{"Err": "still mounting"}', status="503 Service Unavailable"))
    result = run("inspect", "busy", "--dir", short_path)
    assert result.exit_code == 4
    assert "still mounting" in result.stderr


def test_a_response_that_is_not_json_is_1(run, add, short_path):
    add("odd", answer(b"<html>"))
    assert run("inspect", "odd", "--dir", short_path).exit_code == 1


def test_a_missing_plugin_is_3_with_every_place_that_was_searched(run, short_path):
    result = run("inspect", "rclone", "--dir", short_path)
    assert (result.exit_code, result.stdout) == (3, "")
    message, *hint = result.stderr.splitlines()
    assert message.startswith(
        f"extframe: no plugin 'rclone': looked for rclone.sock, rclone.spec, rclone.json in {short_path}"
    )
    assert hint == ["hint: list the plugins:", f"  extframe ls --dir {short_path}"]


def test_a_name_that_is_nearly_right_is_suggested(run, add, short_path):
    add("rclone")
    assert run("inspect", "rclnoe", "--dir", short_path).stderr.splitlines()[0].endswith("did you mean 'rclone'?")


def test_a_broken_spec_file_is_1_and_says_what_was_expected(run, short_path):
    (short_path / "broken.spec").write_text("")
    result = run("inspect", "broken", "--dir", short_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"extframe: {short_path}/broken.spec: ")
    assert "expected unix:///path" in result.stderr


def test_a_name_that_could_leave_the_directory_is_a_usage_error(run, short_path):
    result = run("inspect", "../x", "--dir", short_path)
    assert result.exit_code == 2
    assert "it contains a slash" in result.stderr


def test_versions_of_extension_points_are_shown(run, add, short_path):
    manifest = b'{"Implements": ["Backup", "Other"], "Versions": {"Backup": [1, 2]}}'
    add("copies", answer_with(lambda request: reply(manifest)))
    assert properties(run("inspect", "copies", "--dir", short_path))["versions"] == "Backup 1 2"
    shown = json.loads(run("inspect", "copies", "--dir", short_path, "-o", "json").stdout)
    assert shown["versions"] == {"Backup": [1, 2]}


def test_an_address_takes_the_place_of_a_name(run, add, speaks):
    server = add("rclone", speaks("VolumeDriver"))
    shown = properties(run("inspect", server.address))
    assert (shown["name"], shown["source"], shown["state"]) == (server.address, "-", "active")
    assert run("inspect", "tcp://").exit_code == 2


def test_options_in_a_hint_are_quoted_and_those_of_the_environment_are_repeated(run, short_path):
    directory = short_path / "it's here"
    directory.mkdir()
    result = run("inspect", "none", "--allow-unsafe", env={"EXTFRAME_DIR": str(directory)})
    words = shlex.split(result.stderr.splitlines()[2])
    assert words == ["extframe", "ls", "--dir", str(directory), "--allow-unsafe"]
