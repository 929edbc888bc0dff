"""uvicorn as plugins need it. Imported when something is served, not before: alone knows uvicorn."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from .asgi import App
from .places import ServerTLS
from .sockets import Listener

KEEP_ALIVE = 3600  # seconds: an engine whose idle connection is closed under it may send a call without its body


class PluginServer(uvicorn.Server):
    """Serves an application at a listener, whose file is taken away as soon as a stop begins."""

    def __init__(self, app: App, listener: Listener, *, tls: ServerTLS | None, drain: float) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=drain,  # type: ignore[arg-type]  # asyncio.wait_for takes a float
            **_tls_options(tls),
        )
        config.load()  # here, so that a certificate that cannot be used is an error of whoever called
        super().__init__(config)
        self.ready = threading.Event()
        self._listener = listener

    def run_until_stopped(self) -> None:
        """Serve until a signal, or ``should_exit``."""
        self.run(self._listener.sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in good order: no host finds the plugin any more, calls in flight end, or are cut off."""
        self._listener.withdraw()
        await super().shutdown(sockets)
        # Those that were cut off answer an error, which must leave before the loop is closed.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1.0)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT stop it, the process going on afterwards. Only the main thread hears of signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # uvicorn puts its own handlers in these handlers' place, and raises what it caught again at its end: here.
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Serve in a thread while the block runs."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.run_until_stopped()
            except BaseException as failure:  # noqa: BLE001 - raised where it is waited for
                failures.append(failure)
            finally:
                self.ready.set()

        thread = threading.Thread(target=run, name="extframe-server", daemon=True)
        thread.start()
        self.ready.wait()
        try:
            if not failures:
                yield
        finally:
            self.should_exit = True
            thread.join()
        if failures:
            raise failures[0]


def _tls_options(tls: ServerTLS | None) -> dict[str, Any]:
    if tls is None:
        return {}
    options: dict[str, Any] = {"ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file}
    if tls.client_ca_file:
        options |= {"ssl_ca_certs": tls.client_ca_file, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options
