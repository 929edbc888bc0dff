"""The words of others: fit to be shown, and there even where an exception cannot say what it is."""

from __future__ import annotations

import logging
import textwrap
import traceback

import msgspec
import pytest
from faultserver import FaultServer, answer, answer_with, reply
from lab import SyncLab
from wire import post

from extframe import (
    ActivationError,
    Client,
    Failure,
    HandlerError,
    Interface,
    LocalRegistry,
    PluginManager,
    ProtocolError,
    RemoteError,
    rpc,
)
from extframe.interface import declaration
from extframe.logs import get_logger
from extframe.server import serving
from extframe.subsystems.authz import Authz, AuthzChain, AuthzRequest, AuthzResponse
from extframe.text import printable, text_of

RAISED = "(its text is not available: __str__ raised ZeroDivisionError)"


class Unspeakable(ValueError):
    def __str__(self) -> str:
        return str(1 // 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("as it is, ü", "as it is, ü"), ("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("\udcff\u202e", r"\udcff\u202e")],
)
def test_what_does_not_print_is_written_as_an_escape(text, shown):
    assert printable(text) == shown


def test_an_exception_that_cannot_say_what_it_is_still_has_words():
    assert text_of(ValueError("why")) == "why"
    assert text_of(Unspeakable()) == RAISED


def test_a_failure_can_be_shown_whatever_its_exception_does():
    assert str(Failure("handler 'backup'", Unspeakable())) == f"handler 'backup': Unspeakable: {RAISED}"


def test_a_check_whose_error_has_no_words_is_a_protocol_error_at_its_place():
    def check(result: object) -> object:
        raise Unspeakable

    class Backup(Interface, implements="Backup"):
        @rpc("Start", returns="Job", check=check)
        def start(self) -> str:
            raise NotImplementedError

    (method,) = declaration(Backup).methods
    with pytest.raises(ProtocolError, match="__str__ raised ZeroDivisionError.* - at `.*Job`"):
        method.decode_reply(b'{"Job": "1"}')
    with pytest.raises(TypeError, match="__str__ raised ZeroDivisionError"):
        method.encode_reply("1")


@pytest.mark.parametrize(("base", "status"), [(Exception, 500), (NotImplementedError, 404)])
def test_a_driver_whose_exception_has_no_words_is_answered_for(base, status):
    kind = type("Mute", (base,), {"__str__": Unspeakable.__str__})

    def work() -> None:
        raise kind

    with serving(SyncLab(work)) as plugin:
        answer = post(plugin.address, "Lab.Work", {})
    assert (answer.status, answer.json["Err"]) == (status, RAISED)


def test_an_authorization_plugin_whose_error_has_no_words_denies(caplog):
    class Broken(Authz):
        def authz_req(self, **request: object) -> AuthzResponse:
            raise Unspeakable

    verdict = AuthzChain({"broken": Broken()}).check_request(AuthzRequest(request_uri="/info"))
    assert not verdict.allow
    assert RAISED in verdict.msg + verdict.err
    assert RAISED in caplog.text


def test_a_handler_whose_exception_has_no_words_is_told_and_logged(short_path, caplog):
    def handler(name: str, client: Client) -> None:
        raise Unspeakable

    registry = LocalRegistry(short_path, [short_path])
    server = FaultServer(answer(b'{"Implements": ["VolumeDriver"]}'), path=str(short_path / "p.sock"))
    with server, PluginManager(registry, groups=()) as pm:
        pm.handle("VolumeDriver", handler)
        assert pm.get("p").name == "p"
        with pytest.raises(HandlerError, match="__str__ raised ZeroDivisionError"):
            pm.get("p", "VolumeDriver")
        assert [RAISED in str(failure) for failure in pm.failures()] == [True]
    assert RAISED in caplog.text


# --- in the log ---------------------------------------------------------------------------------------


def written(caplog, *arguments: object, **options: object) -> logging.LogRecord:
    get_logger("extframe.test").warning(*arguments, **options)
    return caplog.records[-1]


def test_what_does_not_print_is_no_part_of_a_log_line(caplog):
    record = written(caplog, "plugin %r implements %s", "p", "Volume\x1b[2J\nERROR all is lost")
    assert record.getMessage() == r"plugin 'p' implements Volume\x1b[2J\nERROR all is lost"


def test_a_record_in_which_all_prints_keeps_its_arguments_for_whoever_sorts_by_them(caplog):
    record = written(caplog, "plugin %r", "p", exc_info=ValueError("why"))
    assert (record.msg, record.args, record.exc_info[0]) == ("plugin %r", ("p",), ValueError)


def test_a_traceback_in_the_log_has_no_control_characters_of_a_plugin(caplog):
    error = ValueError("\x1b]0;title\x07")
    record = written(caplog, "failed", exc_info=error)
    shown = "".join(traceback.format_exception(error)).rstrip().replace("\x1b", r"\x1b").replace("\x07", r"\x07")
    assert logging.Formatter().format(record) == "failed\n" + textwrap.indent(shown, "    ")


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


FORGED = "no\nERROR all is lost\r\nERROR all\x85ERROR all\u2028ERROR all\vERROR all\fERROR all"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(FORGED),
        RuntimeError("why", FORGED),
        RemoteError(FORGED, plugin=FORGED),
        chained(HandlerError("handler 'backup' failed"), RemoteError(FORGED)),
        chained(RuntimeError("why"), KeyError(FORGED)),
    ],
    ids=["foreign", "tuple", "error of a plugin", "cause", "foreign cause"],
)
def test_no_line_of_a_traceback_looks_like_a_line_of_the_log(caplog, error):
    caplog.handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    written(caplog, "failed", exc_info=error)
    first, *others = caplog.text.splitlines()
    assert first == "WARNING failed"
    assert others
    assert all(line.startswith("    ") for line in others)
    assert "\n" not in str(Failure("handler 'backup'", error))


def test_an_err_of_megabytes_is_cut_in_the_log_and_in_failures(short_path, caplog):
    body = msgspec.json.encode({"Err": "no\nERROR forged " * 600_000})
    scripted = {"/Plugin.Activate": b'{"Implements": ["VolumeDriver"]}'}
    large = FaultServer(answer(body, status="500 Error"), path=str(short_path / "large.sock"))
    later = FaultServer(
        answer_with(lambda request: reply(scripted.get(request.path, body))), path=str(short_path / "later.sock")
    )

    def calling(name: str, client: Client) -> None:
        client.call("VolumeDriver.List")

    def repeating(name: str, client: Client) -> None:
        try:
            client.call("VolumeDriver.List")
        except RemoteError as error:
            raise RuntimeError(error.message) from None

    with large, later, PluginManager(LocalRegistry(short_path, [short_path]), groups=()) as pm:
        pm.handle("VolumeDriver", calling)
        pm.handle("VolumeDriver", repeating)
        with pytest.raises(ActivationError):
            pm.get("large")
        pm.get("later")
        shown = [text for failure in pm.failures() for text in (str(failure), repr(failure))]
    assert len(shown) == 6
    assert max(map(len, shown)) < 10_000
    assert "\nERROR" not in caplog.text
    assert len(caplog.text) < 200_000
