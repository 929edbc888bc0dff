"""The programs that the tests in this directory run; .ci/run installs them."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.parametrize(
    "command",
    [
        "rclone version",
        "fusermount3 --version",
        "go version",
        "openssl version",
        "podman --version",
        "dockerd --version",
        "uwsgi --plugin python3 --version",
        "curl --http2 --version",
        "socat -V",
        "nc -h",
        "java -version",
        "node --version",
        "zsh --version",
        "fish --version",
        "busybox --help",
    ],
)
def test_a_peer_starts(need, command):
    program, *arguments = command.split()
    subprocess.run([need(program), *arguments], check=True, capture_output=True, timeout=180)
