"""What moby's client reads in canned answers is in tests/canned_moby.json, which EXTFRAME_RECORD=1 writes.

EXTFRAME_FUZZ=2000 compares both clients on so many damaged answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from canned_answers import ANSWERS, Answer
from canned_outcomes import RECORDED, Outcome, observed, plugin_that_answers, recorded

SOURCES = Path("/usr/share/gocode")
CASES = int(os.environ.get("EXTFRAME_FUZZ", "150"))

Moby = Callable[[Iterable[Answer]], dict[str, Outcome]]


@pytest.fixture(scope="module")
def moby(need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Moby:
    """A function that has moby's client call plugins that give answers, and returns the outcomes."""
    if not (SOURCES / "src/github.com/docker/docker/pkg/plugins").exists():
        pytest.skip("needs golang-github-docker-docker-dev, which is not on this machine")
    directory = tmp_path_factory.mktemp("answers")
    settings = {"GOPATH": str(SOURCES), "GO111MODULE": "off", "GOFLAGS": ""}
    program = directory / "answers"
    subprocess.run(
        [need("go"), "build", "-o", program, Path(__file__).with_name("go") / "answers" / "main.go"],
        env={**os.environ, **settings, "HOME": str(directory)},
        check=True,
        timeout=300,
    )

    def outcomes_of(answers: Iterable[Answer]) -> dict[str, Outcome]:
        with contextlib.ExitStack() as stack:
            servers = {answer.key: stack.enter_context(plugin_that_answers(answer)) for answer in answers}
            asked = "\n".join(json.dumps({"name": key, "address": each.address}) for key, each in servers.items())
            # A call that fails below HTTP is retried for 15 s, so all plugins are called at once.
            done = subprocess.run([program], input=asked, capture_output=True, text=True, timeout=500, check=True)
            found = dict(map(parse, done.stdout.splitlines()))
            return {key: found[key]._replace(kept=servers[key].kept) for key in servers}

    return outcomes_of


def test_what_mobys_client_reads_in_canned_answers_is_what_is_recorded(moby: Moby) -> None:
    outcomes = moby(ANSWERS)
    if os.environ.get("EXTFRAME_RECORD") == "1":
        compact = ({name: value for name, value in each._asdict().items() if value} for each in outcomes.values())
        lines = (f"{json.dumps(key)}: {json.dumps(each)}" for key, each in zip(outcomes, compact, strict=True))
        RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    assert outcomes == recorded()


def test_what_mobys_client_reads_in_damaged_answers_is_read_alike(moby: Moby) -> None:
    chance = random.Random(0)  # the same in each run
    answers = [damaged(chance, number) for number in range(CASES)]
    theirs, ours = moby(answers), observed(answers)
    over_limit = {key for key, outcome in ours.items() if "which is Limits" in outcome.error}
    different = {key for key in theirs if theirs[key].reply and theirs[key].reply != ours[key].reply}
    assert [
        (answer.data, theirs[answer.key], ours[answer.key])
        for answer in answers
        if answer.key in different - over_limit
    ] == []


PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"0", b"5", b"{", b"}", b'"', b"+", b"-", b"_", b".", b"/"),
    *(b"\0", b"\xff", b"\f", b"\x85", b"\\u", b"0x", b"1e5", b"\r\n\r\n", b"18\r\n", b"0\r\n\r\n", b"\xef\xbb\xbf"),
    *(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 24\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
]


def damaged(chance: random.Random, number: int) -> Answer:
    """Return an answer with something inserted, removed, replaced or repeated, after which the plugin closes."""
    answer = chance.choice([each for each in ANSWERS if len(each.data) < 600])
    data = bytearray(answer.data)
    at, piece = chance.randrange(len(data) + 1), chance.choice(PIECES)
    end = at + chance.randint(1, 30)
    damages: list[tuple[int, bytes]] = [(at, piece), (at + 2, b""), (at + 1, piece), (at, bytes(data[at:end]))]
    stop, inserted = chance.choice(damages)
    data[at:stop] = inserted
    return Answer("damaged", str(number), bytes(data), True, answer.over)


def parse(line: str) -> tuple[str, Outcome]:
    """Return the name and the outcome in a line of the program, without what differs from run to run."""
    found = json.loads(line)
    error = re.sub(r'^Post "[^"]*": ', "", found.get("error", "")).removeprefix("net/http: HTTP/1.x transport ")
    by_plugin = error.startswith("VolumeDriver.Get: ") or found.get("reported", False)
    return found["name"], Outcome(found.get("reply", ""), error, by_plugin=by_plugin)
