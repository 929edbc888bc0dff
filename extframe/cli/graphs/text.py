"""A graph as a tree of text. Knows nodes and edges only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .model import UNHANDLED, Graph, Node

_BRANCHES = {True: ("├── ", "└── ", "│   ", "    "), False: ("|-- ", "`-- ", "|   ", "    ")}

Line = tuple[str, str]
"""A line, and the state of what it is about, for its colour."""


def as_text(graph: Graph, *, unicode: bool = True, width: int | None = None) -> Iterator[Line]:
    """Yield the lines of a tree of registries, plugins, and extension points with their handlers.

    Args:
        graph: the graph.
        unicode: whether lines may be drawn with characters that are not ASCII.
        width: the columns to which lines are cut; None for no limit.
    """
    for text, state in _lines(graph, unicode):
        cut = text if width is None or len(text) <= width else f"{text[: width - 3].rstrip()}..."
        yield cut, state


def _lines(graph: Graph, unicode: bool) -> Iterator[Line]:
    roots = [*graph.of_kind("registry"), *graph.without_source("plugin")]
    for root in roots:
        yield _text(root), root.state
        yield from _tree(graph, root, unicode, "")
    reached = _handled(graph)
    others = [each for each in graph.of_kind("handler") if each.id not in reached]
    if others:
        yield "", ""
        yield "handlers without a plugin", ""
        yield from _branches(graph, others, unicode, "")


def _handled(graph: Graph) -> set[str]:
    """Return the ids of the handlers that are called for a plugin."""
    points = {target for source, target in graph.edges if source.startswith("plugin")}
    return {target for source, target in graph.edges if source in points}


def _tree(graph: Graph, node: Node, unicode: bool, indent: str) -> Iterator[Line]:
    if node.kind in ("registry", "plugin"):
        yield from _branches(graph, graph.after(node), unicode, indent)


def _branches(graph: Graph, nodes: Sequence[Node], unicode: bool, indent: str) -> Iterator[Line]:
    branch, last_branch, inner, last_inner = _BRANCHES[unicode]
    for number, node in enumerate(nodes, 1):
        is_last = number == len(nodes)
        handlers = graph.after(node) if node.kind == "extension point" else []
        yield indent + (last_branch if is_last else branch) + _text(node, handlers), node.state
        yield from _tree(graph, node, unicode, indent + (last_inner if is_last else inner))


def _text(node: Node, handlers: Sequence[Node] = ()) -> str:
    if node.kind == "extension point":
        names = ", ".join(f"{each.name} ({each.detail})" if each.detail else each.name for each in handlers)
        return f"{node.name}: {names or UNHANDLED}"
    if node.has_failed:
        return f"{node.name}  failed: {node.detail}"
    if node.kind == "handler":
        return "  ".join(filter(None, [node.name, node.state, node.detail]))
    return f"{node.name}  {node.state}".rstrip()
