"""The benchmarks run beside moby's client and a Go server, in a form so short that their figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def test_suites_that_need_go_run_with_it(need, tmp_path):
    need("go")
    command = [sys.executable, str(BENCHMARKS), "call", "many", "served", "--short", "--json", str(tmp_path / "all")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "all").read_text())
    assert all("moby" not in suite["skipped"] for suite in results.values())
    names = {figure["name"] for suite in results.values() for figure in suite["figures"]}
    assert {"client.call / moby's client", "client.call, over TLS / moby's client"} <= names
    assert "get_all of 5 live plugins / moby's GetAll" in names
    assert "an async plugin / a Go server, median" in names
