"""What Docker's engine says about its managed plugins, over its HTTP API. Changes nothing in the engine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

import msgspec

from ..client.client import Client
from ..concurrency.locks import signal_safe_lock
from ..errors import ConnectError, ExtframeError, RemoteError, TransportError
from ..protocol import Address
from .search_errors import is_access_denied, text_of_os_error

if TYPE_CHECKING:
    from collections.abc import Collection

T = TypeVar("T")

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
TIMEOUT = 10.0  # seconds for a request to the engine

# The paths have no version, so that every engine understands them in its own.
_PLUGINS, _INFO, _EVENTS = "/plugins", "/info", "/events"


class EngineInterface(msgspec.Struct, rename="pascal"):
    """How a managed plugin is called: its types, such as ``docker.volumedriver/1.0``, and the name of its socket."""

    types: list[Any] | None = None
    socket: str = ""
    protocol_scheme: str = ""


class EngineConfig(msgspec.Struct, rename="pascal"):
    """The part of a managed plugin's ``config.json`` that a host needs."""

    interface: EngineInterface = msgspec.field(default_factory=EngineInterface)
    propagated_mount: str = ""


class ManagedPlugin(msgspec.Struct, rename="pascal"):
    """A managed plugin as the engine lists it."""

    id: str
    name: str
    enabled: bool = False
    config: EngineConfig = msgspec.field(default_factory=EngineConfig)


class _Info(msgspec.Struct, rename="pascal"):
    docker_root_dir: str = ""


class DockerEngine:
    """One engine. Connects at the first request.

    Args:
        address: ``unix:///var/run/docker.sock`` or ``tcp://127.0.0.1:2375``.

    Raises:
        SpecError: the address is invalid.
    """

    def __init__(self, address: str) -> None:
        self.address = Address.parse(address)
        self._root = ""
        self._client: Client | None = None
        self._lock = signal_safe_lock()

    def plugins(self, act: str) -> list[ManagedPlugin]:
        """Return all managed plugins, enabled or not.

        Args:
            act: what for, in messages: ``list plugins``.

        Raises:
            ExtframeError: the engine cannot be asked; a TransportError if there is no connection, or no answer.
        """
        return self._get(_PLUGINS, list[ManagedPlugin], act)

    def root(self, act: str) -> str:
        """Return the directory in which the engine keeps its data. It is asked for once, until a request fails.

        Raises:
            ExtframeError: as `plugins`.
        """
        root = self._root  # read once: another thread whose request fails forgets it
        if not root:
            root = self._root = self._get(_INFO, _Info, act).docker_root_dir
        return root

    @contextmanager
    def plugin_events(self, since: float) -> Iterator[BinaryIO]:
        """Open a stream that has a line whenever a plugin is installed, enabled, disabled, upgraded or removed.

        Args:
            since: a ``time.time()`` value; the engine repeats the last 256 events since then.

        Raises:
            ExtframeError: as `plugins`; so does reading the stream.
        """
        path = f"{_EVENTS}?since={since:.9f}&filters={quote(json.dumps({'type': ['plugin']}))}"
        with self._errors("watch plugins"), self._open().stream(path, http_method="GET", follow=True) as events:
            yield events

    def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _get(self, path: str, kind: type[T], act: str) -> T:
        with self._errors(act):
            return self._open().get(path, reply=kind)

    def _open(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = Client(self.address.text, timeout=TIMEOUT, peer_uids=self._peer_uids())
            return self._client

    def _peer_uids(self) -> Collection[int] | None:
        """Return the owner of the engine's socket: in addition to root and this user, only he may answer there."""
        with suppress(OSError):
            return {os.stat(self.address.path).st_uid}
        return ()

    @contextmanager
    def _errors(self, act: str) -> Iterator[None]:
        try:
            yield
        except (TransportError, RemoteError) as error:
            self._root = ""
            kind = TransportError if isinstance(error, TransportError) else ExtframeError
            raise kind(f"cannot {act}: Docker's engine at {self.address}: {_reason(error)}") from error


def _reason(error: ExtframeError) -> str:
    """Return why the engine does not answer, and what to do."""
    cause = error.__cause__
    if not isinstance(error, ConnectError) or not isinstance(cause, OSError):
        return error.message
    if is_access_denied(cause):
        remedy = "run as root, or as a user in the group of the socket (usermod -aG docker USER)"
    else:
        remedy = "start the engine, or name its address: DockerPlugins(engine=...), --engine=ADDRESS"
    return f"{text_of_os_error(cause)}; {remedy}"
