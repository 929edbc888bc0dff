"""``extframe check``, on real sockets."""

from __future__ import annotations

import json
import signal

import pytest
from faultserver import answer_with, eventually, read_and_hang
from scripted_plugin import VOLUMES, answers, error, ok, scripted


def verdicts(result) -> dict[str, str]:
    return {line["check"]: line["verdict"] for line in json.loads(result.stdout)}


def test_a_conforming_plugin_passes_and_the_exit_code_is_0(run, add, short_path):
    add("photos", scripted())
    result = run("check", "photos", "--dir", short_path)
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["RESULT", "CHECK", "REASON"]
    assert lines[0].split() == ["pass", "handshake", "VolumeDriver"]
    assert result.exit_code == 0
    assert result.stderr == "extframe: 31 pass, 2 skip\n"


def test_an_address_can_replace_the_name(run, add, short_path):
    server = add("photos", scripted())
    assert run("check", server.address).exit_code == 0


def test_a_failure_is_exit_code_1_with_its_reason_and_its_rule(run, add, short_path):
    add("photos", scripted({"VolumeDriver.List": ok({"Volumes": [None]})}))
    result = run("check", "photos", "--dir", short_path, "-o", "json")
    assert result.exit_code == 1
    (fault,) = [line for line in json.loads(result.stdout) if line["verdict"] == "fail"]
    assert fault == {
        "check": "VolumeDriver.List",
        "verdict": "fail",
        "reason": "Volumes[0] is null",
        "rule": {
            "text": "Volumes has no null elements: they crash the engine and podman",
            "source": "moby volume/drivers/adapter.go",
        },
    }


def test_a_warning_is_not_a_failure_and_shows_its_rule(run, add, short_path):
    add("photos", scripted({"VolumeDriver.List": ok({"Err": "busy"})}))
    result = run("check", "photos", "--dir", short_path)
    assert result.exit_code == 0
    assert "1 warn" in result.stderr
    assert "podman reads it as success. Rule: Volumes has no null elements" in result.stdout


def test_a_missing_plugin_is_exit_code_3_and_a_dead_one_5(run, leave_dead_socket, short_path):
    assert run("check", "none", "--dir", short_path).exit_code == 3
    leave_dead_socket("dead")
    result = run("check", "dead", "--dir", short_path, "-o", "json")
    assert (result.exit_code, verdicts(result)) == (5, {"handshake": "fail"})


def test_a_plugin_that_hangs_is_exit_code_5_at_the_deadline(run, add, short_path):
    add("hung", read_and_hang)
    result = run("check", "hung", "--dir", short_path, "--timeout", "0.2", "-o", "json")
    assert (result.exit_code, verdicts(result)) == (5, {"handshake": "fail"})
    assert f"\n  extframe check --timeout 2 hung --dir {short_path} -o json\n" in result.stderr


@pytest.mark.parametrize("address", ["npipe:////./pipe/x", "tcp://:/"])
def test_an_invalid_address_is_exit_code_2_as_nothing_was_checked(run, address):
    result = run("check", address)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_implements_replaces_a_handshake_that_is_missing(run, add, short_path):
    add("managed", scripted({"Plugin.Activate": error("404 page not found", "404 Not Found")}))
    failed = run("check", "managed", "--dir", short_path)
    assert (failed.exit_code, "check it with --implements NAME" in failed.stdout) == (1, True)
    result = run("check", "managed", "--dir", short_path, "--implements", "VolumeDriver, authz", "-o", "json")
    assert verdicts(result).keys() >= {"VolumeDriver.List", "AuthZPlugin.AuthZReq"}
    assert verdicts(result)["handshake"] == "note"
    assert run("check", "managed", "--dir", short_path, "--implements", "VolumeDriver").exit_code == 0
    invalid = run("check", "managed", "--dir", short_path, "--implements", "Backup")
    assert (invalid.exit_code, "expected one of VolumeDriver" in invalid.stderr) == (2, True)


def test_the_plugins_own_words_are_whole_in_the_table_and_in_json(run, add, short_path):
    words = "no such volume " * 100 + "(the last word)"
    add("photos", scripted({"VolumeDriver.Remove": error(words)}))
    for output in ("table", "json"):
        assert words in run("check", "photos", "--dir", short_path, "-o", output).stdout


@pytest.mark.parametrize("arguments", [["--mount"], ["--opt", "a=b"], ["--destructive", "--opt", "ab"]])
def test_options_that_exclude_each_other_are_wrong_usage(run, add, arguments, short_path):
    server = add("photos", scripted())
    assert run("check", "photos", "--dir", short_path, *arguments).exit_code == 2
    assert server.requests == []


def test_only_destructive_creates_a_volume_and_opt_sets_its_options(run, add, short_path):
    server = add("photos", scripted({"VolumeDriver.Create": error("remote is missing")}))
    run("check", "photos", "--dir", short_path)
    assert "/VolumeDriver.Create" not in {request.path for request in server.requests}
    result = run("check", "photos", "--dir", short_path, "--destructive", "--opt", "remote=here:/a=b", "-o", "json")
    assert verdicts(result)["VolumeDriver.Create"] == "warn"
    (asked,) = [json.loads(each.body) for each in server.requests if each.path == "/VolumeDriver.Create"]
    assert asked["Opts"] == {"remote": "here:/a=b"}


def test_ctrl_c_removes_what_was_created(start, add, short_path):
    def behaviour(peer) -> None:
        while request := peer.read_request():
            if request.path == "/VolumeDriver.List" and created():
                peer.hang()
            peer.send(answers({})(request))

    def asked(method: str) -> list[str]:
        return [
            json.loads(each.body)["Name"]
            for each in list(server.requests)
            if each.path == f"/VolumeDriver.{method}" and b"extframe-check-" in each.body
        ]

    def created() -> list[str]:
        return asked("Create")

    server = add("photos", behaviour)
    process = start("check", "photos", "--dir", short_path, "--destructive", "--timeout", "60")
    assert eventually(lambda: created() and server.requests[-1].path == "/VolumeDriver.List", 30.0)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert created()[0] in asked("Remove")


def test_control_characters_in_an_error_do_not_reach_the_terminal(run, add, short_path):
    evil = answer_with(answers({"VolumeDriver.List": error("\x1b[2J\n evil")}, VOLUMES))
    add("photos", evil)
    assert "\x1b" not in run("check", "photos", "--dir", short_path).stdout
