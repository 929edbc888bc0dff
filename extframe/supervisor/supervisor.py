"""Supervisor: a registry of plugins that it starts. Starts nothing itself; the modules below do."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from ..concurrency.locks import signal_safe_condition, signal_safe_lock
from ..concurrency.system import require_unix
from ..concurrency.wake_pipe import WakePipe
from ..errors import CallTimeout, ExtframeError, PluginNotFound, SpecError
from ..logs import get_logger
from ..protocol import PluginSpec
from ..registry.base import never_waits
from .config_files import ConfigFile, ConfigFiles
from .directories import default_run_directory, directories_of
from .launcher import default_python
from .plugin_processes import STOP_GRACE, PluginProcesses
from .plugin_sources import PluginSources
from .status import PluginStatus, ProcessState
from .supervised_plugin import SupervisedPlugin

if TYPE_CHECKING:
    from typing_extensions import Self
else:
    from ..concurrency.late_types import Self

StrPath = str | os.PathLike[str]

T = TypeVar("T")

SETTLE = 0.25  # seconds to wait for the end of a process whose connection was lost, before a failure is explained
SETTLE_LOOKS = 25  # at whether it has ended, at least, in this time

logger = get_logger(__name__)


class Supervisor:
    """The plugins that this program starts: those of ``NAME.toml`` files, and those of installed packages.

    ::

        with extframe.PluginManager(extframe.Supervisor.for_app("myhost")) as pm:
            pm.driver("photos", extframe.VolumeDriver)      # starts it

    A plugin is started at the first connection or with the first use of the supervisor, as its file says; it is
    restarted when it fails, and it ends with this program however that ends. docs/supervisor.md describes the files and
    the security model. Nothing is started and no thread is created before the first use. Thread-safe.

    Args:
        directories: one directory or several, the most important first: a file there hides those of the same name.
        run_directory: where sockets are created; a directory of this user for this program if None.
        environments: where the environments of Python plugins are; ``environments`` in the first directory if None.
        python: the interpreter that starts processes and runs Python plugins without an environment; the program's own
            if None.
        allow_unsafe: read files that other users can write. Those users can then run any program as this user.
        echo: called with the name of the plugin and each line that it writes.

    Raises:
        SpecError: a directory is one of Docker's.
        ExtframeError: the system is not a Unix.
    """

    def __init__(
        self,
        directories: StrPath | Sequence[StrPath],
        *,
        run_directory: StrPath | None = None,
        environments: StrPath | None = None,
        python: StrPath | None = None,
        allow_unsafe: bool = False,
        echo: Callable[[str, str], object] | None = None,
    ) -> None:
        require_unix("Supervisor")
        given = [directories] if isinstance(directories, str | os.PathLike) else directories
        files = ConfigFiles([os.fspath(each) for each in given], allow_unsafe=allow_unsafe)
        self.directories = files.directories
        self.run_directory = os.path.abspath(default_run_directory() if run_directory is None else run_directory)
        self.environments = os.path.abspath(environments or os.path.join(self.directories[0], "environments"))
        self._files = PluginSources(files, self.environments)
        self._python = None if python is None else os.fspath(python)
        self._echo = echo
        self._reading = signal_safe_lock()
        """Held while files are read, and until their use is queued: none is used after one that was read later."""
        self._lock = signal_safe_lock()
        self._changed = signal_safe_condition(self._lock)
        self._running: PluginProcesses | None = None
        self._is_closed = False
        self._owner = os.getpid()
        self._signals: weakref.WeakSet[WakePipe] = weakref.WeakSet()
        self._seen: dict[str, Hashable] = {}  # the stamps of files of plugins that were not needed so far
        self._at_exit = partial(_close, weakref.ref(self))

    @classmethod
    def for_app(cls, app: str, *, allow_unsafe: bool = False, echo: Callable[[str, str], object] | None = None) -> Self:
        """Return the supervisor of the host program ``app``.

        For root, files are in ``/etc/APP/plugins.d`` and ``/usr/lib/APP/plugins.d``, sockets in
        ``/run/APP/supervisor``. Other users have ``$XDG_CONFIG_HOME/APP/plugins.d`` (``~/.config``) and
        ``~/.local/lib/APP/plugins.d`` before these, and ``$XDG_RUNTIME_DIR/APP/supervisor``.

        Raises:
            SpecError: ``app`` cannot be the name of a directory.
        """
        found = directories_of(app)
        return cls(
            found.configs,
            run_directory=found.run,
            environments=found.environments,
            allow_unsafe=allow_unsafe,
            echo=echo,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.directories)!r})"

    # --- the registry --------------------------------------------------------------------------------------

    @never_waits
    def scan(self) -> list[str]:
        """Return the names of the plugins, sorted.

        Starts those whose file says ``start = "always"``, and stops those whose file was removed.

        Raises:
            ExtframeError: a directory cannot be read now, or the supervisor is closed.
        """
        running = self._open()
        with self._reading:
            names = self._files.scan()
            self._seen = {name: stamp for name, stamp in self._seen.items() if name in names}
            begun = [self._notice(running, name) for name in names]
            begun.append(running.loop.begin(lambda: running.keep_only(names)))
        for wait in begun:
            wait()
        return names

    def _notice(self, running: PluginProcesses, name: str) -> Callable[[], object]:
        """Read a file that changed, and begin to use it; return what waits for that."""
        stamp = self._files.stamp(name)
        if self._seen.get(name) == stamp:
            return lambda: None
        try:
            file = self._files.read(name)
        except ExtframeError as wrong:
            logger.error("%s", wrong)
            if isinstance(wrong, SpecError):  # else it could not be read now
                self._seen[name] = stamp
            return lambda: None
        self._seen[name] = stamp
        return running.loop.begin(lambda: running.notice(file))

    @never_waits
    def find(self, name: str) -> PluginSpec:
        """Return where a plugin listens. A connection there starts it if it does not run.

        Raises:
            PluginNotFound: it has no file.
            SpecError: its file has a mistake, or its process cannot be made as the file says.
            ActivationError: it failed too often, or was stopped.
            ExtframeError: the directories cannot be searched now, or the supervisor is closed.
        """
        running = self._open()
        return self._read(running, name, running.spec)

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the identity of a plugin's file and of its process: it changes whenever a process ends."""
        running = self._running
        plugin = None if running is None else running.plugins.get(spec.name)
        if plugin is None or plugin.state is ProcessState.FAILED:
            return None
        return self._files.stamp(spec.name), plugin.current_generation(_generation_of(spec))

    def sources(self, name: str) -> list[str]:
        """Return the files of a plugin: the one that counts, then those that it hides.

        Raises:
            SpecError: the name is invalid.
        """
        return self._files.sources(name)

    def changes(self) -> WakePipe:
        """Return an object whose ``fileno()`` is readable after a plugin started or ended."""
        signal = WakePipe()
        if not self._is_forked:
            with self._lock:
                self._signals.add(signal)
        return signal

    def why(self, spec: PluginSpec, error: Exception) -> str | None:
        """Return why a plugin could not be used, as the predicate of a sentence; None if its process is not the reason.

        Waits up to 0.25 s for the end of a process whose connection was lost, except in the thread of an event loop.
        """
        running = None if self._is_forked else self._running
        plugin = None if running is None else running.plugins.get(spec.name)
        if running is None or plugin is None:
            return None
        seen = _generation_of(spec)

        def has_ended() -> bool:
            is_other = seen is not None and plugin.generation not in (seen - 1, seen)  # found while one ended
            return is_other or not plugin.has_process

        if not isinstance(error, CallTimeout) and not _runs_event_loop():
            deadline, looks = monotonic() + SETTLE, SETTLE_LOOKS
            with self._lock:
                # After a stall of the machine the thread of the loop gets its turns, too, to note the end.
                while not has_ended() and (looks > 0 or monotonic() < deadline):
                    self._changed.wait(SETTLE / SETTLE_LOOKS)
                    looks -= 1
        with suppress(ExtframeError):
            return running.loop.call(lambda: plugin.last_failure(ended=has_ended()))
        return None

    def starts_on_use(self, name: str) -> bool:
        """Return whether a plugin does not run, and its use would start it: ``PluginManager.watch`` leaves it alone."""
        running = self._running
        plugin = None if running is None else running.plugins.get(name)
        if plugin is not None:
            return plugin.starts_on_use
        try:
            return self._files.read(name).config.start == "on-demand"
        except ExtframeError:
            return False

    # --- control -------------------------------------------------------------------------------------------

    def status(self, name: str) -> PluginStatus:
        """Return the state of a plugin: pid, start, restarts, exit and last lines.

        Raises:
            PluginNotFound, SpecError, ExtframeError: as `find` does.
        """
        return self._do(name, SupervisedPlugin.status)

    def start(self, name: str) -> None:
        """Start a plugin, if it does not run; failures before do not count any more.

        Raises:
            PluginNotFound, SpecError, ExtframeError: as `find` does.
        """
        self._do(name, SupervisedPlugin.start)

    def stop(self, name: str) -> None:
        """Stop a plugin, and return when it has ended. It does not start again until `start` or `restart`.

        Its process group gets SIGTERM, and SIGKILL after the ``stop_timeout`` of its file.

        Raises:
            PluginNotFound, SpecError, ExtframeError: as `find` does.
        """
        self._end(name, SupervisedPlugin.stop)

    def restart(self, name: str) -> None:
        """Stop a plugin if it runs, and start it; return when the new process was started.

        Raises:
            PluginNotFound, SpecError, ExtframeError: as `find` does.
        """
        self._end(name, SupervisedPlugin.restart)

    def close(self) -> None:
        """Stop every plugin, and end the threads. Takes as long as the slowest plugin, at most its ``stop_timeout``.

        Closing a second time does nothing. The end of the interpreter closes the supervisor, too.
        """
        if self._is_forked:
            return
        with self._lock:
            running, self._running, self._is_closed = self._running, None, True
            signals = list(self._signals)
        if running is not None:
            running.close()
            atexit.unregister(self._at_exit)
        for each in signals:
            each.up()

    def __enter__(self) -> Self:
        self.scan()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- inside --------------------------------------------------------------------------------------------

    @property
    def _is_forked(self) -> bool:
        """Whether this is a child of the process: no thread here answers, or releases a lock that was held."""
        return self._owner != os.getpid()

    def _do(self, name: str, action: Callable[[SupervisedPlugin], T]) -> T:
        running = self._open()
        return self._read(running, name, lambda file: action(running.plugin(file)))

    def _read(self, running: PluginProcesses, name: str, use: Callable[[ConfigFile], T]) -> T:
        """Read a file, and use it in the thread of the loop."""
        with self._reading:
            try:
                file = self._files.read(name)
            except PluginNotFound:
                running.loop.begin(lambda: running.remove(name))
                raise
            wait = running.loop.begin(lambda: use(file))
        return wait()

    def _end(self, name: str, action: Callable[[SupervisedPlugin], object]) -> None:
        """End the process of a plugin by an action, and wait for the end."""

        def act(plugin: SupervisedPlugin) -> SupervisedPlugin:
            action(plugin)
            return plugin

        plugin = self._do(name, act)
        deadline = monotonic() + plugin.config.stop_timeout + STOP_GRACE
        with self._lock:
            while plugin.state is ProcessState.STOPPING and monotonic() < deadline:
                self._changed.wait(0.5)
        self._open().loop.call(lambda: None)  # the thread has finished the change: other programs see it, too

    def _open(self) -> PluginProcesses:
        if self._is_forked:
            raise ExtframeError("this Supervisor belongs to the process that created it; create one after the fork")
        with self._lock:
            running = self._running
            if running is None and not self._is_closed:
                self._running = running = PluginProcesses(
                    self.run_directory,
                    self.directories,
                    environments=self.environments,
                    python=self._python or default_python(),
                    changed=self._note_change,
                    echo=self._echo,
                )
                atexit.register(self._at_exit)
            is_closed = self._is_closed
        if running is None or is_closed:
            self.close()  # what was created while a signal handler closed this
            raise ExtframeError("this Supervisor is closed; create a new one")
        return running

    def _note_change(self) -> None:
        with self._lock:
            self._changed.notify_all()
            signals = list(self._signals)
        for each in signals:
            each.up()


def _generation_of(spec: PluginSpec) -> int | None:
    """Return the generation of the process for which a plugin was found; None if the spec is not a supervisor's."""
    return spec.stamp[1] if isinstance(spec.stamp, tuple) else None


def _runs_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _close(supervisor: weakref.ref[Supervisor]) -> None:
    found = supervisor()
    if found is not None:
        found.close()
