"""docs/extension-points.md, run as it is printed: declared, served, discovered, activated and called."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

import extframe
from extframe.interface import declaration, routes
from extframe.server import serving

PAGE = Path(__file__).parent.parent / "docs" / "extension-points.md"
DECLARE, USE, WRITE, WRITE_ASYNC, BINARY, STREAM = re.findall(
    r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
)


@pytest.fixture
def page() -> ModuleType:
    module = ModuleType("page")
    for block in (DECLARE, WRITE, WRITE_ASYNC, BINARY, STREAM):
        exec(block, vars(module))
    return module


def test_the_example_is_a_dozen_lines_and_nobody_at_extframe_foresaw_it():
    code = [line for line in DECLARE.splitlines() if line.strip()]
    assert len(code) <= 12
    assert "Translator" not in "".join(path.read_text() for path in Path(extframe.__file__).parent.rglob("*.py"))


def test_the_page_says_truly_what_is_sent_and_answered(page):
    method = declaration(page.Translator).methods[0]
    assert msgspec.json.encode(method.encode_arguments("Hallo")).decode() in PAGE.read_text()
    assert method.encode_reply(page.Translation(text="Hello", confidence=0.9)).decode().strip() in PAGE.read_text()
    assert method.rpc.timeout == 10.0


def test_a_host_finds_activates_and_calls_the_plugin(page, short_path, monkeypatch, capsys):
    monkeypatch.setattr(extframe.LocalRegistry, "for_app", lambda app: extframe.LocalRegistry(short_path, [short_path]))
    with serving(page.Dictionary(), name="dictionary", directory=short_path):
        exec(USE, vars(page))
        assert capsys.readouterr().out == "Hello\n"
        assert isinstance(page.translator, page.Translator)
        assert page.manager.get("dictionary").manifest.implements == ("Translator",)
        with pytest.raises(extframe.RemoteError, match="no dictionary for fr"):
            page.translator.translate("Hallo", "fr")
        page.manager.close()


def test_an_async_plugin_answers_the_same_calls(page):
    method, function = routes(page.SlowDictionary())["Translator.Translate"]
    result = asyncio.run(function(**method.decode_request(b'{"text":"hallo"}')))
    assert method.encode_reply(result) == b'{"Translation":{"Text":"HALLO","Confidence":0.0}}\n'


def test_binary_values_arrive_as_they_were_sent(page):
    class Smaller(page.Thumbnailer):
        def create(self, image: bytes, width: int = 64):
            return page.Thumbnail(image=image[:width])

    with serving(Smaller()) as plugin, extframe.Client(plugin.address) as client:
        driver = page.Thumbnailer.remote(client)
        assert driver.create(bytes(range(256)), width=200) == page.Thumbnail(image=bytes(range(200)))
        with pytest.raises(TypeError, match=r"create\(\): image: expected bytes, got str"):
            driver.create("not bytes")


def test_a_stream_ends_with_the_words_of_the_page(page):
    with serving(page.Echo()) as plugin, extframe.Client(plugin.address) as client:
        tokens = page.Model.remote(client).generate("What is it?")
        assert [next(tokens).text for _ in range(3)] == ["What", "is", "it?"]
        with pytest.raises(extframe.RemoteError, match="no answer"):
            next(tokens)
        assert len(client.call("Model.Generate", {"Prompt": "What"}, reply=msgspec.Raw)) == len('{"Text":"What"}\n')
