"""A graph as an SVG picture of four columns. Knows nodes and edges only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from ..output import printable
from .model import KINDS, Graph, Node

_LETTER = 7.3  # pixels: the width of a character at 12 pixels
_LONGEST = 38  # characters of a line; the whole text is shown under the pointer
_LINE, _GAP, _MARGIN, _SPACE = 17, 14, 24, 90  # pixels: of a line, between boxes, around the picture, between columns

_TAG = '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}">'
_STYLE = """
svg { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace }
text { fill: #1b1f24 } .title { font-weight: bold; fill: #57606a } .line1 { fill: #57606a }
rect { fill: #f6f8fa; stroke: #8c959f } path { fill: none; stroke: #8c959f }
.active rect { stroke: #1a7f37 } .quiet rect { stroke-dasharray: 4 3 }
.failed rect { fill: #ffebe9; stroke: #cf222e } .failed text { fill: #a40e26 } path.failed { stroke: #cf222e }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #e6edf3 } .title, .line1 { fill: #9198a1 }
  rect { fill: #161b22; stroke: #6e7681 } path { stroke: #6e7681 } .active rect { stroke: #3fb950 }
  .failed rect { fill: #3c1618; stroke: #f85149 } .failed text { fill: #ffa198 } path.failed { stroke: #f85149 }
}
"""


class _Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    lines: Sequence[str]


def as_svg(graph: Graph) -> str:
    """Return the picture, from registries on the left to handlers on the right, for light and dark backgrounds."""
    boxes = _layout(graph)
    by_id = {node.id: node for node in graph.nodes}
    width = max((box.x + box.width for box in boxes.values()), default=200) + _MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=60) + _MARGIN
    parts = [
        _TAG.format(width=round(width), height=round(height)),
        "<title>Plugins and handlers</title>",
        f"<style>{_STYLE}</style>",
        *_titles(graph, boxes),
        *(_edge(boxes[source], boxes[target], by_id[source], by_id[target]) for source, target in graph.edges),
        *(_node(node, boxes[node.id]) for node in graph.nodes),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _layout(graph: Graph) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    x: float = _MARGIN
    for kind in KINDS:
        nodes = _ordered(graph, graph.of_kind(kind), boxes)
        y: float = _MARGIN + 2 * _LINE
        widest = len(KINDS[kind]) * _LETTER
        for node in nodes:
            lines = _text_lines(node)
            size = max(map(len, lines)) * _LETTER + 16, len(lines) * _LINE + 10
            boxes[node.id] = _Box(x, y, *size, lines)
            y += size[1] + _GAP
            widest = max(widest, size[0])
        x += widest + _SPACE if nodes else 0
    return boxes


def _ordered(graph: Graph, nodes: Sequence[Node], placed: Mapping[str, _Box]) -> list[Node]:
    """Return nodes in the order of those that lead to them, so that few edges cross."""

    def height(node: Node) -> float:
        above = [placed[source].y for source, target in graph.edges if target == node.id and source in placed]
        return sum(above) / len(above) if above else float("inf")

    return sorted(nodes, key=height)


def _text_lines(node: Node) -> list[str]:
    title = f"{node.name} ({node.state})" if node.state else node.name
    texts = map(printable, filter(None, [title, node.detail]))
    return [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..." for text in texts]


def _titles(graph: Graph, boxes: Mapping[str, _Box]) -> list[str]:
    columns = {kind: boxes[nodes[0].id].x for kind in KINDS if (nodes := graph.of_kind(kind))}
    return [
        f'<text class="title" x="{x:.0f}" y="{_MARGIN + _LINE}">{KINDS[kind]}</text>' for kind, x in columns.items()
    ]


def _edge(source: _Box, target: _Box, *nodes: Node) -> str:
    x1, y1 = source.x + source.width, source.y + source.height / 2
    x2, y2 = target.x, target.y + target.height / 2
    middle = (x1 + x2) / 2
    failed = ' class="failed"' if any(node.has_failed for node in nodes) else ""
    return f'<path{failed} d="M{x1:.0f} {y1:.0f} C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"/>'


def _node(node: Node, box: _Box) -> str:
    kind = "quiet" if node.is_quiet else node.state or "plain"
    whole = escape("\n".join(map(printable, filter(None, [node.name, node.state, node.detail]))))
    texts = "".join(
        f'<text class="line{number}" x="{box.x + 8:.0f}" y="{box.y + 18 + number * _LINE:.0f}">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    )
    frame = f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="6"/>'
    return f'<g class="{kind}"><title>{whole}</title>{frame}{texts}</g>'
