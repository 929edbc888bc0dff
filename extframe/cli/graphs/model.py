"""The graph of a system: registries, plugins, extension points, handlers, and what belongs to what. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..discovery import PluginStatus
    from ..installed_handlers import InstalledHandler

KINDS = {"registry": "registries", "plugin": "plugins", "extension point": "extension points", "handler": "handlers"}
"""The kinds of nodes, and the titles of all of a kind. Edges go from each to the next."""

FAILED = "failed"
UNHANDLED = "no handler"
UNUSED = "no plugin"


@dataclass(frozen=True)
class Node:
    """A part of the system.

    Args:
        id: unique in the graph; letters and digits.
        kind: one of `KINDS`.
        name: what it is called.
        state: ``active``, ``failed``, ``loaded`` and so on; "" if it is as expected and has none.
        detail: where it comes from, or why it failed.
    """

    id: str
    kind: str
    name: str
    state: str = ""
    detail: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether it is to be shown in red."""
        return self.state == FAILED

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is called through it, so that it is drawn with a dashed line."""
        return self.state.startswith("no ") or self.state == "blocked"


@dataclass
class Graph:
    """The nodes, in the order in which they are shown, and the edges between their ids."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, name: str, state: str = "", detail: str = "") -> Node:
        """Add a node."""
        number = sum(each.kind == kind for each in self.nodes)
        node = Node(f"{kind.replace(' ', '')}{number}", kind, name, state, detail)
        self.nodes.append(node)
        return node

    def of_kind(self, kind: str) -> list[Node]:
        """Return the nodes of a kind."""
        return [node for node in self.nodes if node.kind == kind]

    def after(self, node: Node) -> list[Node]:
        """Return the nodes to which edges lead from a node."""
        ids = {target for source, target in self.edges if source == node.id}
        return [each for each in self.nodes if each.id in ids]

    def without_source(self, kind: str) -> list[Node]:
        """Return the nodes of a kind to which no edge leads."""
        targets = {target for _, target in self.edges}
        return [node for node in self.of_kind(kind) if node.id not in targets]

    def as_json(self) -> dict[str, object]:
        """Return it for JSON."""
        return {"nodes": [asdict(node) for node in self.nodes], "edges": [list(edge) for edge in self.edges]}


def build_graph(
    places: Mapping[str, tuple[str, str]],
    plugins: Sequence[PluginStatus],
    handlers: Sequence[InstalledHandler],
) -> Graph:
    """Return the graph of a system.

    Built-in handlers are left out if no plugin needs them.

    Args:
        places: the state and the detail of each directory, or of the only other registry.
        plugins: with the outcome of their handshakes.
        handlers: the installed ones.
    """
    graph = Graph()
    added = {place: graph.add("registry", place, *state) for place, state in places.items()}
    hooks: dict[str, Node] = {}
    for plugin in plugins:
        node = graph.add("plugin", plugin.name, plugin.state, _line(plugin.reason) or plugin.address)
        place = _place_of(plugin.source, list(places))
        if place is not None:
            graph.edges.append((added[place].id, node.id))
        for point in plugin.implements or ():
            graph.edges.append((node.id, _add_point(graph, hooks, point, handlers).id))
    for handler in handlers:
        _add_handler(graph, hooks, handler)
    return graph


def _line(reason: str) -> str:
    return " ".join(reason.split())


def _place_of(source: str, places: Sequence[str]) -> str | None:
    above = [each for each in places if source.startswith(f"{each.rstrip('/')}/")]
    return max(above, key=len) if above else places[0] if len(places) == 1 else None


def _add_point(graph: Graph, hooks: dict[str, Node], point: str, handlers: Sequence[InstalledHandler]) -> Node:
    from ...protocol import hook_name

    hook = hook_name(point)
    if hook not in hooks:
        is_handled = any(hook in each.hooks for each in handlers)
        hooks[hook] = graph.add("extension point", point, "" if is_handled else UNHANDLED, f"hook {hook}")
    return hooks[hook]


def _add_handler(graph: Graph, hooks: dict[str, Node], handler: InstalledHandler) -> None:
    used = [hook for hook in handler.hooks if hook in hooks]
    if not used and handler.package == "extframe" and handler.state == "loaded":
        return
    origin = f"{handler.package} {handler.version}" if handler.package else ""
    state = "" if handler.state == "loaded" else handler.state
    node = graph.add("handler", handler.name, state, _line(handler.reason or "") or origin)
    for hook in handler.hooks:
        if hook not in hooks:
            hooks[hook] = graph.add("extension point", hook, UNUSED, f"hook {hook}")
        graph.edges.append((hooks[hook].id, node.id))
