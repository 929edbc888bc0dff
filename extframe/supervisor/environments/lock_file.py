"""Lock files: the exact packages of an environment with their hashes, in pip's format for requirements. No I/O."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import NoReturn

from ...errors import SpecError
from ...text import quoted

_TITLE = "# Lock file of extframe. Install it with `extframe sync`, change it with `extframe upgrade`."
_HEADER = re.compile(r"# (python|requirement): (\S.*)")
_PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*) ?(?:==([A-Za-z0-9._+!-]+)|@ (https?://\S+))((?: --hash=\S+)+)")
_HASH = re.compile(r"sha(?:256|384|512):[0-9a-f]{64,128}")


@dataclass(frozen=True)
class Package:
    """One package of an environment.

    Args:
        name: its normalised name.
        version: its version; "" if it comes from a URL.
        hashes: of the files that may be installed, each ``sha256:DIGEST``.
        url: where it comes from; "" if from an index.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    url: str = ""

    @property
    def pin(self) -> str:
        """The requirement that only this package meets, without the hashes."""
        return f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"

    @property
    def line(self) -> str:
        """The requirement in pip's format, on continued lines."""
        return " \\\n    ".join([self.pin, *(f"--hash={each}" for each in self.hashes)])


@dataclass(frozen=True)
class Lock:
    """What is in an environment.

    Args:
        python: the version of Python, such as ``3.13``.
        requirements: what the user asked for.
        packages: everything that is installed for it.
    """

    python: str
    requirements: tuple[str, ...]
    packages: tuple[Package, ...]

    @property
    def text(self) -> str:
        """The content of the lock file."""
        asked = (f"# requirement: {each}" for each in self.requirements)
        lines = (each.line for each in sorted(self.packages, key=lambda each: each.name))
        return "\n".join([_TITLE, f"# python: {self.python}", *asked, *lines, ""])

    @property
    def key(self) -> str:
        """The name of the directory of the environment: equal for equal packages on the same version of Python."""
        content = "\n".join(sorted(each.line for each in self.packages))
        return f"{self.python}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def parse_lock(text: str, source: str) -> Lock:
    """Return what a lock file says.

    Args:
        text: its content.
        source: its path, for messages.

    Raises:
        SpecError: a line is neither a package with hashes nor a comment, or the version of Python is missing.
    """
    header: dict[str, list[str]] = {"python": [], "requirement": []}
    packages = []
    for number, line in _logical_lines(text):
        if found := _HEADER.fullmatch(line):
            header[found[1]].append(found[2])
        elif line and not line.startswith("#"):
            packages.append(_package(line, number, source))
    if len(header["python"]) != 1 or not re.fullmatch(r"3\.\d+", header["python"][0]):
        _fail("expected one line such as '# python: 3.13'", source)
    return Lock(header["python"][0], tuple(header["requirement"]), tuple(packages))


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines, continued ones joined, each with the number of its first."""
    lines: list[tuple[int, str]] = []
    continued = False
    for number, line in enumerate(text.splitlines(), start=1):
        part = line.strip().removesuffix("\\").strip()
        if continued:
            lines[-1] = (lines[-1][0], f"{lines[-1][1]} {part}")
        else:
            lines.append((number, part))
        continued = line.rstrip().endswith("\\")
    return lines


def _package(line: str, number: int, source: str) -> Package:
    found = _PACKAGE.fullmatch(line)
    hashes = [each.removeprefix("--hash=") for each in found[4].split()] if found else []
    if found is None or not all(map(_HASH.fullmatch, hashes)):
        _fail(f"line {number} is {quoted(line)}; expected NAME==VERSION --hash=sha256:DIGEST", source)
    return Package(normalised(found[1]), found[2] or "", tuple(hashes), found[3] or "")


def normalised(name: str) -> str:
    """Return the name of a package as the Python packaging specifications normalise it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _fail(fault: str, source: str) -> NoReturn:
    remedy = "restore it (`extframe doctor` shows how), or write it again with `extframe install`"
    raise SpecError(f"{source}: {fault}; {remedy}", source=source)
