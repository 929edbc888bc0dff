"""A served plugin ends with its host, and with it what it started, also where no launcher ends them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from supervised import eventually, runs

from extframe.server.lifeline import ended_with_host

PLUGIN = """
import os, signal, subprocess, sys, time
import extframe

class Volumes(extframe.AsyncVolumeDriver):
    async def list(self):
        time.sleep(600)  # blocks the event loop

deaf = "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.write(1, b'ready\\\\n'); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
os.write(1, f"{child.pid}\\n".encode())
if sys.argv[2] == "blocked":
    import threading
    def call():
        while not os.path.exists(sys.argv[1] + "/photos.sock"):
            time.sleep(0.01)
        extframe.Client(f"unix://{sys.argv[1]}/photos.sock", timeout=0.1).call("VolumeDriver.List")
    threading.excepthook = lambda _: os.write(1, b"blocked\\n")
    threading.Thread(target=call).start()
extframe.serve(Volumes(), name="photos", directory=sys.argv[1])
"""


@pytest.mark.parametrize("how", ["idle", "blocked"])
def test_the_end_of_the_host_ends_a_plugin_and_its_children(short_path: Path, how: str) -> None:
    socket = short_path / "photos.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", PLUGIN, short_path, how],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "EXTFRAME_LIFELINE": "1"},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        child = int(process.stdout.readline())
        eventually(socket.exists)
        if how == "blocked":
            assert process.stdout.readline() == b"blocked\n"
        assert runs(process.pid)
        process.stdout.close()  # as the end of a host does
        process.wait(timeout=60)
        eventually(lambda: not runs(child))
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", ["0", "77", "x", ""])
def test_what_is_not_a_pipe_is_not_a_lifeline(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("EXTFRAME_LIFELINE", number)
    threads = threading.active_count()
    with ended_with_host():
        assert threading.active_count() == threads
        assert "EXTFRAME_LIFELINE" not in os.environ
