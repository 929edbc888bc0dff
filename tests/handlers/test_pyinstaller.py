"""An application frozen by PyInstaller has extframe's modules and its handlers. Takes half a minute; optional."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

PROGRAM = """
import extframe

with extframe.PluginManager(extframe.LocalRegistry("plugins", specs=[])) as pm:
    print(len(pm.get_plugins()), pm.failures(), extframe.VolumeDriver.__name__, pm.scan())
"""


def test_the_entry_point_names_the_directory_of_the_hook() -> None:
    [entry] = distribution("extframe").entry_points.select(group="pyinstaller40")
    [directory] = entry.load()()
    assert (Path(directory) / "hook-extframe.py").is_file()


@pytest.mark.skipif(importlib.util.find_spec("PyInstaller") is None, reason="PyInstaller is not installed")
def test_a_frozen_application_loads_the_built_in_handlers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    (tmp_path / "plugins").mkdir()
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level", "ERROR", "app.py"], cwd=tmp_path, check=True, timeout=300
    )
    done = subprocess.run([tmp_path / "dist/app/app"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "7 [] VolumeDriver []\n", done.stderr
