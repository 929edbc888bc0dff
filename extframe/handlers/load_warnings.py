"""Show failed entry points as Python warnings, for hosts that configure no logging. Decides nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ..errors import PluginLoadWarning
from ..text import cut, printable, text_of
from .host_line import host_stacklevel

if TYPE_CHECKING:
    from .entry_points import EntryPoint

TEXT_LIMIT = 500  # characters of an exception in a warning; failures() has the exception


def warn_of_failure(entry: EntryPoint, error: BaseException) -> None:
    """Issue a `PluginLoadWarning` at the line of the host that loads the entry points.

    Raises:
        PluginLoadWarning: the host's filter turns warnings into errors.
    """
    warnings.warn(_text(entry, error), PluginLoadWarning, stacklevel=host_stacklevel())


def _text(entry: EntryPoint, error: BaseException) -> str:
    package, version = entry.origin
    owner = f" of {package} {version}" if package else ""
    reason = f"{type(error).__name__}: {cut(' '.join(text_of(error).split()), TEXT_LIMIT)}"
    return printable(f"{entry.name!r} ({entry.value}){owner} was not loaded: {reason}; {_remedy(entry, error)}")


def _remedy(entry: EntryPoint, error: BaseException) -> str:
    package = entry.origin[0]
    if isinstance(error, ModuleNotFoundError) or entry.name == "*":
        command = f": pip install --force-reinstall {package}" if package else ""
        return f"reinstall it with its dependencies{command}"
    return f"update or uninstall {package or 'its package'}, or leave it out with EXTFRAME_BLOCK={entry.name}"
