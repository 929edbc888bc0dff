"""What README.md prints is what happens: its files and commands, exactly as they stand there."""

from __future__ import annotations

from readme import CHECKOUT, FILE, add_environment, commands, console, output, run, write_files

SET_UP = ["python3 -m venv .venv", ".venv/bin/pip install '.[cli,test]'"]


def test_two_commands_set_everything_up():
    """.ci/run runs them, and the two below, in a fresh checkout."""
    assert commands(console("python3 -m venv")) == SET_UP


def test_two_commands_run_the_main_job_and_the_tests():
    tour, tests = commands(console("pytest"))
    assert tour.split()[:2] == [".venv/bin/python", "examples/tour.py"]
    assert tests.startswith(".venv/bin/python -m pytest  ")


def test_the_main_job_runs_as_it_is_printed(short_path):
    add_environment(short_path)
    (short_path / "examples").symlink_to(CHECKOUT / "examples")
    (tour, _) = commands(console("examples/tour.py"))
    assert "['directories']" in run(short_path, [tour])


def test_the_shortest_plugin_handler_and_host_print_what_is_shown(short_path):
    add_environment(short_path)
    write_files(short_path)
    block = console("host.py")
    assert run(short_path, commands(block)) == output(block)


def test_every_file_that_is_printed_is_run():
    names = {name for name, _ in FILE.findall((CHECKOUT / "README.md").read_text())}
    assert names == {"plugin.py", "handler/greeter.py", "handler/setup.cfg", "handler/setup.py", "host.py", "cellar.py"}
