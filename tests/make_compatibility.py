"""Write docs/compatibility.md, which compares what moby's client and extframe read in canned answers.

python tests/make_compatibility.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from canned_answers import ANSWERS, Answer
from canned_outcomes import Outcome, observed, recorded

PAGE = Path(__file__).parent.parent / "docs" / "compatibility.md"

MORE_LENIENT = "The meaning is clear, and the connection is not reused."
EMPTY = "`call` without `reply=` returns `{}`, as for methods without a result; if a result is expected it is an error."
DIFFERENCES: Mapping[str, str] = {
    "Headers: a header of 100 KiB": "`Limits.headers` is 64 KiB; a host can raise it.",
    "Content-Length: over 16 MiB, but little follows": "`Limits.body` is 16 MiB; a host can raise it.",
    "Content-Length: 0": EMPTY,
    "Content-Length: none, and nothing follows": EMPTY,
    "Chunks: a space before an extension": MORE_LENIENT,
    "Chunks: LF after data, within the JSON": MORE_LENIENT,
    "Chunks: a Trailer header that names Content-Length": "Trailers are ignored.",
    "Chunks: no body": EMPTY,
    "Content-Encoding over a unix socket: gzip": "Read everywhere, although requested over TCP only.",
    "Content-Encoding over TCP: gzip, but the body is plain": "A body that does not begin as gzip does is not gzip.",
    "Interim responses: six": "Any number, up to `Limits.headers`.",
    "Bodies: white space alone": EMPTY,
}
"""Why extframe reads what moby's client does not, or the reverse, by the answer's key."""

HEAD = """# Compatibility with Docker's client

<!-- Written by tests/make_compatibility.py; tests/peers/test_moby_answers.py records Docker's column. -->

extframe reads what Docker's engine reads. This page compares the two on {total} answers of plugins: most are irregular,
as real plugins send them. In {same} the result is the same: the same reply, an error that the plugin reported, or an
answer that cannot be read. The others, with the reasons:

{differences}
**Reply** means that the first JSON value of the body is the reply. **Kept** means that the next call uses the same
connection. extframe keeps a connection only after an answer that follows RFC 9112 exactly, because after any other one
the end of the body is in doubt: what follows could be taken for the answer to another call. So
an answer that is read leniently costs one connection per call, and {not_kept} rows differ in that alone.

Docker's column was recorded from its own client, moby's `pkg/plugins` of version 20.10.24, built with Go 1.19. "Closed"
means that the plugin closes the connection after the answer; otherwise it waits for the next request. Some answers have
no end that can be recognized then, such as one without a length. Both clients return once the first JSON value is
complete: Docker's at once, extframe after a fifth of a second of silence.

How deep the lists and objects of a reply may be nested depends on Python: about 1,000 levels up to Python 3.12, more
later. Docker's client reads 10,000.
"""


def page() -> str:
    """Return the whole page."""
    moby, ours = recorded(), observed(ANSWERS)
    different = [answer for answer in ANSWERS if not is_same(moby[answer.key], ours[answer.key])]
    kept = [each for each in ANSWERS if each not in different and moby[each.key].kept != ours[each.key].kept]
    rows = [
        (_cell(each.key), shown(moby[each.key]), shown(ours[each.key]), DIFFERENCES[each.key]) for each in different
    ]
    head = HEAD.format(
        total=len(ANSWERS),
        same=len(ANSWERS) - len(different),
        differences="\n".join(_table(("answer", "Docker's engine", "extframe", "reason"), rows)),
        not_kept=len(kept),
    )
    return "\n".join([head, *_sections(moby, ours)])


def is_same(moby: Outcome, ours: Outcome) -> bool:
    """Return whether both clients read the same: a reply, an error of the plugin, or nothing."""
    return moby.reply == ours.reply


def shown(outcome: Outcome) -> str:
    """Return an outcome as a cell of a table."""
    if outcome.reply:
        return "reply, kept" if outcome.kept else "reply"
    words = outcome.error.removeprefix("VolumeDriver.Get: ").strip() or "(no text)"
    words = words if len(words) <= 90 else f"{words[:90]}..."
    return _cell(f"error of the plugin: `{words}`" if outcome.by_plugin else f"`{words}`")


def _sections(moby: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> Iterator[str]:
    for group, answers in groupby(ANSWERS, lambda answer: answer.group):
        yield f"## {group}\n"
        rows = [(_named(each), shown(moby[each.key]), shown(ours[each.key])) for each in answers]
        yield from _table(("answer", "Docker's engine", "extframe"), rows)


def _named(answer: Answer) -> str:
    closed = answer.closes and "closed" not in answer.name
    return _cell(f"{answer.name}, closed" if closed else answer.name)


def _cell(text: str) -> str:
    printable = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return printable.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page())
