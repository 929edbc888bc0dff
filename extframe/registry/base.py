"""What a manager needs from a registry."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from ..errors import ExtframeError
from ..protocol import PluginSpec
from ..text import text_of

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Protocol):
    """A source of plugins for a manager: `LocalRegistry`, `Supervisor`, or any object with these three methods.

    It may have more, which a manager uses if they exist; docs/registries.md describes them:

    - ``directories``, a sequence of paths: ``PluginManager.watch`` notices changes in them at once.
    - ``changes()``, which returns an object whose ``fileno()`` becomes readable when something has changed: the watch
      scans then. It calls ``drain()`` on the object before it scans, and ``close()`` when it ends. A registry with
      neither is scanned every half second.
    - ``why(spec, error)``, which returns why a plugin could not be used, as the predicate of a sentence (``exited with
      status 3``), or None. Called after a failure, in the thread of the caller; it must return within a second.
    - ``starts_on_use(name)``, which returns whether the plugin does not run and its use would start it: the watch does
      not activate it.
    - ``sources(name)``, which returns what announces the plugin, empty if nothing does: a `RegistryChain` then notices
      a plugin that appears in an earlier registry.
    - ``close()``: ``PluginManager.close`` calls it.
    """

    def scan(self) -> list[str]:
        """Return the names of all existing plugins, sorted, without duplicates.

        Raises:
            ExtframeError: the source of plugins cannot be searched now. No plugin counts as removed then.
        """
        raise NotImplementedError

    def find(self, name: str) -> PluginSpec:
        """Return where the plugin listens.

        The registry checks the name; a manager passes any text.

        Raises:
            PluginNotFound: it does not exist; the message lists every place that was searched.
            SpecError: the name, or what was found under it, cannot be used.
            ActivationError: it exists and cannot be started.
            ExtframeError: the source of plugins cannot be searched now.
        """
        raise NotImplementedError

    def stamp(self, spec: PluginSpec) -> Hashable:
        """Return the current identity of what ``spec`` was made from, None once that is gone.

        As long as it equals ``spec.stamp``, ``find`` would return the same plugin, and the plugin has not been
        restarted. A manager calls this before every use of a plugin, so it must be cheap.
        """
        raise NotImplementedError


def never_waits(method: F) -> F:
    """Mark a method of a registry that only reads files of this machine: a manager calls it in the caller's thread.

    Other methods are called in a thread of their own where there is a deadline. A subclass that overrides a method has
    to mark it again.
    """
    method.never_waits = True  # type: ignore[attr-defined]
    return method


def waits(registry: object, method: str) -> bool:
    """Return whether a method of a registry may wait for something, such as a server."""
    members = getattr(registry, "registries", None)
    marked = getattr(getattr(type(registry), method, None), "never_waits", False)
    return not marked or any(waits(member, method) for member in members or ())


def name_of(registry: object) -> str:
    """Return the name of a registry in messages, which is that of its class."""
    return type(registry).__qualname__


@contextmanager
def errors_of(registry: object, act: str, plugin: str | None = None) -> Iterator[None]:
    """Turn any error of a registry into an `ExtframeError` with its name; the cause is chained."""
    try:
        yield
    except ExtframeError:
        raise
    except Exception as error:
        raise ExtframeError(
            f"registry {name_of(registry)} could not {act}: {type(error).__name__}: {text_of(error)}", plugin=plugin
        ) from error
