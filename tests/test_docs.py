"""The documentation holds what it says: examples in docstrings run, links lead somewhere, Python blocks parse."""

from __future__ import annotations

import ast
import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import extframe

CHECKOUT = Path(__file__).parent.parent
DEPRECATED = {"extframe.messages"}  # aliases, which warn when they are imported
SUBMODULES = {module.name for module in pkgutil.walk_packages(extframe.__path__, "extframe.")}
MODULES = ["extframe", *sorted(SUBMODULES - DEPRECATED)]
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("examples/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
CODE_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def name_in_checkout(document: Path) -> str:
    return str(document.relative_to(CHECKOUT))


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_give_what_they_say(module):
    assert doctest.testmod(import_module(module)).failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_in_checkout)
def test_links_between_documents_lead_to_files(document):
    prose = CODE_BLOCK.sub("", document.read_text())
    links = [link for link in LINK.findall(prose) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_in_checkout)
def test_python_in_documents_parses(document):
    for block in PYTHON_BLOCK.findall(document.read_text()):
        if ">>>" not in block:
            ast.parse(block)


def test_every_public_name_has_an_entry_in_the_api_reference():
    entries = re.findall(r"^::: extframe\.(\w+)$", (CHECKOUT / "docs" / "api.md").read_text(), re.MULTILINE)
    entries.remove("testing")
    assert sorted(entries) == extframe.__all__, "docs/api.md: add or remove lines `::: extframe.NAME`"
