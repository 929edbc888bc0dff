"""IPython completes the methods of drivers: its completer, Jedi, understands what extframe's annotations say."""

from __future__ import annotations

from pathlib import Path

import pytest

import extframe

jedi = pytest.importorskip("jedi", reason="Jedi is not installed", exc_type=ImportError)


@pytest.mark.parametrize(
    "expression",
    [
        "VolumeDriver.remote(client)",
        "AsyncVolumeDriver.remote(client)",
        "extframe.remote(VolumeDriver, client)",
        "extframe.PluginManager().driver('rclone', VolumeDriver)",
    ],
)
def test_the_methods_of_a_driver_are_completed(expression: str) -> None:
    source = (
        f"import extframe\nfrom extframe import AsyncVolumeDriver, VolumeDriver\nvolumes = {expression}\nvolumes.moun"
    )
    project = jedi.Project(Path(extframe.__file__).parent.parent)
    assert [found.name for found in jedi.Script(source, project=project).complete()] == ["mount"]
