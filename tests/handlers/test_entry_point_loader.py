"""Loading entry points: by constructor and by load_setuptools_entrypoints, each failure isolated and explained."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy
import pytest
from packages import install
from scripted_client import AsyncScriptedClient, ScriptedClient

import extframe
from extframe import PluginManager, hookimpl
from extframe.handlers import builtin, entry_points
from extframe.handlers.hook_manager import HookManager

pytestmark = pytest.mark.filterwarnings("ignore::extframe.PluginLoadWarning")  # failures() is what is tested here

GOOD = """
    import extframe

    @extframe.hookimpl
    def volume_driver(name, client):
        return "good"
"""

BACKUP = """
    import extframe

    class Backup(extframe.Interface, implements="Backup"):
        '''Keeps copies.'''

        @extframe.rpc("Start")
        def start(self, path: str) -> None:
            '''Start.'''
            raise NotImplementedError
"""


ASYNC_ONLY = """
    import extframe

    class Translator(extframe.AsyncInterface, implements="Translator"):
        '''Translates.'''

        @extframe.rpc("Translate", returns="Text")
        async def translate(self, text: str) -> str:
            '''Translate.'''
            raise NotImplementedError
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on sys.path, for packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def put(site: Path, module: str, source: str, value: str | None = None) -> None:
    install(site, module.replace("_", "-"), module=module, source=source, entry_points={module: value or module})


def texts(pm: PluginManager) -> list[str]:
    return [str(failure) for failure in pm.failures()]


# --- load_setuptools_entrypoints ----------------------------------------------------------------------


def test_load_setuptools_entrypoints_isolates_failures_and_returns_the_count(site: Path) -> None:
    put(site, "lse_a_broken", "raise RuntimeError('no libfoo')")
    put(site, "lse_b_exits", "raise SystemExit(1)")
    put(site, "lse_c_good", GOOD)
    put(site, "lse_d_interface", BACKUP)
    pm = PluginManager(groups=())
    assert pm.load_setuptools_entrypoints("extframe") == 8  # seven of extframe's own and one of lse_c_good
    assert pm.has_plugin("lse_c_good")
    assert pm.hook.backup.spec.function.__doc__ == "Keeps copies."
    assert [failure.distribution for failure in pm.failures()] == ["lse-a-broken", "lse-b-exits"]


def test_loading_a_group_again_registers_nothing_and_reports_nothing_new(site: Path) -> None:
    put(site, "again_good", GOOD)
    put(site, "again_spec", "import extframe\n@extframe.hookspec\ndef zebra(name, client): pass\n")
    pm = PluginManager()
    assert pm.load_setuptools_entrypoints("extframe") == 0
    assert pm.failures() == []


def test_one_entry_point_can_be_loaded_by_its_name(site: Path) -> None:
    put(site, "single_a", GOOD)
    put(site, "single_b", GOOD)
    pm = PluginManager(groups=())
    assert pm.load_setuptools_entrypoints("extframe", name="single_b") == 1
    assert [name for name, _ in pm.list_name_plugin()] == ["single_b"]


# --- arguments of PluginManager -----------------------------------------------------------------------


def test_one_group_may_be_a_str() -> None:
    assert PluginManager(groups="extframe").has_plugin("extframe.volume_driver")
    assert PluginManager(groups="").get_plugins() == set()


@pytest.mark.parametrize("groups", [5, [5], b"extframe"])
def test_groups_of_another_type_are_refused(groups: Any) -> None:
    with pytest.raises(TypeError, match="groups is .*; expected the names of entry-point groups"):
        PluginManager(groups=groups)


@pytest.mark.parametrize(
    ("registry", "text"),
    [
        ("myhost", r"write PluginManager\(LocalRegistry\('myhost'\)\).*write PluginManager\(project='myhost'\)"),
        (Path("/run/plugins"), r"write PluginManager\(LocalRegistry\('/run/plugins'\)\)"),
        (extframe.LocalRegistry, r"is a class; write PluginManager\(LocalRegistry\(\)\)"),
        (object(), "has no method scan"),
        (5, "has no method scan"),
    ],
)
def test_what_is_not_a_registry_is_refused_at_construction(registry: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        PluginManager(registry)


# --- what is wrong with a package ---------------------------------------------------------------------


def test_different_interfaces_for_one_name_are_a_failure_of_the_later_package(site: Path) -> None:
    put(site, "if_a", BACKUP)
    put(site, "if_b", BACKUP)
    pm = PluginManager()
    [text] = texts(pm)
    assert text == (
        "entry point 'if_b' (if_b) of if-b 1.0: ExtframeError: if_b.Backup declares the extension point 'Backup', "
        "which if_a.Backup already declares: import that interface, or choose another name with implements="
    )


def test_an_interface_may_be_imported_and_extended_by_other_packages(site: Path) -> None:
    put(site, "ext_a", BACKUP)
    put(site, "ext_b", "from ext_a import Backup")
    extended = "import extframe, ext_a\nclass More(ext_a.Backup, implements='Backup'):\n    '''More.'''\n"
    put(site, "ext_c", extended)
    assert texts(PluginManager()) == []


def together(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is called only once two threads want to call it, and then by both."""
    both = threading.Barrier(2)

    def wait(*arguments: Any) -> Any:
        both.wait(60)
        return function(*arguments)

    return wait


def in_two_threads(*functions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


SPECIFIES = """
    import extframe

    @extframe.hookspec
    def thumbnailed(name):
        '''A thumbnail was drawn.'''
"""


@pytest.mark.parametrize("shared", [BACKUP, SPECIFIES], ids=["interface", "hookspec"])
def test_two_threads_may_import_handlers_that_bring_the_same_hook(
    site: Path, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    (site / "shared.py").write_text(textwrap.dedent(shared))
    for hook in ("volume_driver", "log_driver"):
        source = GOOD.replace("volume_driver", hook)
        points = {hook: hook, f"{hook}.shared": "shared"}
        install(site, hook, module=hook, source=source, entry_points=points, group=f"extframe.{hook}")
    with PluginManager() as pm:
        monkeypatch.setattr(pm, "add_hookspecs", together(pm.add_hookspecs))
        results: list[object] = []
        in_two_threads(
            lambda: results.append(pm.hook.volume_driver(name="a", client=None)[0]),
            lambda: results.append(pm.hook.log_driver(name="a", client=None)[0]),
        )
        assert texts(pm) == []
        assert results == ["good", "good"]


def test_two_threads_may_load_the_same_handlers(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PluginManager() as pm:
        put(site, "good", GOOD)
        monkeypatch.setattr(pm, "register", together(pm.register))
        counts: list[int] = []
        in_two_threads(*[lambda: counts.append(pm.load_handlers("extframe"))] * 2)
        assert texts(pm) == []
        assert sorted(counts) == [0, 1]


def test_an_interface_for_async_code_brings_its_hook_too(site: Path) -> None:
    put(site, "async_only", ASYNC_ONLY)
    put(site, "mirrored", "import extframe\nfrom extframe import AsyncVolumeDriver, VolumeDriver\n")
    pm = PluginManager()
    assert texts(pm) == []
    assert pm.hook.translator.spec.function.__doc__ == "Translates."


def test_the_built_in_handlers_return_the_driver_that_fits_the_client() -> None:
    pm = PluginManager()
    [driver] = pm.hook.volume_driver(name="a", client=AsyncScriptedClient())
    assert isinstance(driver, extframe.AsyncVolumeDriver)
    [driver] = pm.hook.volume_driver(name="a", client=ScriptedClient())
    assert isinstance(driver, extframe.VolumeDriver)


def test_an_unrelated_interface_with_the_name_of_dockers_is_a_failure(site: Path) -> None:
    put(site, "own_volumes", BACKUP.replace('implements="Backup"', 'implements="VolumeDriver"'))
    [text] = texts(PluginManager())
    assert "which extframe.subsystems.volume.VolumeDriver already declares" in text


def test_an_entry_point_that_names_a_marked_function_says_to_name_the_module(site: Path) -> None:
    put(site, "marked", GOOD, "marked:volume_driver")
    [text] = texts(PluginManager())
    assert text.endswith(
        "marked:volume_driver is a function marked with hookimpl, not a handler: name its module in the entry point, "
        "marked = marked"
    )


@pytest.mark.parametrize("value", ["half_{}", "half_{}:handler"])
def test_a_module_that_is_still_being_imported_says_so(site: Path, value: str) -> None:
    name = value.format(len(value))
    module = name.partition(":")[0]
    source = f"import extframe\npm = extframe.PluginManager()\n{GOOD}\nhandler = None\n".replace("\n    ", "\n")
    put(site, module, source, name)
    imported = __import__(module)
    [text] = texts(imported.pm)
    assert f"{module} is still being imported (a circular import)" in text


def test_a_hook_name_with_a_typo_is_reported_with_the_right_one_and_the_handler_stays(site: Path) -> None:
    put(site, "typo", "import extframe\n@extframe.hookimpl\ndef volume_drivers(name, client): pass\n")
    pm = PluginManager()
    [text] = texts(pm)
    assert text == (
        "hook 'volume_drivers' of handler 'typo' of typo 1.0: ExtframeError: no package specifies the hook "
        "'volume_drivers'; did you mean 'volume_driver'?"
    )
    assert pm.has_plugin("typo")
    with pytest.raises(pluggy.PluginValidationError, match="did you mean 'volume_driver'"):
        pm.check_pending()


def test_a_hook_that_no_package_specifies_is_not_a_failure(site: Path) -> None:
    put(site, "other", "import extframe\n@extframe.hookimpl\ndef translator(name, client): pass\n")
    put(site, "optional", "import extframe\n@extframe.hookimpl(optionalhook=True)\ndef volume_drivers(name): pass\n")
    assert texts(PluginManager()) == []


async def volume_driver(name: str, client: object) -> None:
    await asyncio.sleep(0)


async def plugin_removed(name: str) -> Any:
    yield name


@pytest.mark.parametrize("function", [volume_driver, plugin_removed])
def test_an_async_handler_is_refused_at_registration(function: Any) -> None:
    handler = type("Handler", (), {function.__name__: staticmethod(hookimpl(function))})()
    pm = PluginManager(groups=())
    with pytest.raises(pluggy.PluginValidationError) as caught:
        pm.register(handler, "later")
    assert str(caught.value) == (
        f"handler 'later': its {function.__name__} is an async function; "
        "async handlers are not supported here: use AsyncPluginManager"
    )
    assert not pm.is_registered(handler)


def test_an_async_handler_of_a_package_is_a_failure(site: Path) -> None:
    put(site, "asynchronous", GOOD.replace("def volume", "async def volume"))
    [text] = texts(PluginManager())
    assert "use AsyncPluginManager" in text


def test_async_hooks_that_the_host_calls_itself_are_pluggys(site: Path) -> None:
    class Hooks:
        @extframe.hookspec
        def startup(self, app: object) -> object:
            """Called and awaited by the host."""

    class Handler:
        @hookimpl
        async def startup(self, app: object) -> object:
            return app

    pm = PluginManager(groups=())
    pm.add_hookspecs(Hooks)
    pm.register(Handler())
    [result] = pm.hook.startup(app=1)
    assert asyncio.run(result) == 1


def test_a_handler_without_a_name_is_named_by_its_class_and_file() -> None:
    class Handler:
        @hookimpl
        def volume_driver(self, name: str) -> object:
            raise LookupError(name)

    pm = PluginManager(groups=())
    first, second = pm.register(Handler()), pm.register(Handler())
    assert first == f"{__name__}.{Handler.__qualname__} ({__file__})"
    assert second == f"{first}-2"
    assert pm.register(sys) == "sys"


@pytest.mark.parametrize("where", ["exception", "object"])
def test_objects_whose_text_cannot_be_had_do_not_end_the_manager(site: Path, where: str) -> None:
    bad = "class Bad(Exception):\n    def __str__(self): raise RuntimeError('no')\n    __repr__ = __str__\n"
    module = f"bad_text_{where}"
    put(site, module, f"{bad}raise Bad()" if where == "exception" else f"{bad}bad = Bad()", f"{module}:bad")
    put(site, f"good_{where}", GOOD)
    pm = PluginManager()
    [failure] = pm.failures()
    assert failure.distribution == module.replace("_", "-")
    assert str(failure)
    assert pm.has_plugin(f"good_{where}")


# --- without metadata ---------------------------------------------------------------------------------


def test_the_built_in_handlers_load_without_extframes_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = entry_points._by_name
    monkeypatch.setattr(
        entry_points, "_by_name", lambda: {name: each for name, each in installed().items() if name != "extframe"}
    )
    pm = PluginManager()
    assert {name for name, _ in pm.list_name_plugin()} == {f"extframe.{name}" for name in builtin.NAMES}
    assert pm.failures() == []
    assert HookManager.load_setuptools_entrypoints(pm, "other") == 0


def test_the_built_in_handlers_load_in_a_process_that_finds_no_metadata(tmp_path: Path) -> None:
    """As in an application frozen by PyInstaller: the modules are there, the metadata are not."""
    for module in Path(pluggy.__file__).parents[1].iterdir():
        if module.suffix not in (".dist-info", ".egg-info", ".pth") and module.name != "extframe":
            (tmp_path / module.name).symlink_to(module)
    (tmp_path / "extframe").symlink_to(Path(extframe.__file__).parent)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import extframe\n"
        "pm = extframe.PluginManager()\n"
        "print(len(pm.get_plugins()), pm.failures())\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "7 []\n", done.stderr


def test_every_built_in_handler_has_an_entry_point_of_the_installed_package() -> None:
    own = [entry.name for entry in entry_points.entry_points(("extframe",)) if entry.origin[0] == "extframe"]
    assert own == sorted(f"extframe.{name}" for name in builtin.NAMES)
