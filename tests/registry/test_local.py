"""Discovery on real directories: what is found where, what is refused, and what the messages say."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faultserver import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program import Program
from users import NOBODY, ordinary_user

from extframe.errors import ExtframeError, PluginNotFound, SpecError
from extframe.protocol import SPEC_READERS, PluginSpec, TLSConfig
from extframe.registry.local import SPEC_LIMIT, LocalRegistry, Registry

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="needs root, to give files to another user")


class Disk:
    """A socket directory and two spec directories, with ways to put things there."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.run, self.etc, self.lib = base / "run", base / "etc", base / "lib"
        for directory in (self.run, self.etc, self.lib):
            directory.mkdir()
        for directory in (base, self.run, self.etc, self.lib):
            directory.chmod(0o755)
        self.registry = LocalRegistry(self.run, [self.etc, self.lib])

    def path(self, name: str) -> Path:
        path = self.base / name
        path.parent.mkdir(exist_ok=True)
        return path

    def sock(self, name: str) -> Path:
        path = self.path(name)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        path.chmod(0o660)
        return path

    def file(self, name: str, content: str | bytes = "tcp://host:1") -> Path:
        path = self.path(name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o644)
        return path

    def json(self, name: str, addr: str = "tcp://host:1", rest: str = "") -> Path:
        return self.file(name, f'{{"Addr": "{addr}"{rest}}}')

    def link(self, name: str, target: str | Path) -> Path:
        path = self.path(name)
        path.symlink_to(target)
        return path

    def refusal(self, name: str) -> str:
        with pytest.raises(SpecError) as refused:
            self.registry.find(name)
        assert refused.value.plugin == name
        return str(refused.value)

    def is_missing(self, name: str) -> str:
        with pytest.raises(PluginNotFound) as missing:
            self.registry.find(name)
        assert missing.value.plugin == name
        return str(missing.value)

    def search_failure(self, name: str) -> str:
        with pytest.raises(ExtframeError) as failed:
            self.registry.find(name)
        assert (type(failed.value), failed.value.plugin) == (ExtframeError, name)
        return str(failed.value)


@pytest.fixture
def disk(short_path: Path) -> Disk:
    return Disk(short_path)


# --- find: where ----------------------------------------------------------------------------------------

IN_ORDER = [
    "run/p.sock",
    "run/p/p.sock",
    "etc/p.spec",
    "etc/p/p.spec",
    "etc/p.json",
    "etc/p/p.json",
    "lib/p.spec",
    "lib/p/p.spec",
    "lib/p.json",
    "lib/p/p.json",
]


@pytest.mark.parametrize("best", IN_ORDER)
def test_a_source_beats_all_that_the_engine_looks_at_after_it(disk, best):
    for number, source in enumerate(IN_ORDER[IN_ORDER.index(best) :]):
        make = {".sock": lambda name, addr: disk.sock(name), ".spec": disk.file, ".json": disk.json}
        make[Path(source).suffix](source, f"tcp://host:{number + 1}")
    path = str(disk.base / best)
    address = f"unix://{path}" if best.endswith(".sock") else "tcp://host:1"
    assert disk.registry.find("p") == PluginSpec("p", address, None, path)


def test_the_sources_of_a_name_are_the_one_that_is_used_and_then_those_that_never_are(disk):
    for name in IN_ORDER[2:]:
        disk.file(name)
    disk.file("run/p.sock", "no socket")
    assert disk.registry.sources("p") == [f"{disk.base}/{name}" for name in IN_ORDER[2:]]
    disk.sock("run/p/p.sock")
    assert disk.registry.sources("p")[0] == disk.registry.find("p").source == f"{disk.run}/p/p.sock"
    assert disk.registry.sources("q") == []
    with pytest.raises(SpecError):
        disk.registry.sources("../p")


def test_a_directory_that_is_given_twice_has_each_source_once(disk):
    path = disk.file("etc/p.spec")
    assert LocalRegistry(disk.run, [disk.etc, disk.etc]).sources("p") == [str(path)]


def test_the_places_are_the_directories_with_what_counts_there(disk):
    specs = tuple(SPEC_READERS)
    assert list(disk.registry.places) == [(str(disk.run), (".sock",)), (str(disk.etc), specs), (str(disk.lib), specs)]


def test_the_order_of_formats_is_that_of_the_readers():
    assert list(SPEC_READERS) == [".spec", ".json"]


@pytest.mark.parametrize("in_the_way", ["a regular file", "a directory", "a link to a file", "a FIFO"])
def test_what_is_no_socket_under_a_sockets_name_is_passed_over(disk, in_the_way):
    if in_the_way == "a regular file":
        disk.file("run/p.sock", "")
    elif in_the_way == "a directory":
        (disk.run / "p.sock").mkdir()
    elif in_the_way == "a link to a file":
        disk.link("run/p.sock", disk.file("run/other"))
    else:
        os.mkfifo(disk.run / "p.sock")
    assert f"; {disk.run}/p.sock: not a socket" in disk.is_missing("p")
    disk.json("lib/p.json")
    assert disk.registry.find("p").source == f"{disk.lib}/p.json"


@pytest.mark.parametrize("target", ["../elsewhere/real.sock", "{base}/elsewhere/real.sock"])
def test_a_link_to_a_socket_is_a_plugin_under_the_links_name(disk, target):
    disk.sock("elsewhere/real.sock")
    path = disk.link("run/p.sock", target.format(base=disk.base))
    assert disk.registry.find("p") == PluginSpec("p", f"unix://{path}", None, str(path))


def test_a_link_to_a_link_to_a_directory_of_its_own_is_followed(disk):
    disk.sock("elsewhere/p.sock")
    disk.link("second", "elsewhere")
    disk.link("run/p", "../second")
    assert disk.registry.find("p").source == f"{disk.run}/p/p.sock"
    assert disk.registry.scan() == ["p"]


def test_a_link_to_a_spec_file_is_read(disk):
    disk.file("elsewhere/real", "tcp://real:1")
    disk.link("etc/p.spec", "../elsewhere/real")
    assert disk.registry.find("p").address == "tcp://real:1"


@pytest.mark.parametrize("name", ["a.b", "UPPER", "x.sock", "with space", "ü", "-f", "..."])
def test_a_name_is_the_file_name_without_its_extension(disk, name):
    path = disk.sock(f"run/{name}.sock")
    assert disk.registry.find(name).source == str(path)
    assert disk.registry.scan() == [name]


def test_the_case_of_a_name_matters(disk):
    disk.sock("run/p.sock")
    disk.is_missing("P")


def test_relative_directories_are_taken_from_where_the_registry_was_made(disk, monkeypatch):
    disk.sock("run/p.sock")
    disk.file("etc/q.spec")
    monkeypatch.chdir(disk.base)
    registry = LocalRegistry("run", [Path("etc")])
    monkeypatch.chdir("/")
    assert registry.find("p").address == f"unix://{disk.run}/p.sock"
    assert registry.find("q").source == f"{disk.etc}/q.spec"


# --- find: what spec files say ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "address"),
    [
        ("tcp://h:1", "tcp://h:1"),
        (" \n tcp://h:1 \n\n", "tcp://h:1"),
        ("unix:/run/p.sock", "unix:///run/p.sock"),
        ("https://h:1", "https://h:1"),
    ],
)
def test_a_spec_file_gives_the_address_and_no_tls_configuration(disk, content, address):
    disk.file("etc/p.spec", content)
    assert disk.registry.find("p") == PluginSpec("p", address, None, f"{disk.etc}/p.spec")


def test_a_json_file_gives_address_and_tls_and_its_name_key_is_ignored(disk):
    disk.json("etc/p.json", "https://h:1", ', "name": "other", "tlsconfig": {"CAFILE": "/no/such", "extra": 1}')
    assert disk.registry.find("p") == PluginSpec("p", "https://h:1", TLSConfig("/no/such"), f"{disk.etc}/p.json")


def test_certificates_are_not_opened_when_the_plugin_is_found(disk):
    os.mkfifo(disk.base / "ca")
    disk.json("etc/p.json", "https://h:1", f', "TLSConfig": {{"CAFile": "{disk.base}/ca"}}')
    assert disk.registry.find("p").tls == TLSConfig(f"{disk.base}/ca")


BROKEN = [
    ("p.spec", b"", "it is empty; expected unix:///path"),
    ("p.spec", b"\x7fELF\x02\xff\0", "byte 5 is not UTF-8; expected one line with a URL"),
    ("p.spec", b"\0\1\2", "control characters"),
    ("p.spec", b"/run/p.sock", "'/run/p.sock' is not a plugin address: it has no scheme; expected unix:///path"),
    ("p.spec", b"localhost:80", "it has no scheme"),
    ("p.spec", b"ftp://h:1", "its scheme is 'ftp'"),
    ("p.spec", b"npipe:////./pipe/p", "named pipes are not supported"),
    ("p.spec", b"tcp://h:1\ntcp://h:2", "line 2: expected nothing"),
    ("p.spec", b"unix:///" + b"x" * 108, "at most 107 bytes"),
    ("p.spec", b" " * (SPEC_LIMIT + 1), f"is larger than {SPEC_LIMIT} bytes"),
    ("p.json", b"", "not JSON"),
    ("p.json", b"not json", "not JSON"),
    ("p.json", b"[]", "Expected `object`, got `array`"),
    ("p.json", b"[" * 900 + b"]" * 900, "Expected `object`, got `array`"),
    ("p.json", b"{}", "key 'Addr' is missing or empty; expected the plugin's address"),
    ("p.json", b'{"Addr": 1}', "`$.Addr`"),
    ("p.json", b'{"Addr": "h:1"}', "it has no scheme"),
    ("p.json", b'{"Addr": "tcp://h:1", "TLSConfig": 1}', "`$.TLSConfig`"),
    ("p.json", b'{"Addr": "tcp://h:1", "TLSConfig": {"KeyFile": "/k"}}', "CertFile is missing"),
]


@pytest.mark.parametrize(("name", "content", "fault"), BROKEN)
def test_a_broken_spec_file_is_an_error_with_its_path_and_nothing_behind_it_is_tried(disk, name, content, fault):
    path = disk.file(f"etc/{name}", content)
    disk.json("lib/p.json")
    message = disk.refusal("p")
    assert message.startswith(f"{path}: ")
    assert fault in message


def test_the_cause_of_a_broken_spec_file_is_chained_and_its_address_kept(disk):
    disk.file("etc/p.spec", "ftp://h:1")
    with pytest.raises(SpecError) as refused:
        disk.registry.find("p")
    assert isinstance(refused.value.__cause__, SpecError)
    assert refused.value.address == "ftp://h:1"


def place_directory(path: Path) -> None:
    path.mkdir()


def place_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def place_dangling_link(path: Path) -> None:
    path.symlink_to("no-such-file")


def place_circle(path: Path) -> None:
    path.symlink_to(path.name)


def place_link_into_a_file(path: Path) -> None:
    path.with_name("file").write_text("")
    path.symlink_to("file/below")


def place_device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        (place_directory, "is a directory; expected a file with the plugin's address"),
        (os.mkfifo, "is a FIFO; expected"),
        (place_socket, "is a socket; expected"),
        (place_device, "is a device; expected"),
        (place_dangling_link, "is a dangling link to no-such-file; remove it, or create its target"),
        (place_circle, "is a dangling link to {name}"),
        (place_link_into_a_file, "is a dangling link to file/below"),
    ],
)
@pytest.mark.parametrize("name", ["p.spec", "p.json"])
def test_what_is_no_file_under_a_spec_files_name_is_an_error_that_says_what_it_is(disk, name, place, fault):
    place(disk.etc / name)
    disk.file("lib/p.spec")
    assert disk.refusal("p").startswith(f"{disk.etc}/{name}: {fault.format(name=name)}")
    assert disk.registry.scan() == ["p"]


@pytest.mark.parametrize("place", [place_dangling_link, place_circle, place_link_into_a_file])
@pytest.mark.parametrize("name", ["p.sock", "p/p.sock"])
def test_a_sockets_link_that_leads_nowhere_is_an_error_though_the_engine_passes_it_over(disk, name, place):
    place(disk.path(f"run/{name}"))
    disk.file("etc/p.spec")
    message = disk.refusal("p")
    assert message.startswith(f"{disk.run}/{name}: is a dangling link to ")
    assert disk.registry.scan() == ["p"]


def test_a_spec_file_that_this_user_may_not_read_is_an_error(disk):
    path = disk.file("etc/p.spec")
    path.chmod(0)
    disk.file("lib/p.spec")
    with ordinary_user():
        message = disk.refusal("p")
    assert message == f"{path}: cannot be read: permission denied; fix with: chmod a+r {path}"
    run_the_command_in(message)
    with ordinary_user():
        assert disk.registry.find("p").source == str(path)


@pytest.mark.parametrize("place", [place_dangling_link, place_directory, os.mkfifo])
def test_the_error_of_a_file_that_cannot_be_used_carries_its_path(disk, place):
    place(disk.etc / "p.spec")
    with pytest.raises(SpecError) as refused:
        disk.registry.find("p")
    assert refused.value.source == f"{disk.etc}/p.spec"


def test_the_error_of_an_unsafe_source_carries_the_command_that_fixes_it(disk):
    path = disk.file("etc/p.spec")
    path.chmod(0o666)
    with pytest.raises(SpecError) as refused:
        disk.registry.find("p")
    assert (refused.value.source, refused.value.remedy) == (str(path), f"chmod o-w {path}")


def test_a_socket_whose_path_no_address_can_hold_is_an_error(disk):
    deep = disk.run / ("d" * 100)
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    disk.registry = LocalRegistry(deep, [])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/p.sock")
    os.close(here)
    (deep / "p.sock").chmod(0o660)
    message = disk.refusal("p")
    assert message.startswith(f"{deep}/p.sock: ")
    assert "at most 107 bytes" in message


# --- find: nothing there ------------------------------------------------------------------------------


def test_the_message_for_a_missing_plugin_lists_every_place(disk):
    assert disk.is_missing("rclone") == (
        f"no plugin 'rclone': looked for rclone.sock in {disk.run} "
        f"and for rclone.spec, rclone.json in {disk.etc}, {disk.lib}, and in rclone/ of each"
    )


def test_a_missing_plugin_is_a_lookup_error_even_where_no_directory_exists():
    registry = LocalRegistry("/no/such/sockets", ())
    with pytest.raises(LookupError) as missing:
        registry.find("p")
    assert str(missing.value) == "no plugin 'p': looked for p.sock in /no/such/sockets, and in p/ of each"


def test_a_name_too_long_for_any_file_is_a_missing_plugin(disk):
    assert disk.is_missing("x" * 255).endswith("and in " + "x" * 255 + "/ of each")


def test_a_file_in_the_place_of_a_directory_holds_no_plugin(disk):
    disk.file("etc/p")
    disk.registry = LocalRegistry(disk.file("sockets"), [disk.etc])
    disk.is_missing("p")


def test_a_plugin_is_not_missing_where_a_directory_may_not_be_entered_and_the_search_goes_on(disk):
    disk.sock("run/p.sock")
    disk.run.chmod(0o600)
    (disk.lib / "p").mkdir(mode=0o600)
    with ordinary_user():
        assert disk.search_failure("p") == (
            f"cannot search for plugin 'p': {disk.run}: permission denied; {disk.lib}/p: permission denied; "
            f"run as a user who may read this, or allow it: chmod o+rx {disk.run} {disk.lib}/p"
        )
    disk.file("etc/p.spec")
    with ordinary_user():
        assert disk.registry.find("p").source == f"{disk.etc}/p.spec"


def test_a_missing_plugin_is_reported_without_waiting(disk, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    disk.is_missing("p")


# --- names that leave the directory -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../secret/p", "p/p", "/etc/p", "a\0b", "a\nb", "a\\b", "x" * 256, "\udcff"]
)
def test_a_name_that_could_leave_the_directory_is_refused_though_a_file_is_there(disk, name):
    disk.sock("secret/p.sock")
    disk.sock("run/p/p.sock")
    with pytest.raises(SpecError, match="cannot be a plugin's name"):
        disk.registry.find(name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.text() | st.sampled_from(["p", "../secret/p", "p/p"]))
def test_any_text_as_a_name_gives_a_file_inside_the_directories_or_one_of_two_errors(disk, name):
    if not disk.registry.scan():
        disk.sock("run/p.sock")
        disk.sock("secret/p.sock")
    try:
        spec = disk.registry.find(name)
    except (SpecError, PluginNotFound):
        return
    assert Path(spec.source).parent == disk.run


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    extension=st.sampled_from([*SPEC_READERS]),
    content=st.binary()
    | st.sampled_from([content for _, content, _ in BROKEN] + [b"tcp://h:1", b'{"Addr":"tcp://h:1"}']),
)
def test_any_bytes_in_a_spec_file_give_a_spec_or_a_spec_error(disk, extension, content):
    path = disk.file(f"etc/p{extension}", content)
    try:
        spec = disk.registry.find("p")
    except SpecError:
        assert disk.refusal("p").startswith(f"{path}: ")
    else:
        assert spec.source == str(path)
    finally:
        path.unlink()


# --- scan ---------------------------------------------------------------------------------------------


def test_a_scan_lists_each_name_once_and_sorted(disk):
    for name in ("run/c.sock", "run/own/own.sock"):
        disk.sock(name)
    for name in ("etc/c.spec", "lib/c.spec", "etc/b.json", "lib/b.spec", "lib/nest/nest.json", "etc/nest/nest.spec"):
        disk.file(name)
    disk.sock("real.sock")
    disk.link("run/a.sock", "../real.sock")
    assert disk.registry.scan() == ["a", "b", "c", "nest", "own"]


NO_PLUGINS = [
    "run/scan1.socket",
    "run/noext",
    "run/.sock",
    "run/.hidden",
    "run/sub/other.sock",
    "run/deep/deep/deep.sock",
    "etc/p.sock",
    "etc/README",
    "etc/.spec",
    "etc/.json",
    "etc/p.spec.bak",
    "etc/p.SPEC",
    "etc/sub/other.spec",
]


@pytest.mark.parametrize("name", NO_PLUGINS)
def test_a_scan_does_not_list_what_find_would_not_look_at(disk, name):
    (disk.base / name).parent.mkdir(parents=True, exist_ok=True)
    (disk.sock if name.startswith("run/") else disk.file)(name)
    assert disk.registry.scan() == []


def test_a_scan_does_not_list_a_spec_file_in_the_socket_directory(disk):
    disk.file("run/p.spec")
    disk.is_missing("p")
    assert disk.registry.scan() == []


def test_a_directory_that_is_missing_is_empty_and_no_warning(short_path, caplog):
    assert LocalRegistry(short_path / "no", [short_path / "neither"]).scan() == []
    assert not caplog.records


def test_names_that_find_would_refuse_are_not_listed(disk):
    disk.file("etc/good.spec")
    for name in (b"\xff.spec", b"a\nb.spec", b"a\\b.spec", b"..spec", b"...spec"):
        Path(os.fsdecode(os.fsencode(disk.etc) + b"/" + name)).write_text("tcp://h:1")
    assert disk.registry.scan() == ["good"]


def test_a_directory_that_this_user_may_never_read_is_skipped_with_one_warning(disk, caplog):
    disk.file("etc/hidden.spec")
    disk.file("lib/seen.spec")
    disk.etc.chmod(0o700 if ROOT else 0o300)
    with ordinary_user():
        assert [disk.registry.scan() for _ in range(3)] == [["seen"]] * 3
    warning = f"cannot read the plugin directory {disk.etc}: permission denied; its plugins are ignored"
    assert caplog.record_tuples == [("extframe.registry.local", logging.WARNING, warning)]
    disk.etc.chmod(0o755)
    assert disk.registry.scan() == ["hidden", "seen"]


def test_a_directory_that_becomes_unreadable_fails_the_scan_instead_of_shortening_the_list(disk):
    disk.file("etc/hidden.spec")
    disk.file("lib/seen.spec")
    with ordinary_user():
        assert disk.registry.scan() == ["hidden", "seen"]
    disk.etc.chmod(0o700 if ROOT else 0o300)
    with ordinary_user(), pytest.raises(ExtframeError) as failed:
        disk.registry.scan()
    assert str(failed.value) == (
        f"cannot list plugins: {disk.etc}: permission denied; run as a user who may read this, or allow it: "
        f"chmod o+rx {disk.etc}"
    )


def test_a_scan_that_finds_nothing_where_it_may_not_look_is_an_error_and_not_empty(disk):
    disk.run.chmod(0o700 if ROOT else 0o300)
    with ordinary_user(), pytest.raises(ExtframeError, match="cannot list plugins: .*permission denied"):
        disk.registry.scan()
    with ordinary_user():
        names, failed = disk.registry.scan_readable()
    assert (names, [*failed]) == ([], [str(disk.run)])


def test_a_file_in_the_place_of_a_directory_is_a_warning_and_the_scan_goes_on(disk, caplog):
    disk.file("lib/seen.spec")
    assert LocalRegistry(disk.file("sockets"), [disk.lib]).scan() == ["seen"]
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "not a directory; its plugins are ignored"
    ]


def test_a_plugins_own_directory_that_may_not_be_entered_is_skipped_in_silence(disk, caplog):
    disk.sock("run/closed/closed.sock")
    disk.sock("run/open/open.sock")
    (disk.run / "closed").chmod(0o600)
    with ordinary_user():
        assert disk.registry.scan() == ["open"]
    assert not caplog.records


ALLOW = "run as a user who may read this, or allow it: chmod o+rx "


def test_a_link_into_a_directory_that_may_not_be_entered_is_skipped(disk):
    disk.sock("closed/real.sock")
    disk.link("run/a.sock", "../closed/real.sock")
    disk.link("run/b", "../closed/b")
    disk.link("etc/c.spec", "../closed/c.spec")
    (disk.base / "closed").chmod(0o600)
    with ordinary_user():
        assert disk.registry.scan() == []
        for name in "abc":
            assert disk.search_failure(name).endswith(f"permission denied; {ALLOW}{disk.base}/closed")


def stats_asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def counted(real: Callable[[str], os.stat_result]) -> Callable[[str], os.stat_result]:
        return lambda path: asked.append(path) or real(path)

    monkeypatch.setattr(os, "stat", counted(os.stat))
    monkeypatch.setattr(os, "lstat", counted(os.lstat))
    return asked


def test_a_thousand_spec_files_are_scanned_without_a_stat(disk, monkeypatch):
    for number in range(1000):
        (disk.etc / f"p{number}.spec").touch()
    asked = stats_asked_for(monkeypatch)
    assert len(disk.registry.scan()) == 1000
    assert asked == []


def test_a_thousand_sockets_are_scanned_with_one_stat_each(disk, monkeypatch):
    one = disk.sock("run/p.sock")
    for number in range(999):
        os.link(one, disk.run / f"p{number}.sock")
    asked = stats_asked_for(monkeypatch)
    assert len(disk.registry.scan()) == 1000
    assert len(asked) == 1000


KINDS: dict[str, Callable[[Disk, str], object]] = {
    "file": lambda disk, name: disk.file(name),
    "socket": lambda disk, name: disk.sock(name),
    "directory": lambda disk, name: disk.path(name).mkdir(),
    "fifo": lambda disk, name: os.mkfifo(disk.path(name)),
    "nowhere": lambda disk, name: disk.link(name, "no-such-file"),
    "circle": lambda disk, name: disk.link(name, Path(name).name),
    "link to a socket": lambda disk, name: disk.link(name, disk.base / "target.sock"),
    "link to a file": lambda disk, name: disk.link(name, disk.base / "target.spec"),
    "link to a directory": lambda disk, name: disk.link(name, disk.base / "target"),
}
NAMES = ["a", "b", "a.sock", "a.spec", "b.json"]
FLAT = [name + extension for name in NAMES for extension in ("", ".sock", ".spec", ".json")]
BELOW = [f"{name}/{name}{extension}" for name in NAMES for extension in (".sock", ".spec", ".json")]
PLACES = [f"{directory}/{name}" for directory in ("run", "etc") for name in FLAT + BELOW]


@given(st.dictionaries(st.sampled_from(PLACES), st.sampled_from(sorted(KINDS)), max_size=8))
def test_a_scan_lists_exactly_the_names_for_which_find_has_an_answer(entries):
    with tempfile.TemporaryDirectory(prefix="ef-") as base:
        disk = Disk(Path(base))
        disk.sock("target.sock")
        for name in ("target.spec", "target/a.spec", "target/b.json"):
            disk.file(name)
        disk.sock("target/a.sock")
        for name, kind in entries.items():
            parent = (disk.base / name).parent
            if (parent.is_dir() or not os.path.lexists(parent)) and not os.path.lexists(disk.base / name):
                KINDS[kind](disk, name)
        answered = set()
        for name in NAMES:
            try:
                disk.registry.find(name)
            except PluginNotFound:
                continue
            except SpecError:
                pass
            answered.add(name)
        assert disk.registry.scan() == sorted(answered)


# --- what others may write ----------------------------------------------------------------------------

Arrange = Callable[[Disk], Path]


def open_socket(disk: Disk) -> Path:
    path = disk.sock("run/p.sock")
    path.chmod(0o777)
    return path


def open_spec(disk: Disk) -> Path:
    path = disk.file("etc/p.spec")
    path.chmod(0o666)
    return path


def open_json(disk: Disk) -> Path:
    path = disk.json("lib/p/p.json")
    path.chmod(0o646)
    return path


def open_directory_of_sockets(disk: Disk) -> Path:
    disk.sock("run/p.sock")
    disk.run.chmod(0o777)
    return disk.run


def open_directory_of_specs(disk: Disk) -> Path:
    disk.file("lib/p/p.spec")
    disk.lib.chmod(0o777)
    return disk.lib


def open_directory_of_its_own(disk: Disk) -> Path:
    disk.file("etc/p/p.spec")
    (disk.etc / "p").chmod(0o757)
    return disk.etc / "p"


def open_target_of_a_link(disk: Disk) -> Path:
    target = disk.sock("far/real.sock")
    target.chmod(0o662)
    disk.link("run/p.sock", target)
    return target


def open_directory_of_a_links_target(disk: Disk) -> Path:
    disk.link("run/p.sock", disk.sock("far/real.sock"))
    (disk.base / "far").chmod(0o777)
    return disk.base / "far"


def open_directory_between_two_links(disk: Disk) -> Path:
    disk.link("middle/second", disk.file("far/real"))
    disk.link("etc/p.spec", disk.base / "middle" / "second")
    (disk.base / "middle").chmod(0o777)
    return disk.base / "middle"


OPEN: list[Arrange] = [
    open_socket,
    open_spec,
    open_json,
    open_directory_of_sockets,
    open_directory_of_specs,
    open_directory_of_its_own,
    open_target_of_a_link,
    open_directory_of_a_links_target,
    open_directory_between_two_links,
]


def run_the_command_in(message: str) -> None:
    command = re.search(r"; fix with: (.*)$", message)
    assert command, message
    subprocess.run(command[1], shell=True, check=True, timeout=60)


@pytest.mark.parametrize("arrange", OPEN)
def test_world_writable_files_are_rejected_and_the_command_in_the_message_fixes_it(disk, arrange):
    culprit = arrange(disk)
    message = disk.refusal("p")
    assert message.endswith(f": unsafe, because {culprit} is world-writable; fix with: chmod o-w {culprit}")
    run_the_command_in(message)
    assert disk.registry.find("p").name == "p"


def foreign_socket(disk: Disk) -> Path:
    return disk.sock("run/p.sock")


def foreign_spec(disk: Disk) -> Path:
    return disk.file("etc/p.spec")


def foreign_directory(disk: Disk) -> Path:
    disk.file("etc/p.spec")
    return disk.etc


def foreign_link(disk: Disk) -> Path:
    return disk.link("etc/p.spec", disk.file("far/real"))


def foreign_target_of_a_link(disk: Disk) -> Path:
    disk.link("run/p.sock", disk.sock("far/real.sock"))
    return disk.base / "far" / "real.sock"


FOREIGN: list[Arrange] = [foreign_socket, foreign_spec, foreign_directory, foreign_link, foreign_target_of_a_link]


@as_root
@pytest.mark.parametrize("arrange", FOREIGN)
def test_files_of_another_user_are_rejected_and_the_command_in_the_message_fixes_it(disk, arrange):
    culprit = arrange(disk)
    os.lchown(culprit, NOBODY, 0)
    message = disk.refusal("p")
    assert f": unsafe, because {culprit} belongs to user 65534, who is neither root nor this user (0);" in message
    run_the_command_in(message)
    assert disk.registry.find("p").name == "p"
    assert culprit.lstat().st_uid == 0


@as_root
@pytest.mark.parametrize("arrange", FOREIGN)
def test_an_ordinary_user_may_use_roots_files_and_their_own(disk, arrange):
    culprit = arrange(disk)
    for owner in (0, NOBODY):
        os.lchown(culprit, owner, 0)
        with ordinary_user():
            assert disk.registry.find("p").name == "p"
    os.lchown(culprit, 1, 0)
    with ordinary_user():
        assert "user 1, who is neither root nor this user (65534); fix with: chown " in disk.refusal("p")


@as_root
def test_one_message_has_the_commands_for_all_that_is_wrong(disk):
    path = disk.file("etc/p.spec")
    path.chmod(0o666)
    os.chown(path, NOBODY, 0)
    disk.etc.chmod(0o777)
    message = disk.refusal("p")
    assert message.endswith(f"fix with: chmod o-w {disk.etc} && chown root {path} && chmod o-w {path}")
    run_the_command_in(message)
    assert disk.registry.find("p").name == "p"


def test_the_command_is_quoted_for_the_shell(disk):
    path = disk.file("etc/it's $HOME.spec")
    path.chmod(0o666)
    run_the_command_in(disk.refusal("it's $HOME"))
    assert disk.registry.find("it's $HOME").source == str(path)


@pytest.mark.parametrize("arrange", [*OPEN, *FOREIGN])
def test_allow_unsafe_accepts_files_that_other_users_can_replace(disk, arrange):
    culprit = arrange(disk)
    if arrange in FOREIGN and ROOT:
        os.lchown(culprit, NOBODY, 0)
    registry = LocalRegistry(disk.run, [disk.etc, disk.lib], allow_unsafe=True)
    assert registry.find("p").name == "p"


@pytest.mark.parametrize("arrange", OPEN)
def test_an_unsafe_plugin_is_listed_so_that_its_user_is_notified(disk, arrange):
    arrange(disk)
    assert disk.registry.scan() == ["p"]


@pytest.mark.parametrize("directory", ["run", "etc"])
def test_a_sticky_directory_is_accepted_as_users_cannot_replace_each_others_files(disk, directory):
    disk.sock("run/p.sock")
    disk.file("etc/q.spec")
    (disk.base / directory).chmod(0o1777)
    assert disk.registry.find("p").name + disk.registry.find("q").name == "pq"


def test_a_group_may_write_a_socket(disk):
    path = disk.sock("run/p.sock")
    if ROOT:
        os.chown(path, -1, NOBODY)
    path.chmod(0o660)
    assert disk.registry.find("p").source == str(path)


@as_root
@pytest.mark.parametrize("path", ["etc", "etc/p.spec", "far", "far/real"])
def test_a_spec_file_or_directory_that_a_group_may_write_is_rejected(disk, path):
    disk.link("etc/p.spec", disk.file("far/real"))
    disk.link("etc/q.spec", disk.file("far/second"))
    culprit = (disk.base / path).resolve()
    os.chown(culprit, 0, 1)
    culprit.chmod(culprit.stat().st_mode | 0o020)
    message = disk.refusal("p")
    assert f": unsafe, because {culprit} is writable by group 'daemon'; fix with: chmod g-w {culprit}" in message
    run_the_command_in(message)
    assert disk.registry.find("p").name == "p"


@as_root
def test_gid_0_and_a_users_own_private_group_may_write(disk, monkeypatch):
    import grp
    import pwd

    path = disk.file("etc/p.spec")
    path.chmod(0o664)
    disk.etc.chmod(0o775)
    assert disk.registry.find("p").name == "p"
    for own in (path, disk.etc):
        os.chown(own, NOBODY, 12345)
    user = pwd.struct_passwd(("ada", "x", NOBODY, 12345, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", {NOBODY: user}.__getitem__)
    for members, is_safe in (([], True), (["ada"], True), (["ada", "eve"], False)):
        monkeypatch.setattr(grp, "getgrgid", lambda gid, members=members: grp.struct_group(("ada", "x", gid, members)))
        with ordinary_user():
            assert (disk.registry.find("p").name == "p") if is_safe else ("group 'ada'" in disk.refusal("p"))


@as_root
@pytest.mark.parametrize("how", ["a parent of the directory", "a link in the middle", "the link's parent"])
def test_a_user_who_can_move_any_directory_on_the_way_is_rejected(disk, how):
    real = disk.base / "victim" / "dir" / "plugins"
    real.mkdir(parents=True)
    (real / "p.spec").write_text("tcp://host:1")
    (disk.base / "links").mkdir()
    (disk.base / "links" / "dir").symlink_to(disk.base / "victim" / "dir")
    culprit = {
        "a parent of the directory": disk.base / "victim",
        "a link in the middle": disk.base / "links" / "dir",
        "the link's parent": disk.base / "links",
    }[how]
    disk.registry = LocalRegistry(disk.base / "links" / "dir" / "plugins")
    assert disk.registry.find("p").name == "p"
    os.lchown(culprit, NOBODY, NOBODY)
    message = disk.refusal("p")
    assert f"unsafe, because {culprit} belongs to user {NOBODY}" in message
    run_the_command_in(message)
    assert disk.registry.find("p").name == "p"


def test_who_may_answer_at_a_socket_is_recorded(disk):
    path = disk.sock("run/p.sock")
    me = path.stat().st_uid
    assert disk.registry.find("p").peer_uids == {me}
    listening = disk.sock("far/real.sock")
    disk.file("etc/q.spec", f"unix://{listening}")
    disk.file("etc/t.spec", "tcp://host:1")
    if ROOT:
        os.chown(listening, 7, 0)
    assert disk.registry.find("q").peer_uids == {7, 0} if ROOT else {me}
    assert disk.registry.find("t").peer_uids is None
    more = LocalRegistry(disk.run, [disk.etc], peer_uids=[1234])
    assert more.find("p").peer_uids == {me, 1234}
    assert LocalRegistry(disk.run, allow_unsafe=True).find("p").peer_uids is None


def test_what_is_unsafe_is_said_before_what_is_malformed(disk):
    disk.file("etc/p.spec", "malformed").chmod(0o666)
    assert "is world-writable" in disk.refusal("p")


def just_after(monkeypatch: pytest.MonkeyPatch, function: str, path: Path, act: Callable[[], object]) -> None:
    """Do in the system what another process may do just after its first ``function`` of ``path``."""
    real = getattr(os, function)

    def called(place: str, *rest: object) -> object:
        result = real(place, *rest)
        if place == str(path):
            monkeypatch.setattr(os, function, real)
            act()
        return result

    monkeypatch.setattr(os, function, called)


def test_a_fifo_that_takes_a_spec_files_place_meanwhile_holds_nobody(disk, monkeypatch):
    path = disk.file("etc/p.spec")
    os.mkfifo(disk.etc / "fifo")
    just_after(monkeypatch, "lstat", path, lambda: os.replace(disk.etc / "fifo", path))
    release = threading.Timer(30, lambda: os.close(os.open(path, os.O_RDWR)))
    release.start()
    started = time.monotonic()
    assert "it is empty" in disk.refusal("p")
    assert time.monotonic() - started < 10
    release.cancel()
    release.join()


def test_the_file_that_was_read_is_judged_and_not_the_one_that_takes_its_place(disk, monkeypatch):
    path = disk.file("etc/p.spec", "tcp://forged:1")
    path.chmod(0o666)
    just_after(monkeypatch, "open", path, lambda: os.replace(disk.file("etc/new"), path))
    assert f"{path} is world-writable" in disk.refusal("p")


def test_a_link_that_becomes_a_circle_meanwhile_holds_nobody(disk, monkeypatch):
    link = disk.link("etc/p.spec", disk.file("far/real", "tcp://real:1"))
    disk.link("etc/circle", "p.spec")
    just_after(monkeypatch, "open", link, lambda: os.replace(disk.etc / "circle", link))
    assert "too many levels of symbolic links" in disk.refusal("p")


# --- stamp --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["run/p.sock", "etc/p.spec", "etc/p/p.json"])
def test_a_stamp_stays_while_nothing_changes_however_often_the_source_is_read(disk, source):
    {".sock": disk.sock, ".spec": disk.file, ".json": disk.json}[Path(source).suffix](source)
    spec = disk.registry.find("p")
    assert spec.stamp is not None
    assert {spec.stamp} == {disk.registry.stamp(spec), disk.registry.find("p").stamp, disk.registry.stamp(spec)}


def await_tick(path: Path) -> None:
    """Wait until the file system's clock has gone on: a change within one tick that keeps the size is not seen."""
    last, probe = path.stat().st_ctime_ns, path.parent / "tick"
    assert eventually(lambda: probe.touch() or probe.stat().st_ctime_ns > last)


def test_a_stamp_changes_when_the_socket_is_made_anew_also_under_its_old_inode_number(disk):
    stamps, inodes = set(), set()
    for _ in range(10):
        inodes.add(disk.sock("run/p.sock").stat().st_ino)
        spec = disk.registry.find("p")
        assert spec.stamp == disk.registry.stamp(spec)
        stamps.add(spec.stamp)
        os.unlink(spec.source)
        await_tick(disk.run)  # no plugin starts faster
    assert len(stamps) == 10


def rewrite(path: Path) -> None:
    await_tick(path)
    path.write_text("tcp://host:2")


def replace(path: Path) -> None:
    path.with_name("new").write_text("tcp://host:1")
    os.replace(path.with_name("new"), path)


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n")


@pytest.mark.parametrize("change", [rewrite, replace, append])
def test_a_stamp_changes_with_the_spec_file(disk, change):
    path = disk.file("etc/p.spec")
    spec = disk.registry.find("p")
    change(path)
    assert disk.registry.stamp(spec) not in (spec.stamp, None)
    assert disk.registry.stamp(spec) == disk.registry.find("p").stamp


def test_a_stamp_changes_with_the_spec_file_though_its_size_and_time_were_kept(disk):
    path = disk.file("etc/p.spec", "tcp://host:1")
    spec = disk.registry.find("p")
    before = path.stat()
    rewrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert disk.registry.stamp(spec) != spec.stamp


def test_a_stamp_is_of_what_was_read_so_that_a_change_right_after_it_is_seen(disk):
    path = disk.file("etc/p.spec", "tcp://old:1")
    spec = disk.registry.find("p")
    disk.file("etc/new", "tcp://new:1").replace(path)
    assert spec.address == "tcp://old:1"
    assert disk.registry.stamp(spec) != spec.stamp


def test_what_is_written_while_the_file_is_read_is_read_or_changes_the_stamp(disk, monkeypatch):
    path = disk.file("etc/p.spec", "tcp://old:1")
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", real)
        path.write_text("tcp://new:1 \n")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    spec = disk.registry.find("p")
    assert spec.address == "tcp://new:1" or spec.stamp != disk.registry.stamp(spec)


def test_a_stamp_follows_links(disk):
    disk.sock("far/one.sock")
    disk.sock("far/two.sock")
    link = disk.link("run/p.sock", "../far/one.sock")
    spec = disk.registry.find("p")
    assert disk.registry.stamp(spec) == spec.stamp
    link.unlink()
    disk.link("run/p.sock", "../far/two.sock")
    assert disk.registry.stamp(spec) not in (spec.stamp, None)


def test_a_stamp_is_none_once_the_source_is_gone(disk):
    path = disk.sock("run/p.sock")
    spec = disk.registry.find("p")
    path.unlink()
    assert disk.registry.stamp(spec) is None


@pytest.mark.parametrize("source", ["run/p/p.sock", "etc/p.spec", "lib/p/p.json"])
def test_a_stamp_is_none_once_another_source_stands_before_it(disk, source):
    {".sock": disk.sock, ".spec": disk.file, ".json": disk.json}[Path(source).suffix](source)
    spec = disk.registry.find("p")
    disk.file("run/p.sock", "no socket, which is passed over")
    assert disk.registry.stamp(spec) == spec.stamp
    os.unlink(disk.run / "p.sock")
    before = disk.sock("run/p.sock")
    assert disk.registry.stamp(spec) is None
    assert disk.registry.find("p").source == str(before)
    before.unlink()
    assert disk.registry.stamp(spec) == spec.stamp


def test_a_spec_that_no_registry_made_never_looks_changed(disk):
    spec = PluginSpec("p", "tcp://h:1")
    assert disk.registry.stamp(spec) == spec.stamp


# --- which directories --------------------------------------------------------------------------------


def test_the_default_directories_are_those_of_dockers_engine():
    assert (
        repr(LocalRegistry())
        == "LocalRegistry('/run/docker/plugins', ['/etc/docker/plugins', '/usr/lib/docker/plugins'])"
    )
    assert repr(LocalRegistry("/s", ["/d"], allow_unsafe=True)) == "LocalRegistry('/s', ['/d'], allow_unsafe=True)"


def test_one_directory_holds_sockets_and_spec_files_and_nothing_else_is_searched(short_path):
    assert LocalRegistry(short_path).places == (
        (str(short_path), (".sock",)),
        (str(short_path), (".spec", ".json")),
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "here.sock"))
        (short_path / "there.spec").write_text("tcp://127.0.0.1:1")
        registry = LocalRegistry(short_path)
        assert registry.scan() == ["here", "there"]
        assert registry.find("there").address == "tcp://127.0.0.1:1"
    with pytest.raises(PluginNotFound) as caught:
        registry.find("missing")
    assert "docker" not in str(caught.value)


def test_one_directory_where_several_belong_is_a_type_error():
    with pytest.raises(TypeError, match=r"write specs=\['/etc/plugins'\]"):
        LocalRegistry("/run/plugins", "/etc/plugins")


@as_root
def test_an_apps_registry_has_the_systems_directories_for_root(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/5")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/u/config")
    registry = LocalRegistry.for_app("myhost")
    assert registry.sockets == "/run/myhost/plugins"
    assert registry.specs == ("/etc/myhost/plugins", "/usr/lib/myhost/plugins")


SYSTEM = ("/etc/myhost/plugins", "/usr/lib/myhost/plugins")


@pytest.mark.parametrize(
    ("environment", "sockets", "specs"),
    [
        (
            {"XDG_RUNTIME_DIR": "/run/user/5", "XDG_CONFIG_HOME": "/home/u/config", "HOME": "/home/u"},
            "/run/user/5/myhost/plugins",
            ("/home/u/config/myhost/plugins", "/home/u/.local/lib/myhost/plugins", *SYSTEM),
        ),
        (
            {"HOME": "/home/u"},
            "/run/user/{uid}/myhost/plugins",
            ("/home/u/.config/myhost/plugins", "/home/u/.local/lib/myhost/plugins", *SYSTEM),
        ),
        (
            {"XDG_RUNTIME_DIR": "relative", "XDG_CONFIG_HOME": "", "HOME": "/home/u"},
            "/run/user/{uid}/myhost/plugins",
            ("/home/u/.config/myhost/plugins", "/home/u/.local/lib/myhost/plugins", *SYSTEM),
        ),
        ({"HOME": "relative"}, "/run/user/{uid}/myhost/plugins", SYSTEM),
    ],
)
def test_an_apps_registry_has_the_users_directories_before_the_systems(monkeypatch, environment, sockets, specs):
    for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with ordinary_user():
        registry = LocalRegistry.for_app("myhost")
        assert registry.sockets == sockets.format(uid=os.geteuid())
    assert registry.specs == specs


@pytest.mark.parametrize("app", ["", "..", "a/b", "../etc"])
def test_an_apps_name_that_is_no_directorys_name_is_refused(app):
    with pytest.raises(SpecError):
        LocalRegistry.for_app(app)


def test_an_apps_registry_can_accept_what_others_may_write():
    assert LocalRegistry.for_app("myhost", allow_unsafe=True).allow_unsafe
    assert not LocalRegistry.for_app("myhost").allow_unsafe


def test_a_local_registry_is_a_registry():
    registry: Registry = LocalRegistry()
    assert all(callable(getattr(registry, method)) for method in ("scan", "find", "stamp"))


def test_a_users_plugin_in_their_own_directories_is_found_by_their_host(disk, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(disk.base))
    directory = disk.base / "myhost" / "plugins"
    directory.mkdir(parents=True)
    path = disk.sock("myhost/plugins/p.sock")
    assert stat.S_ISSOCK(path.stat().st_mode)
    for owned in (disk.base / "myhost", directory, path):
        if ROOT:
            os.chown(owned, NOBODY, NOBODY)
    with ordinary_user():
        assert LocalRegistry.for_app("myhost").find("p").address == f"unix://{path}"


# --- sockets that come and go -------------------------------------------------------------------------

RESTARTED_WITHOUT_END = """
    import os, socket, sys
    while True:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(sys.argv[1])
            listening.listen()
        os.unlink(sys.argv[1])
"""


def test_a_socket_that_goes_while_it_is_looked_at_is_missing_and_not_broken(short_path: Path) -> None:
    registry = LocalRegistry(short_path, [])

    def look() -> str:
        try:
            return registry.find("photos").name
        except ExtframeError as error:
            return type(error).__name__

    found = set[str]()
    with Program(RESTARTED_WITHOUT_END, short_path / "photos.sock", measured=False):
        assert eventually(lambda: found.add(look()) or found >= {"photos", "PluginNotFound"})
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            found.add(look())
    assert found == {"photos", "PluginNotFound"}
