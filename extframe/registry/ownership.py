"""Decide whether other users could replace a plugin's file, as OpenSSH's StrictModes does for authorized_keys."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from itertools import chain

from ..concurrency.system import user_id
from ..errors import SpecError

MAX_LINKS = 40  # symbolic links in one path: MAXSYMLINKS of Linux
_EVERY_ID = 4294967295  # how many ids the initial user namespace maps


def path_to(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything that decides what an absolute path refers to, with its own status, from the root down.

    That is each directory on the way, each symbolic link wherever it is in the path, and the same for the link's
    target; the last one is the file itself.

    Raises:
        OSError: a part is missing or cannot be read, or there are more than 40 links.
    """
    parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    current, links = "/", 0
    yield current, os.lstat(current)
    while parts:
        part = parts.pop()
        if part == "..":
            current = os.path.dirname(current)
            continue
        following = os.path.join(current, part)
        status = os.lstat(following)
        yield following, status
        if not stat.S_ISLNK(status.st_mode):
            current = following
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(following)
        current = "/" if target.startswith("/") else current
        parts.extend(part for part in reversed(target.split("/")) if part not in ("", "."))


def check_writers(path: str, status: os.stat_result) -> None:
    """Do nothing if only root and this user can write, replace or redirect a file.

    Args:
        path: of the file, absolute.
        status: of the opened file: the path may lead to another file by now, if other users may write.

    Raises:
        SpecError: other users can; the message contains the command that fixes it.
        OSError: a part of the path is missing or cannot be read.
    """
    if user_id() is None:  # Windows: who may write is in access control lists, and by default only their owner
        return
    trail = list(path_to(path))
    end, _ = trail[-1]
    faults = dict(chain.from_iterable(writers(place, found) for place, found in [*trail, (end, status)]))
    if faults:
        remedy = " && ".join(filter(None, faults)) or None
        raise SpecError(f"unsafe, because {', and '.join(faults.values())}{fix_with(remedy)}", remedy=remedy)


def fix_with(command: str | None) -> str:
    """Return the end of a message: the command that fixes the fault, if there is one."""
    return f"; fix with: {command}" if command else ""


def writers(path: str, status: os.stat_result) -> Iterator[tuple[str, str]]:
    """Yield why users other than root and this one can change ``path``, as pairs of command and reason.

    The command takes the right away from them; it is "" if no command can.
    """
    if user_id() is None:
        return
    mode, quoted = status.st_mode, shlex.quote(path)
    if status.st_uid not in (0, user_id()):
        yield _foreign(path, status)
    # The mode of a link means nothing. In a sticky directory, users cannot replace each other's files.
    if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return
    if mode & stat.S_IWOTH:
        yield f"chmod o-w {quoted}", f"{path} is world-writable"
    # A socket's group is the way to let other users call a plugin. It cannot be replaced by writing to it.
    if mode & stat.S_IWGRP and not stat.S_ISSOCK(mode) and not _is_private_group(status.st_gid, status.st_uid):
        yield f"chmod g-w {quoted}", f"{path} is writable by group {_group_name(status.st_gid)}"


def _foreign(path: str, status: os.stat_result) -> tuple[str, str]:
    uid = status.st_uid
    if _is_unmapped(uid):
        return "", (
            f"{path} belongs to user {uid}, which in this user namespace means any user outside it, root included, so "
            "chown cannot help. In a rootless container, map the owner into the namespace, or trust the directory "
            "with allow_unsafe=True (--allow-unsafe)"
        )
    option = "-h " if stat.S_ISLNK(status.st_mode) else ""
    return (
        f"chown {option}root {shlex.quote(path)}",
        f"{path} belongs to user {uid}, who is neither root nor this user ({user_id()})",
    )


def _is_unmapped(uid: int) -> bool:
    """Return whether ``uid`` is the overflow id of a user namespace, which stands for all users without a mapping."""
    try:
        with open("/proc/self/uid_map") as file:
            mapped = sum(int(line.split()[2]) for line in file)
        with open("/proc/sys/kernel/overflowuid") as file:
            overflow = int(file.read())
    except (OSError, ValueError):  # another system than Linux, or /proc is not mounted
        return False
    return mapped < _EVERY_ID and uid == overflow


def _is_private_group(gid: int, uid: int) -> bool:
    """Return whether root alone, or user ``uid`` alone, is in a group: gid 0, or the user's own private group."""
    if gid == 0:
        return True
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    # As pam_umask's "usergroups" has it: the primary group, of the same name, without further members.
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _group_name(gid: int) -> str:
    import grp

    try:
        return repr(grp.getgrgid(gid).gr_name)
    except KeyError:
        return str(gid)
