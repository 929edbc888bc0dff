"""References in settings, ``${NAME}`` and ``{file = "/run/secrets/x"}``: filled in. Knows no plugins, logs no value."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Any

from ..interface.settings import SettingsFault

FILE_LIMIT = 1 << 20  # bytes of a file with a secret

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def resolved(value: Any, key: str, secret: Callable[[str], object]) -> Any:
    """Return a value of a setting with what its references mean.

    ``${NAME}`` in text is the environment variable, ``$${`` is the text ``${``. A table with the one key ``file`` is
    the content of that file without the newline at its end.

    Args:
        value: as it was given.
        key: leads to it.
        secret: is called with each text that a reference means.

    Raises:
        SettingsFault: a variable is not set, or a file cannot be read.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: _variable(found, key, secret), value) if "${" in value else value
    if isinstance(value, Mapping):
        if value.keys() == {"file"} and isinstance(value["file"], str | os.PathLike):
            return _content(os.fspath(value["file"]), key, secret)
        return {name: resolved(item, f"{key}.{name}", secret) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(item, f"{key}[{index}]", secret) for index, item in enumerate(value)]
    return value


def _variable(found: re.Match[str], key: str, secret: Callable[[str], object]) -> str:
    name = found[1]
    if name is None:
        return "${"
    if not found[2] or not _NAME.fullmatch(name):
        raise SettingsFault(key, "has an invalid reference; expected ${NAME}, or $${ for the text ${")
    text = os.environ.get(name)
    if text is None:
        raise SettingsFault(key, f"refers to the environment variable {name}, which is not set")
    secret(text)
    return text


def _content(path: str, key: str, secret: Callable[[str], object]) -> str:
    if not os.path.isabs(path):
        raise SettingsFault(key, f"refers to the file {path!r}; expected an absolute path")
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SettingsFault(key, f"refers to {path}, which is not a file")
            content = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise SettingsFault(key, f"refers to {path}, which cannot be read: {error.strerror or error}") from None
    if len(content) > FILE_LIMIT:
        raise SettingsFault(key, f"refers to {path}, which has more than {FILE_LIMIT} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SettingsFault(key, f"refers to {path}, which is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    secret(text)
    return text


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; do not wait for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
