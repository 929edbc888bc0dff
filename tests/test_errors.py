"""The error tree: who is caught by what, what the text says, and that errors survive pickling."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from extframe import Client, LocalRegistry, Plugin, PluginManager, PluginSpec, VolumeDriver, errors
from extframe.errors import (
    ActivationError,
    ActivationVetoed,
    CallTimeout,
    ConnectError,
    ExtframeError,
    HandlerError,
    PluginNotFound,
    PluginsMissing,
    PluginUnavailable,
    RemoteError,
    SpecError,
    TransportError,
)

PARENTS = {
    "PluginNotFound": {LookupError},
    "PluginBlocked": {PluginNotFound, LookupError},
    "SpecError": {ValueError},
    "DoesNotImplement": set(),
    "ActivationError": set(),
    "HandlerError": set(),
    "ActivationVetoed": {ActivationError},
    "PluginsMissing": set(),
    "TransportError": {OSError},
    "ConnectError": {TransportError, OSError},
    "ConnectionLost": {TransportError, OSError},
    "PluginUnavailable": {ConnectError, TransportError, OSError},
    "CallTimeout": {TransportError, OSError, TimeoutError},
    "ProtocolError": {TransportError, OSError},
    "RemoteError": set(),
}
WHO = {"plugin": "rclone", "method": "VolumeDriver.Mount", "address": "unix:///p.sock"}
FULL = {
    SpecError: {"source": "/etc/docker/plugins/rclone.json", "remedy": "chmod a+r /etc/docker/plugins/rclone.json"},
    HandlerError: {"handler": "volumes", "distribution": "extframe-rclone", "version": "1.2"},
    ActivationVetoed: {"handler": "policy", "distribution": "acme-policy", "version": "1.2"},
    CallTimeout: {"timeout": 1.5, "phase": "connecting"},
    PluginUnavailable: {"retry_after": 1.5},
    RemoteError: {"status": 500},
    PluginsMissing: {"failures": {}},
}
PUBLIC = [getattr(errors, name) for name in PARENTS]


def full(cls: type[ExtframeError]) -> ExtframeError:
    return cls("it broke", **WHO, **FULL.get(cls, {}))


def test_the_tree_has_exactly_the_documented_branches():
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    defined = {cls.__name__ for cls in classes if not cls.__name__.startswith("_")}
    assert defined == {"ExtframeError", "PluginLoadWarning", *PARENTS}


@pytest.mark.parametrize("cls", PUBLIC)
def test_an_error_is_caught_by_the_root_and_by_what_python_calls_it(cls):
    builtin_or_tree = {parent for parent in cls.__mro__ if not parent.__name__.startswith("_")}
    assert builtin_or_tree == {cls, ExtframeError, *PARENTS[cls.__name__], Exception, BaseException, object}


@pytest.mark.parametrize("cls", [ExtframeError, *PUBLIC])
def test_an_error_can_be_made_with_nothing_and_then_knows_nothing(cls):
    bare = cls()
    assert (bare.message, bare.plugin, bare.method, bare.address, str(bare)) == ("", None, None, None, "")


@pytest.mark.parametrize("cls", [ExtframeError, *PUBLIC])
@pytest.mark.parametrize("duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_pickling_and_copying_with_all_it_knows(cls, duplicate):
    original = full(cls)
    twin = duplicate(original)
    assert type(twin) is cls
    assert (vars(twin), twin.args, str(twin)) == (vars(original), original.args, str(original))
    assert vars(twin) == {"message": "it broke", **WHO, **FULL.get(cls, {})}


@pytest.mark.parametrize("cls", [cls for cls in PUBLIC if issubclass(cls, TransportError)])
@pytest.mark.parametrize(
    ("who", "text"),
    [
        ({}, "it broke"),
        ({"plugin": "rclone"}, "plugin 'rclone': it broke"),
        ({"address": "tcp://h:1"}, "tcp://h:1: it broke"),
        ({"method": "A.B"}, "A.B: it broke"),
        (WHO, "VolumeDriver.Mount on plugin 'rclone' at unix:///p.sock: it broke"),
    ],
)
def test_a_call_error_says_which_call_on_which_plugin(cls, who, text):
    assert str(cls("it broke", **who)) == text


@pytest.mark.parametrize(
    ("status", "text"),
    [(500, "A.B: no such volume (status 500)"), (200, "A.B: no such volume"), (0, "A.B: no such volume")],
)
def test_a_remote_error_gives_the_plugins_words_and_a_status_that_says_something(status, text):
    assert str(RemoteError("no such volume", method="A.B", status=status)) == text


@pytest.mark.parametrize(("status", "not_found"), [(404, True), (500, False), (200, False)])
def test_not_found_is_status_404(status, not_found):
    assert RemoteError("x", status=status).not_found is not_found


def test_a_transport_error_is_no_os_error_with_a_number():
    assert (full(TransportError).errno, full(TransportError).strerror) == (None, None)


# --- what cannot be pickled ---------------------------------------------------------------------------


def test_what_belongs_to_a_process_is_not_pickled_and_says_what_to_send_instead(tmp_path):
    with PluginManager(LocalRegistry(tmp_path), groups=()) as pm, Client("unix:///p.sock", plugin="p") as client:
        plugin = Plugin(PluginSpec("p", "unix:///p.sock"))
        for value, words in {
            client: "send its address, 'unix:///p.sock', and create the Client there",
            VolumeDriver.remote(client): "create the driver there: VolumeDriver.remote(Client(address))",
            plugin: "send its name, 'p', and get it from a plugin manager there",
            pm: "threads may share it, and another process creates its own PluginManager with the same arguments",
        }.items():
            with pytest.raises(TypeError, match=re.escape(words)):
                pickle.dumps(value)
        plugin.close()
