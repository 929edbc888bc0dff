"""Docker's own client, moby's pkg/plugins, as something to put through a fault. Knows no extframe."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault import Seen
from programs import Child

Answer = dict[str, Any]


class Moby:
    """A process with moby's client, whose plugin directory is ``directory``.

    Args:
        program: as `programs.build` made it of ``go/moby``.
        directory: for sockets and for spec files.
        cap: seconds after which it is not waited for any more.
        environment: additions to the process's environment.
    """

    def __init__(self, program: Path, directory: Path, *, cap: float, **environment: str) -> None:
        self._child = Child([str(program), str(directory)], **environment)
        self._directory = directory
        self._cap = cap

    def get(self, name: str = "p") -> Seen:
        """Activate a plugin."""
        return self.step(lambda answer: "found", do="get", name=name)

    def get_all(self) -> Seen:
        """Activate all plugins."""
        return self.step(lambda answer: f"{len(answer['found'] or [])} plugins", do="getall")

    def call(self, method: str, arguments: object = None, **target: str) -> Seen:
        """Call a method of the plugin at ``address``, or of the one called ``name``, with the engine's timeout."""
        return self.step(lambda answer: "an answer", do="call", method=method, arguments=arguments, **target)

    def step(self, say: Callable[[Answer], str], **step: Any) -> Seen:
        """Let it take a step, and say what came of it; see ``go/moby/main.go`` for what there is."""
        try:
            answer = self._child.ask(within=self._cap, **step)
        except TimeoutError:
            return Seen(f"still waiting after {self._cap:g} s", self._cap)
        words = f"error: {answer['error'].strip()}" if answer["error"] else say(answer)
        words = re.sub(r'Post "[^"]*": ', "", words)
        for directory in (self._directory, self._directory.parent):
            words = words.replace(f"{directory}/", "")
        return Seen(words, answer["seconds"])

    @property
    def process_id(self) -> int:
        """The number of its process."""
        return self._child.process.pid

    def close(self) -> None:
        """End it, at once where it still waits for something."""
        self._child.close(patience=0.5)
