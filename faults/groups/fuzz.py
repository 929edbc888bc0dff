"""Fuzzing: any reply and any file content leads to a result or an extframe error, and never to a hang."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from fault import Fault
from faultserver import Peer, chunked, reply
from observe import observe
from outcome import Outcome
from scene import GET, PHOTOS, POINT, VOLUME, Scene

from extframe import CallTimeout, Client, ExtframeError, LocalRegistry, VolumeDriver

TITLE = "Fuzzing"
EXPECTED = "replies and extframe errors, no hang"
SEED = 5
TIMEOUT = 5.0  # seconds; every plugin here closes its connection at once, so a timeout is a hang

MANIFEST = b'{"Implements": ["VolumeDriver", "NetworkDriver"]}'
REPLIES = (
    reply(VOLUME),
    reply(MANIFEST, headers="Content-Type: application/json\r\n"),
    reply(b'{"Volumes": [{"Name": "a", "Status": {"a": 1e3}}, {"Name": "b", "CreatedAt": "2024-02-03T04:05:06Z"}]}'),
    reply(b'{"Err": "no such volume: \\u00e9 \\ud83d\\ude00"}', status="500 Internal Server Error"),
    reply(b"no such page\n", status="404 Not Found", headers="Content-Type: text/plain\r\n"),
    reply(gzip.compress(VOLUME, mtime=0), headers="Content-Encoding: gzip\r\n"),
    reply(b"", status="307 Temporary Redirect", headers="Location: /VolumeDriver.Get\r\n"),
    chunked(VOLUME[:20], VOLUME[20:]),
    b"HTTP/1.1 100 Continue\r\n\r\n" + reply(VOLUME, headers="Connection: close\r\n"),
    b"HTTP/1.0 200 OK\r\n\r\n" + VOLUME,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + VOLUME,
)
SPECS = (
    b"unix:///run/p.sock",
    b"tcp://127.0.0.1:8080/path?query\n",
    b"https://user:word@[::1]:443\r\n",
    b"http://plugin.example:80",
)
JSON_SPECS = (
    b'{"Name": "p", "Addr": "https://127.0.0.1:1", "TLSConfig": {"CAFile": "/ca", "CertFile": "/c", "KeyFile": "/k"}}',
    b'{"addr": "unix:///run/p.sock", "TLSConfig": null}',
    b'{"Addr": "tcp://[::1]:8080", "TLSConfig": {"InsecureSkipVerify": true, "MinVersion": 771, "Passphrase": ""}}',
)
NAMES = (b"rclone", b"a.b", b"p\xc3\xa9", b"../p", b"p/q", b"p.sock")
TOKENS = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b" ", b"A" * 5000),
    *(b"-1", b"0", b"18446744073709551616", b"1e999", b"NaN", b"null", b"{", b"}", b"[" * 2000, b'"', b"\\ud800"),
    *(b"chunked", b"gzip", b"identity", b"HTTP/1.1 ", b"Content-Length: 5", b"unix:", b"https:", b"://", b":", b"@"),
    *(b"%00", b"..", b"/"),
)


# --- mutations ----------------------------------------------------------------------------------------


def flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def cut(chance: random.Random, data: bytearray) -> None:
    begin, end = _slice(chance, data)
    del data[begin:end]


def double(chance: random.Random, data: bytearray) -> None:
    begin, end = _slice(chance, data)
    data[begin:begin] = data[begin:end]


def put_token(chance: random.Random, data: bytearray) -> None:
    begin, end = _slice(chance, data, longest=4)
    data[begin:end] = chance.choice(TOKENS)


def put_noise(chance: random.Random, data: bytearray) -> None:
    begin, _ = _slice(chance, data)
    data[begin:begin] = chance.randbytes(chance.randrange(1, 8))


def _slice(chance: random.Random, data: bytearray, longest: int = 40) -> tuple[int, int]:
    begin = chance.randrange(len(data) + 1)
    return begin, begin + chance.randrange(longest)


MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (flip, cut, double, put_token, put_noise)


def mutated(chance: random.Random, corpus: tuple[bytes, ...]) -> bytes:
    """Return an entry of the corpus with up to five mutations; one in fifty is unchanged."""
    data = bytearray(chance.choice(corpus))
    if chance.random() > 0.02:
        for _ in range(chance.randint(1, 5)):
            chance.choice(MUTATIONS)(chance, data)
    return bytes(data)


# --- counting outcomes ----------------------------------------------------------------------------------


class Tally:
    """Counts outcomes, and keeps those that must not occur."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._wrong: list[str] = []

    def add(self, act: Callable[[], object], given: Callable[[], object]) -> None:
        """Run an action; keep its input, ``given``, if the outcome must not occur."""
        try:
            act()
            self._counts["replies"] += 1
        except ExtframeError as error:
            self._counts[type(error).__name__] += 1
            if isinstance(error, CallTimeout):
                self._wrong.append(f"a hang with {given()!r:.300}")
        except Exception as error:  # noqa: BLE001 - reported
            self._wrong.append(f"{type(error).__name__} with {given()!r:.300}")

    def outcome(self, seconds: float) -> Outcome:
        """Return the outcome of all actions."""
        text = "; ".join(self._wrong[:3]) or EXPECTED
        total = sum(self._counts.values()) + len(self._wrong)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._counts.most_common())
        return Outcome(text, seconds, f"{total:,}: {kinds}")


# --- replies ------------------------------------------------------------------------------------------


def stream(client: Client) -> bytes:
    with client.stream(GET, PHOTOS, timeout=TIMEOUT) as body:
        return body.read()


def activate(scene: Scene) -> object:
    with scene.manager(groups=()) as manager:
        return manager.get("p", POINT, timeout=TIMEOUT)


def replies(scene: Scene) -> Outcome:
    chance, number, sent = random.Random(SEED), scene.several(10_000, short=200), [b""]

    def answer(peer: Peer) -> None:
        if peer.read_request():
            sent[0] = mutated(chance, REPLIES)
            peer.send(sent[0])

    server = scene.plugin(behaviour=answer)
    client = scene.client(server.address, timeout=TIMEOUT)
    driver = VolumeDriver.remote(client)
    uses: tuple[Callable[[], object], ...] = (
        lambda: client.call(GET, PHOTOS),
        lambda: driver.get("photos"),
        driver.list,
        driver.capabilities,
        lambda: driver.mount("photos", id="1"),
        partial(stream, client),
        partial(activate, scene),
    )
    tally = Tally()

    def all_of_them() -> None:
        while server.connections < number:
            tally.add(chance.choice(uses), lambda: sent[0])

    return tally.outcome(observe(all_of_them).seconds)


# --- files and names ----------------------------------------------------------------------------------


def spec_files(scene: Scene) -> Outcome:
    chance, number = random.Random(SEED), scene.several(10_000, short=200)
    registry = LocalRegistry(scene.directory, [scene.directory])
    tally = Tally()

    def find() -> None:
        spec = registry.find("p")
        Client(spec.address, tls=spec.tls).close()

    def all_of_them() -> None:
        for count in range(number):
            extension, corpus = (".spec", SPECS) if count % 2 else (".json", JSON_SPECS)
            content = mutated(chance, corpus)
            path = scene.directory / f"p{extension}"
            path.write_bytes(content)
            tally.add(find, lambda content=content: content)
            path.unlink()

    return tally.outcome(observe(all_of_them).seconds)


def names(scene: Scene) -> Outcome:
    """Names are text: bytes that are not UTF-8 become lone surrogates, as in the names that os.listdir returns."""
    chance, number = random.Random(SEED), scene.several(10_000, short=200)
    registry = LocalRegistry(scene.directory, [scene.directory])
    tally = Tally()

    def all_of_them() -> None:
        for _ in range(number):
            name = mutated(chance, NAMES).decode(errors="surrogateescape")
            tally.add(partial(registry.find, name), lambda name=name: name)

    return tally.outcome(observe(all_of_them).seconds)


FAULTS = (
    Fault("10,000 fuzzed replies: calls, typed calls, streams and activations", EXPECTED, replies),
    Fault("10,000 fuzzed spec files: find, and a client for what it found", EXPECTED, spec_files),
    Fault("10,000 fuzzed names: find", EXPECTED, names),
)
