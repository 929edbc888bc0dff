"""Where the supervisor of a host program has its files: configuration, run directory, environments. Creates none."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

from ..concurrency.system import user_id
from ..protocol import check_name
from ..registry.local import xdg


@dataclass(frozen=True)
class Directories:
    """The directories of one host program.

    Args:
        configs: where ``NAME.toml`` is searched, the most important first.
        run: where each running host has a directory for the sockets of its plugins.
        environments: where each environment of Python plugins has a directory.
    """

    configs: tuple[str, ...]
    run: str
    environments: str


def directories_of(app: str) -> Directories:
    """Return the directories of the host program ``app`` for this user.

    For root, configuration in ``/etc/APP/plugins.d`` and ``/usr/lib/APP/plugins.d``, sockets in
    ``/run/APP/supervisor``, environments in ``/var/lib/APP/environments``.

    For other users, configuration in ``$XDG_CONFIG_HOME/APP/plugins.d`` (``~/.config``), ``~/.local/lib/APP/plugins.d``
    and then root's two, sockets in ``$XDG_RUNTIME_DIR/APP/supervisor``, environments in
    ``$XDG_DATA_HOME/APP/environments`` (``~/.local/share``).

    Raises:
        SpecError: ``app`` cannot be the name of a directory.
    """
    check_name(app)
    configs = (f"/etc/{app}/plugins.d", f"/usr/lib/{app}/plugins.d")
    if user_id() == 0:
        return Directories(configs, f"/run/{app}/supervisor", f"/var/lib/{app}/environments")
    home = os.path.expanduser("~")
    own = (xdg("XDG_CONFIG_HOME", f"{home}/.config"), f"{home}/.local/lib")
    return Directories(
        (*(f"{each}/{app}/plugins.d" for each in own), *configs),
        os.path.join(_runtime_directory(), app, "supervisor"),
        os.path.join(xdg("XDG_DATA_HOME", f"{home}/.local/share"), app, "environments"),
    )


def default_run_directory() -> str:
    """Return the run directory of host programs without a name."""
    base = "/run" if user_id() == 0 else _runtime_directory()
    return os.path.join(base, "extframe", "supervisor")


def _runtime_directory() -> str:
    """Return this user's directory for sockets: containers and macOS have no ``/run/user/UID``."""
    directory = xdg("XDG_RUNTIME_DIR", f"/run/user/{user_id()}")
    return directory if os.path.isdir(directory) else os.path.join(tempfile.gettempdir(), f"extframe-{user_id()}")


def directories_in(directory: str) -> Directories:
    """Return the directories of a host whose configuration is in ``directory``, and its environments below it."""
    directory = os.path.abspath(directory)
    return Directories((directory,), default_run_directory(), os.path.join(directory, "environments"))
