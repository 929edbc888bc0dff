"""Where PyInstaller finds its hook for extframe: most modules are imported on first use, which it cannot see."""

from __future__ import annotations

import os


def hook_directories() -> list[str]:
    """Return the directory of the hook; named by the entry point ``hook-dirs`` of the group ``pyinstaller40``."""
    return [os.path.join(os.path.dirname(__file__), "hooks")]
