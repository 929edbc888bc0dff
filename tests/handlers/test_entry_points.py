"""Entry points: what is found is what importlib_metadata finds, whatever lies on the path."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import importlib_metadata
import pytest
from packages import install

from extframe.handlers.entry_points import offers, origin

HANDLER = """
    import extframe

    @extframe.hookimpl
    def volume_driver(name, client):
        return None
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two directories, the first on sys.path before the second."""
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (second, first):
        place.mkdir()
        monkeypatch.syspath_prepend(str(place))
    return first, second


def put(place: Path, distribution: str, entry_point: str, version: str = "1.0") -> Path:
    """Install a distribution and return the directory of its metadata."""
    module = f"{entry_point}_module"
    install(place, distribution, module=module, source=HANDLER, entry_points={entry_point: module}, version=version)
    return place / f"{distribution.replace('-', '_')}-{version}.dist-info"


def found() -> set[tuple[str, str, str | None, str | None]]:
    return {(offer.name, offer.value, *origin(offer.distribution)) for offer in offers(("extframe",))}


def expected() -> set[tuple[str, str, str | None, str | None]]:
    entries = importlib_metadata.entry_points(group="extframe")
    return {(entry.name, entry.value, *origin(entry.dist)) for entry in entries}


# --- what lies on the path ----------------------------------------------------------------------------


def once(first: Path, second: Path) -> None:
    put(first, "acme-volumes", "acme")


def the_same_name_twice(first: Path, second: Path) -> None:
    put(first, "acme-volumes", "new", "2.0")
    put(second, "Acme.Volumes", "old")


def a_newer_one_without_the_group(first: Path, second: Path) -> None:
    (put(first, "acme-volumes", "new", "2.0") / "entry_points.txt").write_text("[console_scripts]\nacme = acme:main\n")
    put(second, "acme-volumes", "old")


def a_newer_one_without_entry_points(first: Path, second: Path) -> None:
    (put(first, "acme-volumes", "new", "2.0") / "entry_points.txt").unlink()
    put(second, "acme-volumes", "old")


def half_a_package(first: Path, second: Path) -> None:
    (put(first, "acme-volumes", "half") / "METADATA").unlink()


def one_that_pip_has_put_aside(first: Path, second: Path) -> None:
    kept = put(first, "acme-volumes", "acme")
    shutil.copytree(kept, first / "~cme_volumes-0.9.dist-info")


def an_egg_info_directory(first: Path, second: Path) -> None:
    metadata = put(first, "acme-volumes", "acme")
    (metadata / "METADATA").rename(metadata / "PKG-INFO")
    metadata.rename(first / "acme_volumes.egg-info")


def an_egg_info_file(first: Path, second: Path) -> None:
    put(second, "acme-volumes", "acme")
    (first / "acme_volumes-2.0-py3.11.egg-info").write_text("Metadata-Version: 1.1\nName: acme-volumes\nVersion: 2.0\n")


def the_group_in_other_words(first: Path, second: Path) -> None:
    metadata = put(first, "acme-volumes", "acme")
    (metadata / "entry_points.txt").write_text("[extframe.more]\nmore = acme\n[other]\nextframe = acme\n")


def a_directory_named_as_entry_points(first: Path, second: Path) -> None:
    metadata = put(first, "acme-volumes", "acme")
    (metadata / "entry_points.txt").unlink()
    (metadata / "entry_points.txt").mkdir()


def a_place_twice_and_one_that_is_not_there(first: Path, second: Path) -> None:
    put(first, "acme-volumes", "acme")
    sys.path[:] = [*sys.path, str(first), str(first / "nowhere")]


LAYOUTS = [
    once,
    the_same_name_twice,
    a_newer_one_without_the_group,
    a_newer_one_without_entry_points,
    half_a_package,
    one_that_pip_has_put_aside,
    an_egg_info_directory,
    an_egg_info_file,
    the_group_in_other_words,
    a_directory_named_as_entry_points,
    a_place_twice_and_one_that_is_not_there,
]


@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_what_is_found_in_directories_is_what_importlib_metadata_finds(
    places: tuple[Path, Path], lay_out: Callable[[Path, Path], None]
) -> None:
    lay_out(*places)
    assert found() == expected()


def test_what_is_whole_counts_before_half_of_the_same_on_the_path(places: tuple[Path, Path]) -> None:
    (put(places[0], "acme-volumes", "half", "2.0") / "METADATA").unlink()
    put(places[1], "acme-volumes", "whole")
    names = {offer.name for offer in offers(("extframe",))}
    assert "whole" in names
    assert "half" not in names


def test_a_directory_that_is_the_working_directory_counts(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places[0], "acme-volumes", "acme")
    monkeypatch.chdir(places[0])
    sys.path[0] = ""
    assert ("acme", "acme_module", "acme-volumes", "1.0") in found()


# --- what is no directory -----------------------------------------------------------------------------

# importlib_metadata leaves archives open, for the garbage collector to close.
LEAVES_ARCHIVES_OPEN = pytest.mark.filterwarnings("ignore::ResourceWarning")

WITHOUT_HALVES = [lay_out for lay_out in LAYOUTS if "half" not in lay_out.__name__ and "aside" not in lay_out.__name__]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Put a directory on sys.path as an archive."""
    yield lambda place: sys.path.append(shutil.make_archive(str(tmp_path / "archive"), "zip", place))
    gc.collect()


@LEAVES_ARCHIVES_OPEN
@pytest.mark.parametrize("lay_out", WITHOUT_HALVES)
def test_what_is_found_beside_an_archive_is_what_importlib_metadata_finds(
    places: tuple[Path, Path],
    lay_out: Callable[[Path, Path], None],
    tmp_path: Path,
    archive: Callable[[Path], None],
) -> None:
    put(tmp_path / "second", "acme-zipped", "zipped")
    archive(tmp_path / "second")
    shutil.rmtree(tmp_path / "second")
    (tmp_path / "second").mkdir()
    lay_out(*places)
    assert ("zipped", "zipped_module", "acme-zipped", "1.0") in found()
    assert found() == expected()


def test_an_egg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    egg = tmp_path / "acme_volumes-1.0-py3.11.egg"
    egg.mkdir()
    metadata = put(egg, "acme-volumes", "acme")
    (metadata / "METADATA").rename(metadata / "PKG-INFO")
    metadata.rename(egg / "EGG-INFO")
    monkeypatch.syspath_prepend(str(egg))
    assert ("acme", "acme_module", "acme-volumes", "1.0") in found()


class Finder:
    """Finds a distribution where nobody else looks."""

    def __init__(self, metadata: Path) -> None:
        self.metadata = metadata

    def find_spec(self, *_: Any) -> None:
        return None

    def find_distributions(self, context: Any) -> Iterator[importlib_metadata.Distribution]:
        yield importlib_metadata.Distribution.at(self.metadata)


def test_what_another_finder_knows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = put(tmp_path, "acme-volumes", "acme")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(metadata)])
    assert ("acme", "acme_module", "acme-volumes", "1.0") in found()


@LEAVES_ARCHIVES_OPEN
@pytest.mark.parametrize("beside_an_archive", [False, True])
def test_a_file_that_is_no_text_is_an_offer_that_says_so_when_it_is_loaded(
    places: tuple[Path, Path], archive: Callable[[Path], None], beside_an_archive: bool
) -> None:
    (put(places[0], "acme-odd", "odd", "2.5") / "entry_points.txt").write_bytes(b"\xff\xfe")
    put(places[0], "acme-volumes", "acme")
    if beside_an_archive:
        archive(places[1])
    [broken] = [offer for offer in offers(("extframe",)) if offer.name == "*"]
    assert origin(broken.distribution) == ("acme-odd", "2.5")
    with pytest.raises(UnicodeDecodeError):
        broken.load()
    assert ("acme", "acme_module", "acme-volumes", "1.0") in found()


def test_the_order_is_extframe_first_and_then_by_distribution_and_name(places: tuple[Path, Path]) -> None:
    for distribution, entry_point in (("Zebra", "a"), ("beaver", "z"), ("Aardvark", "m")):
        put(places[0], distribution, entry_point)
    names = [offer.name for offer in offers(("extframe",))]
    own = [name for name in names if name.startswith("extframe.")]
    assert own == sorted(own)
    assert names[len(own) :] == ["m", "z", "a"]
