"""moby's client, pkg/plugins of Docker's engine, as a process. Does not know extframe."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outcome import Outcome
from programs import Child

Answer = dict[str, Any]


class Moby:
    """A process that runs moby's client.

    Args:
        program: ``go/moby``, built by `programs.build`.
        directory: the plugin directory, for sockets and for spec files.
        cap: the longest time to wait for a step, in seconds.
        environment: additions to the process's environment.
    """

    def __init__(self, program: Path, directory: Path, *, cap: float, **environment: str) -> None:
        self._child = Child([str(program), str(directory)], **environment)
        self._directory = directory
        self._cap = cap

    def get(self, name: str = "p") -> Outcome:
        """Activate a plugin."""
        return self.step(lambda answer: "found", do="get", name=name)

    def get_all(self) -> Outcome:
        """Activate all plugins."""
        return self.step(lambda answer: f"{len(answer['found'] or [])} plugins", do="getall")

    def call(self, method: str, arguments: object = None, **target: str) -> Outcome:
        """Call a method of the plugin at ``address``, or of the one called ``name``, with the engine's timeout."""
        return self.step(lambda answer: "a reply", do="call", method=method, arguments=arguments, **target)

    def step(self, describe: Callable[[Answer], str], **step: Any) -> Outcome:
        """Run a step and return its outcome; ``go/moby/main.go`` has the steps."""
        try:
            answer = self._child.ask(within=self._cap, **step)
        except TimeoutError:
            return Outcome(f"still waiting after {self._cap:g} s", self._cap)
        text = f"error: {answer['error'].strip()}" if answer["error"] else describe(answer)
        text = re.sub(r'Post "[^"]*": ', "", text)
        for directory in (self._directory, self._directory.parent):
            text = text.replace(f"{directory}/", "")
        return Outcome(text, answer["seconds"])

    @property
    def process_id(self) -> int:
        """The process id."""
        return self._child.process.pid

    def close(self) -> None:
        """End the process, even while it waits."""
        self._child.close(patience=0.5)
