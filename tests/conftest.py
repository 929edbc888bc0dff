"""What all tests share: they use the extframe that is installed, and directories short enough for a socket's path."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from environments import handlers_of_others, leave_out
from faultserver import FaultServer
from hypothesis import HealthCheck, settings

# `python -m pytest` puts the working directory first, where the checkout would hide what is installed.
CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != CHECKOUT]
if find_spec("extframe") is None:
    raise pytest.UsageError("extframe is not installed for this Python: ./dev test, or pip install -e '.[test]'")

# Handlers of other packages, such as that of README.md's first example, would take part in what is tested.
if handlers := list(handlers_of_others()):
    clean = tempfile.mkdtemp(prefix="extframe-tests-")
    os.chmod(clean, 0o755)  # for tests that become another user
    atexit.register(shutil.rmtree, clean, ignore_errors=True)
    leave_out(handlers, Path(clean))

# A script's background job ignores Ctrl-C, and so does what it starts: programs that tests interrupt would not hear.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A machine that stalls is no fault of what is tested: no example and no making of examples is too slow.
for form, examples in (("short", 15), ("long", 100)):
    settings.register_profile(form, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too, and more examples of the others")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "short")
    from extframe.handlers import entry_importer  # now: an environment without the handlers of others was chosen above

    # An import that takes a second is not slow, either: a host warns of it in the log, where tests look for warnings.
    entry_importer.SLOW = 60.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        is_long = {item: item.get_closest_marker("long") is not None for item in items}
        config.hook.pytest_deselected(items=[item for item in items if is_long[item]])
        items[:] = [item for item in items if not is_long[item]]


def pytest_collection_finish() -> None:
    gc.freeze()  # nine thousand collected tests need not be looked at by each garbage collection


@pytest.fixture(autouse=True)
def modules_of_this_test() -> Iterator[None]:
    """Forget the modules in temporary directories that a test imported: those of another test may have their names."""
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        file = Path(getattr(sys.modules[name], "__file__", None) or "")
        is_installed = "site-packages" in file.parts or file.is_relative_to(CHECKOUT)
        if not is_installed and file.is_relative_to(tempfile.gettempdir()):
            del sys.modules[name]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty directory with a short name: a unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ef-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def fault_server() -> Iterator[Callable[..., FaultServer]]:
    """`FaultServer`, with every server that the test makes closed at its end."""
    with contextlib.ExitStack() as servers:
        yield lambda *arguments, **options: servers.enter_context(FaultServer(*arguments, **options))
