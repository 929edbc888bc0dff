"""Shell commands for users to paste, safe in every POSIX shell, with sudo where this user needs it. Runs none."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from ..concurrency.system import user_id

with suppress(ImportError):  # Windows, where no command names a user or a group
    import grp
    import pwd

# A leading = or ~ expands in zsh.
_PLAIN = re.compile(r"[A-Za-z0-9_./:,+-][A-Za-z0-9_./:,+@%=-]*")


def can_quote(word: str) -> bool:
    """Return whether a word can be quoted with plain single quotes, and pasted into a terminal.

    Control characters act on the terminal, and bytes that are not UTF-8 do not survive being printed. Escapes such as
    ``$'...'`` are not POSIX: dash would run what is in them.
    """
    return word.isprintable()


def quote(word: str) -> str:
    r"""Return a word quoted for every POSIX shell.

    >>> quote("/run/a.sock"), quote("/run/a b.sock"), quote("it's")
    ('/run/a.sock', "'/run/a b.sock'", "'it'\\''s'")
    """
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", r"'\''") + "'"


def shell_command(start: str, *words: str) -> str:
    """Return a command: ``start`` as it is, then the words quoted. Empty if one of them cannot be quoted."""
    return " ".join([start, *map(quote, words)]) if all(map(can_quote, words)) else ""


def as_root(command: str) -> str:
    """Return a command that only root can run, with sudo if this user is not root."""
    if not command or user_id() == 0:
        return command
    return f"sudo sh -c {quote(command)}" if " && " in command else f"sudo {command}"


def as_owner(command: str, *paths: str) -> str:
    """Return a command that only root and the owner of the paths can run."""
    return command if all(map(_is_own, paths)) else as_root(command)


def as_user_of(path: str, command: str) -> str:
    """Return a command to run as the owner of a path."""
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return as_root(command)
    if owner == user_id() or not command:
        return command
    return f"sudo -u {quote(user_name(owner))} {command}" if owner else as_root(command)


def as_writer(command: str, *directories: str) -> str:
    """Return a command that changes entries of directories."""
    return command if _can_write(*directories) else as_root(command)


def user_name(uid: int) -> str:
    """Return a user's name, or ``#uid``, as sudo accepts it, if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def group_name(gid: int) -> str:
    """Return a group's name, or its number if there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# --- files --------------------------------------------------------------------------------------------


def remove(path: str) -> str:
    """Return the command that removes a file."""
    return as_writer(shell_command("rm", path), os.path.dirname(path))


def move(path: str, target: str) -> str:
    """Return the command that renames a file, and asks before it overwrites one."""
    return as_writer(shell_command("mv -i", path, target), os.path.dirname(path), os.path.dirname(target))


def replace(path: str, target: str, content: str) -> str:
    """Return the command that writes a line to ``target`` and removes ``path``, unless that is the same file."""
    # printf, as echo interprets backslashes in dash. tee, as sudo does not apply to a redirection.
    is_writable = _can_write(os.path.dirname(target))
    line = shell_command(r"printf '%s\n'", content)
    write = shell_command(">" if is_writable else "| sudo tee", target)
    if not line or not write or not can_quote(path):
        return ""
    written = f"{line} {write}" if is_writable else f"{line} {write} >/dev/null"
    return written if target == path else f"{written} && {remove(path)}"


def make_directory(path: str) -> str:
    """Return the command that creates a directory and its parents."""
    existing = path
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    return as_writer(shell_command("mkdir -p", path), existing)


def edit(path: str) -> str:
    """Return the command that opens a file in the user's editor."""
    return shell_command("${EDITOR:-vi}" if os.access(path, os.W_OK) else "sudoedit", path)


def _can_write(*directories: str) -> bool:
    return all(os.access(each, os.W_OK | os.X_OK) for each in directories)


def _is_own(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == user_id()
    except OSError:
        return False
