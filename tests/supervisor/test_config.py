"""NAME.toml is parsed and checked: every mistake names the file, the key and what was expected."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from extframe import PluginNotFound, SpecError
from extframe.supervisor.config import GiveUp, PluginConfig, PythonPlugin, parse_config
from extframe.supervisor.config_files import ConfigFiles
from extframe.supervisor.directories import directories_of

WHOLE = b"""
command = ["/usr/lib/myhost/photos", "--verbose"]
socket = "inherited"
start = "always"
restart = "never"
give_up = "3 in 1.5s"
user = "photos"
group = 12
cwd = "/var/lib/photos"
env = { LEVEL = "info" }
pass_env = ["AWS_*"]
sha256 = "AA00000000000000000000000000000000000000000000000000000000000000"
stop_timeout = 2
[limits]
nofile = 1024
core = "unlimited"
"""


def test_every_key_has_a_place_in_the_configuration():
    assert parse_config(WHOLE, "photos", "/etc/x/photos.toml") == PluginConfig(
        "photos",
        "/etc/x/photos.toml",
        command=("/usr/lib/myhost/photos", "--verbose"),
        start="always",
        restart="never",
        give_up=GiveUp(3, 1.5),
        user="photos",
        group=12,
        cwd="/var/lib/photos",
        env={"LEVEL": "info"},
        pass_env=("AWS_*",),
        sha256="aa" + 62 * "0",
        stop_timeout=2.0,
        limits={"nofile": 1024, "core": -1},
    )


def test_what_is_not_written_has_a_default():
    config = parse_config(b'command = ["rclone"]', "photos")
    assert config == PluginConfig("photos", command=("rclone",))
    assert (config.socket, config.start, config.restart, config.give_up) == (
        "inherited", "on-demand", "on-failure", GiveUp(5, 60.0),
    )  # fmt: skip
    python = b'python = { plugin = "acme_photos:Photos", environment = "photos" }'
    expected = replace(config, command=(), python=PythonPlugin("acme_photos:Photos", "photos"))
    assert parse_config(python, "photos") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("command = 5", "key 'command' is 5; expected a list such as"),
        ("command = []", "key 'command' is []; expected a list such as"),
        ('command = ["./photos"]', "an absolute path, or a name in PATH"),
        ('command = ["{socket}"]', "an absolute path, or a name in PATH"),
        ("", "keys 'command' and 'python' are both missing; expected one of them"),
        ('command = ["a"]\npython = { plugin = "a:B" }', "keys 'command' and 'python' are both given"),
        ('command = ["a"]\nsocket = "own"', "'command' has no '{socket}'"),
        ('command = ["a", "{socket}"]', 'expected socket = "own" with it'),
        ('comand = ["a"]', "key 'comand' is unknown; did you mean 'command'?"),
        ('python = { plugin = "a" }', "key 'python.plugin' is 'a'; expected MODULE:CLASS"),
        ('python = { plugin = "a:B", environment = "../x" }', "key 'python.environment' is '../x'; expected"),
        ('python = { plugin = "a:B" }\nsha256 = "' + 64 * "0" + '"', "key 'sha256' is given with 'python'"),
        ('command = ["a"]\nstart = "later"', "key 'start' is 'later'; expected 'on-demand' or 'always'"),
        ('command = ["a"]\ngive_up = "often"', "key 'give_up' is 'often'; expected a number of failures"),
        ('command = ["a"]\nuser = true', "key 'user' is True; expected a name or a number"),
        ('command = ["a"]\ncwd = "var"', "key 'cwd' is 'var'; expected an absolute path"),
        ('command = ["a"]\nenv = { A = 1 }', "key 'env' is {'A': 1}; expected a table of text"),
        ('command = ["a"]\nsha256 = "12"', "key 'sha256' is '12'; expected 64 hexadecimal digits"),
        ('command = ["a"]\nstop_timeout = -1', "key 'stop_timeout' is -1; expected seconds"),
        ('command = ["a"]\nlimits = { nofiles = 1 }', "key 'limits.nofiles' is unknown; did you mean 'nofile'?"),
        ('command = ["a"]\nlimits = { nofile = -1 }', "key 'limits.nofile' is -1; expected a number"),
        ("command = [", "not TOML: "),
        (b"\xff", "byte 0 is not UTF-8"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_was_expected(text, expected):
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(SpecError) as caught:
        parse_config(content, "photos", "/etc/x/photos.toml")
    assert str(caught.value).startswith("/etc/x/photos.toml: ")
    assert expected in str(caught.value)
    assert (caught.value.plugin, caught.value.source) == ("photos", "/etc/x/photos.toml")


def test_the_first_directory_with_the_file_wins(short_path):
    first, second = short_path / "a", short_path / "b"
    second.mkdir()
    files = ConfigFiles([str(first), str(second)])
    assert files.scan() == []
    with pytest.raises(PluginNotFound, match=f"looked for photos.toml in {first}, {second}"):
        files.read("photos")
    (second / "photos.toml").write_text('command = ["two"]')
    assert files.read("photos").config.command == ("two",)
    before = files.stamp("photos")
    first.mkdir()
    (first / "photos.toml").write_text('command = ["one"]')
    (first / "other.json").touch()
    assert files.read("photos").config.command == ("one",)
    assert files.stamp("photos") != before
    assert files.scan() == ["photos"]


def test_a_file_that_other_users_can_write_is_rejected(short_path):
    path = short_path / "photos.toml"
    path.write_text('command = ["one"]')
    path.chmod(0o666)
    with pytest.raises(SpecError, match="is world-writable; fix with: chmod o-w") as caught:
        ConfigFiles([str(short_path)]).read("photos")
    assert caught.value.source == str(path)
    assert ConfigFiles([str(short_path)], allow_unsafe=True).read("photos").config.command == ("one",)


def test_the_directories_of_docker_are_rejected():
    with pytest.raises(SpecError, match="/etc/docker/plugins is Docker's"):
        ConfigFiles(["/etc/docker/plugins/"])


def test_each_user_has_directories_of_a_host(monkeypatch, short_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert directories_of("myhost").configs == ("/etc/myhost/plugins.d", "/usr/lib/myhost/plugins.d")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    found = directories_of("myhost")
    assert (found.configs[0], found.run, found.environments) == (
        "/c/myhost/plugins.d", f"{short_path}/myhost/supervisor", "/d/myhost/environments",
    )  # fmt: skip
    assert found.configs[2:] == ("/etc/myhost/plugins.d", "/usr/lib/myhost/plugins.d")
