"""Installed packages for tests: a module and its entry points in a directory on sys.path. Builds no wheel."""

from __future__ import annotations

import textwrap
from pathlib import Path


def install(
    directory: Path,
    distribution: str,
    *,
    module: str,
    source: str,
    entry_points: dict[str, str],
    version: str = "1.0",
    group: str = "extframe",
) -> None:
    """Lay out ``distribution`` as pip does: its module, and the metadata that importlib_metadata reads."""
    (directory / f"{module}.py").write_text(textwrap.dedent(source))
    metadata = directory / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}")
