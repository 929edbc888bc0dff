"""Find plugins in etcd: list them once, and follow the changes in a thread."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from contextlib import suppress
from time import monotonic
from typing import BinaryIO
from weakref import WeakSet

from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..concurrency.threads import start
from ..concurrency.wake_pipe import WakePipe
from ..errors import ExtframeError, PluginNotFound
from ..logs import get_logger
from ..protocol import PluginSpec, TLSConfig, check_name
from .base import never_waits
from .etcd_gateway import EtcdGateway, EtcdURL, WatchResult, read_line
from .etcd_table import EtcdTable

RENEW = 5.0  # seconds after which a watch is opened again: a node that hangs says nothing, as one that is idle
OPEN_TIMEOUT = 0.75  # seconds in which a node has to begin to respond to a watch
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds before etcd is asked again after a failure

logger = get_logger(__name__)


class EtcdRegistry:
    """Plugins whose instances are registered in etcd, on any number of hosts.

    ::

        pm = extframe.PluginManager(extframe.EtcdRegistry("etcd://e1:2379,e2:2379,e3:2379/extframe/"))
        pm.driver("rclone", extframe.VolumeDriver).list()

    The keys are those of etcd's own ``naming/endpoints``, which Go's gRPC clients read too: ``extframe/rclone/ID`` has
    the value ``{"Addr": "10.0.0.7:7070", "Metadata": {"zone": "eu-1", "weight": 1, "draining": false}}``.

    A thread lists them once and then watches, so that `find` and `stamp` send nothing. While etcd cannot be reached,
    what it said last is used, and nothing counts as removed. Any node may fail or hang: the watch is opened again every
    5 seconds, at another node.

    Args:
        url: the nodes, and the prefix of the keys; ``etcds://`` for TLS.
        tls: how the nodes are verified, and the client certificate, which must not have a common name if etcd
            requires a user and password; implies TLS.
        user, password: for a cluster that requires authentication.
        plugin_tls: how the plugins' instances are verified. With it, all of them at a host and port are called over
            TLS, whatever etcd says. It never comes from etcd.
        timeout: seconds for a request, and for the first list.

    Raises:
        SpecError: the URL or a setting is invalid.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: TLSConfig | None = None,
        user: str | None = None,
        password: str | None = None,
        plugin_tls: TLSConfig | None = None,
        timeout: float = 5.0,
    ) -> None:
        self._url = EtcdURL(url)
        self._timeout = check_timeout(timeout)
        self._list = EtcdGateway(self._url, tls=tls, user=user, password=password, timeout=self._timeout)
        self._watch = EtcdGateway(self._url, tls=tls, user=user, password=password, timeout=OPEN_TIMEOUT)
        self._table = EtcdTable(self._url.prefix, url, plugin_tls)
        self._lock = signal_safe_lock()
        self._to_start = [(self._follow, "extframe etcd"), (self._renew_regularly, "extframe etcd renewal")]
        self._closing = Event()
        self._tried = Event()  # whether there was a list, or a failure
        self._error: ExtframeError | None = None
        self._revision = 0  # the last one that is in the table; 0 before the first list
        self._cluster = ""
        self._stream: BinaryIO | None = None
        self._pipes: WeakSet[EtcdChanges] = WeakSet()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url.text!r})"

    def scan(self) -> list[str]:
        """Return the names of the plugins that have an instance, sorted.

        Raises:
            ExtframeError: etcd cannot be reached, and never could.
        """
        self._wait_for_list("list plugins")
        return self._table.names()

    def find(self, name: str) -> PluginSpec:
        """Return where the instances of a plugin listen.

        Raises:
            PluginNotFound: none is registered.
            SpecError: the name is invalid.
            ExtframeError: etcd cannot be reached, and the plugin was not there when it last could.
        """
        spec = self._table.spec(check_name(name))
        if spec is not None:
            return spec
        self._wait_for_list(f"find plugin {name!r}")
        spec = self._table.spec(name)
        if spec is not None:
            return spec
        if self._error is not None:
            raise self._cannot(f"find plugin {name!r}", self._error)
        raise PluginNotFound(
            f"no plugin {name!r}: looked for keys {self._url.prefix}{name}/ in etcd at {', '.join(self._url.hosts)}",
            plugin=name,
        )

    @never_waits
    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return what changes with the instances of a plugin; None if there are none any more."""
        return self._table.stamp(spec.name)

    def changes(self) -> EtcdChanges:
        """Return an object whose ``fileno()`` is readable after a change.

        Raises:
            ExtframeError: the system has no thread.
        """
        self._start()
        changes = EtcdChanges()
        with self._lock:
            self._pipes.add(changes)
        return changes

    def close(self) -> None:
        """Stop following etcd, and close the connections."""
        self._closing.set()
        self._tried.set()
        self._renew()
        self._list.close()
        self._watch.close()

    def _wait_for_list(self, act: str) -> None:
        self._start()
        self._tried.wait(self._timeout)
        if self._revision == 0:
            raise self._cannot(act, self._error)

    def _cannot(self, act: str, error: ExtframeError | None) -> ExtframeError:
        reason = error.message if error is not None else f"no answer within {self._timeout:g} s"
        made = ExtframeError(f"cannot {act}: etcd at {', '.join(self._url.hosts)}: {reason}")
        made.__cause__ = error
        return made

    def _start(self) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            while self._to_start:  # the system may have a thread for the first and none for the second
                function, name = self._to_start[0]
                start(threading.Thread(target=function, name=name, daemon=True))
                del self._to_start[0]

    def _renew_regularly(self) -> None:
        while not self._closing.wait(RENEW):
            self._renew()

    def _renew(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    # In the thread that follows.

    def _follow(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            began = monotonic()
            try:
                if self._revision == 0:
                    self._read_list()
                self._read_changes()
                pause = FIRST_PAUSE
            except ExtframeError as error:
                self._report(error)
                self._tried.set()
                if monotonic() - began > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                self._closing.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _read_list(self) -> None:
        pages = self._list.pages(self._url.prefix)
        self._table.replace(each for page in pages for each in page.kvs)
        self._cluster = pages[0].header.cluster_id
        self._revision = max(1, int(pages[0].header.revision))
        self._recover()
        self._tried.set()
        self._notify()

    def _read_changes(self) -> None:
        """Apply changes until the watch is renewed, or what it asked for is gone."""
        with self._watch.watch(self._url.prefix, self._revision + 1) as stream:
            with self._lock:
                if self._closing.is_set():
                    return
                self._stream = stream
            try:
                for line in stream:
                    if not self._apply(read_line(line)):
                        return
            except ValueError:  # closed, to be opened again
                return
        raise ExtframeError("etcd ended the watch")

    def _apply(self, result: WatchResult) -> bool:
        """Return False if the list has to be read again: after a compaction, or with another cluster."""
        is_other = result.header.cluster_id != self._cluster or int(result.header.revision) < self._revision
        if result.canceled or (is_other and not result.events):
            logger.info("etcd at %s: the list is read again: %s", self._url, result.cancel_reason or "it was compacted")
            self._read_list()
            return False
        self._recover()
        for event in result.events:
            if event.type == "DELETE":
                self._table.remove(event.kv)
            else:
                self._table.put(event.kv)
            self._revision = max(self._revision, int(event.kv.mod_revision))
        if result.events:
            self._notify()
        return True

    def _notify(self) -> None:
        with self._lock:  # a set that grows meanwhile cannot be listed, and the thread would end
            pipes = list(self._pipes)
        for changes in pipes:
            changes.up()

    def _report(self, error: ExtframeError) -> None:
        before, self._error = self._error, error
        if before is None and not self._closing.is_set():
            with suppress(Exception):  # of a log handler
                logger.warning("etcd at %s cannot be followed: %s; what it said last is used", self._url, error)

    def _recover(self) -> None:
        if self._error is not None:
            self._error = None
            logger.info("etcd at %s is followed again", self._url)


class EtcdChanges(WakePipe):
    """An object with a descriptor that is readable after a change."""
