"""The reference page is what the declarations say, and they say something of each method, argument and field."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from every_method import DECLARATIONS, METHODS, MODULES, OWNERS

CHECKOUT = Path(__file__).parent.parent
maker = SimpleNamespace(**runpy.run_path(str(CHECKOUT / "docs" / "make_reference.py")))
MESSAGES = [message for found in DECLARATIONS for message in maker.messages(found)]


def test_the_reference_page_is_up_to_date():
    written = (CHECKOUT / "docs" / "reference.md").read_text()
    assert written == maker.reference(), "run: python docs/make_reference.py"


def test_all_extension_points_and_methods_are_in_the_reference():
    assert sorted(found.implements for found in DECLARATIONS) == [
        "IpamDriver",
        "LogDriver",
        "MetricsCollector",
        "NetworkDriver",
        "VolumeDriver",
        "authz",
        "secretprovider",
    ]
    assert all(f"### `{wire}`" in maker.reference() for wire in METHODS)


@pytest.mark.parametrize("found", DECLARATIONS, ids=lambda found: found.implements)
def test_every_interface_and_every_method_and_argument_of_it_is_documented(found):
    meanings = maker.argument_descriptions(found)
    assert maker.split_docstring(found.interface)[0]
    for method in found.methods:
        assert maker.split_docstring(method.function)[0], method
        assert method.signature.parameters.keys() <= meanings(method).keys(), method


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_every_message_and_every_field_of_it_is_documented(message):
    text, meanings = maker.split_docstring(message)
    assert text
    assert {field.name for field in msgspec.structs.fields(message)} == meanings.keys()


@pytest.mark.parametrize("wire", METHODS)
def test_every_method_has_a_test_of_its_own_beside_the_properties(wire):
    module = OWNERS[wire].__module__.rpartition(".")[2]
    tests = (CHECKOUT / "tests" / "subsystems" / f"test_{module}.py").read_text()
    assert f'"{METHODS[wire].name}"' in tests or f".{METHODS[wire].name}(" in tests


def test_every_module_says_first_what_it_does_not_know():
    for module in MODULES:
        assert " no " in module.__doc__
