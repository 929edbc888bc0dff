"""Run a plugin: its application, where it listens, its log and its graceful shutdown. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..logs import get_logger
from ..protocol import Endpoint
from .app import QUEUE_TIMEOUT, THREADS, asgi_app
from .asgi import App
from .limits import ServerLimits
from .listeners import ListenOptions, advertised_address, listen, listen_as_started
from .registration import Registration, registrars_of
from .sockets import Listener
from .tls import server_context

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..registry.registrar import Registrar
    from .http_server import HTTPServer
else:
    from ..concurrency.late_types import Unpack, late

    Registrar = late("extframe.registry.registrar", "Registrar")

DRAIN = 5.0  # seconds
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Middleware = Callable[[App], App]

logger = get_logger(__name__)


class ServeOptions(ListenOptions, total=False):
    """Where a plugin listens (`ListenOptions`) and what it accepts, as keyword arguments of ``serve``."""

    head_limit: int
    """Bytes of a request head: 64 KiB by default. More is answered with status 431."""
    limit: int
    """Bytes of a request body: 16 MiB by default. More is answered with status 413."""
    request_timeout: float
    """Seconds for receiving a whole request: 30 by default. Later it is answered with status 408."""
    keep_alive: float
    """Seconds that a connection may be idle between requests: 3600 by default."""
    connections: int
    """Connections at a time: by default three quarters of the descriptor limit, at most 1,024. If all are taken,
    idle ones are closed for new ones; if all are busy, new ones are answered with status 503."""
    buffer: int
    """Bytes that all requests and responses together may hold in memory: 24 MiB by default. The largest incomplete
    request is answered with status 503, and a client that does not read is disconnected."""
    write_timeout: float
    """Seconds without progress after which a client that does not read its response is disconnected: 30 by default.
    Ten times as long for streams."""


def serve(
    *drivers: object,
    name: str,
    serialize: str | None = None,
    threads: int = THREADS,
    queue_timeout: float = QUEUE_TIMEOUT,
    drain: float = DRAIN,
    middleware: Sequence[Middleware] = (),
    register: str | Registrar | Sequence[str | Registrar] | None = None,
    zone: str = "",
    drain_delay: float = 0.0,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve ``drivers`` as the plugin ``name`` until SIGTERM, SIGINT or SIGHUP, then return.

    Shutdown removes the socket or spec file, lets the calls in flight end, and answers those that have not ended after
    ``drain`` seconds with an error. A second signal ends the wait. Sockets that systemd passed (``LISTEN_FDS``) are
    served in place of any other. Log lines go to stderr unless logging is configured; they are dropped, not waited
    for, while stderr is blocked. Started by a `Supervisor`, the process ends with the host, however that ends.

    Args:
        drivers: objects of classes that subclass an interface, or that ``@implements`` marks.
        name: the plugin's name: its socket is ``NAME.sock``.
        serialize: the name of a parameter: calls with the same value of it run one after the other.
        threads: how many methods that are not async may run at a time.
        queue_timeout: how many seconds a call waits for a thread, or for its turn under ``serialize``, before it is
            answered with status 503.
        drain: how many seconds shutdown waits for calls in flight.
        middleware: ASGI middleware, such as `OpenTelemetryMiddleware`: each takes an application and returns one. The
            first one is the outermost.
        register: where the plugin is announced in addition to its socket, or in place of its spec file:
            ``"etcd://e1:2379,e2:2379/extframe/"``, a `Registrar`, or several. ``advertise`` is the address that hosts
            connect to.
        zone: the failure domain of this instance, for hosts that prefer their own.
        drain_delay: how many seconds shutdown goes on accepting calls after it has let the hosts know, through
            ``register``, that this instance is about to stop.
        options: where to listen, see ``ListenOptions``, and limits for requests, see ``ServeOptions``.

    Raises:
        TypeError: a driver cannot be served, or an option does not exist.
        SpecError: the name, the address or a certificate cannot be used, or others can write the directory.
        OSError: a process answers there, or the socket or the spec file cannot be created.
        RuntimeError: an event loop runs in this thread.
    """
    _check_no_event_loop()
    limits, where = _split(options)
    app = asgi_app(*drivers, serialize=serialize, threads=threads, queue_timeout=queue_timeout, limit=limits.limit)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    with ExitStack() as stack:
        from .lifeline import ended_with_host
        from .log_stream import without_blocking

        stack.enter_context(ended_with_host())
        stack.callback(app.close)
        stack.enter_context(without_blocking())
        registrars = _registrars(register, where)
        listener = stack.enter_context(_closing(listen_as_started(name, **where)))
        registration = _registration(name, listener, where, zone, registrars, drain_delay)
        server = _server(_wrapped(app, middleware), listener, where, limits, drain, registration)
        stack.enter_context(server.stopped_by_signals())
        stack.callback(registration.withdraw)
        registration.announce()
        logger.info("plugin %r (%s) listens at %s", name, ", ".join(app.implements), listener.address)
        server.run()
        logger.info("plugin %r has stopped", name)


def _check_no_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "serve() blocks, and an event loop runs in this thread: use `with serving(...)`, call serve() in a process of "
        "its own, or pass asgi_app(...) to an ASGI server that runs in this loop"
    )


@dataclass(frozen=True)
class Served:
    """A plugin that runs in the background.

    Args:
        name: its name.
        address: where it listens, as ``extframe.Client`` takes it.
        directory: where its socket or spec file is, for ``LocalRegistry(directory)``.
    """

    name: str
    address: str
    directory: Path


@contextmanager
def serving(
    *drivers: object,
    name: str = "plugin",
    serialize: str | None = None,
    threads: int = THREADS,
    queue_timeout: float = QUEUE_TIMEOUT,
    drain: float = DRAIN,
    middleware: Sequence[Middleware] = (),
    register: str | Registrar | Sequence[str | Registrar] | None = None,
    zone: str = "",
    drain_delay: float = 0.0,
    **options: Unpack[ServeOptions],
) -> Iterator[Served]:
    """Serve ``drivers`` in the background while the block runs: for tests, and in programs with an event loop.

    Sockets and spec files are created in a temporary directory, unless ``options`` say where::

        with serving(Photos()) as plugin:
            Client(plugin.address).call("VolumeDriver.List")

    Args and errors are those of ``serve``. Signals, ``LISTEN_FDS`` and logging are left to the program.
    """
    limits, where = _split(options)
    app = asgi_app(*drivers, serialize=serialize, threads=threads, queue_timeout=queue_timeout, limit=limits.limit)
    with ExitStack() as stack:
        stack.callback(app.close)
        if where.get("directory") is None and where.get("app") is None:
            from tempfile import TemporaryDirectory

            where["directory"] = stack.enter_context(TemporaryDirectory(prefix="extframe-"))
        registrars = _registrars(register, where)
        listener = stack.enter_context(_closing(listen(name, **where)))
        registration = _registration(name, listener, where, zone, registrars, drain_delay)
        server = _server(_wrapped(app, middleware), listener, where, limits, drain, registration)
        found_in = listener.file.path.parent if listener.file is not None else Path(where.get("directory") or ".")
        stack.callback(registration.withdraw)
        registration.announce()
        stack.enter_context(server.in_background())
        yield Served(name, listener.address, found_in)


def _split(options: ServeOptions) -> tuple[ServerLimits, ListenOptions]:
    names = {each.name for each in fields(ServerLimits)}
    limits: dict[str, Any] = {name: value for name, value in options.items() if name in names}
    where = {name: value for name, value in options.items() if name not in names}
    unknown = sorted(where.keys() - ListenOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}; expected one of {', '.join(ServeOptions.__annotations__)}")
    return ServerLimits(**limits), cast(ListenOptions, where)


@contextmanager
def _closing(listener: Listener) -> Iterator[Listener]:
    try:
        yield listener
    finally:
        listener.close()


def _wrapped(app: App, middleware: Sequence[Middleware]) -> App:
    for wrap in reversed(middleware):
        app = wrap(app)
    return app


def _registrars(register: str | Registrar | Sequence[str | Registrar] | None, where: ListenOptions) -> list[Registrar]:
    """Return the registrars. With any, a spec file is written only where the caller says in which directory."""
    registrars = registrars_of(register)
    if registrars and not any(where.get(each) for each in ("directory", "spec_directory", "app")):
        where.setdefault("spec_file", False)
    return registrars


def _registration(
    name: str, listener: Listener, where: ListenOptions, zone: str, registrars: list[Registrar], drain_delay: float
) -> Registration:
    endpoint = Endpoint(advertised_address(listener, where), zone=zone)
    return Registration(name, endpoint, registrars, drain_delay=drain_delay)


def _server(
    app: App, listener: Listener, where: ListenOptions, limits: ServerLimits, drain: float, registration: Registration
) -> HTTPServer:
    from .http_server import HTTPServer

    tls = server_context(where["tls"]) if where.get("tls") else None
    return HTTPServer(app, listener, tls=tls, limits=limits, drain=drain, before_stop=registration.end)
