"""What a plugin's process is given: program, arguments, environment, user and limits."""

from __future__ import annotations

import os
import shutil
import site
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ..errors import SpecError
from ..protocol import LIFELINE
from .config import SOCKET_PLACEHOLDER, PluginConfig
from .environments.store import python_of

if TYPE_CHECKING:
    import pwd

PASSED = (
    "PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_*", "SSL_CERT_*",
    "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
)  # fmt: skip
"""The variables that every plugin gets from the host's environment, if they are set."""
_STDOUT = "1"  # a pipe whose other end is the host's alone
# Only documented API that every version of extframe has: an environment may hold an older or newer one.
_SERVE = """\
import functools, importlib, sys
import extframe
module, _, path = sys.argv[1].partition(":")
found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
extframe.serve(found() if isinstance(found, type) else found, name=sys.argv[2])
"""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def launch_request(config: PluginConfig, *, socket: str, environments: str, python: str) -> dict[str, Any]:
    """Return what the launcher needs to start a plugin.

    Args:
        config: the plugin's.
        socket: the path that replaces ``{socket}``.
        environments: the directory of the environments of Python plugins.
        python: the interpreter of the host.

    Raises:
        SpecError: the user, the program or the environment does not exist.
    """
    account = _account(config)
    environment = {**process_environment(config, os.environ), LIFELINE: _STDOUT}
    argv = _command(config, environments, python)
    argv = [each.replace(SOCKET_PLACEHOLDER, socket) for each in argv]
    return {
        "name": config.name,
        "program": os.fsencode(_program(config, argv[0], environment)),
        "argv": [os.fsencode(each) for each in argv],
        "environment": {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
        "cwd": config.cwd,
        "sha256": config.sha256,
        "limits": [(name.upper(), value) for name, value in config.limits.items()],
        **account,
    }


def process_environment(config: PluginConfig, host: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a plugin, without its lifeline and what systemd's socket protocol adds."""
    patterns = (*PASSED, *config.pass_env)
    environment = {name: value for name, value in host.items() if any(fnmatchcase(name, each) for each in patterns)}
    environment.setdefault("PATH", DEFAULT_PATH)
    user = _entry_of(config)
    if user is not None and user.pw_uid != os.geteuid():
        for name in [name for name in environment if name.startswith("XDG_")]:  # directories of the host's user
            del environment[name]
        environment["HOME"] = user.pw_dir
    return {name: value for name, value in (environment | dict(config.env)).items() if not name.startswith("LISTEN_")}


def uid_of(config: PluginConfig) -> int:
    """Return the user id of the plugin's process.

    Raises:
        SpecError: the user does not exist.
    """
    user = _entry_of(config)
    return os.geteuid() if user is None else user.pw_uid


def _entry_of(config: PluginConfig) -> pwd.struct_passwd | None:
    if config.user is None:
        return None
    import pwd

    try:
        return pwd.getpwuid(config.user) if isinstance(config.user, int) else pwd.getpwnam(config.user)
    except KeyError:
        raise _wrong(config, f"key 'user' is {config.user!r}; expected a user of this system") from None


def _account(config: PluginConfig) -> dict[str, Any]:
    user, group = _entry_of(config), _gid(config)
    is_other = user is not None and user.pw_uid != os.geteuid()
    if os.geteuid() != 0 and (is_other or group not in (None, os.getegid())):
        raise _wrong(config, "keys 'user' and 'group' need a host that runs as root; remove them, or run it as root")
    if user is None or os.geteuid() != 0:
        return {"uid": None, "gid": group if os.geteuid() == 0 else None, "groups": []}
    gid = user.pw_gid if group is None else group
    return {"uid": user.pw_uid, "gid": gid, "groups": os.getgrouplist(user.pw_name, gid)}


def _gid(config: PluginConfig) -> int | None:
    if config.group is None or isinstance(config.group, int):
        return config.group
    import grp

    try:
        return grp.getgrnam(config.group).gr_gid
    except KeyError:
        raise _wrong(config, f"key 'group' is {config.group!r}; expected a group of this system") from None


def _program(config: PluginConfig, name: str, environment: Mapping[str, str]) -> str:
    if "/" in name:
        return name
    found = shutil.which(name, path=environment["PATH"])
    if found is None:
        message = f"key 'command' is {name!r}, which is not in PATH ({environment['PATH']}); expected an absolute path"
        raise _wrong(config, message)
    return found


def _command(config: PluginConfig, environments: str, python: str) -> list[str]:
    plugin = config.python
    if plugin is None:
        return list(config.command)
    if plugin.environment is None:
        return [python, *_isolation(), "-u", "-c", _SERVE, plugin.plugin, config.name]
    try:
        interpreter = python_of(environments, plugin.environment)
    except SpecError as wrong:
        raise _wrong(config, f"key 'python.environment' is {plugin.environment!r}: {wrong}") from wrong
    return [interpreter, "-I", "-u", "-c", _SERVE, plugin.plugin, config.name]


def _isolation() -> list[str]:
    """Return the options with which no directory but those of installed packages can hide a module."""
    if not site.ENABLE_USER_SITE or sys.version_info < (3, 11):
        return ["-I"]
    return ["-E", "-P"]  # the host finds plugins in the user's site-packages, too


def _wrong(config: PluginConfig, fault: str) -> SpecError:
    where = f"{config.source}: " if config.source else ""
    return SpecError(where + fault, plugin=config.name, source=config.source or None)
