"""Ask the handlers of ``plugin_activating`` about a plugin, in threads. Makes no handshake."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..concurrency.threads import Worker
from ..errors import CallTimeout, ExtframeError
from ..handlers.hook_calls import HookCalls
from ..handlers.hook_context import HookContext
from ..protocol import Manifest
from .approval_rules import HOOK, ApprovalRules, call_failure, is_checked, require_call
from .plugin import Plugin
from .plugin_contracts import Approval


class Approver(ApprovalRules[HookCalls]):
    """Asks the handlers about each plugin, before it becomes active.

    Args:
        context: the manager's hooks.
        activate: returns a plugin that is active, given its name and a deadline.
    """

    def __init__(self, context: HookContext, activate: Callable[[str, float], object]) -> None:
        super().__init__(context, partial(HookCalls, is_dispatch=False))
        self._activate = activate

    def ask(self, plugin: Plugin, manifest: Manifest, deadline: float) -> Approval:
        """Return as what a plugin may be used.

        Handlers run in a thread of their own. Where those of an earlier question still run, they are waited for first:
        one that hangs costs one thread.

        Raises:
            ActivationVetoed: a handler refused it, or has not decided at the deadline.
            ExtframeError: the system has no thread.
        """
        spec, earlier = plugin.spec, plugin.question
        if isinstance(earlier, HookCalls):
            try:
                earlier.wait(deadline)
            except CallTimeout:
                self.raise_late(earlier, spec)
        plugin.question = calls = self._question()
        arguments = {"name": plugin.name, "manifest": manifest, "spec": spec}

        def run() -> None:
            while calls.pending():  # also for handlers that are registered meanwhile
                calls.run(arguments, monitors=self._monitors())

        try:
            Worker(run, f"extframe {HOOK} {plugin.name}").result(deadline)
        except ExtframeError:
            raise
        except TimeoutError:
            self.raise_late(calls, spec)
        except Exception as error:
            raise self.broken(spec, error) from error
        return self.verdict(calls, spec, manifest)

    def _check_calls(self, plugin: Plugin, is_on: bool) -> None:
        plugin.client.endpoint.guard = partial(self._admit, plugin) if is_on else None

    def _admit(self, plugin: Plugin, method: str, deadline: float) -> None:
        """Do nothing if a call may be sent. The plugin is activated again if it has restarted.

        Raises:
            ExtframeError: it may not, or the plugin cannot be activated.
        """
        if is_checked(method):
            try:
                self._activate(plugin.name, deadline)
            except ExtframeError as failure:
                error = call_failure(failure)
                raise error from error.__cause__
            require_call(plugin, method)
