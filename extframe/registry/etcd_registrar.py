"""Announce an instance of a plugin in etcd, under a lease that a thread keeps alive."""

from __future__ import annotations

import base64
import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

import msgspec

from ..concurrency.deadlines import check_timeout
from ..concurrency.event import Event
from ..concurrency.locks import signal_safe_lock
from ..concurrency.threads import start
from ..errors import ExtframeError, SpecError
from ..logs import get_logger
from ..protocol import Address, Endpoint, TLSConfig, check_name
from .etcd_gateway import EtcdGateway, EtcdURL, Number, encode
from .etcd_table import value_of

TTL = 15.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds before etcd is asked again after a failure

logger = get_logger(__name__)


class _Lease(msgspec.Struct):
    """What etcd says about a lease. One that has ended has no TTL."""

    # Not 0: a key with that lease would stay for good.
    id: Annotated[str, msgspec.Meta(pattern="^-?[1-9][0-9]{0,18}$")] = msgspec.field(name="ID")
    ttl: Number = msgspec.field(default="0", name="TTL")


class _Kept(msgspec.Struct):
    result: _Lease


class EtcdRegistrar:
    """Announces an instance of a plugin in etcd, where `EtcdRegistry` and Go's gRPC clients find it.

    ::

        extframe.serve(Photos(), name="photos", address="tcp://0.0.0.0:7070", advertise="tcp://10.0.0.7:{port}",
                       register="etcd://e1:2379,e2:2379/extframe/")

    The key belongs to a lease, which a thread renews three times in its time to live: an instance that crashes is gone
    after ``ttl`` seconds. A lease that was lost, as the process was stopped or etcd was down for too long, is replaced.
    While etcd cannot be reached, the plugin goes on, and is announced as soon as etcd is back.

    Args:
        url: the nodes, and the prefix of the keys; ``etcds://`` for TLS.
        tls: how the nodes are verified, and the client certificate.
        user, password: for a cluster that requires authentication.
        ttl: seconds after which an instance that does not renew its lease is removed; at least 1.
        timeout: seconds for a request.

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
        ttl: float = TTL,
        timeout: float = 2.0,
    ) -> None:
        self._url = EtcdURL(url)
        self._ttl = check_timeout(ttl)
        if self._ttl < 1:
            raise SpecError(f"ttl= is {ttl:g}; expected at least 1 second, as etcd counts whole seconds")
        self._gateway = EtcdGateway(self._url, tls=tls, user=user, password=password, timeout=check_timeout(timeout))
        self._lock = signal_safe_lock()  # held while a request is sent
        self._ended = Event()
        self._name = ""  # of the plugin; "" before it is announced
        self._endpoint: Endpoint
        self._lease = ""  # "" while there is none
        self._is_put = False  # whether the key has the lease and the endpoint
        self._error: ExtframeError | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url.text!r})"

    def announce(self, name: str, endpoint: Endpoint) -> None:
        """Put the instance's key, and keep its lease alive until `withdraw`. If etcd is down, in the background.

        Raises:
            SpecError: the name or the address is invalid.
            ExtframeError: the system has no thread, or the registrar announces another instance.
        """
        check_name(name)
        Address.parse(endpoint.address)
        if self._name:
            raise ExtframeError(f"{self!r} announces plugin {self._name!r}: use another registrar for {name!r}")
        self._name, self._endpoint = name, endpoint
        is_announced = self._try()
        start(threading.Thread(target=self._keep, args=[is_announced], name="extframe etcd registrar", daemon=True))

    def drain(self) -> None:
        """Mark the instance as draining: hosts call it only if no other is left."""
        if not self._name:
            return
        with suppress(ExtframeError), self._lock:  # the thread tries again, and reports what etcd says
            self._endpoint, self._is_put = replace(self._endpoint, draining=True), False
            if self._lease:
                self._put()

    def withdraw(self) -> None:
        """Revoke the lease, which removes the key."""
        self._ended.set()
        with suppress(ExtframeError), self._lock:  # without an answer, the lease ends by itself
            lease, self._lease = self._lease, ""
            if lease:
                self._gateway.call("lease/revoke", {"ID": lease}, msgspec.Raw)
                logger.info("plugin %r is withdrawn from etcd at %s", self._name, self._url)
        self._gateway.close()

    def _keep(self, is_announced: bool) -> None:
        """Renew the lease three times in its time to live; after a failure try again soon, and then less often."""
        failures = 0 if is_announced else 1
        while not self._ended.wait(
            min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE) if failures else self._ttl / 3
        ):
            failures = 0 if self._try() else min(failures + 1, 10)

    def _try(self) -> bool:
        """Announce the instance, or renew its lease; return whether it is announced."""
        try:
            with self._lock:
                if self._ended.is_set():
                    return True
                if not self._lease or not self._renew():
                    self._grant()
                if not self._is_put:
                    self._put()
        except ExtframeError as error:
            self._report(error)
            return False
        self._recover()
        return True

    def _renew(self) -> bool:
        """Renew the lease; return False if it has ended."""
        kept = self._gateway.call("lease/keepalive", {"ID": self._lease}, _Kept).result
        if int(kept.ttl) > 0:
            return True
        self._lease = ""
        logger.warning("plugin %r lost its lease in etcd at %s and is announced again", self._name, self._url)
        return False

    def _grant(self) -> None:
        granted = self._gateway.call("lease/grant", {"TTL": str(round(self._ttl)), "ID": "0"}, _Lease, idempotent=False)
        self._lease, self._is_put = granted.id, False

    def _put(self) -> None:
        key = encode(_key(self._url.prefix, self._name, self._endpoint.address))
        value = base64.b64encode(value_of(self._endpoint)).decode()
        self._gateway.call("kv/put", {"key": key, "value": value, "lease": self._lease}, msgspec.Raw)
        self._is_put = True
        act = "draining" if self._endpoint.draining else "announced"
        logger.info("plugin %r is %s in etcd at %s: %s", self._name, act, self._url, self._endpoint.address)

    def _report(self, error: ExtframeError) -> None:
        before, self._error = self._error, error
        if before is None:
            with suppress(Exception):  # of a log handler
                logger.warning("plugin %r cannot be announced in etcd at %s: %s", self._name, self._url, error)

    def _recover(self) -> None:
        if self._error is not None:
            self._error = None
            logger.info("plugin %r is announced in etcd at %s again", self._name, self._url)


def _key(prefix: str, name: str, address: str) -> str:
    """Return the key of an instance. It is the same after a restart, so that an instance has one entry."""
    parsed = Address.parse(address)
    of_this_host = f"{os.uname().nodename}{quote(parsed.path, safe='')}" if parsed.path else ""
    return f"{prefix}{name}/{of_this_host or parsed.authority}"
