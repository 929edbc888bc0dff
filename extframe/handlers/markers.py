"""MarkedManager: a pluggy.PluginManager that recognises two kinds of markers. Loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from .hooks import PROJECT

if TYPE_CHECKING:
    from pluggy import HookimplOpts, HookspecOpts
else:
    from ..concurrency.late_types import late

    HookimplOpts = late("pluggy", "HookimplOpts")
    HookspecOpts = late("pluggy", "HookspecOpts")

_COMMON_NAMES = frozenset([*dir(object), *(name for name in globals() if name.startswith("__"))])
"""The names that every object and every module has; none of them is a hook."""


class MarkedManager(pluggy.PluginManager):
    """A pluggy.PluginManager that recognises the markers of a project and, in addition, extframe's own.

    Args:
        project: the project's name, as in ``pluggy.HookimplMarker(project)``.
    """

    def __init__(self, project: str) -> None:
        self._extframe = None if project == PROJECT else pluggy.PluginManager(PROJECT)  # reads extframe's markers
        super().__init__(project)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> HookimplOpts | None:
        """Return the hookimpl options of a handler's attribute, or None. pluggy calls this for every attribute."""
        if name in _COMMON_NAMES:
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and self._extframe is not None:
            return self._extframe.parse_hookimpl_opts(plugin, name)
        return options

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> HookspecOpts | None:
        """Return the hookspec options of an attribute, or None. pluggy calls this for every attribute."""
        if name in _COMMON_NAMES:
            return None
        options = super().parse_hookspec_opts(module_or_class, name)
        if options is None and self._extframe is not None:
            return self._extframe.parse_hookspec_opts(module_or_class, name)
        return options

    def is_marked(self, function: object) -> bool:
        """Return whether an object is itself a hook implementation, such as a function marked with hookimpl."""
        projects = {self.project_name, PROJECT}
        return any(getattr(function, f"{project}_impl", None) is not None for project in projects)
