"""Run the checks of one plugin, one after the other. Knows their order, and when to give up."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import TransportError
from ..protocol import ACTIVATE, Address, Manifest, TLSConfig
from .calls import DECLARATIONS, calls_of, nonsense_of
from .conversation import AFTERWARDS, CONVERSATION
from .handshake import AGAIN, GRAPH_DRIVER, judge_manifest, judge_metrics, judge_names
from .line import Line
from .rules import RULES, Outcome, Result, Verdict, failed
from .trial import Trial
from .trials import try_out

TIMEOUT = 5.0  # seconds for each step


def check_plugin(
    address: str, *, tls: TLSConfig | None = None, timeout: float = TIMEOUT, trial: Trial | None = None
) -> Iterator[Result]:
    """Yield what each check of the plugin at ``address`` came to.

    Without ``trial`` nothing is made or changed in the plugin. No step takes longer than ``timeout`` seconds, and
    where the plugin no longer answers its handshake after a step that failed, the run ends.

    Raises:
        SpecError: the address, or a file of ``tls``, cannot be used.
        TransportError: the plugin does not answer the handshake; that was yielded as a failure before.
    """
    line = Line(Address.parse(address), tls, timeout)
    try:
        answer = line.call(ACTIVATE)
    except TransportError as error:
        yield _result("handshake", "handshake", failed(error.message))
        raise
    manifest = _result("handshake", "handshake", judge_manifest(answer))
    yield manifest
    if manifest.verdict is Verdict.FAIL:
        return
    implements = Manifest.parse(answer.body).implements
    yield _result("names in Implements", "known-points", judge_names(implements, (*DECLARATIONS, GRAPH_DRIVER)))
    yield _result("no MetricsCollector", "metrics", judge_metrics(implements))
    for result in _all(line, implements, trial):
        yield result
        if result.verdict is Verdict.FAIL and not _answers(line):
            words = f"after this failure the handshake is not answered any more: {result.check}"
            yield _result("the rest", "survives", failed(words))
            return
    yield from (check.run(line) for check in AFTERWARDS)


def _all(line: Line, implements: tuple[str, ...], trial: Trial | None) -> Iterator[Result]:
    yield from (check.run(line) for check in (AGAIN, *CONVERSATION))
    for point in implements:
        if point in DECLARATIONS:
            yield from _point(line, point, trial)


def _point(line: Line, point: str, trial: Trial | None) -> Iterator[Result]:
    found = DECLARATIONS[point]
    for check in (*calls_of(found, trial=trial is not None), *nonsense_of(found)):
        yield check.run(line)
    if trial is not None:
        yield from try_out(line, point, trial)


def _answers(line: Line) -> bool:
    try:
        line.call(ACTIVATE)
    except TransportError:
        return False
    return True


def _result(name: str, rule: str, outcome: Outcome) -> Result:
    return Result(name, outcome.verdict, outcome.reason, RULES[rule])
