"""Where the files of a plugin that has a root file system of its own are on the host. Looks at no file."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence


def host_path(path: str, paths: Sequence[tuple[str, str]]) -> str:
    """Return the host's path of a plugin's file.

    The longest directory that contains it counts. A relative path, one in none of the directories, and "" are returned
    unchanged.

    Args:
        path: as the plugin writes it. ``..`` in it does not lead out of the plugin's root.
        paths: pairs of a directory of the plugin and the same directory on the host, both absolute.

    >>> host_path("/mnt/photos", [("/", "/plugin/rootfs"), ("/mnt", "/plugin/mounts")])
    '/plugin/mounts/photos'
    """
    if not path.startswith("/") or not paths:
        return path
    inside = posixpath.normpath("/" + path.lstrip("/"))
    found = [pair for pair in paths if _contains(pair[0], inside)]
    if not found:
        return path
    directory, on_host = max(found, key=lambda pair: len(pair[0].rstrip("/")))
    return posixpath.join(on_host, inside[len(directory.rstrip("/")) :].lstrip("/")).rstrip("/") or "/"


def _contains(directory: str, path: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")
