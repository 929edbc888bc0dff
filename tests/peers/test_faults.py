"""Some of the faults beside moby's client, whose waits are cut short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent.parent.parent / "faults"
CHOSEN = (
    "a plugin appears after",
    "sends one byte per second: get(",
    "../p",
    "the plugin answers the second time",
    "1 GiB with Content-Length",
)


def test_mobys_client_is_put_through_the_same_faults(need, tmp_path):
    need("go")
    command = [sys.executable, str(FAULTS), *CHOSEN, "--short", "--slack", "5", "--json", str(tmp_path / "record")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = json.loads((tmp_path / "record").read_text())
    if why := next(iter(groups.values()))["without_moby"]:
        pytest.skip(why)
    seen = {row["fault"]: row["moby"]["seen"] for group in groups.values() for row in group["rows"]}
    assert len(seen) == len(CHOSEN)
    assert sorted(seen.values())[0] == "../p: found"
    assert "still waiting after 8 s" in seen.values()
    assert "found" in seen.values()
    assert any("2 requests with 2 different bodies, 1 of them empty" in words for words in seen.values())
