"""Check the arguments of plugin managers when they are created. Contacts no plugin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..handlers.entry_points import GROUP

if TYPE_CHECKING:
    from ..handlers.preference import Preference
    from ..protocol import Manifest
    from ..registry.base import Registry


def check_registry(registry: object) -> None:
    """Check that ``registry`` is a registry, or None.

    Raises:
        TypeError: it is not; the message says what to write instead.
    """
    if registry is None:
        return
    if isinstance(registry, list | tuple) and registry:
        for each in registry:
            check_registry(each)
        return
    if isinstance(registry, str | os.PathLike):
        path = os.fspath(registry)
        raise TypeError(
            f"{registry!r} is not a registry: to search a directory write PluginManager(LocalRegistry({path!r})). "
            f"To manage the hooks of a pluggy project write PluginManager(project={path!r})"
        )
    if isinstance(registry, type):
        raise TypeError(f"{registry!r} is a class; write PluginManager({registry.__name__}())")
    for method in ("scan", "find", "stamp"):
        if not callable(getattr(registry, method, None)):
            raise TypeError(f"{registry!r} is not a registry: it has no method {method}; see extframe.Registry")


def chained(registry: Registry | Sequence[Registry] | None) -> Registry | None:
    """Return several registries as one."""
    if registry is None or not isinstance(registry, list | tuple):
        return cast("Registry | None", registry)
    from ..registry.chain import RegistryChain

    return RegistryChain(*registry)


def check_project(project: object) -> str | None:
    """Return ``project``, which is the name of a pluggy project or None.

    Raises:
        TypeError: it is something else.
    """
    if project is None or (isinstance(project, str) and project):
        return project
    raise TypeError(f"project is {project!r}; expected the name of a pluggy project, such as 'datasette'")


def entry_point_groups(groups: Any, project: str | None = None) -> Sequence[str]:
    """Return ``groups`` as a sequence: a str is the name of one group, "" of none, None the project's or extframe's.

    Raises:
        TypeError: it is something else.
    """
    if groups is None:
        return [project or GROUP]
    names = [groups] if isinstance(groups, str) else groups
    if isinstance(names, list | tuple | set | frozenset) and all(isinstance(name, str) for name in names):
        return [name for name in names if name]
    raise TypeError(f"groups is {groups!r}; expected the names of entry-point groups, such as ('extframe',), or ()")


def settings_of(settings: Any) -> dict[str, dict[str, Any]]:
    """Return the settings of plugins, copied.

    Raises:
        TypeError: it is not a mapping of names to mappings of keys; the message contains no value.
    """
    if not isinstance(settings, Mapping):
        raise TypeError(
            f"settings is of type {type(settings).__name__}; expected a dict such as {{'photos': {{'bucket': 'b1'}}}}"
        )
    for name, table in settings.items():
        if not isinstance(name, str) or not isinstance(table, Mapping):
            raise TypeError(
                f"settings[{name!r}] is of type {type(table).__name__}; expected a dict such as {{'bucket': 'b1'}}"
            )
        for key in table:
            if not isinstance(key, str):
                raise TypeError(f"settings[{name!r}] has the key {key!r}; expected names of settings")
    return {name: dict(table) for name, table in settings.items()}


def preference_of(prefer: Any, origin: Callable[[object], tuple[str | None, str | None]]) -> Preference | None:
    """Return the argument ``prefer`` of a manager, None if it is empty.

    Args:
        prefer: handlers by extension point.
        origin: returns the name and version of the distribution of a handler.

    Raises:
        TypeError: it is not a mapping of extension points to lists of names.
    """
    if not isinstance(prefer, Mapping):
        raise TypeError(f"prefer is {prefer!r}; expected a dict such as {{'VolumeDriver': ['acme']}}")
    for point, names in prefer.items():
        if not isinstance(point, str) or not isinstance(names, list | tuple):
            raise TypeError(f"prefer[{point!r}] is {names!r}; expected a list such as ['acme']")
        if not all(isinstance(name, str) and name for name in names):
            raise TypeError(f"prefer[{point!r}] is {names!r}; expected names of handlers or distributions")
    if not prefer:
        return None
    from ..handlers.preference import Preference
    from ..protocol import hook_name

    return Preference({hook_name(point): list(names) for point, names in prefer.items()}, origin)


def check_cache(cache: Any) -> Any:
    """Return ``cache`` if it is the name of a host, a path, or None.

    Raises:
        TypeError: it is something else.
    """
    if cache is not None and (not isinstance(cache, str | os.PathLike) or not os.fspath(cache)):
        raise TypeError(f"cache is {cache!r}; expected the host's name, such as 'myhost', or the path of a file")
    return cache


def manifests_of(implements: Any) -> dict[str, Manifest]:
    """Return the manifests of plugins that are not asked for theirs.

    Raises:
        TypeError: it is not a mapping of names to lists of extension points.
    """
    if not isinstance(implements, Mapping):
        raise TypeError(f"implements is {implements!r}; expected a dict such as {{'loki': ['LogDriver']}}")
    for name, points in implements.items():
        if not isinstance(name, str) or not isinstance(points, list | tuple) or not points:
            raise TypeError(f"implements[{name!r}] is {points!r}; expected a list such as ['LogDriver']")
        if not all(isinstance(point, str) and point for point in points):
            raise TypeError(f"implements[{name!r}] is {points!r}; expected names of extension points")
    if not implements:
        return {}
    from ..protocol import Manifest

    return {name: Manifest(tuple(points)) for name, points in implements.items()}
