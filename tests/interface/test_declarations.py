"""Interfaces: declared once; a proxy on the host's side, a table of methods on the plugin's."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import threading
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import pytest
from scripted_client import ScriptedClient

from extframe.errors import ProtocolError, RemoteError
from extframe.interface import Interface, declaration, declarations, implements, methods, routes
from extframe.interface.drivers import check_driver
from extframe.interface.markers import StreamCodec, rpc


def unpack_lines(stream: BinaryIO) -> Iterator[str]:
    for line in stream:
        if not line.endswith(b"\n"):
            raise ProtocolError("the stream ends inside a line")
        yield line[:-1].decode()


LINES = StreamCodec(unpack=unpack_lines, pack=lambda line: line.encode() + b"\n")


class Backup(Interface, implements="backup", prefix="BackupPlugin"):
    """Backups that the plugin keeps."""

    @rpc("Start", returns="JobID", timeout=5.0)
    def start(self, path: str, level: int = 0) -> str:
        """Start a backup and return its job."""
        raise NotImplementedError

    @rpc("State", returns="State", idempotent=True, optional=True, fallback=lambda error: f"unknown: {error.message}")
    def state(self, job: str) -> str:
        """Return how far a job is."""
        raise NotImplementedError

    @rpc("Log", stream=LINES)
    def log(self, job: str) -> Iterator[str]:
        """Return the lines of a job's log."""
        raise NotImplementedError


class Restore(Interface, implements="Restore"):
    @rpc("Run")
    def run(self, job: str) -> None:
        raise NotImplementedError


class Disk(Backup):
    def start(self, path: str, level: int = 0) -> str:
        return f"{path}@{level}"


# --- declaring ----------------------------------------------------------------------------------------


def test_a_declaration_knows_the_extension_point_its_prefix_and_its_methods():
    found = declaration(Backup)
    assert (found.interface, found.implements, found.prefix) == (Backup, "backup", "BackupPlugin")
    assert [(each.name, each.wire) for each in found.methods] == [
        ("start", "BackupPlugin.Start"),
        ("state", "BackupPlugin.State"),
        ("log", "BackupPlugin.Log"),
    ]


def test_the_prefix_is_the_extension_point_where_nothing_else_is_said():
    assert declaration(Restore).methods[0].wire == "Restore.Run"


def test_a_driver_has_the_declaration_of_its_interface():
    assert declarations(Disk()) == declarations(Disk) == declarations(Backup)


def test_an_interface_can_extend_another():
    class Backup2(Backup, implements="Backup2"):
        @rpc("Verify")
        def verify(self) -> None:
            raise NotImplementedError

    assert [each.wire for each in declaration(Backup2).methods] == [
        "Backup2.Start",
        "Backup2.State",
        "Backup2.Log",
        "Backup2.Verify",
    ]
    assert len(declaration(Backup).methods) == 3


def test_a_driver_may_implement_several_interfaces():
    class Both(Disk, Restore):
        pass

    assert [each.implements for each in declarations(Both())] == ["backup", "Restore"]
    with pytest.raises(TypeError, match="Backup and Restore"):
        declaration(Both)


def test_an_object_that_is_not_a_driver_is_a_type_error_that_says_how_to_make_one():
    for thing in (object(), Interface, 5):
        with pytest.raises(
            TypeError,
            match=r"is not a driver: subclass an Interface or an AsyncInterface, or decorate an",
        ):
            declarations(thing)


@pytest.mark.parametrize("word", ["", "two words", "a/b", "a\n", "\x1b[2J", "Größe", 1])
@pytest.mark.parametrize("key", ["implements", "prefix"])
def test_a_name_that_is_invalid_in_a_call_is_refused_at_declaration(key, word):
    words = re.escape(f"Wrong: {key} is {word!r}; expected one ASCII word without a slash")
    with pytest.raises(TypeError, match=words):
        type("Wrong", (Interface,), {}, **{"implements": "Backup", key: word})
    with pytest.raises(TypeError, match=f"Wrong: {key} is "):
        type("Wrong", (Backup,), {}, **{key: word})


@pytest.mark.parametrize("wrap", [property, functools.cached_property, functools.partialmethod])
def test_rpc_on_a_property_is_refused(wrap):
    @rpc("Size", returns="Size")
    def size(self) -> int:
        raise NotImplementedError

    with pytest.raises(TypeError, match=f"Store.size: @rpc declares a method; remove {wrap.__name__} from it"):
        type("Store", (Interface,), {"size": wrap(size)}, implements="Store")
    with pytest.raises(TypeError, match=r"@rpc\('Size'\) decorates a method, not a property"):
        rpc("Size")(property(size))


def test_an_interface_says_which_extension_point_it_is():
    with pytest.raises(TypeError, match=r'Nameless: .*implements="\.\.\."'):

        class Nameless(Interface):
            @rpc("Run")
            def run(self) -> None: ...


@pytest.mark.parametrize("name", ["remote", "_run", "__init__"])
def test_a_method_cannot_have_a_name_that_every_interface_has(name):
    def run(self) -> None: ...

    run.__name__ = name
    with pytest.raises(TypeError, match=f"Taken.{name}: the name is reserved"):
        type("Taken", (Interface,), {name: rpc("Run")(run)}, implements="Taken")


def test_two_methods_cannot_share_a_wire_name():
    with pytest.raises(TypeError, match=r"Twice: run and walk have the same wire name, Twice\.Run"):

        class Twice(Interface, implements="Twice"):
            @rpc("Run")
            def run(self) -> None: ...

            @rpc("Run")
            def walk(self) -> None: ...


def test_two_interfaces_with_a_method_of_the_same_name_cannot_share_a_driver():
    class Other(Interface, implements="Other"):
        @rpc("Run")
        def run(self) -> None: ...

    with pytest.raises(TypeError, match="Restore and Other both have a method 'run'"):
        type("Both", (Restore, Other), {})
    with pytest.raises(TypeError, match="Restore and Other both have a method 'run'"):
        implements(Restore, Other)


def test_an_interface_extends_one_other_only():
    with pytest.raises(TypeError, match="extends one other interface, not Backup and Restore"):
        type("Both", (Backup, Restore), {}, implements="Both")


# --- the host's side ----------------------------------------------------------------------------------


def test_a_proxy_is_an_instance_of_its_interface_and_names_its_plugin():
    driver = Backup.remote(ScriptedClient())
    assert isinstance(driver, Backup)
    assert repr(driver) == "<Backup of plugin 'scripted'>"


def test_a_proxy_of_a_client_without_a_plugin_name_shows_the_address_or_else_the_client():
    client = ScriptedClient()
    client.plugin = None
    assert repr(Backup.remote(client)) == "<Backup of unix:///scripted.sock>"
    client.address = None
    assert repr(client) in repr(Backup.remote(client))


def test_a_subclass_of_an_interface_keeps_what_it_overrides_and_super_reaches_the_plugin():
    class Audited(Backup):
        def start(self, path, *args):
            return "audited " + super().start(path, *args)

    client = ScriptedClient({"JobID": "7"})
    driver = Audited.remote(client)
    assert driver.start("/etc") == "audited 7"
    assert isinstance(driver, Audited)
    assert "Audited of plugin 'scripted'" in repr(driver)
    assert [call.method for call in client.calls] == ["BackupPlugin.Start"]


def test_a_proxy_has_nothing_public_but_the_methods():
    public = {name for name in dir(Backup.remote(ScriptedClient())) if not name.startswith("_")}
    assert public == {"remote", "start", "state", "log"}


def test_the_methods_of_a_proxy_are_functions_that_are_made_once():
    one, other = Backup.remote(ScriptedClient()), Backup.remote(ScriptedClient())
    assert type(one) is type(other)
    assert inspect.isfunction(type(one).start)
    assert type(one).start.__qualname__ == "Backup.start"
    assert inspect.signature(one.start) == inspect.signature(Disk().start)
    assert inspect.getdoc(one.start) == "Start a backup and return its job."


def test_the_class_of_a_proxy_makes_proxies_for_other_clients():
    class Audited(Backup):
        pass

    for interface in (Backup, Audited):
        other = ScriptedClient({"JobID": "8"})
        driver = type(interface.remote(ScriptedClient())).remote(other)
        assert driver.start("/home") == "8"
        assert isinstance(driver, interface)


def test_concurrent_threads_share_one_proxy_class():
    class Fresh(Backup):
        pass

    barrier, seen = threading.Barrier(8), set()

    def make() -> None:
        barrier.wait()
        seen.add(type(Fresh.remote(ScriptedClient())))

    threads = [threading.Thread(target=make) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(seen) == 1


def test_a_call_sends_the_request_and_returns_the_result():
    client = ScriptedClient({"JobID": "7"})
    assert Backup.remote(client).start("/home", level=2) == "7"
    assert (client.last.method, client.last.arguments) == ("BackupPlugin.Start", {"Path": "/home", "Level": 2})


def test_a_call_has_the_deadline_and_the_idempotence_of_its_declaration():
    client = ScriptedClient()
    driver = Backup.remote(client)
    driver.start("/home")
    driver.state("7")
    assert [(call.timeout, call.idempotent) for call in client.calls] == [(5.0, False), (None, True)]


def test_a_proxy_can_have_its_own_deadline():
    client = ScriptedClient({}, {}, b"")
    driver = Backup.remote(client, timeout=0.5)
    driver.start("/home")
    driver.state("7")
    list(driver.log("7"))
    assert [call.timeout for call in client.calls] == [0.5, 0.5, 0.5]


def test_wrong_arguments_send_nothing():
    client = ScriptedClient()
    with pytest.raises(TypeError, match=r"Backup\.start\(\)"):
        Backup.remote(client).start()
    assert client.calls == []


@pytest.mark.parametrize(("reply", "error"), [({"Err": "no room"}, RemoteError), ({"JobID": 5}, ProtocolError)])
def test_an_error_names_plugin_method_and_address(reply, error):
    with pytest.raises(error) as caught:
        Backup.remote(ScriptedClient(reply)).start("/home")
    raised = caught.value
    assert (raised.plugin, raised.method, raised.address) == ("scripted", "BackupPlugin.Start", "unix:///scripted.sock")
    assert str(raised).startswith("BackupPlugin.Start on plugin 'scripted' at unix:///scripted.sock: ")


def test_an_error_that_the_client_raised_is_unchanged():
    client = ScriptedClient({"Err": "no room"}, status=500)
    with pytest.raises(RemoteError) as caught:
        Backup.remote(client).start("/home")
    assert (caught.value.message, caught.value.status, caught.value.plugin) == ("no room", 500, "scripted")


@pytest.mark.parametrize(
    ("reply", "status", "words"), [({"Err": "x"}, 500, "x"), ({"Err": "x"}, 200, "x"), ([], 200, "Exp")]
)
def test_a_fallback_is_given_the_error_and_gives_the_result(reply, status, words):
    assert Backup.remote(ScriptedClient(reply, status=status)).state("7").startswith(f"unknown: {words}")


def test_a_stream_is_read_record_by_record():
    client = ScriptedClient(b"one\ntwo\n")
    records = Backup.remote(client).log("7")
    assert (client.last.method, client.last.arguments) == ("BackupPlugin.Log", {"Job": "7"})
    assert next(records) == "one"
    assert client.open_streams == 1
    assert list(records) == ["two"]
    assert client.open_streams == 0


@pytest.mark.parametrize("read", [0, 1])
def test_a_stream_can_be_closed_early(read):
    client = ScriptedClient(b"one\ntwo\n")
    records = Backup.remote(client).log("7")
    for _ in range(read):
        next(records)
    records.close()
    assert client.open_streams == 0


def test_a_call_raises_the_errors_of_opening_its_stream_and_later_errors_have_context():
    with pytest.raises(RemoteError, match="no such job"):
        Backup.remote(ScriptedClient(b'{"Err":"no such job"}', status=500)).log("7")
    records = Backup.remote(ScriptedClient(b"one\ntw")).log("7")
    assert next(records) == "one"
    with pytest.raises(ProtocolError, match=r"BackupPlugin\.Log on plugin 'scripted'.*inside a line"):
        next(records)


# --- the plugin's side --------------------------------------------------------------------------------


def test_routes_map_wire_names_to_the_methods_that_a_driver_overrides():
    table = routes(Disk())
    assert list(table) == ["BackupPlugin.Start"]
    method, function = table["BackupPlugin.Start"]
    arguments = method.decode_request(b'{"path":"/home"}')
    assert method.encode_reply(function(**arguments)) == b'{"JobID":"/home@0"}\n'


def test_several_drivers_share_one_table():
    class Undo(Restore):
        def run(self, job: str) -> None:
            pass

    assert list(routes(Disk(), Undo())) == ["BackupPlugin.Start", "Restore.Run"]


def test_two_drivers_of_one_extension_point_are_refused():
    with pytest.raises(TypeError, match=r"another driver already answers BackupPlugin\.Start"):
        routes(Disk(), Disk())


@implements(Backup)
class AsyncDisk:
    async def start(self, path: str, level: int = 0, hint: str = "") -> str:
        return f"{path}@{level}"

    async def log(self, **arguments: str) -> None:
        pass


def test_an_async_driver_is_a_plain_class_under_implements():
    assert [each.implements for each in declarations(AsyncDisk)] == ["backup"]
    assert list(routes(AsyncDisk())) == ["BackupPlugin.Start", "BackupPlugin.Log"]


def test_a_driver_with_mismatches_cannot_be_served_and_the_error_lists_all_of_them():
    @implements(Backup)
    class Wrong:
        async def start(self, folder: str, level: int = 0) -> str: ...

        async def state(self, job: str, *, since: int) -> str: ...

    with pytest.raises(TypeError) as caught:
        check_driver(Wrong())
    assert str(caught.value) == (
        "Wrong cannot be served: start does not take 'path'; start requires 'folder', which is not in the request; "
        "state requires 'since', which is not in the request; log is missing"
    )


def test_an_optional_method_may_be_missing():
    check_driver(AsyncDisk())


def test_nothing_is_resolved_per_call(monkeypatch):
    def resolve(*_: object, **__: object) -> None:
        raise AssertionError("resolved in a call")

    careless = ScriptedClient({"jobid": "7", "New": 1})
    exact = ScriptedClient({"JobID": "7"})
    served = routes(Disk())["BackupPlugin.Start"][0]

    def call() -> None:
        assert Backup.remote(careless).start("/home") == Backup.remote(exact).start("/home", level=1) == "7"
        assert served.encode_reply("7")
        assert served.decode_request(b'{"path":"/home"}')

    call()
    for module, name in ((msgspec.structs, "fields"), (methods, "get_type_hints"), (inspect, "signature")):
        monkeypatch.setattr(module, name, resolve)
    call()


def test_a_function_in_c_without_a_signature_is_accepted():
    class Printed(Backup):
        pass

    for method in declaration(Backup).methods:
        setattr(Printed, method.name, max)  # has no signature that inspect could find
    check_driver(Printed())
