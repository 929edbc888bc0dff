"""What is published: the wheel and the source archive, built by `python -m build`, and their metadata."""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parent.parent
PACKAGE = CHECKOUT / "extframe"
DATA = ("py.typed", "__init__.pyi", "cli/templates/")  # beside modules


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the source archive. The wheel is built from the archive, so this lacks nothing that it needs."""
    pytest.importorskip("build")
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, CHECKOUT]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,), (archive,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    return wheel, archive


def modules_and_data() -> set[str]:
    """Return the files of the package in the checkout, relative to it."""
    files = (path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file())
    return {f"extframe/{file}" for file in files if file.endswith(".py") or file.startswith(DATA)}


def test_the_wheel_has_the_package_and_nothing_else(distributions):
    names = set(zipfile.ZipFile(distributions[0]).namelist())
    in_package = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert in_package == modules_and_data()
    assert [name for name in names if name.endswith("LICENSE")]


def test_the_metadata_is_what_an_index_accepts_and_shows(distributions):
    pytest.importorskip("twine")
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *distributions],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with zipfile.ZipFile(distributions[0]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(wheel.read(name))
    assert (metadata["License-Expression"] or metadata["License"]) == "Apache-2.0"  # setuptools 77 and before
    latest = next(line for line in (CHECKOUT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert metadata["Version"] == latest.split()[1]


def test_the_source_archive_has_the_license_the_metadata_and_the_package(distributions):
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", *modules_and_data()}
