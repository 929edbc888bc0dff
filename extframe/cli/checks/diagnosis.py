"""The result of a check: a diagnosis with a verdict."""

from __future__ import annotations

import enum
import re
from dataclasses import asdict, dataclass
from functools import partial


class Verdict(enum.Enum):
    """How serious a diagnosis is."""

    OK = "ok"
    WARNING = "warning"  # it works, or nothing uses it, but it may be a mistake
    PROBLEM = "problem"  # something that exists cannot be used


@dataclass(frozen=True)
class Diagnosis:
    """What a check found about one thing.

    Args:
        verdict: how serious it is.
        subject: a directory, file, plugin, handler, package or limit.
        what: what was found.
        where: the file concerned, if any.
        remedy: how to fix it, in words, without punctuation at the end. A last part such as "; to see its response"
            introduces the command, and is dropped if there is none.
        command: the shell command that does so, if any.
    """

    verdict: Verdict
    subject: str
    what: str
    where: str = ""
    remedy: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        introduction = _INTRODUCTION.search(self.remedy)
        if introduction is not None and not self.command:
            object.__setattr__(self, "remedy", self.remedy[: introduction.start()])

    def as_json(self) -> dict[str, str | None]:
        """Return it for JSON; what does not apply is None."""
        texts = {key: text or None for key, text in asdict(self).items()}
        return {**texts, "verdict": self.verdict.value}


_INTRODUCTION = re.compile(r"; to [^;]*$")

ok = partial(Diagnosis, Verdict.OK)
warning = partial(Diagnosis, Verdict.WARNING)
problem = partial(Diagnosis, Verdict.PROBLEM)


def counted(number: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(0, "plugin"), counted(1, "plugin"), counted(2, "plugin")
    ('no plugins', '1 plugin', '2 plugins')
    """
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
