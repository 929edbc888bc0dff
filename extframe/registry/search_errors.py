"""Errors of the file system while plugins are searched for: "cannot look" is never "does not exist"."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Mapping

from ..errors import ExtframeError

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What the file system answers if there is no such file."""

UNREACHABLE = {*ABSENT, errno.ELOOP}
"""The same for a path through a link that leads to itself, which is a mistake, but no failure to look."""

_REMEDIES = {
    errno.EMFILE: "raise this process's limit on open files (ulimit -n), or close files that it no longer needs",
    errno.ENFILE: "raise the system's limit on open files (sysctl fs.file-max), or close files",
    errno.ENOMEM: "free memory, or raise the memory limit of this process",
    errno.ESTALE: "mount the network file system again",
    errno.EIO: "check the disk and the kernel's log (dmesg)",
    errno.ENOTCONN: "mount the file system again, as its FUSE process has ended",
}


def text_of_os_error(error: OSError) -> str:
    """Return the system's text in lower case, without number and path."""
    return (error.strerror or str(error)).lower()


def is_access_denied(error: OSError) -> bool:
    """Return whether this user's rights are the reason."""
    return error.errno in (errno.EACCES, errno.EPERM)


def is_systems_fault(error: OSError) -> bool:
    """Return whether the system or the file system failed, rather than that the file is unsuitable."""
    return error.errno in _REMEDIES


def search_error(act: str, failed: Mapping[str, OSError], *, plugin: str | None = None) -> ExtframeError:
    """Return the error for directories or files that could not be searched.

    Args:
        act: what was tried: ``list plugins``.
        failed: the error of each path.
        plugin: the name of the plugin that was searched for.
    """
    reasons = "; ".join(f"{path}: {text_of_os_error(error)}" for path, error in failed.items())
    remedies = dict.fromkeys(filter(None, (_REMEDIES.get(error.errno or 0) for error in failed.values())))
    closed = dict.fromkeys(_closed(path, error) for path, error in failed.items() if is_access_denied(error))
    if closed:
        remedies[f"run as a user who may read this, or allow it: chmod o+rx {shlex.join(closed)}"] = None
    return ExtframeError("; ".join([f"cannot {act}: {reasons}", *remedies]), plugin=plugin)


def _closed(path: str, error: OSError) -> str:
    """Return the topmost directory on the way that this user may not enter, ``path`` if there is none."""
    wanted = os.path.realpath(os.fsdecode(error.filename or path))
    parents = (wanted[:end] for end, letter in enumerate(wanted) if letter == "/" and end)
    return next((each for each in parents if not os.access(each, os.X_OK, effective_ids=True)), path)
