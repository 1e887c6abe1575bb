"""The imports between modules, read from their syntax: no module is executed. Pure."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

Graph = Mapping[str, Collection[str]]  # module name -> names of the modules it imports
PACKAGE_FILE = "__init__.py"


def module_name(path: PurePosixPath) -> str:
    """Return the dotted name of a module, `db.bus.read`, from its path below the root."""
    return ".".join((path.parent if path.name == PACKAGE_FILE else path.with_suffix("")).parts)


def imports_of(path: PurePosixPath, tree: ast.Module, modules: Collection[str]) -> Iterator[str]:
    """Yield the names of those `modules` that the module at `path` imports, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, path)
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                if submodule in modules:
                    yield submodule
                elif source in modules:
                    yield source


def _absolute(node: ast.ImportFrom, path: PurePosixPath) -> str:
    """Return the dotted name of the module from which `node` imports."""
    if not node.level:
        return node.module or ""
    parts = module_name(path).split(".")
    parents = parts[: len(parts) - node.level + (path.name == PACKAGE_FILE)]
    return ".".join([*parents, node.module] if node.module else parents)


def reachable(starts: Collection[str], graph: Graph) -> set[str]:
    """Return the modules that the given ones import, directly or through others."""
    seen: set[str] = set()
    pending = list(starts)
    while pending:
        new = set(graph.get(pending.pop(), ())) - seen
        seen |= new
        pending += new
    return seen
