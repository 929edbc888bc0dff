"""Check the plugins that hosts start: their configuration, their programs, and how their processes do. Starts none."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...errors import ExtframeError, SpecError
from ...supervisor.config import PluginConfig
from ...supervisor.launcher import default_python
from ...supervisor.process_environment import launch_request
from ...supervisor.status import ProcessState
from ..hosted_plugins import HostedPlugin
from ..shell import as_owner, shell_command
from .context import CheckContext
from .diagnosis import Diagnosis, ok, problem, warning
from .sources import shadowed, unusable


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check each plugin that hosts start."""
    hosted = context.hosted
    if hosted is None:
        return
    for name, plugin in context.hosted_plugins.items():
        if plugin.config is None:
            yield _without_configuration(name, plugin)
        else:
            faults = list(_program(context, plugin.config))
            yield from faults or _process(context, plugin)
        yield from shadowed(name, [*hosted.sources(name), *context.registry.sources(name)])


def _without_configuration(name: str, plugin: HostedPlugin) -> Diagnosis:
    if isinstance(plugin.error, SpecError) and os.path.isabs(plugin.source):
        return unusable(name, plugin.error)
    return problem(name, str(plugin.error))


def _program(context: CheckContext, config: PluginConfig) -> Iterator[Diagnosis]:
    """Check that the process can be made as the configuration says, as far as that is known without making it."""
    if context.hosted is None or (config.python is not None and config.python.environment is not None):
        return  # the check of environments reports it
    try:
        environments = context.hosted.directories.environments
        request = launch_request(config, socket="", environments=environments, python=default_python())
    except SpecError as wrong:
        yield unusable(config.name, wrong)
        return
    except ExtframeError as wrong:
        yield problem(config.name, str(wrong), where=config.source)
        return
    program = os.fsdecode(request["program"])
    if config.python is None and not os.access(program, os.X_OK):
        what = "cannot be run by this user" if os.path.exists(program) else "does not exist"
        yield problem(
            config.name,
            f"its program {program} {what}",
            where=config.source,
            remedy="correct the key 'command', or install the program",
        )


def _process(context: CheckContext, plugin: HostedPlugin) -> Iterator[Diagnosis]:
    if plugin.environment is not None and plugin.environment.fault:
        what = f"cannot start, as its environment {plugin.environment.name!r} cannot be used: see environments"
        yield problem(plugin.name, what, where=plugin.source)
        return
    status = None if plugin.report is None else plugin.report.status
    state = ProcessState.IDLE if status is None else status.state
    how = "" if status is None or status.exit is None else f": it {status.exit}"
    if state is ProcessState.FAILED:
        yield problem(
            plugin.name,
            f"is not started again by its host{how}",
            where=plugin.source,
            remedy="fix the cause; then, to let the host start it again",
            command=as_owner(shell_command("touch", plugin.source), plugin.source)
            if os.path.isabs(plugin.source)
            else "",
        )
    elif state is ProcessState.WAITING:
        logs = context.command("logs", plugin=plugin.name)
        yield warning(
            plugin.name,
            f"fails again and again{how}",
            where=plugin.source,
            remedy="fix the cause; to see what it wrote",
            command=logs,
        )
    elif not plugin.runs:
        yield ok(plugin.name, _why_down(plugin, state), where=plugin.source)
    elif not context.contact:
        yield ok(plugin.name, "runs; not contacted", where=plugin.source)


def _why_down(plugin: HostedPlugin, state: ProcessState) -> str:
    if plugin.report is None:
        return "does not run: no running host has used it"
    if state is ProcessState.IDLE:
        return "does not run: its host starts it on demand"
    return f"does not run: it is {state.value}"
