"""The benchmarks run, in a form so short that their figures mean nothing. No time is asserted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
EVERY_SUITE = {
    "call",
    "asynchronous",
    "many",
    "start",
    "dispatch",
    "decode",
    "served",
    "supervised",
    "endurance",
    "steps",
}


def run_benchmarks(*arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS), "--short", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the JSON and the page of a short run in which nothing is built with Go."""
    directory = tmp_path_factory.mktemp("benchmarks")
    run_benchmarks("--no-go", "--json", directory / "results.json", "--page", directory / "page.md")
    return directory


def test_every_suite_runs_without_go_and_says_what_it_could_not_measure(results):
    found = json.loads((results / "results.json").read_text())
    assert set(found) == EVERY_SUITE
    assert found["call"]["skipped"]["moby"] == "--no-go was given"
    assert [suite for suite in found if not found[suite]["figures"] and not found[suite]["steps"]] == ["served"]


def test_results_name_the_machine_the_versions_and_the_date(results):
    machine = json.loads((results / "results.json").read_text())["call"]["machine"]
    assert machine["packages"]["extframe"]
    assert machine["cores"] >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", machine["date"])


def test_the_page_shows_every_figure_and_every_plot_it_names(results):
    page = (results / "page.md").read_text()
    found = json.loads((results / "results.json").read_text())
    assert all(each["name"] in page for suite in found.values() for each in suite["figures"])
    plots = re.findall(r"!\[[^]]*\]\((.*?\.svg)\)", page)
    assert plots
    assert all((results / plot).read_text().endswith("</svg>\n") for plot in plots)


def test_a_suite_that_runs_alone_leaves_the_results_of_the_others(results):
    before = json.loads((results / "results.json").read_text())
    run_benchmarks("dispatch", "--json", results / "results.json")
    after = json.loads((results / "results.json").read_text())
    assert set(after) == set(before)
    assert after["start"] == before["start"]


def test_a_suite_that_does_not_exist_is_an_error_that_names_those_that_do():
    done = subprocess.run([sys.executable, str(BENCHMARKS), "spped"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "call, asynchronous, many, start" in done.stderr
