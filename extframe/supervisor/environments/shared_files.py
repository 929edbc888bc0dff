"""Share equal files between environments, so that a second one needs little space. Knows only directories."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def share_files(environment: Path, others: Sequence[Path]) -> None:
    """Replace files of a new environment by hard links to equal files at the same place in others.

    Environments are never changed once they are complete, so that a link is as good as a copy. Files that cannot be
    linked, as on some file systems, remain copies.
    """
    for directory, _, names in os.walk(environment / "lib"):
        place = os.path.relpath(directory, environment)
        for name in names:
            _share(os.path.join(directory, name), [os.path.join(other, place, name) for other in others])


def _share(path: str, candidates: Sequence[str]) -> None:
    for candidate in candidates:
        with suppress(OSError):
            if os.path.islink(path) or os.path.islink(candidate) or os.path.samefile(path, candidate):
                return
            if filecmp.cmp(path, candidate, shallow=False) and os.stat(path).st_mode == os.stat(candidate).st_mode:
                os.link(candidate, f"{path}.link")
                os.rename(f"{path}.link", path)
                return
