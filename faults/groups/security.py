"""Security: plugins, files and the environment are trusted no more than necessary."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from certificates import Authority, Identity
from fault import Fault
from faultserver import FaultServer, answer
from observe import answer_of, observe
from outcome import Outcome
from scene import GOOD, POINT, Scene

from extframe import TLSConfig

TITLE = "Security: TLS, redirects, proxies, names and files"


# --- TLS ----------------------------------------------------------------------------------------------


def old(identity: Identity) -> ssl.SSLContext:
    """Return the context of a server that supports only TLS 1.0 and 1.1."""
    context = identity.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ssl warns about these versions
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


HERE = "127.0.0.1"
CONTEXTS: Mapping[str, Callable[[Authority, Authority], ssl.SSLContext]] = {
    "another host's": lambda mine, _: mine.issue("server", "elsewhere.example").server_context(),
    "an expired": lambda mine, _: mine.issue("server", HERE, expired=True).server_context(),
    "a self-signed": lambda _, other: other.identity.server_context(),
    "an unknown authority's": lambda _, other: other.issue("server", HERE).server_context(),
}


def over_tls(scene: Scene, context_of: Callable[[Authority, Authority], ssl.SSLContext]) -> tuple[FaultServer, str]:
    """Return a plugin over TLS, and the CA file that the host trusts."""
    mine, other = scene.authority("mine"), scene.authority("other", HERE)
    return scene.server(GOOD, kind="tcp", tls=context_of(mine, other)), mine.ca_file


def call_over_tls(context_of: Callable[[Authority, Authority], ssl.SSLContext], scene: Scene) -> Outcome:
    server, ca_file = over_tls(scene, context_of)
    client = scene.client(server.address, tls=TLSConfig(ca_file=ca_file))
    outcome = observe(lambda: client.call("VolumeDriver.List"), answer_of)
    return Outcome(f"{outcome.text}; requests that arrived: {len(server.requests)}", outcome.seconds)


def call_over_tls_with_moby(context_of: Callable[[Authority, Authority], ssl.SSLContext], scene: Scene) -> Outcome:
    server, ca_file = over_tls(scene, context_of)
    scene.spec("p.json", f'{{"Addr": "{server.address}", "TLSConfig": {{"CAFile": "{ca_file}"}}}}')
    outcome = scene.moby().get()
    return Outcome(f"{outcome.text}; requests that arrived: {len(server.requests)}", outcome.seconds)


def unknown_authority_in_a_spec_file(scene: Scene) -> FaultServer:
    server, _ = over_tls(scene, CONTEXTS["an unknown authority's"])
    scene.spec("p.spec", server.address)
    return server


def get_from_a_spec_file(scene: Scene) -> Outcome:
    server, manager = unknown_authority_in_a_spec_file(scene), scene.manager()
    outcome = observe(lambda: manager.get("p", POINT), lambda plugin: plugin.state.value)
    return Outcome(f"{outcome.text}; requests that arrived: {len(server.requests)}", outcome.seconds)


def get_from_a_spec_file_with_moby(scene: Scene) -> Outcome:
    server = unknown_authority_in_a_spec_file(scene)
    outcome = scene.moby().get()
    return Outcome(f"{outcome.text}; requests that arrived: {len(server.requests)}", outcome.seconds)


TLS = (
    *(
        Fault(
            f"a plugin presents {which} certificate: call",
            "ConnectError; requests that arrived: 0",
            partial(call_over_tls, context_of),
            partial(call_over_tls_with_moby, context_of),
            within=0.2,
        )
        for which, context_of in CONTEXTS.items()
    ),
    Fault(
        "a plugin speaks TLS 1.0 and 1.1: call",
        "ConnectError; requests that arrived: 0",
        partial(call_over_tls, lambda mine, _: old(mine.issue("server", HERE))),
        partial(call_over_tls_with_moby, lambda mine, _: old(mine.issue("server", HERE))),
        within=0.2,
    ),
    Fault(
        "an unknown authority's certificate and https:// in a .spec file: get",
        "ActivationError from ConnectError; requests that arrived: 0",
        get_from_a_spec_file,
        get_from_a_spec_file_with_moby,
        within=0.2,
    ),
)


# --- redirects and proxies ----------------------------------------------------------------------------------------


def redirecting(scene: Scene, status: str) -> tuple[FaultServer, FaultServer]:
    """Return a plugin that redirects, and the target of its redirects."""
    other = scene.server(answer(b'{"Volumes": []}'), kind="tcp")
    headers = f"Location: http://127.0.0.1:{other.port}/VolumeDriver.List\r\n"
    return scene.server(answer(b"", status=status, headers=headers), kind="tcp"), other


def call_redirected(status: str, scene: Scene) -> Outcome:
    server, other = redirecting(scene, status)
    outcome = observe(lambda: scene.client(server.address).call("VolumeDriver.List"), answer_of)
    return Outcome(f"{outcome.text}; requests forwarded: {len(other.requests)}", outcome.seconds)


def call_redirected_with_moby(status: str, scene: Scene) -> Outcome:
    server, other = redirecting(scene, status)
    outcome = scene.moby().call("VolumeDriver.List", {}, address=server.address)
    return Outcome(f"{outcome.text}; requests forwarded: {len(other.requests)}", outcome.seconds)


PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def call_with_a_proxy(scene: Scene) -> Outcome:
    server, proxy = scene.server(GOOD, kind="tcp"), scene.server(GOOD, kind="tcp")
    client = scene.client(server.address)

    def both() -> str:
        client.session.post("VolumeDriver.List").raise_for_status()
        return answer_of(client.call("VolumeDriver.List"))

    with environment(dict.fromkeys(PROXY_VARIABLES, f"http://127.0.0.1:{proxy.port}")):
        outcome = observe(both)
    return Outcome(f"{outcome.text}; connections to the proxy: {proxy.connections}", outcome.seconds)


def call_with_a_proxy_with_moby(scene: Scene) -> Outcome:
    """Go never uses a proxy for this machine: the plugin has the name of another."""
    proxy = scene.server(GOOD, kind="tcp")
    moby = scene.moby(HTTP_PROXY=f"http://127.0.0.1:{proxy.port}")
    outcome = moby.call("VolumeDriver.List", {}, address="tcp://plugin.invalid:80")
    return Outcome(f"{outcome.text}; connections to the proxy: {proxy.connections}", outcome.seconds)


ELSEWHERE = (
    *(
        Fault(
            f"a plugin redirects with {status} to another server: call",
            "RemoteError; requests forwarded: 0",
            partial(call_redirected, status),
            partial(call_redirected_with_moby, status),
            within=0.1,
        )
        for status in ("302 Found", "307 Temporary Redirect")
    ),
    Fault(
        "proxies are set in the environment: session.post and call, over TCP",
        "a reply; connections to the proxy: 0",
        call_with_a_proxy,
        call_with_a_proxy_with_moby,
    ),
)


# --- names and files ----------------------------------------------------------------------------------

HOSTILE = (
    *("", ".", "..", "../p", "a/../../p", "/etc/passwd", "p/q", "p\0", "p\n", "\0", "./p", "p/", "//p", "p" * 300),
    *("..\\p", "p\r\nHost: x", "\x7f", "\ud800", "p/.", "%2e%2e/p", "~/p", "-/p"),
)


def hostile_names(scene: Scene) -> Outcome:
    """A plugin exists outside the directory, where these names lead."""
    scene.server(GOOD, path=str(scene.outside / "p.sock"))
    manager = scene.manager()

    def all_of_them() -> set[str]:
        return {observe(lambda: manager.get(name)).text for name in HOSTILE}  # noqa: B023

    return observe(all_of_them, lambda texts: " or ".join(sorted(texts)))


def hostile_name_of_moby(scene: Scene) -> Outcome:
    scene.server(GOOD, path=str(scene.outside / "p.sock"))
    outcome = scene.moby().get("../p")
    return Outcome(f"../p: {outcome.text}", outcome.seconds)


def open_to_all(scene: Scene) -> None:
    os.chmod(scene.plugin().path, 0o666)


def directory_open_to_all(scene: Scene) -> None:
    scene.plugin()
    os.chmod(scene.directory, 0o777)


def of_another_user(scene: Scene) -> None:
    os.chown(scene.plugin().path, 54321, 54321)


def link_to_what_others_may_write(scene: Scene) -> None:
    elsewhere = scene.outside / "elsewhere"
    elsewhere.mkdir()
    server = scene.server(GOOD, path=str(elsewhere / "q.sock"))
    os.chmod(elsewhere, 0o777)
    os.symlink(server.path, scene.directory / "p.sock")


def spec_open_to_all(scene: Scene) -> None:
    os.chmod(scene.spec("p.spec", scene.server(GOOD).address), 0o666)


def fifo(scene: Scene) -> None:
    os.mkfifo(scene.directory / "p.spec")


def huge(scene: Scene) -> None:
    with (scene.directory / "p.spec").open("wb") as file:
        file.truncate(256 << 20)  # a hole


def circle(scene: Scene) -> None:
    os.symlink("p.spec", scene.directory / "p.spec")


def a_device(scene: Scene) -> None:
    os.symlink("/dev/zero", scene.directory / "p.json")


FILES: Mapping[str, Callable[[Scene], None]] = {
    "a world-writable socket": open_to_all,
    "a world-writable plugin directory": directory_open_to_all,
    "a socket that is a symlink into a world-writable directory": link_to_what_others_may_write,
    "a world-writable spec file": spec_open_to_all,
    "a spec file that is a FIFO": fifo,
    "a spec file of 256 MiB": huge,
    "a spec file that is a symlink to itself": circle,
    "a spec file that is a symlink to /dev/zero": a_device,
}
FILES_OF_ROOT: Mapping[str, Callable[[Scene], None]] = {"a socket of another user": of_another_user}


def get(make: Callable[[Scene], None], scene: Scene) -> Outcome:
    make(scene)
    manager = scene.manager()
    return observe(lambda: manager.get("p", POINT), lambda plugin: plugin.state.value)


def get_with_moby(make: Callable[[Scene], None], scene: Scene) -> Outcome:
    make(scene)
    return scene.moby().get()


NAMES_AND_FILES = (
    Fault(
        f"{len(HOSTILE)} hostile names, including ../p, where a plugin exists: get",
        "SpecError",
        hostile_names,
        hostile_name_of_moby,
        within=0.1,
    ),
    *(
        Fault(f"{what}: get", "SpecError", partial(get, make), partial(get_with_moby, make), within=0.1)
        for what, make in {**FILES, **(FILES_OF_ROOT if os.geteuid() == 0 else {})}.items()
    ),
)
FAULTS = (*TLS, *ELSEWHERE, *NAMES_AND_FILES)
