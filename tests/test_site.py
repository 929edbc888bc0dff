"""The site of the documentation, in a browser without network: pages load, search finds, diagrams are drawn."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parent.parent

pytest.importorskip("mkdocs", reason="mkdocs is not installed; tox -e docs installs it")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; tox -e docs installs it")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    directory = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", directory],
        cwd=CHECKOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return directory


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium, which is not on this machine; .ci/run says which package brings it")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that fails the test if it logs an error or asks another server for something."""
    page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
    page.set_default_timeout(180_000)  # milliseconds: a loaded machine's
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else faults.append(request.url))
    page.on("response", lambda response: faults.append(response.url) if response.status >= 400 else None)
    yield page
    page.close()
    assert faults == []


def test_every_page_loads_and_its_links_lead_to_pages_and_headings(built, page):
    names = sorted(path.name for path in built.glob("*.html") if path.name != "404.html")
    assert "index.html" in names
    headings = {}
    links = set()
    for name in names:
        page.goto(f"/{name}")
        assert page.locator("h1").count() == 1, name
        headings[name] = set(page.eval_on_selector_all("[id]", "all => all.map(one => one.id)"))
        links |= set(page.eval_on_selector_all("article a[href]", "all => all.map(one => one.href)"))
    root = page.url.rpartition("/")[0] + "/"
    targets = {tuple(link.removeprefix(root).split("#")) for link in links if link.startswith(root)}
    assert sorted(name for name, *_ in targets if not (built / (name or "index.html")).is_file()) == []
    assert sorted(target for target in targets if target[1:] and target[1] not in headings[target[0]]) == []


def test_search_finds_the_terms_of_the_field(page):
    page.goto("/index.html")
    for term in ("circuit breaker", "backoff", "graceful shutdown"):
        field = page.locator("input.md-search__input")
        field.fill("")
        field.press_sequentially(term)
        page.locator(".md-search-result__item", has_text=re.compile(term, re.IGNORECASE)).first.wait_for()


def test_the_diagram_is_drawn(page):
    page.goto("/architecture.html")
    page.locator("div.mermaid").first.wait_for()
    box = page.locator("div.mermaid").first.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > 200  # an error message of Mermaid's is smaller


def test_the_colours_can_be_changed(page):
    page.goto("/index.html")
    schemes = set()
    for _ in range(2):
        schemes.add(page.locator("body").get_attribute("data-md-color-scheme"))
        page.locator("form.md-header__option label:visible").click()
    assert schemes == {"default", "slate"}
