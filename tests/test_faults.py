"""The matrix of faults in a short form: fewer of everything, the same claims, and seconds granted to busy machines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

FAULTS = Path(__file__).parent.parent / "faults"


def run_faults(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FAULTS), "--no-go", "--short", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of everything, and the directory of its record and page."""
    directory = tmp_path_factory.mktemp("faults")
    done = run_faults("--slack", 5, "--json", directory / "record.json", "--page", directory / "faults.md")
    return done, directory


@pytest.fixture
def record(run) -> dict[str, dict]:
    return json.loads((run[1] / "record.json").read_text())


def test_every_fault_is_seen_as_expected(run, record):
    rows = [row for group in record.values() for row in group["rows"]]
    assert [row for row in rows if not row["as_expected"]] == []
    assert run[0].returncode == 0, run[0].stderr


def test_every_group_has_faults_and_says_what_was_left_out(record):
    assert set(record) == {path.stem for path in (FAULTS / "groups").glob("[a-z]*.py")}
    assert all(group["rows"] for group in record.values())
    assert {group["without_moby"] for group in record.values()} == {"--no-go was given"}


def test_a_record_names_the_machine_the_versions_and_the_date(record):
    machine = record["deadlines"]["machine"]
    assert machine["packages"]["extframe"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", machine["date"])


def test_the_page_has_a_row_for_every_fault(run, record):
    page = (run[1] / "faults.md").read_text()
    rows = sum(len(group["rows"]) for group in record.values())
    tables = len(record)
    assert len([line for line in page.splitlines() if line.startswith("| ")]) == rows + 2 * tables


def test_an_unexpected_outcome_is_bold_and_the_exit_status_is_1(tmp_path):
    done = run_faults("missing", "--slack", -100, "--json", tmp_path / "record", "--page", tmp_path / "page")
    assert done.returncode == 1
    assert "FAULT" in done.stdout
    assert "not as expected" in done.stdout
    assert "| **PluginNotFound** |" in (tmp_path / "page").read_text()


def test_faults_that_run_alone_leave_the_rows_of_the_others(tmp_path):
    file = tmp_path / "record.json"
    run_faults("repetition", "--json", file)
    before = json.loads(file.read_text())["repetition"]["rows"]
    run_faults("idle connection", "a plugin is missing", "--json", file)
    after = json.loads(file.read_text())
    assert [row["fault"] for row in after["repetition"]["rows"]] == [row["fault"] for row in before]
    assert len(after["missing"]["rows"]) == 1


def test_a_fault_that_does_not_exist_is_an_error_that_names_the_groups():
    done = run_faults("isolatoin")
    assert done.returncode == 2
    assert "deadlines, isolation" in done.stderr


def test_outcomes_of_an_earlier_version_are_kept_and_shown_in_a_column(tmp_path):
    fault, before = "200 MiB of header lines", {"seen": "grows", "seconds": 26.3, "detail": "4,016 MiB"}
    rows = [{"fault": fault, "before": before}]
    (tmp_path / "record").write_text(json.dumps({"serve": {"rows": rows}}))
    done = run_faults(fault, "--json", tmp_path / "record", "--page", tmp_path / "page")
    assert done.returncode == 0, done.stdout
    [row] = json.loads((tmp_path / "record").read_text())["serve"]["rows"]
    assert row["before"] == before
    page = (tmp_path / "page").read_text()
    assert "| fault | expected | extframe | time | earlier version | time |" in page
    assert "| grows (4,016 MiB) | 26.3 s |" in page
