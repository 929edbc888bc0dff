"""MkDocs hooks: bring Mermaid, and show links that lead out of docs/ as text.

The site loads nothing from elsewhere, so it works offline and tells no third party who reads it.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

MERMAID = "mermaid@11.12.1"
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")  # a link to a file of the repository, which is not on the site


def on_pre_build(config: Any) -> None:
    """Put mermaid.min.js into the site's assets, if it is not there yet: from npm's package."""
    target = Path(config["docs_dir"], "assets", "mermaid.min.js")
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=directory, check=True, stdout=subprocess.DEVNULL)
        (package,) = Path(directory).glob("mermaid-*.tgz")
        with tarfile.open(package) as archive:
            source = archive.extractfile("package/dist/mermaid.min.js")
            assert source is not None
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(source.read())


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the words of a link that leads out of docs/."""
    return OUTSIDE.sub(r"\1", markdown)
