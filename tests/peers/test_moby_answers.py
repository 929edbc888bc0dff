"""What moby's client reads in canned answers is in tests/canned_moby.json, which EXTFRAME_RECORD=1 writes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from canned_answers import ANSWERS
from canned_outcomes import RECORDED, Outcome, plugin_that_answers, recorded

SOURCES = Path("/usr/share/gocode")


@pytest.fixture
def moby(need: Callable[[str], str], tmp_path: Path) -> Path:
    """go/answers, built with moby's client."""
    if not (SOURCES / "src/github.com/docker/docker/pkg/plugins").exists():
        pytest.skip("needs golang-github-docker-docker-dev, which is not on this machine")
    settings = {"GOPATH": str(SOURCES), "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(tmp_path / "cache")}
    program = tmp_path / "answers"
    subprocess.run(
        [need("go"), "build", "-o", program, Path(__file__).with_name("go") / "answers" / "main.go"],
        env={**os.environ, **settings, "HOME": str(tmp_path)},
        check=True,
        timeout=300,
    )
    return program


def test_what_mobys_client_reads_in_canned_answers_is_what_is_recorded(moby: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = {answer.key: stack.enter_context(plugin_that_answers(answer)) for answer in ANSWERS}
        asked = (json.dumps({"name": key, "address": server.address}) for key, server in servers.items())
        # A call that fails below HTTP is retried for 15 s, so all plugins are called at once.
        done = subprocess.run([moby], input="\n".join(asked), capture_output=True, text=True, timeout=300, check=True)
        outcomes = dict(map(parse, done.stdout.splitlines()))
        outcomes = {key: outcome._replace(kept=servers[key].kept) for key, outcome in outcomes.items()}
    if os.environ.get("EXTFRAME_RECORD") == "1":
        compact = ({name: value for name, value in outcomes[key]._asdict().items() if value} for key in servers)
        lines = (f"{json.dumps(key)}: {json.dumps(each)}" for key, each in zip(servers, compact, strict=True))
        RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    assert outcomes == recorded()


def parse(line: str) -> tuple[str, Outcome]:
    """Return the name and the outcome in a line of the program, without what differs from run to run."""
    found = json.loads(line)
    error = re.sub(r'^Post "[^"]*": ', "", found.get("error", "")).removeprefix("net/http: HTTP/1.x transport ")
    by_plugin = error.startswith("VolumeDriver.Get: ") or found.get("reported", False)
    return found["name"], Outcome(found.get("reply", ""), error, by_plugin=by_plugin)
