"""The rule of tests/peers: a missing program is a skip with its reason, and a failure where CI requires the peers."""

from __future__ import annotations

from pathlib import Path

import pytest

RULE = Path(__file__).parent / "peers" / "conftest.py"
MISSING_PROGRAM = "def test_peer(need):\n    need('no-such-program')\n"
MISSING_DEVICE = "import pytest\n@pytest.mark.device('/dev/no-such-device')\ndef test_peer():\n    assert False\n"
MISSING_MODULE = "import pytest\npytest.importorskip('no_such_module')\ndef test_peer():\n    pass\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_peer():\n    assert False\n"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    pytester.makeconftest(RULE.read_text())
    pytester.makeini(f"[pytest]\nmarkers = device(path): a device\npythonpath = {RULE.parent.parent}")

    def run_test(code: str, *, required: bool) -> pytest.RunResult:
        monkeypatch.setenv("EXTFRAME_REQUIRE_PEERS", "1" if required else "")
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # seconds for each run
        pytester.makepyfile(code)
        return pytester.runpytest_subprocess("-rs", timeout=60)

    return run_test


def test_a_missing_program_is_a_skip_that_names_it(run):
    result = run(MISSING_PROGRAM, required=False)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("*needs no-such-program*")


def test_a_missing_program_is_a_failure_where_peers_are_required(run):
    result = run(MISSING_PROGRAM, required=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*EXTFRAME_REQUIRE_PEERS=1*needs no-such-program*")


def test_a_module_that_skips_itself_is_a_failure_where_peers_are_required(run):
    assert run(MISSING_MODULE, required=False).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    run(MISSING_MODULE, required=True).assert_outcomes(errors=1)


@pytest.mark.parametrize("required", [False, True])
def test_a_missing_device_is_a_skip_everywhere(run, required):
    result = run(MISSING_DEVICE, required=required)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("*/dev/no-such-device*")


def test_an_expected_failure_stays_one_where_peers_are_required(run):
    run(EXPECTED_FAILURE, required=True).assert_outcomes(xfailed=1)
