"""A process without threads, without a Unicode locale, or whose managers are dropped: errors of ours, or none."""

from __future__ import annotations

import os
import sys

import pytest
from program import Program

SETTING = """
    import gc, os, resource, sys, tempfile, threading, warnings
    import extframe
    from extframe import Client, ConnectError, ExtframeError, LocalRegistry, PluginManager, RemoteError, VolumeDriver
    from extframe.server import ServerTLS, serve, serving

    class Photos(VolumeDriver):
        def list(self):
            return []

    def show(what, function):
        try:
            print(what, function())
        except ExtframeError as error:
            print(what, type(error).__name__, ascii(str(error)))
"""


def lines_of(source: str, *arguments: object) -> dict[str, str]:
    """Run a program and return what it said of each step."""
    with Program(SETTING + source, *arguments, measured=False) as program:
        code, said = program.end(timeout=120)
    assert code == 0, said
    return dict(line.split(" ", 1) for line in said.splitlines() if " " in line)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
def test_without_a_thread_to_be_had_every_step_that_needs_one_says_so(short_path):
    said = lines_of(
        """
    directory, client = sys.argv[1], Client("tcp://localhost:1")
    try:
        client.call("A.B")  # imports what it needs
    except ConnectError:
        pass
    with serving(Photos(), name="photos", directory=directory, queue_timeout=0.2):
        with PluginManager(LocalRegistry(directory), groups=()) as pm:
            pm.get("photos")
            with pm.watch():
                pass
            pm.handle("VolumeDriver", lambda name, client: None)
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            threading.stack_size(512 << 20)  # more than may be allocated from now on
            resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
            show("lookup", lambda: client.call("A.B"))
            show("call", lambda: pm.get("photos").client.call("VolumeDriver.List"))
            show("watch", pm.watch)
            show("serving", serving(Photos(), name="other", directory=directory).__enter__)
            show("serve", lambda: serve(Photos(), name="other", directory=directory))
        with PluginManager(LocalRegistry(directory), groups=()) as pm:
            pm.handle("VolumeDriver", lambda name, client: None)
            show("handler", lambda: pm.get("photos", VolumeDriver))
            show("get_all", lambda: [plugin.name for plugin in pm.get_all(VolumeDriver)])
        show("files", lambda: os.listdir(directory))
    """,
        short_path,
    )
    for step in ("lookup", "watch", "serving", "serve", "handler"):
        assert "cannot start a thread for" in said[step]
        assert "raise the limit on threads" in said[step]
    assert said["call"].startswith("RemoteError")
    assert "VolumeDriver.List was not called: the system started only 0 of 64 threads for 0.2 seconds" in said["call"]
    assert said["get_all"] == "['photos']"  # in the caller's thread
    assert said["files"] == "['photos.sock']"


def test_in_a_locale_without_a_paths_characters_every_path_is_a_spec_error(short_path, monkeypatch):
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    directory = os.fsencode(short_path) + "/ü".encode()
    os.mkdir(directory)
    said = lines_of(
        """
    there = sys.argv[1]  # in the locale's own terms, with surrogates
    named = os.fsencode(there).decode("utf-8")  # as a program or a spec file names it
    with serving(Photos(), name="photos", directory=there), PluginManager(LocalRegistry(there), groups=()) as pm:
        show("there", lambda: pm.get("photos").client.call("VolumeDriver.List"))
        show("name", lambda: pm.get("ph\\xfc"))
        open(os.path.join(there, "far.spec"), "wb").write(f"unix://{named}/photos.sock".encode())
        show("spec_file", lambda: pm.get("far"))
    show("registry", lambda: LocalRegistry(named))
    show("app", lambda: LocalRegistry.for_app("\\xfc"))
    show("client", lambda: Client(f"unix://{named}/photos.sock"))
    show("directory", serving(Photos(), name="photos", directory=named).__enter__)
    show("address", serving(Photos(), name="photos", address=f"unix://{named}/p.sock").__enter__)
    show("spec", serving(Photos(), name="photos", address="tcp://127.0.0.1:0", spec_directory=named).__enter__)
    tls = ServerTLS(cert_file=f"{named}/cert.pem", key_file=f"{named}/key.pem")
    show("tls", serving(Photos(), name="p", address="https://127.0.0.1:0", spec_directory=there, tls=tls).__enter__)
    """,
        os.fsdecode(directory),
    )
    assert said.pop("there") == "{'Volumes': []}"
    for step, outcome in said.items():
        assert outcome.startswith("SpecError"), (step, outcome)
        assert "file names are ascii in this process" in outcome
        assert "set LC_ALL=C.UTF-8 or PYTHONUTF8=1" in outcome
    assert len(said) == 9


def test_a_manager_that_is_dropped_warns_of_nothing(short_path):
    said = lines_of(
        """
    warnings.simplefilter("always")
    directory = sys.argv[1]
    with serving(Photos(), name="photos", directory=directory):
        pm = PluginManager(LocalRegistry(directory), groups=("extframe",))
        watch = pm.watch()
        driver = pm.driver("photos", VolumeDriver)
        driver.list()
        pm.get("photos").client.session.post("VolumeDriver.List")
        with serving(Photos(), address="tcp://127.0.0.1:0", spec_directory=directory) as far:
            Client(far.address).session.post("VolumeDriver.List")
        stream = pm.get("photos").client.stream("VolumeDriver.List")
        stream.__enter__()
        watch.close()
        client = Client(f"unix://{directory}/photos.sock")
        client.call("VolumeDriver.List")
        descriptors = len(os.listdir("/proc/self/fd"))
        del pm, watch, driver, stream, client
        gc.collect()
        show("closed", lambda: descriptors > len(os.listdir("/proc/self/fd")))
    """,
        short_path,
    )
    assert said == {"closed": "True"}
