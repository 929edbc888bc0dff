"""The tutorial is what happens: its files, programs and commands, chapter by chapter, exactly as printed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import printed
import pytest
from environments import build_wheels

import extframe

CHAPTERS = ("index", "contract", "plugins", "languages", "handlers", "tests", "deployment")
PROGRAMS = ("go", "node", "socat", "jq")
# A block with a language and, in front of it, the name of a file whose contents it has.
BLOCK = re.compile(r"(?:`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def chapter(name: str) -> str:
    return (printed.CHECKOUT / "docs/tutorial" / f"{name}.md").read_text()


@pytest.fixture(scope="module")
def lab(need, tmp_path_factory) -> Path:
    """The directory of the tutorial, with the environment that it creates at its beginning."""
    for program in PROGRAMS:
        need(program)
    directory = tmp_path_factory.mktemp("lab")
    printed.add_environment(directory)
    return directory


def follow(directory: Path, text: str) -> None:
    """Write each file and run each command in the order of a text."""
    caches = {name: str(directory / "go-cache") for name in ("GOCACHE", "GOPATH", "HOME")}
    for name, language, contents in BLOCK.findall(text):
        if name:
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(contents)
        elif language == "console":
            lines = [line.removeprefix("$ ") for line in contents.splitlines() if line.startswith("$ ")]
            found = printed.run(directory, lines, PYTEST_ADDOPTS="-p no:asyncio -p no:anyio", **caches)
            assert without_times(found) == without_times(printed.output(contents))


def without_times(text: str) -> str:
    """Return what pytest prints, without seconds."""
    return re.sub(r" in [\d.]+s$", "", text, flags=re.MULTILINE)


def test_each_file_and_command_of_the_tutorial_gives_what_is_printed(lab):
    for name in CHAPTERS:
        follow(lab, chapter(name))


def test_every_chapter_is_followed_and_every_block_has_a_known_form():
    pages = {path.stem for path in (printed.CHECKOUT / "docs/tutorial").glob("*.md")}
    assert pages == set(CHAPTERS)
    unnamed = {language for name in CHAPTERS for file, language, _ in BLOCK.findall(chapter(name)) if not file}
    assert unnamed == {"console", "sh", "python"}  # sh: what needs root, a network or a place of the reader's


def test_the_units_of_the_tutorial_are_what_systemd_reads(need, lab, tmp_path):
    """With the path of an environment that exists, as systemd looks for the program."""
    follow(lab, chapter("deployment"))
    for unit in (lab / "units").iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/lab", str(lab)))
    units = sorted(tmp_path.iterdir())
    subprocess.run([need("systemd-analyze"), "verify", "--man=no", *units], check=True, timeout=60)


def test_the_command_of_the_container_serves_the_plugin(lab, start, short_path):
    """What the image runs, with the wheels that the tutorial builds, at a socket in another directory."""
    for name in CHAPTERS[:3]:
        follow(lab, chapter(name))
    command = json.loads(re.findall(r"^CMD (.*)$", chapter("deployment"), re.MULTILINE)[0])
    assert command[0] == "python"
    start(lab / ".venv/bin/python", *(str(short_path) if each == "/plugins" else each for each in command[1:]))
    with extframe.PluginManager(extframe.LocalRegistry(short_path), groups=()) as pm:
        client = pm.get("blur", wait=30).client
        assert client.call("ImageFilter.Apply", {"Image": [[0, 100, 200]]}) == {"Image": [[50, 100, 150]]}
    assert [path.name for path in build_wheels(short_path / "wheels", lab / "contract", lab / "blur")]
