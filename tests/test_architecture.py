"""docs/architecture.md describes the packages that exist, from top to bottom as setup.cfg orders them."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
PAGE = (CHECKOUT / "docs" / "architecture.md").read_text()
ROW = re.compile(r"^\| `([a-z_.]+)/?` \|", re.MULTILINE)
PATH = re.compile(r"`([a-z_.-]+(?:/[a-z_.-]+)*(?:/|\.py|\.md|\.cfg))`")


def entries() -> set[str]:
    """Return the packages and modules of extframe, by the names in its directory."""
    found = (path.name for path in (CHECKOUT / "extframe").iterdir() if path.suffix == ".py" or path.is_dir())
    return {name for name in found if not name.startswith("__")}


def layers() -> list[set[str]]:
    """Return the layers of the contract between packages, from the top."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    lines = config["importlinter:contract:packages"]["layers"].split("\n")
    return [set(re.findall(r"\w+", line)) for line in lines if line.strip()]


def test_every_package_has_one_row():
    assert sorted(ROW.findall(PAGE)) == sorted(entries())


def test_the_rows_are_in_the_order_of_the_import_layers():
    level = {name: number for number, layer in enumerate(layers()) for name in layer}
    rows = [level[row.removesuffix(".py")] for row in ROW.findall(PAGE)]
    assert rows == sorted(rows)


def test_every_path_on_the_page_exists():
    paths = PATH.findall(PAGE)
    assert len(paths) > 30
    assert [path for path in paths if not any((CHECKOUT / root / path).exists() for root in ("", "extframe"))] == []


def test_the_package_has_at_most_seventeen_entries():
    assert len(entries()) <= 17
