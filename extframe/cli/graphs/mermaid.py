"""A graph as a Mermaid flowchart, which Markdown pages on many sites show as a picture. Knows nodes and edges only."""

from __future__ import annotations

from ..output import printable, shortened
from .model import KINDS, Graph, Node

_SHAPES = {"registry": '[("{}")]', "plugin": '["{}"]', "extension point": '{{{{"{}"}}}}', "handler": '(["{}"])'}
# By name: Mermaid 11 does not show its own numeric codes, such as #35;, and would take &#35; for one.
_ENTITIES = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "#": "&num;",
        "`": "&grave;",
        "$": "&dollar;",
        "\\": "&bsol;",
    }
)
_STYLE = "classDef failed fill:#fdecea,stroke:#c62828,color:#8e1b1b"
_QUIET = "classDef quiet stroke-dasharray:4 3"


def as_mermaid(graph: Graph) -> str:
    """Return the flowchart, from registries on the left to handlers on the right."""
    lines = ["flowchart LR"]
    for kind, title in KINDS.items():
        nodes = graph.of_kind(kind)
        if nodes:
            lines.append(f'  subgraph {title.replace(" ", "")}["{title}"]')
            lines += [f"    {node.id}{_SHAPES[node.kind].format(_label(node))}" for node in nodes]
            lines.append("  end")
    lines += [f"  {source} --> {target}" for source, target in graph.edges]
    failed = {node.id for node in graph.nodes if node.has_failed}
    links = [str(number) for number, edge in enumerate(graph.edges) if failed & set(edge)]
    lines += [f"  {_STYLE}", f"  {_QUIET}"]
    lines += [f"  class {','.join(sorted(failed))} failed"] if failed else []
    quiet = [node.id for node in graph.nodes if node.is_quiet]
    lines += [f"  class {','.join(quiet)} quiet"] if quiet else []
    lines += [f"  linkStyle {','.join(links)} stroke:#c62828"] if links else []
    return "\n".join(lines) + "\n"


def _label(node: Node) -> str:
    return "<br/>".join(_escaped(shortened(text)) for text in (node.name, node.state, node.detail) if text)


def _escaped(text: str) -> str:
    """Return text as Mermaid shows it literally."""
    return printable(text).translate(_ENTITIES)
