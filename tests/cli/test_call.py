"""``extframe call``, on real sockets and files."""

from __future__ import annotations

import json

import pytest
from faultserver import answer, close_after_read, read_and_hang


def test_the_reply_is_printed_as_json(run, add, speaks, short_path):
    volumes = {"Volumes": [{"Name": "photos", "Mountpoint": "/mnt/größe"}]}
    add("rclone", speaks("VolumeDriver", List=volumes))
    result = run("call", "rclone", "VolumeDriver.List", "--dir", short_path)
    assert json.loads(result.stdout) == volumes
    assert "größe" in result.stdout
    assert (result.exit_code, result.stderr) == (0, "")


def test_without_arguments_the_body_is_empty_and_no_handshake_is_made(run, add, short_path):
    server = add("rclone", answer(b""))
    result = run("call", "rclone", "VolumeDriver.List", "--dir", short_path)
    assert [(request.path, request.body) for request in server.requests] == [("/VolumeDriver.List", b"")]
    assert result.stdout == "{}\n"


@pytest.mark.parametrize("from_stdin", [False, True])
def test_arguments_are_sent_as_they_were_written(run, add, from_stdin, short_path):
    server = add("rclone", answer())
    arguments = '{"Name": "größe", "Opts": {"b": 1.10, "a": 12345678901234567890123}}'
    given = ["-"] if from_stdin else [arguments]
    result = run("call", "rclone", "VolumeDriver.Create", *given, "--dir", short_path, input=f"{arguments}\n")
    assert result.exit_code == 0, result.stderr
    assert server.requests[0].body == f"{arguments}\n".encode()


@pytest.mark.parametrize("arguments", ["{Name: photos}", "", '{"a": 1} 2', "NaN"])
def test_invalid_json_is_a_usage_error_and_nothing_is_sent(run, add, arguments, short_path):
    server = add("rclone")
    for result in (
        run("call", "rclone", "VolumeDriver.Get", arguments, "--dir", short_path),
        run("call", "rclone", "VolumeDriver.Get", "-", "--dir", short_path, input=arguments),
    ):
        assert result.exit_code == 2
        assert "'JSON': not JSON" in result.stderr
    assert server.connections == 0


@pytest.mark.parametrize("method", ["List", "VolumeDriver.", ".List", "VolumeDriver List", "Volume#.List", ""])
def test_an_invalid_method_is_a_usage_error_that_says_what_is_expected(run, add, method, short_path):
    server = add("rclone")
    result = run("call", "rclone", method, "--dir", short_path)
    assert result.exit_code == 2
    assert "EXTENSION_POINT.METHOD, such as VolumeDriver.List" in " ".join(result.stderr.split())
    assert server.connections == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(b'{"Err": "no volume \\u001b[31mphotos"}'),
        answer(b'{"Err": "no volume \\u001b[31mphotos"}', status="500 Internal Server Error"),
        answer(b"no volume \x1b[31mphotos\n", status="404 Not Found"),
    ],
)
def test_the_plugins_error_message_is_escaped_and_the_code_is_4(run, add, behaviour, short_path):
    add("rclone", behaviour)
    result = run("call", "rclone", "VolumeDriver.Get", '{"Name": "photos"}', "--dir", short_path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("extframe: VolumeDriver.Get on plugin 'rclone' at unix://")
    assert ": no volume \\x1b[31mphotos" in result.stderr.splitlines()[0]


def test_a_method_that_the_plugin_lacks_is_4_and_the_hint_says_where_to_look(run, add, short_path):
    add("rclone")
    result = run("call", "rclone", "VolumeDriver.Vanish", "--dir", short_path)
    assert result.exit_code == 4
    assert result.stderr.splitlines()[1:] == [
        "hint: see what the plugin implements:",
        f"  extframe inspect rclone --dir {short_path}",
    ]


def test_a_method_that_is_nearly_right_is_suggested(run, add, short_path):
    server = add("rclone")
    arguments = ["--dir", short_path, "--timeout", "50"]
    for wrong in ("VolumeDriver.Lst", "volumedriver.list", "/VolumeDrvier.List"):
        result = run("call", "rclone", wrong, "{}", *arguments)
        assert result.exit_code == 4
        assert result.stderr.splitlines()[1:] == [
            "hint: the method may be VolumeDriver.List:",
            f"  extframe call rclone VolumeDriver.List '{{}}' --dir {short_path} --timeout 50",
        ]
    assert len(server.requests) == 3
    result = run("call", "rclone", "mount", *arguments)
    assert (result.exit_code, len(server.requests)) == (2, 3)
    assert "such as VolumeDriver.Mount" in " ".join(result.stderr.split())


def test_a_message_of_several_lines_is_printed_on_one(run, add, short_path):
    add("rclone", answer(b'{"Err": "one\\ntwo"}'))
    assert "one\\ntwo\n" in run("call", "rclone", "VolumeDriver.List", "--dir", short_path).stderr


def test_a_reply_that_is_not_json_is_1(run, add, short_path):
    add("rclone", answer(b"<html>"))
    result = run("call", "rclone", "VolumeDriver.List", "--dir", short_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not JSON" in result.stderr


def test_a_plugin_that_hangs_is_5_at_the_deadline(run, add, short_path):
    add("hung", read_and_hang)
    result = run("call", "hung", "VolumeDriver.List", "--dir", short_path, "--timeout", "0.2")
    assert result.exit_code == 5
    assert result.stderr.splitlines()[1:] == [
        "hint: allow more time:",
        f"  extframe call --timeout 2 hung VolumeDriver.List --dir {short_path}",
    ]


def test_an_address_takes_the_place_of_a_name(run, add, speaks):
    server = add("rclone", speaks("VolumeDriver", List={"Volumes": []}))
    assert json.loads(run("call", server.address, "VolumeDriver.List").stdout) == {"Volumes": []}
    missing = run("call", server.address, "VolumeDriver.Other")
    assert missing.stderr.splitlines()[2] == f"  extframe inspect {server.address}"
    invalid = run("call", "udp://host:1", "VolumeDriver.List")
    assert (invalid.exit_code, "its scheme is 'udp'" in " ".join(invalid.stderr.split())) == (2, True)


def test_a_dead_socket_is_5(run, leave_dead_socket, short_path):
    leave_dead_socket("dead")
    assert run("call", "dead", "VolumeDriver.List", "--dir", short_path).exit_code == 5


def test_a_connection_that_is_lost_is_5_and_the_call_was_sent_once(run, add, short_path):
    server = add("cut", close_after_read)
    assert run("call", "cut", "VolumeDriver.List", "--dir", short_path).exit_code == 5
    assert len(server.requests) == 1


def test_a_missing_plugin_is_3(run, short_path):
    assert run("call", "gone", "VolumeDriver.List", "--dir", short_path).exit_code == 3


def test_the_call_and_the_reply_survive_a_real_pipe(extframe, add, speaks, short_path):
    add("rclone", speaks("VolumeDriver", Get={"Volume": {"Name": "größe"}}))
    done = extframe("call", "rclone", "VolumeDriver.Get", "-", "--dir", short_path, input='{"Name": "größe"}')
    assert json.loads(done.stdout) == {"Volume": {"Name": "größe"}}
    assert (done.returncode, done.stderr) == (0, "")


def test_verbose_writes_address_request_status_and_times_to_stderr(run, add, short_path):
    server = add("rclone", answer(b'{"Volumes": []}'))
    result = run("call", "-v", "rclone", "VolumeDriver.List", '{"Name": "a"}', "--dir", short_path)
    assert json.loads(result.stdout) == {"Volumes": []}
    lines = result.stderr.splitlines()
    assert lines[0] == f"* Calling VolumeDriver.List at {server.address}"
    head = server.requests[0].head.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert lines[1 : len(head) + 1] == [f"> {line}" for line in head]
    assert lines[len(head) + 1 : len(head) + 3] == ["* 14 bytes of JSON sent", "< 200 OK"]
    assert "< content-length: 15" in lines
    assert ": status 200, " in lines[-1]
    assert "ms (connect " in lines[-1]


def test_verbose_shows_what_was_sent_before_an_error(run, add, short_path):
    add("rclone", close_after_read)
    result = run("call", "-v", "rclone", "VolumeDriver.List", "--dir", short_path)
    assert result.exit_code != 0
    assert "> POST /VolumeDriver.List HTTP/1.1" in result.stderr
    assert ": ConnectionLost, no response, " in result.stderr
