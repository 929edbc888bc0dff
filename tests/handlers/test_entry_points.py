"""Entry points: what is found is what importlib_metadata finds, whatever lies on the path."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import importlib_metadata
import pytest
from packages import install

from extframe import PluginManager
from extframe.handlers.entry_points import entry_points, origin

pytestmark = pytest.mark.filterwarnings("ignore::extframe.PluginLoadWarning")  # failures() is what is tested here

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


def without_leftovers(entries: Any) -> Any:
    """Return entry points of importlib_metadata without those of directories that pip is about to remove."""
    return [entry for entry in entries if not entry.dist._path.name.startswith("~")]


def found() -> set[tuple[str, str, str | None, str | None]]:
    return {(entry.name, entry.value, *origin(entry.distribution)) for entry in entry_points(("extframe",))}


def expected() -> set[tuple[str, str, str | None, str | None]]:
    entries = importlib_metadata.entry_points(group="extframe")
    return {(entry.name, entry.value, *origin(entry.dist)) for entry in without_leftovers(entries)}


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
    names = {entry.name for entry in entry_points(("extframe",))}
    assert "whole" in names
    assert "half" not in names


def test_a_directory_that_is_the_working_directory_counts(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places[0], "acme-volumes", "acme")
    monkeypatch.chdir(places[0])
    sys.path[0] = ""
    assert ("acme", "acme_module", "acme-volumes", "1.0") in found()


# --- what is not a directory -----------------------------------------------------------------------------

# importlib_metadata leaves archives open, for the garbage collector to close.
LEAVES_ARCHIVES_OPEN = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Put a directory on sys.path as an archive."""
    yield lambda place: sys.path.append(shutil.make_archive(str(tmp_path / "archive"), "zip", place))
    gc.collect()


@LEAVES_ARCHIVES_OPEN
@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_what_is_found_next_to_an_archive_is_what_importlib_metadata_finds(
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
    """Finds a distribution where no other finder looks."""

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


# --- broken metadata ----------------------------------------------------------------------------------

GOOD_ENTRY = ("acme", "acme_module", "acme-volumes", "1.0")


def break_entry_points(content: bytes) -> Callable[[Path], None]:
    return lambda metadata: (metadata / "entry_points.txt").write_bytes(content) and None


def a_link_to_itself(metadata: Path) -> None:
    (metadata / "entry_points.txt").unlink()
    (metadata / "entry_points.txt").symlink_to("entry_points.txt")


def not_permitted(metadata: Path) -> None:
    (metadata / "entry_points.txt").chmod(0)


def no_core_metadata(metadata: Path) -> None:
    (metadata / "METADATA").unlink()


def core_metadata_in_another_encoding(metadata: Path) -> None:
    (metadata / "METADATA").write_bytes("Name: acme-odd\nVersion: 2.5\nAuthor: J\xf6rg\n".encode("latin-1"))


ODD = ("odd", "odd_module")
BROKEN: dict[str, tuple[Callable[[Path], None], list[tuple[str, str]], str]] = {
    "not UTF-8": (break_entry_points(b"\xff\xfe"), [("*", "entry_points.txt")], "codec can't decode"),
    "one bad line": (
        break_entry_points(b"; a comment\n[extframe]\nodd = odd_module\nno entry\n"),
        [ODD, ("*", "entry_points.txt, line 4")],
        "line 4 is 'no entry'; expected NAME = MODULE",
    ),
    "an empty name": (
        break_entry_points(b"[extframe]\n= odd_module\nodd = odd_module"),
        [ODD, ("*", "entry_points.txt, line 2")],
        "line 2 is '= odd_module'; expected NAME = MODULE",
    ),
    "an empty value": (
        break_entry_points(b"[extframe]\nempty =\nodd = odd_module"),
        [ODD, ("empty", "entry_points.txt, line 2")],
        "line 2 is 'empty ='",
    ),
    "an invalid value": (
        break_entry_points(b"[extframe]\nodd = no module!\n"),
        [("odd", "no module!")],
        "(?i)invalid object reference",
    ),
    "a link to itself": (a_link_to_itself, [("*", "entry_points.txt")], "(?i)too many levels of symbolic links"),
    "no core metadata": (no_core_metadata, [ODD], ""),
    "core metadata in another encoding": (core_metadata_in_another_encoding, [ODD], ""),
}


@LEAVES_ARCHIVES_OPEN
@pytest.mark.parametrize("is_zipped", [False, True])
@pytest.mark.parametrize("case", BROKEN)
def test_both_readers_isolate_broken_metadata_in_the_same_way(
    places: tuple[Path, Path], tmp_path: Path, archive: Callable[[Path], None], case: str, is_zipped: bool
) -> None:
    break_it, expected_entries, text = BROKEN[case]
    if is_zipped and "link" in case:
        pytest.skip("an archive has no links")
    directory = tmp_path / "third"
    directory.mkdir()
    break_it(put(directory, "acme-odd", "odd", "2.5"))
    put(places[0], "acme-volumes", "acme")
    archive(directory) if is_zipped else sys.path.append(str(directory))
    rest = {entry for entry in entry_points(("extframe",)) if not entry.name.startswith("extframe.")}
    assert GOOD_ENTRY in {(entry.name, entry.value, *entry.origin) for entry in rest}
    odd = [entry for entry in rest if entry.name != "acme"]
    assert sorted((entry.name, entry.value) for entry in odd) == sorted(expected_entries)
    for entry in odd:
        if "METADATA" not in break_it.__code__.co_consts:
            assert entry.origin == ("acme-odd", "2.5")
        if (entry.name, entry.value) != ODD:
            with pytest.raises(Exception, match=text):
                entry.load()


@pytest.mark.parametrize("case", [case for case in BROKEN if case != "an invalid value"])
def test_a_manager_loads_the_rest(places: tuple[Path, Path], case: str) -> None:
    break_it, expected_entries, text = BROKEN[case]
    break_it(put(places[0], "acme-odd", "odd", "2.5"))
    put(places[0], "acme-volumes", "acme")
    pm = PluginManager()
    assert pm.has_plugin("acme")
    assert pm.has_plugin("odd") is (ODD in expected_entries)
    assert [re.search(text, str(failure)) is not None for failure in pm.failures()] == (
        [True] * (len(expected_entries) - (ODD in expected_entries))
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_a_failure_here(places: tuple[Path, Path]) -> None:
    not_permitted(put(places[0], "acme-odd", "odd", "2.5"))
    [failure] = PluginManager().failures()
    assert "Permission denied" in str(failure)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_another_user_may_not_read_is_a_failure(places: tuple[Path, Path], tmp_path: Path) -> None:
    not_permitted(put(places[0], "acme-odd", "odd", "2.5"))
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and directory.is_relative_to(tempfile.gettempdir()):
            directory.chmod(directory.stat().st_mode | 0o055)
    program = (
        f"import os, sys; sys.path.insert(0, {str(places[0])!r}); import extframe, logging\n"
        "pm = extframe.PluginManager(groups=()); import importlib_metadata, extframe.logs, extframe.handlers.failures\n"
        "os.setuid(65534); pm.load_setuptools_entrypoints('extframe'); print(*pm.failures())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "entry point '*' (entry_points.txt): PermissionError" in done.stdout, done.stderr


def test_only_pips_leftovers_are_nothing(places: tuple[Path, Path]) -> None:
    put(places[0], "acme-volumes", "acme").rename(places[0] / "~cme_volumes-1.0.dist-info")
    assert GOOD_ENTRY not in found()


def test_the_order_is_extframe_first_and_then_by_distribution_and_name(places: tuple[Path, Path]) -> None:
    for distribution, entry_point in (("Zebra", "a"), ("beaver", "z"), ("Aardvark", "m")):
        put(places[0], distribution, entry_point)
    names = [entry.name for entry in entry_points(("extframe",))]
    own = [name for name in names if name.startswith("extframe.")]
    assert own == sorted(own)
    assert names[len(own) :] == ["m", "z", "a"]
