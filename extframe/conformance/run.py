"""Run the checks of one plugin, one after the other. Knows their order, and when to stop."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import chain

from ..errors import SpecError, TransportError
from ..protocol import ACTIVATE, Address, Manifest, TLSConfig
from .answer_schema import AnswerSchema
from .handshake import AGAIN, GRAPH_DRIVER, assess_manifest, assess_metrics, assess_names, compare_manifest
from .http_checks import LAST_CHECKS, http_checks
from .lifecycle_checks import lifecycle_checks
from .method_checks import method_checks, request_checks
from .options import LifecycleOptions
from .raw_client import RawClient
from .rules import RULES, Outcome, Result, Verdict, failed
from .safe_calls import DECLARATIONS
from .settings_checks import settings_checks

TIMEOUT = 5.0  # seconds for each step


def check_plugin(
    address: str,
    *,
    tls: TLSConfig | None = None,
    timeout: float = TIMEOUT,
    implements: Sequence[str] | None = None,
    lifecycle: LifecycleOptions | None = None,
    trial: LifecycleOptions | None = None,
    schema: object = None,
) -> Iterator[Result]:
    """Yield the result of each check of the plugin at ``address``.

    Without ``lifecycle`` nothing is created or changed in the plugin. No step takes longer than ``timeout`` seconds.
    If the plugin no longer responds after a check, the run ends with a failure. With ``implements`` the plugin is
    checked as these extension points, whatever it returns to the handshake, or if it has none. ``trial`` is the old
    name of ``lifecycle``.

    With ``schema``, an OpenAPI document as ``extframe.openapi`` returns it, each response is validated against it, and
    with ``lifecycle`` the methods of extension points that are not Docker's are called with the smallest valid request.

    Raises:
        SpecError: the address, a file of ``tls``, a name in ``implements`` or the schema is invalid.
        TransportError: the plugin does not respond to the handshake; that was yielded as a failure before.
    """
    if trial is not None:
        warnings.warn("trial= is deprecated: use lifecycle=", DeprecationWarning, stacklevel=2)
    if unknown := [name for name in implements or () if name not in DECLARATIONS]:
        raise SpecError(f"{unknown[0]!r} cannot be checked: expected one of {', '.join(DECLARATIONS)}")
    described = None if schema is None else AnswerSchema(schema)
    client = RawClient(Address.parse(address), tls, timeout)
    return _run(client, implements, lifecycle or trial, described)


def _run(
    client: RawClient,
    implements: Sequence[str] | None,
    lifecycle: LifecycleOptions | None,
    schema: AnswerSchema | None,
) -> Iterator[Result]:
    try:
        response = client.handshake()
    except TransportError as error:
        yield _result("handshake", "handshake", failed(error.message))
        raise
    client.handshake_status = response.status
    outcome = assess_manifest(response) if implements is None else compare_manifest(response, implements)
    yield _result("handshake", "handshake", outcome)
    if outcome.verdict is Verdict.FAIL:
        return
    points = tuple(implements) if implements is not None else Manifest.parse(response.body).implements
    known = (*DECLARATIONS, GRAPH_DRIVER, *(schema.points if schema else ()))
    yield _result("names in Implements", "known-points", assess_names(points, known))
    if implements is None:
        yield _result("no MetricsCollector", "metrics", assess_metrics(points))
    checks = chain(_checks(client, points, lifecycle), (check.run(client) for check in settings_checks(response)))
    if schema is not None:
        checks = chain(checks, _schema_checks(client, schema, points, lifecycle))
    for result in checks:
        yield result
        if result.verdict.severity > Verdict.NOTE.severity and not _responds(client):
            reason = f"the plugin stopped responding after this check: {result.check}"
            yield _result("the remaining checks", "survives", failed(reason))
            return
    yield from (check.run(client) for check in LAST_CHECKS)


def _checks(client: RawClient, points: tuple[str, ...], lifecycle: LifecycleOptions | None) -> Iterator[Result]:
    yield from (check.run(client) for check in (AGAIN, *http_checks(points)))
    for point in points:
        if point in DECLARATIONS:
            yield from _point_checks(client, point, lifecycle)


def _point_checks(client: RawClient, point: str, lifecycle: LifecycleOptions | None) -> Iterator[Result]:
    declared = DECLARATIONS[point]
    for check in (*method_checks(declared, lifecycle=lifecycle is not None), *request_checks(declared)):
        yield check.run(client)
    if lifecycle is not None:
        yield from lifecycle_checks(client, point, lifecycle)


def _schema_checks(
    client: RawClient, schema: AnswerSchema, points: tuple[str, ...], lifecycle: LifecycleOptions | None
) -> Iterator[Result]:
    """Validate all responses; before that, call what no other check called, if the plugin may be changed."""
    own = {point for point in points if point not in DECLARATIONS}
    for method in schema.methods:
        if lifecycle is not None and method != ACTIVATE and own.intersection(schema.points_of(method)):
            client.call(method, schema.example(method))
        responses = [response for path, response in client.responses if path == method and response.status != 405]
        yield _result(f"schema of {method}", "schema", schema.assess(method, responses))


def _responds(client: RawClient) -> bool:
    try:
        client.handshake()
    except TransportError:
        return False
    return True


def _result(name: str, rule: str, outcome: Outcome) -> Result:
    return Result(name, outcome.verdict, outcome.reason, RULES[rule])
