"""``extframe graph``, on real sockets and files. Mermaid and SVG were looked at in a browser; here they are parsed."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from faultserver import answer
from packages import install

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def system(add, speaks, leave_dead_socket, short_path, tmp_path, monkeypatch):
    """Plugins in all states, and a package that is broken."""
    add("photos", speaks("VolumeDriver", "authz"))
    add("weave", speaks("Backup"))
    leave_dead_socket("old")
    source = "import extframe\n\n\n@extframe.hookimpl\ndef volume_driver(name, client):\n    pass\n"
    install(tmp_path, "acme-volumes", module="acme_volumes", source=source, entry_points={"acme": "acme_volumes"})
    install(
        tmp_path,
        "acme-broken",
        module="acme_broken",
        source="raise OSError('<no> disk')",
        entry_points={"broken": "acme_broken"},
    )
    monkeypatch.syspath_prepend(tmp_path)
    return short_path


def test_the_tree_has_plugins_with_states_and_who_handles_what(run, system):
    result = run("graph", "--dir", system, "--timeout", "30", "-o", "text")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == str(system)
    assert lines[1] == "├── old  failed: Connection refused: nothing listens there; is the plugin running?"
    assert lines[2:6] == [
        "├── photos  active",
        "│   ├── VolumeDriver: " + lines[3].partition(": ")[2],
        "│   └── authz: " + lines[4].partition(": ")[2],
        "└── weave  active",
    ]
    assert "acme (acme-volumes 1.0)" in lines[3]
    assert "extframe.volume_driver (extframe " in lines[3]
    assert lines[6:] == [
        "    └── Backup: no handler",
        "",
        "handlers without a plugin",
        "└── broken  failed: OSError: <no> disk",
    ]


def test_a_terminal_gets_the_tree_with_failures_in_red(on_terminal, add, leave_dead_socket, short_path):
    add("photos")
    leave_dead_socket("old")
    shown = on_terminal("graph", "--dir", short_path, "--timeout", "30", COLUMNS="60")
    assert re.search("\x1b\\[31m├── old  failed: Connection refused.*\\.\\.\\.\x1b\\[0m\n", shown)
    assert "\x1b[32m└── photos  active\x1b[0m\n" in shown
    assert max(len(re.sub("\x1b\\[[0-9]*m", "", line)) for line in shown.splitlines()) <= 60
    assert "|-- old" in on_terminal("graph", "--dir", short_path, COLUMNS="60", PYTHONIOENCODING="ascii", TERM="dumb")


def test_a_pipe_gets_mermaid(run, system):
    lines = run("graph", "--dir", system, "--timeout", "30").stdout.splitlines()
    assert lines[0] == "flowchart LR"
    ids = {name: node for node, name in re.findall(r'^    (\w+)\W+"([^<"]+)', "\n".join(lines), re.MULTILINE)}
    for source, target in [(str(system), "photos"), ("photos", "VolumeDriver"), ("VolumeDriver", "acme")]:
        assert f"  {ids[source]} --> {ids[target]}" in lines
    assert f"  class {ids['broken']},{ids['old']} failed" in lines
    edges = [line for line in lines if "-->" in line]
    failed = edges.index(f"  {ids[str(system)]} --> {ids['old']}")
    assert f"  linkStyle {failed} stroke:#c62828" in lines
    assert f"  class {ids['Backup']} quiet" in lines


def test_the_picture_is_svg_with_failures_in_red(run, system):
    picture = ElementTree.fromstring(run("graph", "--dir", system, "--timeout", "30", "-o", "svg").stdout)
    groups = {group.find(f"{SVG}title").text.split("\n")[0]: group for group in picture.iter(f"{SVG}g")}
    assert {name for name, group in groups.items() if group.get("class") == "failed"} == {"old", "broken"}
    assert groups["photos"].get("class") == "active"
    assert "".join(groups["broken"].find(f"{SVG}title").itertext()) == "broken\nfailed\nOSError: <no> disk"
    graph = json.loads(run("graph", "--dir", system, "--timeout", "30", "-o", "json").stdout)
    failed = {node["id"] for node in graph["nodes"] if node["state"] == "failed"}
    assert len([path for path in picture.iter(f"{SVG}path") if path.get("class")]) == 1
    assert len(list(picture.iter(f"{SVG}path"))) == len(graph["edges"])
    assert len([edge for edge in graph["edges"] if failed & {*edge}]) == 1
    boxes = [
        {key: float(rect.get(key)) for key in ("x", "y", "width", "height")} for rect in picture.iter(f"{SVG}rect")
    ]
    for number, one in enumerate(boxes):
        assert one["x"] + one["width"] <= float(picture.get("width"))
        for two in boxes[:number]:
            assert one["x"] != two["x"] or one["y"] + one["height"] <= two["y"] or two["y"] + two["height"] <= one["y"]


@pytest.mark.parametrize("output", ["text", "mermaid", "svg"])
def test_words_of_a_plugin_are_shown_as_they_are(run, add, speaks, output, short_path):
    add("hostile", speaks('"]; click x "y"', "<script>", "\x1b[31mred", "#35;", "`tick`", "$$x$$"))
    add("busy", answer(b"\x1b]0;title\x07 <b>oops", status="500 Internal Server Error"))
    shown = run("graph", "--dir", short_path, "-o", output).stdout
    assert not [each for each in shown if not each.isprintable() and each != "\n"]
    if output == "svg":
        texts = ["".join(each.itertext()) for each in ElementTree.fromstring(shown).iter(f"{SVG}text")]
        assert {'"]; click x "y" (no handler)', "<script> (no handler)", "$$x$$ (no handler)"} <= {*texts}
    if output == "mermaid":
        labels = re.findall(r'"([^"]*)"', shown)
        assert [line.count('"') for line in shown.splitlines() if '"' in line] == [2] * len(labels)
        assert "&quot;]; click x &quot;y&quot;<br/>no handler" in "".join(labels)
        assert not re.search("[`$]|#[0-9]+;|<(?!br/>)", "".join(labels))


def test_without_contact_no_connection_is_opened(run, add, short_path):
    server = add("photos")
    assert "photos  new" in run("graph", "--no-contact", "--dir", short_path, "-o", "text").stdout
    assert server.connections == 0


def test_directories_that_are_missing_or_cannot_be_read_are_shown(run, short_path):
    missing = run("graph", "--dir", short_path / "gone", "-o", "text")
    assert (missing.exit_code, missing.stdout.splitlines()[0]) == (0, f"{short_path}/gone  no such directory")
    (short_path / "loop").symlink_to("loop")
    unreadable = run("graph", "--dir", short_path / "loop", "-o", "text")
    assert unreadable.exit_code == 1
    assert unreadable.stdout.splitlines()[0] == f"{short_path}/loop  failed: too many levels of symbolic links"
