"""What README.md prints is what happens: its files and commands, exactly as they stand there."""

from __future__ import annotations

import pytest
from printed import FILE, README, add_environment, commands, console, output, run, write_files


def test_two_commands_run_the_tour_and_the_tests():
    """.ci/run runs both in a fresh checkout, and tests/test_dev.py tests what they promise."""
    block = commands(console("./dev tour"))
    assert [line.partition("#")[0].strip() for line in block] == ["./dev tour", "./dev test"]


@pytest.mark.parametrize("host", ["app.py", "host.py"])
def test_each_plugin_and_host_print_what_is_shown(short_path, host):
    add_environment(short_path)
    write_files(short_path, README.read_text())
    block = console(host)
    assert run(short_path, commands(block)) == output(block)


def test_every_file_that_is_printed_is_run():
    names = {name for name, _ in FILE.findall(README.read_text())}
    assert names == {
        "photos/photos.py",
        "photos/setup.cfg",
        "photos/setup.py",
        "app.py",
        "handler/greeter.py",
        "handler/setup.cfg",
        "handler/setup.py",
        "plugin.py",
        "host.py",
        "cellar.py",
    }
