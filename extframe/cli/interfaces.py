"""The interfaces that are known here: Docker's, and those of installed packages."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import ExtframeError
from ..protocol import ACTIVATE
from .location import Location, find_target

if TYPE_CHECKING:
    from ..interface.declarations import Declaration

_HANDSHAKE = 1.0  # seconds that a completion waits for a manifest

logger = logging.getLogger(__name__)


def docker_interfaces() -> dict[str, Declaration]:
    """Return the declarations of Docker's extension points by their names in manifests."""
    from ..handlers.builtin import NAMES, interface
    from ..interface.declarations import declaration

    return {found.implements: found for found in map(declaration, map(interface, NAMES))}


def known_interfaces() -> dict[str, Declaration]:
    """Return the declarations of Docker's extension points, and of those that installed packages declare.

    Imports the packages, as a host does. One that cannot be imported is skipped.
    """
    return {**_installed_interfaces(), **docker_interfaces()}


def _installed_interfaces() -> dict[str, Declaration]:
    from ..handlers.access_rules import AccessRules
    from ..handlers.entry_point_loader import interfaces_of
    from ..handlers.entry_points import GROUP, entry_points
    from ..interface.declarations import declaration

    found: dict[str, Declaration] = {}
    access = AccessRules()
    for entry in entry_points((GROUP,), hooks=True):
        if entry.origin[0] == "extframe" or access.handler_refusal(entry) is not None:
            continue
        try:
            # Keep what packages print during import out of the output.
            with contextlib.redirect_stdout(io.StringIO()):
                for _, interface in interfaces_of(entry.load()):
                    declared = declaration(interface)
                    found.setdefault(declared.implements, declared)
        except Exception:
            logger.debug("cannot import %s", entry.value, exc_info=True)
    return found


def methods_of(location: Location, target: str | None) -> Iterator[str]:
    """Yield the wire names of a plugin's methods; those of Docker's extension points if it does not respond."""
    points = _implements(location, target)
    known: Mapping[str, Declaration] = docker_interfaces()
    if points is not None and not set(points) <= known.keys():
        known = known_interfaces()
    yield ACTIVATE
    for point, declared in known.items():
        if points is None or point in points:
            yield from (method.wire for method in declared.methods)


def _implements(location: Location, target: str | None) -> tuple[str, ...] | None:
    import click

    from .discovery import activate_all, status_of

    logging.getLogger("extframe").addHandler(logging.NullHandler())
    try:
        if target is None:
            return None
        (plugin,) = activate_all([status_of(find_target(location, target))], _HANDSHAKE)
    except (ExtframeError, click.UsageError):  # a message would garble the line that is being edited
        return None
    return plugin.implements


def similar_method(method: str) -> str | None:
    """Return the method whose wire name is most similar to ``method``: another case, a typing error, no point.

    The packages are imported only if none of Docker's methods is similar.
    """
    for known in (docker_interfaces, known_interfaces):
        wires = [ACTIVATE, *(each.wire for declared in known().values() for each in declared.methods)]
        similar = _similar(method, wires)
        if similar is not None:
            return similar
    return None


def _similar(method: str, wires: Sequence[str]) -> str | None:
    from difflib import get_close_matches

    point, _, name = method.lstrip("/").lower().rpartition(".")
    points = {wire.partition(".")[0].lower() for wire in wires}
    near = get_close_matches(point, points, n=1, cutoff=0.7) if point else points
    names = {}
    for wire in reversed(wires):
        found, _, last = wire.lower().partition(".")
        if found in near:
            names[last] = wire
    close = get_close_matches(name, names, n=1, cutoff=0.7)
    return names[close[0]] if close else None
