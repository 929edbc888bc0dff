"""The programs that the tests in this directory talk to, which .ci/run installs."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.parametrize(
    ("program", "argument"),
    [
        ("rclone", "version"),
        ("fusermount3", "--version"),
        ("go", "version"),
        ("openssl", "version"),
        ("podman", "--version"),
        ("dockerd", "--version"),
    ],
)
def test_a_peer_starts_and_says_its_version(need, program, argument):
    said = subprocess.run([need(program), argument], check=True, capture_output=True, text=True, timeout=180).stdout
    assert any(character.isdigit() for character in said)
