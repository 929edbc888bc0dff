"""Run a plugin: the application, where it listens, and an end in good order. Knows no HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..errors import ExtframeError
from ..logs import get_logger
from .app import REQUEST_LIMIT, THREADS, PluginApp, asgi_app
from .places import Place, ServerTLS, listen, listen_as_started
from .sockets import Listener

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .uvicorn_server import PluginServer

DRAIN = 5.0  # seconds

logger = get_logger(__name__)


def serve(
    *drivers: object,
    name: str,
    serialize: str | None = None,
    threads: int = THREADS,
    limit: int = REQUEST_LIMIT,
    drain: float = DRAIN,
    **place: Unpack[Place],
) -> None:
    """Serve ``drivers`` as the plugin ``name`` until SIGTERM or SIGINT, then return.

    A stop takes the socket or spec file away, lets the calls in flight end, and answers an error to those that
    have not ended after ``drain`` seconds. Where systemd passed sockets (``LISTEN_FDS``) these are served.
    Logs go to stderr unless logging is configured.

    Args:
        drivers: objects of classes that subclass an interface, or that ``@implements`` marks.
        name: the plugin's name: its socket is ``NAME.sock``.
        serialize: the name of a parameter: calls with the same value go in turn.
        threads: how many methods that are not async may run at a time.
        limit: how many bytes a request's body may have.
        drain: how long a stop waits for calls in flight, in seconds.
        place: where to listen, see ``Place``; ``NAME.sock`` in ``/run/docker/plugins`` without any.

    Raises:
        TypeError: a driver cannot be served.
        SpecError: the name or the address cannot be used.
        OSError: somebody answers there, or the socket or the spec file cannot be made, or a certificate cannot be used.
        ExtframeError: uvicorn is not installed.
    """
    app = asgi_app(*drivers, serialize=serialize, threads=threads, limit=limit)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with ExitStack() as stack:
        stack.callback(app.close)
        listener = stack.enter_context(_closing(listen_as_started(name, **place)))
        server = _server(app, listener, place.get("tls"), drain)
        stack.enter_context(server.stopped_by_signals())
        logger.info("plugin %r (%s) listens at %s", name, ", ".join(app.implements), listener.address)
        server.run_until_stopped()
    logger.info("plugin %r has stopped", name)


@dataclass(frozen=True)
class Served:
    """A plugin that runs in the background.

    Args:
        name: its name.
        address: where it listens, as ``extframe.Client`` takes it.
        directory: where its socket or spec file is, for ``LocalRegistry(directory, [directory])``.
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
    limit: int = REQUEST_LIMIT,
    drain: float = DRAIN,
    **place: Unpack[Place],
) -> Iterator[Served]:
    """Serve ``drivers`` in the background while the block runs: for tests.

    Sockets and spec files are made in an empty directory that goes away at the end, unless ``place`` says where::

        with serving(Photos()) as plugin:
            Client(plugin.address).call("VolumeDriver.List")

    Args and errors are those of ``serve``. Signals and ``LISTEN_FDS`` are left to the program.
    """
    app = asgi_app(*drivers, serialize=serialize, threads=threads, limit=limit)
    with ExitStack() as stack:
        stack.callback(app.close)
        directory = place.get("directory") or stack.enter_context(TemporaryDirectory(prefix="extframe-"))
        place.setdefault("directory", directory)
        place.setdefault("spec_directory", directory)
        listener = stack.enter_context(_closing(listen(name, **place)))
        server = _server(app, listener, place.get("tls"), drain)
        found_in = Path(directory) if listener.file is None else listener.file.path.parent
        stack.enter_context(server.in_background())
        yield Served(name, listener.address, found_in)


@contextmanager
def _closing(listener: Listener) -> Iterator[Listener]:
    try:
        yield listener
    finally:
        listener.close()


def _server(app: PluginApp, listener: Listener, tls: ServerTLS | None, drain: float) -> PluginServer:
    try:
        from .uvicorn_server import PluginServer
    except ImportError as missing:
        raise ExtframeError("serving needs uvicorn: pip install 'extframe[serve]'") from missing
    return PluginServer(app, listener, tls=tls, drain=drain)
