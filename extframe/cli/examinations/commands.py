"""Shell commands that mend things, quoted, and with sudo where this user may not. Runs none."""

from __future__ import annotations

import grp
import os
import pwd
import shlex


def quoted(path: str) -> str:
    r"""Return a path as a shell takes it; what does not print, as escapes in ``$'...'``.

    >>> quoted("/run/a b.sock"), quoted("/run/two\nlines")
    ("'/run/a b.sock'", "$'/run/two\\x0alines'")
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(_escaped(byte) for byte in os.fsencode(path)) + "'"


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in "'\\":
        return f"\\{character}"
    return character if 32 <= byte < 127 else f"\\x{byte:02x}"


def as_root(command: str) -> str:
    """Return a command that only root may run."""
    if os.geteuid() == 0:
        return command
    return f"sudo sh -c {shlex.quote(command)}" if " && " in command else f"sudo {command}"


def as_owner(command: str, *places: str) -> str:
    """Return a command that root and whoever owns the places may run."""
    return command if all(map(_is_own, places)) else as_root(command)


def as_user_of(place: str, command: str) -> str:
    """Return a command as the user runs it to whom a file or directory belongs."""
    try:
        owner = os.stat(place).st_uid
    except OSError:
        return as_root(command)
    if owner == os.geteuid():
        return command
    return f"sudo -u {quoted(user_name(owner))} {command}" if owner else as_root(command)


def user_name(number: int) -> str:
    """Return a user's name, or the number as sudo takes it where there is no name for it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def group_name(number: int) -> str:
    """Return a group's name, or the number where there is no name for it."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def as_writer(command: str, *directories: str) -> str:
    """Return a command that changes what is in some directories."""
    return command if all(os.access(each, os.W_OK | os.X_OK) for each in directories) else as_root(command)


def remove(path: str) -> str:
    """Return the command that removes a file."""
    return as_writer(f"rm {quoted(path)}", os.path.dirname(path))


def move(path: str, target: str) -> str:
    """Return the command that gives a file another name, and overwrites nothing without asking."""
    return as_writer(f"mv -i {quoted(path)} {quoted(target)}", os.path.dirname(path), os.path.dirname(target))


def make_directory(path: str) -> str:
    """Return the command that makes a directory and those above it."""
    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    return as_writer(f"mkdir -p {quoted(path)}", above)


def edit(path: str) -> str:
    """Return the command that opens a file in the user's editor."""
    command = f"${{EDITOR:-vi}} {quoted(path)}"
    return command if os.access(path, os.W_OK) else f"sudoedit {quoted(path)}"


def _is_own(place: str) -> bool:
    try:
        return os.lstat(place).st_uid == os.geteuid()
    except OSError:
        return False
