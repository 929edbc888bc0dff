"""Ask the handlers of ``plugin_activating`` about a plugin, in tasks of the manager. Makes no handshake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from ..concurrency.deadlines import left
from ..concurrency.tasks import OwnedTasks, done_by
from ..errors import CallTimeout, ExtframeError
from ..handlers.async_hook_calls import AsyncHookCalls
from ..handlers.hook_context import HookContext
from ..protocol import Manifest
from .approval_rules import HOOK, ApprovalRules, call_failure, is_checked, require_call
from .async_plugin import AsyncPlugin
from .plugin_contracts import Approval
from .plugin_errors import closed_error


class AsyncApprover(ApprovalRules[AsyncHookCalls]):
    """Asks the handlers about each plugin, before it becomes active.

    Args:
        context: the manager's hooks.
        activate: returns a plugin that is active, given its name and a deadline.
        loop: where async handlers run.
        tasks: of the manager.
    """

    def __init__(
        self,
        context: HookContext,
        activate: Callable[[str, float], Awaitable[object]],
        *,
        loop: asyncio.AbstractEventLoop,
        tasks: OwnedTasks,
    ) -> None:
        super().__init__(context, partial(AsyncHookCalls, is_dispatch=False))
        self._activate = activate
        self._loop = loop
        self._tasks = tasks

    async def ask(self, plugin: AsyncPlugin, manifest: Manifest, deadline: float) -> Approval:
        """Return as what a plugin may be used; see ``Approver.ask``.

        Raises:
            ActivationVetoed: a handler refused it, or has not decided at the deadline.
            ExtframeError: the manager was closed meanwhile.
        """
        spec, earlier = plugin.spec, plugin.question
        if isinstance(earlier, AsyncHookCalls):
            try:
                await earlier.wait(deadline)
            except CallTimeout:
                self.raise_late(earlier, spec)
        plugin.question = calls = self._question()
        arguments = {"name": plugin.name, "manifest": manifest, "spec": spec}

        async def run() -> None:
            while calls.pending():  # also for handlers that are registered meanwhile
                await calls.run(arguments, monitors=self._monitors())

        task = self._tasks.start(run(), f"extframe {HOOK} {plugin.name}")
        if not await done_by(task, deadline):
            self.raise_late(calls, spec)
        if task.cancelled():
            raise closed_error(plugin.name)
        error = task.exception()
        if isinstance(error, Exception):
            raise self.broken(spec, error) from error
        task.result()
        return self.verdict(calls, spec, manifest)

    def _check_calls(self, plugin: AsyncPlugin, is_on: bool) -> None:
        endpoint = plugin.client.endpoint
        endpoint.async_guard = partial(self._admit, plugin) if is_on else None
        endpoint.guard = partial(self._admit_in_thread, plugin) if is_on else None

    async def _admit(self, plugin: AsyncPlugin, method: str, deadline: float) -> None:
        """Do nothing if a call may be sent; see ``Approver._admit``."""
        if is_checked(method):
            try:
                await self._activate(plugin.name, deadline)
            except ExtframeError as failure:
                error = call_failure(failure)
                raise error from error.__cause__
            require_call(plugin, method)

    def _admit_in_thread(self, plugin: AsyncPlugin, method: str, deadline: float) -> None:
        """Do nothing if a call of the plugin's sync client, in another thread, may be sent."""
        if asyncio._get_running_loop() is self._loop:  # which cannot wait for itself
            plugin.require_made()
            require_call(plugin, method)
            return
        admitted = asyncio.run_coroutine_threadsafe(self._admit(plugin, method, deadline), self._loop)
        try:
            admitted.result(left(deadline))
        except ExtframeError:
            raise
        except TimeoutError:
            admitted.cancel()
            raise CallTimeout("the plugin was not activated in time", plugin=plugin.name, phase="handshake") from None
