"""What an examination comes to: verdicts, and a diagnosis each. Examines nothing, and writes nothing."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from functools import partial


class Verdict(enum.Enum):
    """What is made of what was examined."""

    OK = "ok"
    WARNING = "warning"  # it works, or nobody needs it; somebody may have meant it otherwise
    PROBLEM = "problem"  # something that is there cannot be used


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was examined.

    Args:
        verdict: what is made of it.
        subject: what it is about: a directory, a plugin, a handler.
        what: what was found.
        where: the file, where there is one.
        remedy: what to do about it, in words.
        command: what to do about it, to be pasted into a shell.
    """

    verdict: Verdict
    subject: str
    what: str
    where: str = ""
    remedy: str = ""
    command: str = ""

    def as_json(self) -> dict[str, str | None]:
        """Return it for a program to read; None is what there is not."""
        texts = {key: text or None for key, text in asdict(self).items()}
        return {**texts, "verdict": self.verdict.value}


ok = partial(Diagnosis, Verdict.OK)
warning = partial(Diagnosis, Verdict.WARNING)
problem = partial(Diagnosis, Verdict.PROBLEM)


def counted(number: int, noun: str) -> str:
    """Return a number of things in words.

    >>> counted(0, "plugin"), counted(1, "plugin"), counted(2, "plugin")
    ('no plugins', '1 plugin', '2 plugins')
    """
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
