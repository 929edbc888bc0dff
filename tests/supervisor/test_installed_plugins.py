"""Packages in the host's environment bring plugins through entry points, and nothing of them is imported."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest
from packages import install

from extframe import PluginNotFound, SpecError
from extframe.supervisor import installed_plugins
from extframe.supervisor.config import PythonPlugin
from extframe.supervisor.installed_plugins import InstalledPlugins


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def add(site: Path, distribution: str, group: str = "extframe.plugins", **entry_points: str) -> None:
    module = distribution.replace("-", "_")
    source = "raise SystemExit('imported')"
    install(site, distribution, module=module, source=source, entry_points=entry_points, version="2.1", group=group)


def test_an_entry_point_is_a_plugin_at_once_and_is_not_imported(site):
    plugins = InstalledPlugins()
    before = plugins.scan()
    add(site, "acme-photos", photos="acme_photos:Photos [fast]")
    assert plugins.scan() == sorted([*before, "photos"])
    found = plugins.read("photos").config
    assert (found.name, found.python, found.source) == (
        "photos", PythonPlugin("acme_photos:Photos"), "package acme-photos 2.1",
    )  # fmt: skip
    assert plugins.stamp("photos") == plugins.read("photos").stamp
    assert "acme_photos" not in sys.modules


def test_a_thread_that_read_before_an_installation_does_not_hide_it(site):
    read, other = threading.Event(), threading.Event()

    class Paused(InstalledPlugins):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if threading.current_thread().name == "later" and not other.is_set():  # between two attributes, say
                other.set()
                read.wait(30)

    plugins = Paused()
    reading = installed_plugins.entry_points

    def install_and_read(groups: object) -> object:
        installed_plugins.entry_points = reading
        found = list(reading(groups))
        add(site, "acme-photos", photos="acme_photos:Photos")
        later.start()
        assert other.wait(30)
        return found

    later = threading.Thread(target=plugins.scan, name="later")
    installed_plugins.entry_points = install_and_read
    assert "photos" not in plugins.scan()
    read.set()
    later.join(30)
    assert "photos" in plugins.scan()


def test_handlers_are_not_plugins(site):
    add(site, "acme-handler", group="extframe", backup="acme_handler:Backup")
    assert "backup" not in InstalledPlugins().scan()


def test_a_missing_plugin_says_where_it_was_searched(site):
    plugins = InstalledPlugins()
    with pytest.raises(PluginNotFound, match=r"no plugin 'photos'.* group extframe\.plugins in "):
        plugins.read("photos")
    assert plugins.stamp("photos") is None


def test_a_plugin_of_two_packages_is_an_error_that_names_both(site):
    add(site, "acme-photos", photos="acme_photos:Photos")
    add(site, "zeta-photos", photos="zeta_photos:Photos")
    plugins = InstalledPlugins()
    assert "photos" in plugins.scan()
    with pytest.raises(SpecError, match=r"brought by acme-photos 2\.1 and zeta-photos 2\.1; uninstall one"):
        plugins.read("photos")


def test_an_entry_point_that_names_no_class_is_an_error(site):
    add(site, "acme-photos", photos="acme_photos")
    with pytest.raises(SpecError, match=r"of acme-photos 2\.1 is 'acme_photos'; expected MODULE:CLASS"):
        InstalledPlugins().read("photos")


def test_a_name_that_no_plugin_can_have_is_ignored_with_a_warning(site, caplog):
    (site / "evil-1.dist-info").mkdir()
    (site / "evil-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (site / "evil-1.dist-info" / "entry_points.txt").write_text("[extframe.plugins]\n../x = evil:Evil\n")
    with caplog.at_level(logging.WARNING):
        assert "../x" not in InstalledPlugins().scan()
    assert "an entry point of evil 1 is ignored" in caplog.text
