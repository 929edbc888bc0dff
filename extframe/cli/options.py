"""Options that several commands share, and the log on stderr. Opens no connection."""

from __future__ import annotations

import functools
import logging
import math
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..errors import ExtframeError, PluginNotFound, SpecError
from .hints import remember_location, remember_timeout
from .output import printable

if TYPE_CHECKING:
    from ..protocol import PluginSpec
    from ..registry.base import Registry
    from ..registry.local import LocalRegistry
    from ..supervisor.directories import Directories
    from ..supervisor.supervisor import Supervisor
    from .hosted_plugins import HostedPlugin, HostedPlugins

Command = TypeVar("Command", bound=Callable[..., Any])

# --- where plugins are --------------------------------------------------------------------------------

_OPTIONS = {"directory": "--dir", "app": "--app", "engine": "--engine"}


@dataclass(frozen=True)
class Location:
    """Where a command looks for plugins, or serves one: ``--dir``, ``--app``, ``--engine`` or Docker's directories.

    Args:
        directory: the directory of ``--dir`` or EXTFRAME_DIR.
        app: the host of ``--app`` or EXTFRAME_APP. Never given together with ``directory``.
        allow_unsafe: accept sources that other users can write.
        engine: the address of ``--engine``. Never given together with the others.
    """

    directory: str | None = None
    app: str | None = None
    allow_unsafe: bool = False
    engine: str | None = None

    @classmethod
    def of(cls, ctx: click.Context) -> Location:
        """Return the location for a command line. An option takes precedence over an environment variable.

        Raises:
            click.UsageError: two were given as options, or both in the environment.
        """
        values = {name: ctx.params.get(name) for name in _OPTIONS}
        given = [name for name, value in values.items() if value is not None]
        typed = [name for name in given if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if len(typed) > 1:
            options = " and ".join(_OPTIONS[name] for name in typed)
            raise click.UsageError(f"{options} exclude each other: use one of them.")
        if len(given) > 1 and not typed:
            raise click.UsageError("EXTFRAME_DIR and EXTFRAME_APP exclude each other: unset one of them.")
        chosen = {name: values[name] for name in typed or given}
        return cls(**chosen, allow_unsafe=bool(ctx.params.get("allow_unsafe")))

    @property
    def source(self) -> Registry:
        """The registry at this location: of the engine, or of directories.

        Raises:
            click.BadParameter: as `registry`.
        """
        if self.engine is None:
            return self.registry
        from ..registry.docker_plugins import DockerPlugins

        return DockerPlugins(self.engine)

    @property
    def registry(self) -> LocalRegistry:
        """The registry of the directories at this location.

        Raises:
            click.BadParameter: the host's name cannot be one.
        """
        from ..registry.local import LocalRegistry

        if self.directory is not None:
            return LocalRegistry(self.directory, [self.directory], allow_unsafe=self.allow_unsafe)
        if self.app is None:
            return LocalRegistry(allow_unsafe=self.allow_unsafe)
        with self._host() as app:
            return LocalRegistry.for_app(app, allow_unsafe=self.allow_unsafe)

    def supervisor(self, echo: Callable[[str, str], object] | None = None) -> Supervisor:
        """Return the supervisor at this location.

        Args:
            echo: called with the name of the plugin and each line that it writes, if given.

        Raises:
            click.UsageError: no location was given: Docker's directories have no plugins to start.
            click.BadParameter: the host's name cannot be one.
        """
        from ..supervisor.supervisor import Supervisor

        if self.directory is not None:
            return Supervisor(self.directory, allow_unsafe=self.allow_unsafe, echo=echo)
        with self._host() as app:
            return Supervisor.for_app(app, allow_unsafe=self.allow_unsafe, echo=echo)

    @property
    def directories(self) -> Directories:
        """Where hosts at this location have the configuration, sockets and environments of the plugins they start.

        Raises:
            click.UsageError, click.BadParameter: as for `supervisor`.
        """
        from ..supervisor.directories import directories_in, directories_of

        if self.directory is not None:
            return directories_in(self.directory)
        with self._host() as app:
            return directories_of(app)

    @property
    def hosted(self) -> HostedPlugins | None:
        """The plugins that hosts at this location start; None if no host has configuration here.

        Raises:
            click.BadParameter: the host's name cannot be one.
        """
        if self.app is None and not self._has_hosts():
            return None
        from .hosted_plugins import HostedPlugins

        directories = self.directories
        try:
            return HostedPlugins(directories, self.directory, allow_unsafe=self.allow_unsafe)
        except SpecError:  # Docker's
            return None

    def _has_hosts(self) -> bool:
        """Return whether ``--dir`` is a directory of configuration, not one of sockets and spec files only."""
        from ..supervisor.run_directory import live_directories

        if self.directory is None:
            return False
        try:
            if any(each.endswith((".toml", ".lock")) for each in os.listdir(self.directory)):
                return True
        except OSError:
            return False
        return bool(live_directories(self.directories.run, self.directory))

    @contextmanager
    def _host(self) -> Iterator[str]:
        if self.app is None:
            raise click.UsageError("Missing option '--app' or '--dir': which host's plugins?")
        try:
            yield self.app
        except SpecError as wrong:
            raise click.BadParameter(printable(str(wrong)), param_hint="'--app'") from wrong

    @property
    def options(self) -> list[str]:
        """The options for another command that looks in the same place."""
        directory = [] if self.directory is None else ["--dir", self.directory]
        app = [] if self.app is None else ["--app", self.app]
        engine = [] if self.engine is None else [f"--engine={self.engine}"]
        return [*directory, *app, *engine, *(["--allow-unsafe"] if self.allow_unsafe else [])]


def location_options(dir_help: str, app_help: str) -> Callable[[Command], Command]:
    """Add ``--dir`` and ``--app``, which reach the command as ``location``, a `Location`."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_location(*args: Any, **options: Any) -> Any:
            ctx = click.get_current_context()
            location = Location.of(ctx)
            remember_location(ctx, location.options)
            others = {key: value for key, value in options.items() if key not in (*_OPTIONS, "allow_unsafe")}
            return command(*args, location=location, **others)

        directory = click.option(
            "--dir",
            "directory",
            metavar="DIR",
            envvar="EXTFRAME_DIR",
            show_envvar=True,
            type=click.Path(file_okay=False, readable=False),  # the registry reports what this user cannot read
            help=dir_help,
        )
        app = click.option("--app", metavar="NAME", envvar="EXTFRAME_APP", show_envvar=True, help=app_help)
        return directory(app(with_location))  # type: ignore[return-value] # click's decorators return the function

    return add


def registry_options(command: Command) -> Command:
    """Add ``--dir``, ``--app`` and ``--allow-unsafe``, which reach the command as ``location``, a `Location`."""
    unsafe = click.option(
        "--allow-unsafe", is_flag=True, help="Accept sockets, spec files and directories that other users can write."
    )
    add_location = location_options(
        "Look for sockets and spec files only in DIR, instead of in Docker's directories.",
        "Look in the directories of the host NAME: /run/NAME/plugins and so on.",
    )
    return unsafe(add_location(command))


def engine_option(command: Command) -> Command:
    """Add ``--engine`` to `registry_options`."""
    return click.option(
        "--engine",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value="",
        callback=_engine_address,
        help="Look among the managed plugins of Docker's engine at ADDRESS; if omitted, at DOCKER_HOST or "
        "unix:///var/run/docker.sock.",
    )(command)


def _engine_address(ctx: click.Context, parameter: click.Parameter, address: str | None) -> str | None:
    if address is None:
        return None
    from ..protocol import Address
    from ..registry.docker_engine import DEFAULT_ENGINE

    try:
        return Address.parse(address or os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE).text
    except SpecError as wrong:
        hint = "" if not address or is_address(address) else "; without an address, write --engine last"
        raise click.BadParameter(printable(f"{wrong}{hint}")) from wrong


def _find_plugin(location: Location, name: str) -> HostedPlugin | PluginSpec:
    """Return a plugin that hosts start, or where a plugin listens that they do not start. The former take precedence.

    Raises:
        PluginNotFound: there is no such plugin; the message suggests a similar name.
        SpecError: its source cannot be used.
        click.BadParameter: the name is invalid.
    """
    from ..protocol import check_name
    from ..registry.local import LocalRegistry

    registry = location.source
    try:
        if isinstance(registry, LocalRegistry):  # the engine's names have slashes
            check_name(name)
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'NAME'") from wrong
    hosted = location.hosted
    plugin = None if hosted is None else hosted.look(name)
    if plugin is not None:
        return plugin
    try:
        return registry.find(name)
    except PluginNotFound as missing:
        from difflib import get_close_matches

        for close in get_close_matches(name, names_at(location), n=1):
            missing.message += f"; did you mean {close!r}?"
        raise


def is_address(text: str) -> bool:
    """Return whether an argument is an address rather than the name of a plugin, which contains no slash."""
    return ":/" in text


def find_target(location: Location, target: str) -> HostedPlugin | PluginSpec:
    """Return a plugin that is given by its name or its address. An address is its own name.

    A name is that of a plugin that hosts start, or else of one that listens somewhere.

    Raises:
        PluginNotFound: there is no such plugin; the message suggests a similar name.
        SpecError: its source cannot be used.
        click.BadParameter: the name or address is invalid.
    """
    from ..protocol import Address, PluginSpec

    if not is_address(target):
        return _find_plugin(location, target)
    try:
        address = str(Address.parse(target))
    except SpecError as wrong:
        raise click.BadParameter(printable(str(wrong)), param_hint="'NAME'") from wrong
    return PluginSpec(address, address)


def names_at(location: Location) -> list[str]:
    """Return the names of all plugins at a location, sorted.

    Raises:
        ExtframeError: a directory cannot be read.
    """
    hosted = location.hosted
    return sorted({*location.source.scan(), *(() if hosted is None else hosted.scan())})


def complete_name(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the plugins whose names start with ``incomplete``, at the location that precedes it."""
    logging.getLogger("extframe").addHandler(logging.NullHandler())  # without a handler, warnings go to stderr
    try:
        names = names_at(Location.of(ctx))
    except (ExtframeError, click.UsageError):  # a message would garble the line that is being edited
        return []
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


name_argument = click.argument("name", metavar="NAME", shell_complete=complete_name)

# --- timeout and output format ------------------------------------------------------------------------


def _seconds(text: str) -> float:
    """Parse a number of seconds greater than 0, or ``inf``."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise click.BadParameter(f"{text!r} is invalid: expected a number of seconds greater than 0.")
    return seconds


def timeout_option(default: float, meaning: str) -> Callable[[Command], Command]:
    """Add ``--timeout``."""

    def parse(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
        remember_timeout(ctx, value)
        return value

    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=f"{default:g}",
        show_default=True,
        callback=parse,
        help=meaning,
    )


def output_formats(*formats: str) -> Callable[[Command], Command]:
    """Add ``--output`` with these formats, of which the first is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="The output format.",
    )


output_option = output_formats("table", "json", "yaml")

# --- the log ------------------------------------------------------------------------------------------


class _LogFormatter(logging.Formatter):
    """Formats warnings like all other messages; with ``-v``, adds level, logger and tracebacks."""

    def __init__(self, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose

    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        if not self._verbose:
            return f"extframe: {message}"
        lines = traceback.format_exception(*record.exc_info) if record.exc_info else []
        trace = "".join(lines).rstrip("\n").splitlines()
        head = f"{record.levelname.lower()}: {record.name}: {message}"
        return "\n".join([head, *(f"  {printable(line)}" for line in trace)])


def _configure_log(ctx: click.Context, parameter: click.Parameter, verbose: bool) -> None:
    logger = logging.getLogger("extframe")
    before = logger.level
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter(verbose))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)

    @ctx.call_on_close
    def restore_log() -> None:
        logger.setLevel(before)
        logger.removeHandler(handler)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_configure_log,
    help="Log to stderr, with tracebacks.",
)
