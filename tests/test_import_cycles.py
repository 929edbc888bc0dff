"""No module of the repository imports itself through others, not even for type checkers or inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
ROOTS = ("", "tests", "benchmarks", "faults", "examples/extframe-backup/src", "examples/plugins")
"""Directories from which modules are imported: those that their programs put on sys.path."""

Graph = dict[str, set[str]]


def modules(checkout: Path) -> Iterator[tuple[str, Path]]:
    """Yield each Python file with the name under which others import it."""
    roots = sorted((checkout / root for root in ROOTS), key=lambda root: len(root.parts), reverse=True)
    for directory in ("extframe", "tests", "benchmarks", "faults", "examples"):
        for path in sorted((checkout / directory).rglob("*.py")):
            root = next(root for root in roots if path.is_relative_to(root))
            yield ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"), path


def imported(name: str, path: Path) -> Iterator[str]:
    """Yield the absolute names that a module imports, wherever in it: modules, and names that may be modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")[: None if path.stem == "__init__" else -1]
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def graph(checkout: Path) -> Graph:
    """Return which modules each module imports."""
    known = dict(modules(checkout))
    return {name: {other for other in imported(name, path) if other in known} - {name} for name, path in known.items()}


def cycle(imports: Graph) -> list[str]:
    """Return the modules of one import cycle, empty where there is none."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next(filter(None, (search(other, [*path, name]) for other in sorted(imports[name]))), [])
        done.add(name)
        return found

    return next(filter(None, (search(name, []) for name in sorted(imports))), [])


@pytest.mark.long
def test_no_module_imports_itself_through_others():
    assert cycle(graph(CHECKOUT)) == []


@pytest.mark.parametrize("statement", ["import a", "from a import x", "def f():\n    from a import x"])
def test_a_cycle_is_found(tmp_path, statement):
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "a.py").write_text("import b\nimport os")
    (tmp_path / "faults" / "b.py").write_text("from c import y")
    (tmp_path / "faults" / "c.py").write_text(statement)
    assert cycle(graph(tmp_path)) == ["a", "b", "c", "a"]
