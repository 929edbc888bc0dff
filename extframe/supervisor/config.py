"""The configuration of one plugin that a host starts: NAME.toml, parsed and checked. No I/O."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any, Final, Literal

from ..errors import SpecError
from ..text import quoted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOCKET_PLACEHOLDER: Final = "{socket}"
LIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
"""The resource limits of a process, by the names that setrlimit(2) gives them: ``nofile`` is RLIMIT_NOFILE."""

TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""Where a class is: ``acme_photos:Photos``."""

SocketMode = Literal["inherited", "own"]
StartMode = Literal["on-demand", "always"]
RestartMode = Literal["on-failure", "always", "never"]


@dataclass(frozen=True)
class PythonPlugin:
    """A plugin that is a Python class.

    Args:
        plugin: where the class is: ``acme_photos:Photos``.
        environment: the name of the environment in which it is installed; None for that of the host.
    """

    plugin: str
    environment: str | None = None


@dataclass(frozen=True)
class GiveUp:
    """How many failures within how many seconds end the restarts of a plugin."""

    failures: int = 5
    seconds: float = 60.0

    def __str__(self) -> str:
        return f"{self.failures} in {self.seconds:g}s"


@dataclass(frozen=True)
class PluginConfig:
    """How a host starts one plugin: the content of ``NAME.toml``, checked.

    Args:
        name: the plugin's name.
        source: the file, for messages.
        command: the program and its arguments; empty if ``python`` is given. The program is an absolute path, or a name
            that is searched in PATH. ``{socket}`` in an argument is replaced by the path of the socket.
        python: the Python class to serve, instead of ``command``.
        socket: ``inherited`` if the host makes the listening socket (LISTEN_FDS), ``own`` if the program does.
        start: ``on-demand`` to start it at the first connection, ``always`` to start it with the host.
        restart: when a process that ended is started again.
        give_up: how many failures end the restarts.
        user: the user as whom it runs, by name or number; None for the host's.
        group: its primary group; None for the user's.
        cwd: its working directory.
        env: variables of its environment.
        pass_env: names of variables that it gets from the host's environment; ``*`` matches any text.
        sha256: the digest of the program, in hexadecimal; None if it is not checked.
        stop_timeout: seconds between SIGTERM and SIGKILL.
        limits: resource limits by the names in ``LIMITS``; -1 for none.
        settings: the settings that the host sends to the plugin; None if there are none.
    """

    name: str
    source: str = ""
    command: tuple[str, ...] = ()
    python: PythonPlugin | None = None
    socket: SocketMode = "inherited"
    start: StartMode = "on-demand"
    restart: RestartMode = "on-failure"
    give_up: GiveUp = GiveUp()
    user: str | int | None = None
    group: str | int | None = None
    cwd: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    sha256: str | None = None
    stop_timeout: float = 5.0
    limits: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] | None = field(default=None, repr=False)  # some are secrets


def parse_config(content: bytes, name: str, source: str = "") -> PluginConfig:
    """Return the configuration in ``content``, the TOML of a file.

    Args:
        content: of the file.
        name: the plugin's.
        source: the path of the file, with which messages begin.

    Raises:
        SpecError: it is not TOML; or a key is unknown, missing or has an invalid value. The message names the file, the
            line or key, and what was expected.
    """
    try:
        values = _checked(_decoded(content), _READERS)
        _check_combination(values)
    except _Wrong as wrong:
        where = f"{source}: " if source else ""
        raise SpecError(f"{where}{wrong}", plugin=name, source=source or None) from None
    return PluginConfig(name, source, **values)


class _Wrong(Exception):
    """What is wrong; the caller adds the file."""


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(content.decode())
        return table
    except UnicodeDecodeError as wrong:
        raise _Wrong(f"byte {wrong.start} is not UTF-8; expected a TOML file") from None
    except tomllib.TOMLDecodeError as wrong:
        raise _Wrong(f"not TOML: {wrong}") from None
    except RecursionError:
        raise _Wrong("not TOML that can be read: nested too deeply") from None


def _checked(table: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]], within: str = "") -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        reader = readers.get(key)
        if reader is None:
            close = get_close_matches(key, readers, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(readers)}"
            raise _Wrong(f"key {quoted(within + key)} is unknown{hint}")
        try:
            values[key] = reader(value)
        except ValueError as expected:
            shown = f"of type {type(value).__name__}" if key == "settings" else quoted(value)  # it may be a secret
            raise _Wrong(f"key {quoted(within + key)} is {shown}; expected {expected}") from None
    return values


def _check_combination(values: Mapping[str, Any]) -> None:
    command = values.get("command", ())
    if bool(command) == ("python" in values):
        fault = "are both given" if command else "are both missing"
        raise _Wrong(f"keys 'command' and 'python' {fault}; expected one of them")
    has_place = any(SOCKET_PLACEHOLDER in argument for argument in command)
    if values.get("socket") == "own" and not has_place:
        raise _Wrong(
            "key 'socket' is 'own', and 'command' has no '{socket}'; expected it where the program's path goes"
        )
    if has_place and values.get("socket") != "own":
        raise _Wrong("key 'command' has '{socket}'; expected socket = \"own\" with it")
    if "sha256" in values and "python" in values:
        raise _Wrong("key 'sha256' is given with 'python'; expected it with 'command', whose program it verifies")


# --- values: each function returns the checked value, or raises ValueError with what was expected -------------------


def _text(value: object, expected: str = "text that is not empty") -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(expected)
    return value


def _command(value: object) -> tuple[str, ...]:
    expected = (
        'a list such as ["/usr/lib/myhost/photos", "--verbose"]: an absolute path, or a name in PATH, and arguments'
    )
    if not isinstance(value, list) or not value:
        raise ValueError(expected)
    if not all(isinstance(each, str) and "\0" not in each for each in value):
        raise ValueError(expected)
    program = value[0]
    if not program or SOCKET_PLACEHOLDER in program or ("/" in program and not program.startswith("/")):
        raise ValueError(expected)
    return tuple(value)


def _plugin(value: object) -> str:
    if not isinstance(value, str) or not TARGET.fullmatch(value):
        raise ValueError("MODULE:CLASS, such as 'acme_photos:Photos'")
    return value


def _environment(value: object) -> str:
    text = _text(value, "the name of an environment")
    if "/" in text or text.startswith("."):
        raise ValueError("the name of an environment, not a path")
    return text


def _python(value: object) -> PythonPlugin:
    if not isinstance(value, dict) or "plugin" not in value:
        raise ValueError('a table such as { plugin = "acme_photos:Photos", environment = "photos" }')
    return PythonPlugin(**_checked(value, {"plugin": _plugin, "environment": _environment}, "python."))


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(" or ".join(map(repr, choices)))
        return str(value)

    return read


_GIVE_UP = re.compile(r"([1-9][0-9]{0,5}) in ([0-9]{1,6}(?:\.[0-9]{1,3})?)s")


def _give_up(value: object) -> GiveUp:
    found = _GIVE_UP.fullmatch(value) if isinstance(value, str) else None
    if found is None or not float(found[2]):
        raise ValueError("a number of failures and of seconds, such as '5 in 60s'")
    return GiveUp(int(found[1]), float(found[2]))


def _account(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1:
        return value
    return _text(value, "a name or a number")


def _absolute(value: object) -> str:
    text = _text(value, "an absolute path")
    if not PurePath(text).is_absolute():
        raise ValueError("an absolute path")
    return text


def _env(value: object) -> dict[str, str]:
    expected = 'a table of text, such as { LEVEL = "info" }'
    if not isinstance(value, dict):
        raise ValueError(expected)
    for name, text in value.items():
        if not name or "=" in name or "\0" in name or not isinstance(text, str) or "\0" in text:
            raise ValueError(expected)
    return value


def _pass_env(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each and "=" not in each for each in value):
        raise ValueError('a list of names, such as ["AWS_*"]')
    return tuple(value)


def _sha256(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("64 hexadecimal digits, as sha256sum prints them")
    return value.lower()


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
        raise ValueError("seconds, from 0 to 86400")
    return float(value)


def _limit(value: object) -> int:
    if value == "unlimited":
        return -1
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("a number, 0 or more, or 'unlimited'")
    return value


def _limits(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ValueError("a table such as { nofile = 1024 }")
    return _checked(value, dict.fromkeys(LIMITS, _limit), "limits.")


def _settings(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError('a table such as { bucket = "photos", key = { file = "/run/secrets/key" } }')
    return value


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "command": _command,
    "python": _python,
    "socket": _one_of("inherited", "own"),
    "start": _one_of("on-demand", "always"),
    "restart": _one_of("on-failure", "always", "never"),
    "give_up": _give_up,
    "user": _account,
    "group": _account,
    "cwd": _absolute,
    "env": _env,
    "pass_env": _pass_env,
    "sha256": _sha256,
    "stop_timeout": _seconds,
    "limits": _limits,
    "settings": _settings,
}
