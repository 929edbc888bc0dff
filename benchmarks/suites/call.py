"""Calls: from a host to a plugin and back, compared with moby's client, other clients and a bare socket."""

from __future__ import annotations

import statistics

from bench import Bench, Report
from measure import Rounds, alternate, ratio
from programs import MissingError

OURS = ("extframe_call", "extframe_typed")
OTHERS = ("requests_unixsocket", "httpx_client", "aiohttp_client", "urllib3_pool", "http_client", "pycurl_handle")
THREADS = (1, 2, 4, 8, 16, 32)
PLOTTED = {
    "extframe_call": "extframe (threads)",
    "moby": "moby (goroutines)",
    "bare_socket": "a bare socket in Python (threads)",
}


def run(bench: Bench) -> Report:
    """Run the suite."""
    report = Report()
    _one_thread(bench, report)
    _throughput(bench, report)
    for bytes_, words in ((1 << 10, "1 KiB"), (1 << 16, "64 KiB"), (1 << 20, "1 MiB")):
        _other(bench, report, f"a reply of {words}", padding=bytes_, calls=200 if bytes_ < 1 << 16 else 20)
    _other(bench, report, "over TCP", scheme="tcp")
    _other(bench, report, "over TLS", scheme="https")
    return report


def _one_thread(bench: Bench, report: Report) -> None:
    server = bench.server()
    rounds = alternate(bench.contenders(server, 300, *OURS, "moby", "bare_socket"), bench.several(150))
    report.add(
        ratio("client.call / moby's client", rounds, "extframe_call", "moby", at_most=0.70),
        ratio("a typed call / moby's client", rounds, "extframe_typed", "moby", at_most=0.75),
        ratio("p99 of client.call / p99 of moby's", rounds, "extframe_call", "moby", "p99", at_most=1.0),
        ratio("p99 of a typed call / p99 of moby's", rounds, "extframe_typed", "moby", "p99", at_most=1.0),
        ratio("client.call / a bare socket", rounds, "extframe_call", "bare_socket", at_most=1.8),
        ratio("a typed call / a bare socket", rounds, "extframe_typed", "bare_socket"),
        ratio("a bare socket / moby's client", rounds, "bare_socket", "moby"),
    )
    rounds = alternate(bench.contenders(server, 300, "extframe_call", "extframe_observed"), bench.several(80))
    report.add(
        ratio(
            "client.call with a no-op observer / without one",
            rounds,
            "extframe_observed",
            "extframe_call",
            at_most=1.05,
        )
    )
    rounds = alternate(bench.contenders(server, 150, "extframe_call", "moby", *OTHERS), bench.several(40))
    report.add(
        ratio(
            "calls per second / requests-unixsocket's",
            rounds,
            "extframe_call",
            "requests_unixsocket",
            "rate",
            at_least=6,
        )
    )
    report.add(*(ratio(f"{_words(peer)} / moby's client", rounds, peer, "moby") for peer in OTHERS))
    report.plots.append(_bars(rounds))


def _bars(rounds: Rounds) -> dict[str, object]:
    bars = [(_words(peer), statistics.median(each.median for each in rounds[peer]) / 1000) for peer in rounds]
    bars.sort(key=lambda bar: bar[1])
    return {"name": "call", "title": "One call, one thread, unix socket (us)", "bars": bars}


def _words(peer: str) -> str:
    return peer.replace("extframe_call", "extframe").split("_c")[0].split("_p")[0].split("_h")[0].replace("_", "-")


def _throughput(bench: Bench, report: Report) -> None:
    server = bench.server()
    contenders = {}
    for peer in PLOTTED:
        for threads in THREADS[:3] if bench.short else THREADS:
            contender = bench.contender(peer, server, 2400, threads)
            if contender is not None:
                contenders[f"{peer} {threads}"] = contender
    rounds = alternate(contenders, bench.several(15))
    best = max((name for name in rounds if name.startswith("moby")), key=lambda name: _rate(rounds, name), default="")
    report.add(
        ratio(
            "calls per second, 4 threads / moby's, 4 goroutines",
            rounds,
            "extframe_call 4",
            "moby 4",
            "rate",
            at_least=1.0,
        ),
        ratio("calls per second, 4 threads / moby's best", rounds, "extframe_call 4", best, "rate", at_least=0.8),
        ratio("calls per second, 4 threads / a bare socket's", rounds, "extframe_call 4", "bare_socket 4", "rate"),
        ratio("calls per second, a bare socket's 4 threads / moby's best", rounds, "bare_socket 4", best, "rate"),
    )
    lines = {
        words: [(int(name.split()[1]), _rate(rounds, name)) for name in rounds if name.startswith(peer)]
        for peer, words in PLOTTED.items()
    }
    report.plots.append({"name": "throughput", "title": "Calls per second, by threads", "lines": lines, "log": True})


def _rate(rounds: Rounds, name: str) -> float:
    return statistics.median(each.rate for each in rounds[name])


def _other(
    bench: Bench, report: Report, words: str, *, scheme: str = "unix", padding: int = 0, calls: int = 200
) -> None:
    try:
        server = bench.server(scheme, padding=padding)
    except MissingError as missing:
        bench.skip(words, missing)
        return
    floor = ("bare_socket",) if scheme != "https" else ()
    rounds = alternate(bench.contenders(server, calls, *OURS, "moby", *floor), bench.several(60))
    report.add(
        ratio(f"client.call, {words} / moby's client", rounds, "extframe_call", "moby", at_most=0.70),
        ratio(f"a typed call, {words} / moby's client", rounds, "extframe_typed", "moby", at_most=0.75),
        ratio(f"client.call, {words} / a bare socket", rounds, "extframe_call", "bare_socket"),
    )
