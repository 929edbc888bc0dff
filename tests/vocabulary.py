"""Find the words of vocabulary.txt in prose and names: documents, comments, strings, docstrings, identifiers.

    python tests/vocabulary.py              # occurrences in each area and file
    python tests/vocabulary.py PATH...      # each occurrence below these paths, with what to write instead

Without dependencies and without extframe, so that it runs anywhere.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_name("vocabulary.txt")
PENDING = Path(__file__).with_name("vocabulary_pending.txt")
OWN = {"tests/vocabulary.txt", "tests/vocabulary.py", "tests/vocabulary_pending.txt", "tests/test_vocabulary.py"}
"""These files quote the words."""

DATA = {".json", ".svg", ".pem", ".lock", ".go"}
"""Suffixes of files that hold no prose of ours, and of the licence, which has none."""

WORD_IN_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class Word(NamedTuple):
    """An entry of vocabulary.txt."""

    pattern: re.Pattern[str]
    instead: str


class Occurrence(NamedTuple):
    """Where a word occurs that should not."""

    file: str
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word!r}: write {self.instead}"


@functools.cache
def words() -> list[Word]:
    """Return the entries of vocabulary.txt."""
    lines = (line for line in LIST.read_text().splitlines() if line and not line.startswith("#"))
    return [Word(_whole_words(pattern), instead) for pattern, instead in (line.split("\t") for line in lines)]


def _whole_words(pattern: str) -> re.Pattern[str]:
    # Any white space fits a space: a phrase may be broken over two lines. Look-behinds need a fixed width.
    spaced = re.sub(r" (?!\))", r"\\s+", pattern)
    return re.compile(rf"\b(?:{spaced})\b", re.IGNORECASE)


@functools.cache
def _anything() -> re.Pattern[str]:
    """Return a pattern that matches where any word does: most texts have none."""
    return re.compile("|".join(word.pattern.pattern for word in words()), re.IGNORECASE)


def files() -> list[str]:
    """Return the files of the checkout that are checked: all that git tracks, except data."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    named = (name for name in tracked if (CHECKOUT / name).is_file() and name != "LICENSE" and name not in OWN)
    return sorted(name for name in named if Path(name).suffix not in DATA and "/transcripts/" not in name)


def occurrences(name: str) -> list[Occurrence]:
    """Return every occurrence in a file, in order."""
    text = (CHECKOUT / name).read_text()
    pieces = _python_pieces(text) if name.endswith(".py") else [(1, text)]
    anything = _anything()
    found = [
        Occurrence(name, line + piece.count("\n", 0, match.start()), match.group().replace("\n", " "), word.instead)
        for line, piece in pieces
        if anything.search(piece)
        for word in words()
        for match in word.pattern.finditer(piece)
    ]
    return sorted(found)


def _python_pieces(source: str) -> Iterator[tuple[int, str]]:
    """Yield the prose and names of a Python file, each with its line: comments, string literals, identifiers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    comment = ""
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            # Comments on adjacent lines are one text.
            if token.start[0] != last + 1:
                yield first, comment
                comment, first = "", token.start[0]
            comment += token.string.removeprefix("#") + "\n"
            last = token.start[0]
        elif token.type == tokenize.NAME:
            yield token.start[0], " ".join(WORD_IN_NAME.findall(token.string))
    yield first, comment


def pending() -> list[str]:
    """Return the paths, of files or directories, whose prose is not rewritten yet."""
    return [line for line in PENDING.read_text().splitlines() if line and not line.startswith("#")]


def is_below(name: str, paths: list[str]) -> bool:
    """Return whether a file is one of some paths or below one of them."""
    return any(name == path or name.startswith(f"{path.rstrip('/')}/") for path in paths)


def area(name: str) -> str:
    """Return what a file counts for: extframe's package, another directory, or the documents."""
    top, *rest = name.split("/")
    return "/".join((top, rest[0])) if top == "extframe" and len(rest) > 1 else top if rest else "top level"


def main(paths: list[str]) -> None:
    """Print counts, or the occurrences below some paths."""
    checked = [name for name in files() if not paths or is_below(name, paths)]
    found = [occurrence for name in checked for occurrence in occurrences(name)]
    if paths:
        print(*found, sep="\n")
    for by in (str, area):
        counts = Counter(by(occurrence.file) for occurrence in found)
        print(*(f"{count:5}  {where}" for where, count in sorted(counts.items())), f"{len(found):5}  in all", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
