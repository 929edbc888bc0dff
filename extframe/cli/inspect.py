"""``extframe inspect``: show everything about one plugin. Makes no call but the handshake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .discovery import PluginStatus, activate_all, status_of
from .location import Location, find_target
from .options import engine_option, name_argument, output_option, registry_options, timeout_option, verbose_option
from .output import reader_optional, write_data, write_properties
from .progress import progress_line

if TYPE_CHECKING:
    from ..protocol import PluginSpec
    from .hosted_plugins import HostedPlugin

EPILOG = """\b
Examples:
  extframe inspect rclone
  extframe inspect rclone --dir /run/myhost/plugins -o json
  extframe inspect vieux/sshfs --engine
  extframe inspect unix:///run/myhost/plugins/photos.sock
"""


@click.command(epilog=EPILOG)
@name_argument
@engine_option
@registry_options
@timeout_option(10.0, "Deadline for the handshake.")
@output_option
@verbose_option
def inspect(name: str, location: Location, timeout: float, output: str) -> None:
    """Show one plugin.

    NAME is a plugin's name, or an address such as unix:///path or tcp://host:port.

    Shows its source, address, TLS settings, state, extension points and their hooks. A plugin that does not respond
    is shown too; the exit code says why it did not. A plugin that hosts start is shown with its process and its
    environment, and is not started.
    """
    status = status_of(find_target(location, name))
    with progress_line(f"waiting for {name} to answer the handshake", delay=2.0, limit=timeout):
        (plugin,) = activate_all([status], timeout)
    tls = asdict(plugin.spec.tls) if plugin.spec and plugin.spec.tls else None
    hooks = _hooks(plugin.implements or ())
    with reader_optional():
        if output == "table":
            write_properties(_properties(plugin, tls or {}, hooks))
        else:
            about = {
                "versions": dict(plugin.versions),
                "settings": plugin.settings,
                "tls": tls,
                "hooks": hooks,
                "paths": dict(plugin.spec.paths if plugin.spec else {}),
                "endpoints": [asdict(each) for each in plugin.spec.endpoints] if plugin.spec else [],
            }
            write_data({**plugin.as_json(), **about}, output)
    if plugin.error is not None:
        raise plugin.error


def _hooks(points: Sequence[str]) -> dict[str, str]:
    """Return the hook of each extension point."""
    from ..protocol import hook_name

    return {point: hook_name(point) for point in points}


def _versions(plugin: PluginStatus) -> str:
    return ", ".join(f"{point} {' '.join(map(str, versions))}" for point, versions in plugin.versions)


def _instances(spec: PluginSpec | None) -> dict[str, str]:
    """Return where the instances of a plugin listen, if it has several."""
    if spec is None or not spec.endpoints:
        return {}
    return {"instances": ", ".join(each.address + " draining" * each.draining for each in spec.endpoints)}


def _properties(plugin: PluginStatus, tls: Mapping[str, object], hooks: Mapping[str, str]) -> dict[str, str]:
    paths = plugin.spec.paths if plugin.spec else ()
    return {
        "name": plugin.name,
        "source": plugin.source,
        "address": plugin.address,
        **_instances(plugin.spec),
        "tls": ", ".join(f"{key}={value}" for key, value in tls.items() if value),
        "state": plugin.state,
        "implements": ", ".join(hooks),
        **({"versions": _versions(plugin)} if plugin.versions else {}),
        **({"takes settings": ", ".join(plugin.settings)} if plugin.settings else {}),
        "hooks": ", ".join(hooks.values()),
        **({"paths": ", ".join(f"{inside}={host}" for inside, host in paths)} if paths else {}),
        **({} if plugin.hosted is None else _process(plugin.hosted)),
    }


def _process(plugin: HostedPlugin) -> dict[str, str]:
    """Return what a running host reports, and the environment."""
    status = None if plugin.report is None else plugin.report.status
    return {
        "pid": str(status.pid or "") if status else "",
        "restarts": str(status.restarts) if status else "",
        "last exit": str(status.exit or "") if status else "",
        "environment": plugin.environment_text,
        "installed in": plugin.environment.path if plugin.environment else "",
    }
