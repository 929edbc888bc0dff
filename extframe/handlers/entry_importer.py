"""Import entry points, and measure how long each import takes. Registers nothing."""

from __future__ import annotations

import sys
from time import perf_counter
from types import ModuleType
from typing import Any

from ..errors import ExtframeError
from .entry_points import GROUP, EntryPoint

SLOW = 1.0  # seconds; a warning names a package whose import takes longer


class EntryImporter:
    """Imports entry points. An import that is slow is a warning in the log, every other a DEBUG line."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # by the name of the entry point, also where the import failed

    def load(self, entry: EntryPoint) -> Any:
        """Import an entry point and return its object.

        Raises:
            ExtframeError: its module is still being imported, so that its handlers do not exist yet.
        """
        began = perf_counter()
        try:
            return _load(entry)
        finally:
            self._note(entry, perf_counter() - began)

    def _note(self, entry: EntryPoint, seconds: float) -> None:
        self.seconds[entry.name] = seconds
        if seconds <= SLOW and not _shows_debug():
            return  # reading the metadata of a package takes longer than most imports
        from ..logs import get_logger

        logger, (package, version) = get_logger(__name__), entry.origin
        owner = f" of {package} {version}" if package else ""
        if seconds <= SLOW:
            logger.debug("imported entry point %r (%s)%s in %.3f s", entry.name, entry.value, owner, seconds)
            return
        remedy = f"; in a group {GROUP}.HOOK it is imported when its hook is needed" if entry.group == GROUP else ""
        logger.warning("importing entry point %r (%s)%s took %.1f s%s", entry.name, entry.value, owner, seconds, remedy)


def _shows_debug() -> bool:
    """Return whether the host shows DEBUG lines, for which it has imported logging."""
    logging = sys.modules.get("logging")
    return logging is not None and bool(logging.getLogger(__name__).isEnabledFor(logging.DEBUG))


def _load(entry: EntryPoint) -> Any:
    module = entry.value.partition(":")[0].strip()
    try:
        found = entry.load()
    except AttributeError as missing:
        if _is_being_imported(sys.modules.get(module)):
            raise _circular(module) from missing
        raise
    if isinstance(found, ModuleType) and _is_being_imported(found):
        raise _circular(module)
    return found


def _is_being_imported(module: ModuleType | None) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _circular(module: str) -> ExtframeError:
    return ExtframeError(
        f"{module} is still being imported (a circular import): it loads handlers, or imports a module that does. "
        "Load them in a function that the host calls: create the PluginManager there or, with project=, call "
        "load_handlers() there"
    )
