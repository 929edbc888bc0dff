"""HookManager: pluggy's registration for many threads, and entry points that cannot harm each other."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy
import pytest
from packages import install

import extframe
from extframe import PluginManager, hookimpl, hookspec

pytestmark = pytest.mark.filterwarnings("ignore::extframe.PluginLoadWarning")  # failures() is what is tested here

GOOD = """
    import extframe

    @extframe.hookimpl
    def volume_driver(name, client):
        return "good"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on sys.path, for packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def whats(pm: PluginManager) -> list[str]:
    return [failure.what for failure in pm.failures()]


# --- it is a pluggy.PluginManager ---------------------------------------------------------------------


def test_it_is_a_pluggy_manager_whose_own_hooks_are_all_specified() -> None:
    pm = PluginManager()
    assert isinstance(pm, pluggy.PluginManager)
    pm.check_pending()
    assert pm.failures() == []


def test_extframes_own_handlers_come_through_entry_points_and_can_be_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PluginManager().has_plugin("extframe.volume_driver")
    assert PluginManager(groups=()).get_plugins() == set()
    monkeypatch.setenv("EXTFRAME_DISABLE", " extframe.volume_driver , other")
    pm = PluginManager()
    assert not pm.has_plugin("extframe.volume_driver")
    assert pm.is_blocked("extframe.volume_driver")
    assert pm.is_blocked("other")


def test_hooks_are_called_as_pluggy_calls_them() -> None:
    pm = PluginManager(groups=())
    pm.handle("VolumeDriver", lambda name, client: (name, client))
    assert pm.hook.volume_driver(name="photos", client=None) == [("photos", None)]


def test_a_handler_that_pluggy_refuses_leaves_nothing_behind() -> None:
    class Mistaken:
        @hookimpl
        def authz(self, name: str) -> object:
            return name

        @hookimpl
        def volume_driver(self, name: str, bucket: str) -> object:
            return bucket

    pm = PluginManager(groups=())
    mistaken = Mistaken()
    with pytest.raises(pluggy.PluginValidationError, match="bucket"):
        pm.register(mistaken, "mistaken")
    assert not pm.is_registered(mistaken)
    assert pm.hook.authz(name="a", client=None) == []
    assert pm.register(object(), "mistaken") == "mistaken"


def test_an_object_whose_call_is_a_hookimpl_is_a_handler(site: Path) -> None:
    source = """
        import extframe

        class Handler:
            @extframe.hookimpl(specname="volume_driver")
            def __call__(self, name):
                return f"called for {name}"

        handler = Handler()
    """
    install(site, "acme-call", module="acme_call", source=source, entry_points={"call": "acme_call:handler"})
    pm = PluginManager()
    assert pm.failures() == []
    assert pm.hook.volume_driver(name="a", client=None)[0] == "called for a"


def test_registering_twice_says_so_and_keeps_the_first() -> None:
    pm = PluginManager(groups=())

    class Handler:
        @hookimpl
        def authz(self) -> object:
            return "first"

    first = Handler()
    pm.register(first, "first")
    with pytest.raises(ValueError, match="already registered"):
        pm.register(first, "second")
    with pytest.raises(ValueError, match="already registered"):
        pm.register(Handler(), "first")
    assert pm.hook.authz(name="a", client=None) == ["first"]


def test_an_old_style_hookwrapper_around_an_extension_point_is_refused() -> None:
    class Old:
        @hookimpl(hookwrapper=True)
        def volume_driver(self) -> Any:
            yield

    pm = PluginManager(groups=())
    with pytest.raises(pluggy.PluginValidationError, match=r"require hookimpl\(wrapper=True\)"):
        pm.register(Old(), "old")
    assert not pm.has_plugin("old")


def test_hookspecs_are_added_whole_or_not_at_all() -> None:
    class Specs:
        @hookspec
        def another(self, name: str, client: object) -> object:
            """New."""

        @hookspec
        def volume_driver(self, name: str, client: object) -> object:
            """Extframe has this."""

    pm = PluginManager(groups=())
    with pytest.raises(ValueError, match="'volume_driver' is already registered"):
        pm.add_hookspecs(Specs)
    assert not hasattr(pm.hook, "another")


def test_handle_registers_a_function_under_a_name_of_its_own() -> None:
    pm = PluginManager(groups=())

    def keep(name: str, client: object) -> str:
        return f"kept {name}"

    first, second = pm.handle("Backup", keep), pm.handle("Backup", keep)
    assert first != second
    assert "keep" in first
    pm.check_pending()
    assert pm.hook.backup(name="a", client=None) == ["kept a"] * 2
    pm.unregister(name=first)
    assert pm.hook.backup(name="a", client=None) == ["kept a"]
    assert pm.handle("Backup", keep) == first


class Meanwhile(list[Any]):
    """A list during whose first iteration another thread does something, or begins to wait for its turn."""

    def __init__(self, items: list[Any], act: Callable[[], object]) -> None:
        super().__init__(items)
        self.thread = threading.Thread(target=act)

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        if self.thread.ident is None:
            self.thread.start()
            self.thread.join(0.2)


def test_a_handler_that_is_loaded_while_another_is_unregistered_keeps_its_distribution() -> None:
    first, second = object(), object()
    with PluginManager(groups=()) as pm:
        pm.register(first)
        pm.register(second)
        pm._distributions = meanwhile = Meanwhile(
            [], lambda: pm._note_distribution(second, metadata.distribution("pluggy"))
        )
        pm.unregister(first)
        meanwhile.thread.join(60)
        assert pm._origin(second)[0] == "pluggy"


def test_monitors_that_are_added_in_two_threads_both_see_dispatches() -> None:
    monitor = (print, print)
    with PluginManager(groups=()) as pm:
        pm._monitors = meanwhile = Meanwhile(pm._monitors, lambda: pm.add_hookcall_monitoring(*monitor))
        pm.add_hookcall_monitoring(*monitor)
        meanwhile.thread.join(60)
        assert list(pm._current_monitors()) == [monitor, monitor]


def test_many_threads_register_and_unregister_at_once() -> None:
    pm = PluginManager(groups=())
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                name = pm.handle("VolumeDriver", lambda name, client: None)
                pm.get_plugins()
                pm.unregister(name=name)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert pm.get_plugins() == set()


# --- entry points -------------------------------------------------------------------------------------


def test_an_installed_package_is_registered_with_its_distribution(site: Path) -> None:
    install(site, "acme-volumes", module="acme_volumes", source=GOOD, entry_points={"acme": "acme_volumes"})
    pm = PluginManager()
    assert pm.hook.volume_driver(name="a", client=None)[0] == "good"
    distributions = {dist.project_name: dist.version for _, dist in pm.list_plugin_distinfo()}
    assert distributions["acme-volumes"] == "1.0"
    assert ("acme-volumes", pm.get_plugin("acme")) in [
        (dist.metadata["Name"], handler) for handler, dist in pm.list_plugin_distributions()
    ]
    pm.unregister(name="acme")
    assert "acme-volumes" not in {dist.project_name for _, dist in pm.list_plugin_distinfo()}


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("import no_such_module_anywhere", ModuleNotFoundError, "no_such_module_anywhere"),
        ("raise SystemExit(1)", SystemExit, "1"),
        ("import asyncio\nraise asyncio.CancelledError('no loop')", asyncio.CancelledError, "no loop"),
        ("def nothing(): pass", extframe.ExtframeError, "is not a handler"),
        (
            "import extframe\n@extframe.hookimpl\ndef volume_driver(name, bucket): pass",
            pluggy.PluginValidationError,
            "bucket",
        ),
        (
            "import extframe\n@extframe.hookspec(firstresult=True)\ndef backup(name, client): pass",
            extframe.ExtframeError,
            "firstresult",
        ),
        ("import extframe\n@extframe.hookspec\ndef authz(name, client): pass", ValueError, "is already registered"),
    ],
)
def test_a_broken_package_is_a_failure_and_in_nobodys_way(
    site: Path, source: str, error: type[Exception], words: str
) -> None:
    name = f"broken_{abs(hash(source))}"
    install(site, "acme-broken", module=name, source=source, entry_points={"broken": name}, version="2.5")
    install(site, "acme-volumes", module=f"good_{name}", source=GOOD, entry_points={"good": f"good_{name}"})
    pm = PluginManager()
    [failure] = pm.failures()
    assert "broken" in failure.what
    assert (failure.distribution, failure.version) == ("acme-broken", "2.5")
    assert isinstance(failure.exception, error)
    assert failure.exception.__traceback__ is not None
    assert words in str(failure)
    assert pm.has_plugin("good")
    assert not pm.has_plugin("broken")
    assert "broken" not in pm.hook.volume_driver(name="a", client=None)
    pm.check_pending()


def test_a_package_whose_metadata_are_gone_is_in_nobodys_way(site: Path) -> None:
    for name in ("acme_half", "acme_nameless", "acme_volumes"):
        install(site, name, module=name, source=GOOD, entry_points={name: name})
    for name in ("acme_half", "acme_nameless"):
        (site / f"{name}-1.0.dist-info" / "METADATA").unlink()
    (site / "acme_half.py").unlink()
    pm = PluginManager()
    assert pm.has_plugin("acme_nameless")
    [failure] = pm.failures()
    assert str(failure) == "entry point 'acme_half' (acme_half): ModuleNotFoundError: No module named 'acme_half'"
    assert pm.hook.volume_driver(name="a", client=None)[0] == "good"
    assert "acme_volumes" in {dist.project_name for _, dist in pm.list_plugin_distinfo()}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[extframe]\nno entry\n"])
def test_entry_points_that_cannot_be_read_are_a_failure_and_the_others_load(site: Path, content: bytes) -> None:
    for name in ("acme-odd", "acme-volumes"):
        module = name.replace("-", "_")
        install(site, name, module=module, source=GOOD, entry_points={name: module}, version="2.5")
    (site / "acme_odd-2.5.dist-info" / "entry_points.txt").write_bytes(content)
    pm = PluginManager()
    [failure] = pm.failures()
    assert str(failure).startswith("entry point '*' (entry_points.txt")
    assert {"acme-volumes", "extframe.volume_driver"} < {name for name, _ in pm.list_name_plugin()}
    assert "acme-volumes" in {dist.project_name for _, dist in pm.list_plugin_distinfo()}


def test_of_two_installations_of_one_package_the_first_on_the_path_counts(site: Path, tmp_path: Path) -> None:
    shadowed = tmp_path / "later"
    shadowed.mkdir()
    install(site, "acme-volumes", module="acme_volumes", source=GOOD, entry_points={"new": "acme_volumes"})
    install(shadowed, "Acme_Volumes", module="acme_volumes", source=GOOD, entry_points={"old": "acme_volumes"})
    install(site, "acme-odd", module="acme_odd", source=GOOD, entry_points={"odd": "acme_odd"})
    (site / "acme_odd-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff")
    sys.path.append(str(shadowed))
    pm = PluginManager()
    assert pm.has_plugin("new")
    assert not pm.has_plugin("old")


def test_of_two_packages_with_one_name_the_later_is_the_failure(site: Path) -> None:
    for distribution in ("acme-b", "acme-a"):
        module = distribution.replace("-", "_")
        install(site, distribution, module=module, source=GOOD, entry_points={"same": module})
    pm = PluginManager()
    [failure] = pm.failures()
    assert failure.distribution == "acme-b"
    assert "another handler is named 'same'" in str(failure)
    assert pm.get_plugin("same").__name__ == "acme_a"


@pytest.mark.parametrize(
    ("method", "called"),
    [
        ("def volume_driver(self, name): return name", False),
        ("def volume_driver(name): return name", True),
        ("@staticmethod\n    def volume_driver(name): return name", True),
    ],
)
def test_a_class_is_a_handler_where_its_functions_need_no_self(site: Path, method: str, called: bool) -> None:
    name = f"acme_class_{called}_{len(method)}"
    marked = method.replace("def ", "@extframe.hookimpl\n    def ", 1)
    source = f"import extframe\nclass Handler:\n    {marked}\n"
    install(site, "acme-class", module=name, source=source, entry_points={"acme": f"{name}:Handler"})
    pm = PluginManager()
    assert pm.has_plugin("acme") is called
    assert [str(failure.exception) for failure in pm.failures()] == (
        []
        if called
        else [
            f"{name}:Handler is a class, and its volume_driver would get no self: name an instance in the entry point"
        ]
    )
    if called:
        assert "photos" in pm.hook.volume_driver(name="photos", client=None)


def test_a_blocked_package_is_not_even_imported(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        site,
        "acme-x",
        module="acme_blocked",
        source="raise RuntimeError('imported')",
        entry_points={"x": "acme_blocked"},
    )
    monkeypatch.setenv("EXTFRAME_DISABLE", "x")
    assert PluginManager().failures() == []


def test_a_package_brings_an_extension_point_by_an_interface_alone(site: Path) -> None:
    install(
        site,
        "acme-backup",
        module="acme_backup",
        entry_points={"backup": "acme_backup"},
        source="""
            import extframe

            class Backup(extframe.Interface, implements="BackupTarget"):
                '''Keeps copies.'''

                @extframe.rpc("Start")
                def start(self, path: str) -> None:
                    '''Begin.'''
                    raise NotImplementedError
        """,
    )
    install(
        site,
        "acme-handler",
        module="acme_handler",
        entry_points={"a-handler": "acme_handler"},
        source="import extframe\n@extframe.hookimpl\ndef backup_target(name): return name",
    )
    pm = PluginManager()
    assert pm.failures() == []
    pm.check_pending()
    assert pm.hook.backup_target.spec.function.__doc__ == "Keeps copies."
    assert pm.hook.backup_target(name="tape", client=None) == ["tape"]


def test_specs_load_before_handlers_whatever_the_order_of_the_packages(site: Path) -> None:
    install(
        site,
        "aaa-handler",
        module="aaa_handler",
        entry_points={"aaa": "aaa_handler"},
        source="import extframe\n@extframe.hookimpl\ndef zebra(name, stripes): return name",
    )
    install(
        site,
        "zzz-spec",
        module="zzz_spec",
        entry_points={"zzz": "zzz_spec"},
        source="import extframe\n@extframe.hookspec\ndef zebra(name, client): pass",
    )
    [failure] = PluginManager().failures()
    assert failure.distribution == "aaa-handler"
    assert "stripes" in str(failure)


def test_monitoring_can_be_undone() -> None:
    pm = PluginManager(groups=())
    seen: list[str] = []
    undo = pm.add_hookcall_monitoring(lambda *args: seen.append("before"), lambda *args: seen.append("after"))
    pm.hook.authz(name="a", client=None)
    undo()
    pm.hook.authz(name="a", client=None)
    assert seen == ["before", "after"]
    assert whats(pm) == []
