"""``extframe handlers``, on packages laid out as pip does it."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from packages import install

HANDLER = """
import extframe

@extframe.hookimpl
def volume_driver(name, client):
    return None
"""


@pytest.fixture
def listed(extframe, tmp_path):
    """Run the command with the packages in ``tmp_path``; return its rows by package and name."""

    def listed(**environment):
        done = extframe("handlers", "-o", "json", env={"PYTHONPATH": str(tmp_path), **environment})
        assert done.returncode == 0, done.stderr
        return {(row["package"], row["name"]): row for row in json.loads(done.stdout)}

    return listed


def test_a_handler_is_listed_with_its_package_version_and_hooks(listed, tmp_path):
    install(
        tmp_path, "extframe-backup", version="1.2", module="backup", source=HANDLER, entry_points={"backup": "backup"}
    )
    row = listed()["extframe-backup", "backup"]
    assert row.pop("seconds") > 0
    assert row == {
        "name": "backup",
        "package": "extframe-backup",
        "version": "1.2",
        "state": "loaded",
        "hooks": ["volume_driver"],
        "reason": None,
    }


def test_handlers_that_hosts_import_later_are_listed_with_their_seconds(extframe, listed, tmp_path):
    points = {"later": "later"}
    install(tmp_path, "acme-later", module="later", source=HANDLER, entry_points=points, group="extframe.volume_driver")
    row = listed()["acme-later", "later"]
    assert (row["state"], row["hooks"], row["seconds"] > 0) == ("loaded", ["volume_driver"], True)


def test_the_built_in_handlers_are_listed_like_any_other(listed):
    own = listed()["extframe", "extframe.volume_driver"]
    assert (own["version"], own["state"], own["hooks"]) == (version("extframe"), "loaded", ["volume_driver"])


def test_a_package_that_fails_to_import_does_not_affect_others(listed, tmp_path):
    source = "raise RuntimeError('no libfoo')"
    install(tmp_path, "extframe-broken", module="broken", source=source, entry_points={"broken": "broken"})
    install(tmp_path, "extframe-good", module="good", source=HANDLER, entry_points={"good": "good"})
    rows = listed()
    assert rows["extframe-broken", "broken"]["state"] == "failed"
    assert rows["extframe-broken", "broken"]["reason"] == "RuntimeError: no libfoo"
    assert rows["extframe-good", "good"]["state"] == "loaded"


def test_of_two_packages_with_one_name_the_second_is_failed_and_the_first_keeps_its_hooks(listed, tmp_path):
    for distribution in ("extframe-a", "extframe-b"):
        module = distribution[-1]
        install(tmp_path, distribution, module=module, source=HANDLER, entry_points={"backup": module})
    rows = listed()
    assert rows["extframe-a", "backup"]["state"] == "loaded"
    assert rows["extframe-a", "backup"]["hooks"] == ["volume_driver"]
    assert rows["extframe-b", "backup"]["state"] == "failed"
    assert rows["extframe-b", "backup"]["hooks"] == []


def test_a_blocked_handler_is_listed_as_blocked(listed, tmp_path):
    source = "raise RuntimeError('must not be imported')"
    install(tmp_path, "extframe-backup", module="backup", source=source, entry_points={"backup": "backup"})
    assert listed(EXTFRAME_BLOCK="backup")["extframe-backup", "backup"]["state"] == "blocked"


def test_what_a_package_prints_is_not_in_the_output(listed, tmp_path):
    install(tmp_path, "noisy", module="noisy", source=f"print('hello')\n{HANDLER}", entry_points={"noisy": "noisy"})
    assert listed()["noisy", "noisy"]["state"] == "loaded"


def test_the_table_has_the_reason_and_verbose_the_traceback(extframe, tmp_path):
    source = "raise RuntimeError('no \\x1b[31mlibfoo')"
    install(tmp_path, "extframe-broken", module="broken", source=source, entry_points={"broken": "broken"})
    quiet = extframe("handlers", env={"PYTHONPATH": str(tmp_path)})
    verbose = extframe("handlers", "-v", env={"PYTHONPATH": str(tmp_path)})
    assert "RuntimeError: no \\x1b[31mlibfoo" in quiet.stdout
    assert quiet.stdout.split("\n")[0].split() == ["NAME", "PACKAGE", "VERSION", "STATE", "SECONDS", "HOOKS", "REASON"]
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in verbose.stderr
    assert "\x1b" not in quiet.stderr + verbose.stderr
    assert quiet.returncode == verbose.returncode == 0


def test_broken_metadata_hide_neither_the_handler_nor_the_others(listed, tmp_path):
    for name in ("half", "foreign", "lines", "loop", "good"):
        install(tmp_path, f"extframe-{name}", module=name, source=HANDLER, entry_points={name: name})
    metadata = {name: tmp_path / f"extframe_{name}-1.0.dist-info" for name in ("half", "foreign", "lines", "loop")}
    (metadata["half"] / "METADATA").unlink()
    (metadata["foreign"] / "METADATA").write_bytes(b"Name: extframe-foreign\nAuthor: J\xf6rg\n")
    (metadata["lines"] / "entry_points.txt").write_text("[extframe]\n= nameless\nlines = lines\n")
    (metadata["loop"] / "entry_points.txt").unlink()
    (metadata["loop"] / "entry_points.txt").symlink_to("entry_points.txt")
    rows = {(name, row["state"]): row for (_, name), row in listed().items()}
    for name in ("half", "foreign", "lines", "good"):
        assert rows[name, "loaded"]["hooks"] == ["volume_driver"]
    failed = [row for row in listed().values() if row["state"] == "failed"]
    assert {row["package"] for row in failed} == {"extframe-lines", "extframe-loop"}
    assert any("expected NAME = MODULE" in row["reason"] for row in failed)


def test_an_exception_without_a_text_is_listed(listed, tmp_path):
    source = "class Bad(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\nraise Bad\n"
    install(tmp_path, "extframe-bad", module="bad", source=source, entry_points={"bad": "bad"})
    assert "__str__" in listed()["extframe-bad", "bad"]["reason"]
