"""Security: what a plugin, a file or the environment says is not believed further than it has to be."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from certificates import Authority, Identity
from fault import Fault, Seen
from faultserver import FaultServer, answer
from scene import GOOD, POINT, Scene
from watched import answer_of, watched

from extframe import TLSConfig

TITLE = "Security: TLS, redirects, proxies, names and files"


# --- TLS ----------------------------------------------------------------------------------------------


def old(identity: Identity) -> ssl.SSLContext:
    """Return the context of a server that speaks TLS 1.0 and 1.1 only."""
    context = identity.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ssl says that these versions are old
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


HERE = "127.0.0.1"
CONTEXTS: Mapping[str, Callable[[Authority, Authority], ssl.SSLContext]] = {
    "another host's": lambda mine, _: mine.issue("server", "elsewhere.example").server_context(),
    "an expired": lambda mine, _: mine.issue("server", HERE, expired=True).server_context(),
    "a self-signed": lambda _, other: other.identity.server_context(),
    "a foreign authority's": lambda _, other: other.issue("server", HERE).server_context(),
}


def over_tls(scene: Scene, context_of: Callable[[Authority, Authority], ssl.SSLContext]) -> tuple[FaultServer, str]:
    """Return a plugin over TLS, and the file of the authority that the host trusts."""
    mine, other = scene.authority("mine"), scene.authority("other", HERE)
    return scene.server(GOOD, kind="tcp", tls=context_of(mine, other)), mine.ca_file


def call_over_tls(context_of: Callable[[Authority, Authority], ssl.SSLContext], scene: Scene) -> Seen:
    server, ca_file = over_tls(scene, context_of)
    client = scene.client(server.address, tls=TLSConfig(ca_file=ca_file))
    seen = watched(lambda: client.call("VolumeDriver.List"), answer_of)
    return Seen(f"{seen.words}; requests that arrived: {len(server.requests)}", seen.seconds)


def call_over_tls_with_moby(context_of: Callable[[Authority, Authority], ssl.SSLContext], scene: Scene) -> Seen:
    server, ca_file = over_tls(scene, context_of)
    scene.spec("p.json", f'{{"Addr": "{server.address}", "TLSConfig": {{"CAFile": "{ca_file}"}}}}')
    seen = scene.moby().get()
    return Seen(f"{seen.words}; requests that arrived: {len(server.requests)}", seen.seconds)


def foreign_in_a_spec_file(scene: Scene) -> FaultServer:
    server, _ = over_tls(scene, CONTEXTS["a foreign authority's"])
    scene.spec("p.spec", server.address)
    return server


def get_from_a_spec_file(scene: Scene) -> Seen:
    server, manager = foreign_in_a_spec_file(scene), scene.manager()
    seen = watched(lambda: manager.get("p", POINT), lambda plugin: plugin.state.value)
    return Seen(f"{seen.words}; requests that arrived: {len(server.requests)}", seen.seconds)


def get_from_a_spec_file_with_moby(scene: Scene) -> Seen:
    server = foreign_in_a_spec_file(scene)
    seen = scene.moby().get()
    return Seen(f"{seen.words}; requests that arrived: {len(server.requests)}", seen.seconds)


TLS = (
    *(
        Fault(
            f"a plugin shows {which} certificate: call",
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
        "a foreign authority's certificate, and https:// in a .spec file: get",
        "ActivationError from ConnectError; requests that arrived: 0",
        get_from_a_spec_file,
        get_from_a_spec_file_with_moby,
        within=0.2,
    ),
)


# --- elsewhere ----------------------------------------------------------------------------------------


def redirecting(scene: Scene, status: str) -> tuple[FaultServer, FaultServer]:
    """Return a plugin that redirects, and where to."""
    other = scene.server(answer(b'{"Volumes": []}'), kind="tcp")
    headers = f"Location: http://127.0.0.1:{other.port}/VolumeDriver.List\r\n"
    return scene.server(answer(b"", status=status, headers=headers), kind="tcp"), other


def call_redirected(status: str, scene: Scene) -> Seen:
    server, other = redirecting(scene, status)
    seen = watched(lambda: scene.client(server.address).call("VolumeDriver.List"), answer_of)
    return Seen(f"{seen.words}; requests that went on: {len(other.requests)}", seen.seconds)


def call_redirected_with_moby(status: str, scene: Scene) -> Seen:
    server, other = redirecting(scene, status)
    seen = scene.moby().call("VolumeDriver.List", {}, address=server.address)
    return Seen(f"{seen.words}; requests that went on: {len(other.requests)}", seen.seconds)


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


def call_beside_a_proxy(scene: Scene) -> Seen:
    server, proxy = scene.server(GOOD, kind="tcp"), scene.server(GOOD, kind="tcp")
    client = scene.client(server.address)

    def both() -> str:
        client.session.post("VolumeDriver.List").raise_for_status()
        return answer_of(client.call("VolumeDriver.List"))

    with environment(dict.fromkeys(PROXY_VARIABLES, f"http://127.0.0.1:{proxy.port}")):
        seen = watched(both)
    return Seen(f"{seen.words}; connections to the proxy: {proxy.connections}", seen.seconds)


def call_beside_a_proxy_with_moby(scene: Scene) -> Seen:
    """Go's own exception is this machine: the plugin has the name of another one."""
    proxy = scene.server(GOOD, kind="tcp")
    moby = scene.moby(HTTP_PROXY=f"http://127.0.0.1:{proxy.port}")
    seen = moby.call("VolumeDriver.List", {}, address="tcp://plugin.invalid:80")
    return Seen(f"{seen.words}; connections to the proxy: {proxy.connections}", seen.seconds)


ELSEWHERE = (
    *(
        Fault(
            f"a plugin answers {status}, to another server: call",
            "RemoteError; requests that went on: 0",
            partial(call_redirected, status),
            partial(call_redirected_with_moby, status),
            within=0.1,
        )
        for status in ("302 Found", "307 Temporary Redirect")
    ),
    Fault(
        "the environment names proxies: session.post and call, over TCP",
        "an answer; connections to the proxy: 0",
        call_beside_a_proxy,
        call_beside_a_proxy_with_moby,
    ),
)


# --- names and files ----------------------------------------------------------------------------------

HOSTILE = (
    *("", ".", "..", "../p", "a/../../p", "/etc/passwd", "p/q", "p\0", "p\n", "\0", "./p", "p/", "//p", "p" * 300),
    *("..\\p", "p\r\nHost: x", "\x7f", "\ud800", "p/.", "%2e%2e/p", "~/p", "-/p"),
)


def hostile_names(scene: Scene) -> Seen:
    """There is a plugin outside of the directory, where these names would lead."""
    scene.server(GOOD, path=str(scene.outside / "p.sock"))
    manager = scene.manager()

    def all_of_them() -> set[str]:
        return {watched(lambda: manager.get(name)).words for name in HOSTILE}  # noqa: B023

    return watched(all_of_them, lambda words: " or ".join(sorted(words)))


def hostile_name_of_moby(scene: Scene) -> Seen:
    scene.server(GOOD, path=str(scene.outside / "p.sock"))
    seen = scene.moby().get("../p")
    return Seen(f"../p: {seen.words}", seen.seconds)


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
    "a socket that every user may write": open_to_all,
    "a plugin directory that every user may write": directory_open_to_all,
    "a socket that is a link into a directory that every user may write": link_to_what_others_may_write,
    "a spec file that every user may write": spec_open_to_all,
    "a spec file that is a FIFO": fifo,
    "a spec file of 256 MiB": huge,
    "a spec file that is a link to itself": circle,
    "a spec file that is a link to /dev/zero": a_device,
}
FILES_OF_ROOT: Mapping[str, Callable[[Scene], None]] = {"a socket of another user": of_another_user}


def get_beside(make: Callable[[Scene], None], scene: Scene) -> Seen:
    make(scene)
    manager = scene.manager()
    return watched(lambda: manager.get("p", POINT), lambda plugin: plugin.state.value)


def get_beside_with_moby(make: Callable[[Scene], None], scene: Scene) -> Seen:
    make(scene)
    return scene.moby().get()


NAMES_AND_FILES = (
    Fault(
        f"{len(HOSTILE)} hostile names, among them ../p, where there is a plugin: get",
        "SpecError",
        hostile_names,
        hostile_name_of_moby,
        within=0.1,
    ),
    *(
        Fault(f"{what}: get", "SpecError", partial(get_beside, make), partial(get_beside_with_moby, make), within=0.1)
        for what, make in {**FILES, **(FILES_OF_ROOT if os.geteuid() == 0 else {})}.items()
    ),
)
FAULTS = (*TLS, *ELSEWHERE, *NAMES_AND_FILES)
