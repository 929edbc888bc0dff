"""Announce a plugin through registrars while it is served. Knows no source of plugins itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from ..concurrency.async_threads import call_in_thread
from ..errors import SpecError
from ..logs import get_logger
from ..protocol import Address, Endpoint

if TYPE_CHECKING:
    from ..registry.registrar import Registrar

REGISTRARS = {
    "etcd": ("extframe.registry.etcd_registrar", "EtcdRegistrar"),
    "etcds": ("extframe.registry.etcd_registrar", "EtcdRegistrar"),
}
"""The classes of registrars by the scheme of a URL. Imported by name: a plugin that needs none imports no client."""

EVERYWHERE = ("0.0.0.0", "::")

logger = get_logger(__name__)


class Registration:
    """One plugin and its registrars.

    Args:
        name: the plugin's name.
        endpoint: where hosts connect to.
        registrars: what announces it.
        drain_delay: seconds between the mark that it is about to stop, and the stop.

    Raises:
        SpecError: no other host can connect to the address.
    """

    def __init__(self, name: str, endpoint: Endpoint, registrars: Sequence[Registrar], *, drain_delay: float) -> None:
        if registrars and Address.parse(endpoint.address).host in EVERYWHERE:
            raise SpecError(
                f"hosts cannot connect to {endpoint.address}; expected advertise= with the address of this machine, "
                "such as tcp://10.0.0.7:{port}",
                plugin=name,
            )
        self._name = name
        self._endpoint = endpoint
        self._registrars = registrars
        self._drain_delay = drain_delay

    def announce(self) -> None:
        """Announce the plugin.

        Raises:
            ExtframeError: a setting is invalid. What was announced before is withdrawn.
        """
        try:
            for registrar in self._registrars:
                registrar.announce(self._name, self._endpoint)
        except BaseException:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        """Withdraw the plugin, in a thread that may wait."""
        for registrar in self._registrars:
            with self._logging(registrar, "withdraw"):
                registrar.withdraw()

    async def end(self, hurry: asyncio.Event) -> None:
        """Mark the plugin as about to stop, wait until hosts have seen that, and withdraw it.

        Args:
            hurry: ends the wait.
        """
        if self._registrars and self._drain_delay > 0:
            await self._call_all("drain")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(hurry.wait(), self._drain_delay)
        await self._call_all("withdraw")

    async def _call_all(self, method: str) -> None:
        """Call a method of all registrars, each in a thread of its own."""
        await asyncio.gather(*(self._call(each, method) for each in self._registrars))

    async def _call(self, registrar: Registrar, method: str) -> None:
        with self._logging(registrar, method):
            await call_in_thread(getattr(registrar, method), "extframe registrar")

    @contextmanager
    def _logging(self, registrar: Registrar, act: str) -> Iterator[None]:
        """Log an error instead of raising it: the plugin has to stop gracefully all the same."""
        try:
            yield
        except Exception as error:
            logger.warning("%r could not %s plugin %r: %s", registrar, act, self._name, error, exc_info=error)


def registrars_of(register: str | Registrar | Sequence[str | Registrar] | None) -> list[Registrar]:
    """Return the registrars that the argument ``register`` of ``serve`` names.

    Raises:
        SpecError: a URL has another scheme, or is invalid.
        TypeError: something is neither a URL nor a registrar.
    """
    if register is None:
        return []
    several = list(register) if isinstance(register, list | tuple) else [register]
    return [_registrar(each) for each in several]


def _registrar(found: object) -> Registrar:
    if isinstance(found, str):
        scheme = found.partition("://")[0]
        if scheme not in REGISTRARS:
            known = ", ".join(f"{each}://" for each in REGISTRARS)
            raise SpecError(f"register={found!r} is not the URL of a registrar; expected one with {known}")
        module, name = REGISTRARS[scheme]
        made: Registrar = getattr(import_module(module), name)(found)
        return made
    for method in ("announce", "drain", "withdraw"):
        if isinstance(found, type) or not callable(getattr(found, method, None)):
            raise TypeError(f"register={found!r} is not a registrar: expected a URL, or an object with {method}()")
    return found  # type: ignore[return-value]
