"""The choice of the processes that a change of files concerns. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from ops.reload.imports import Graph, imports_of, module_name, reachable

# It imports the half of another process too, so that its imports are not followed.
_NOT_FOLLOWED = frozenset({"wsgi"})
PYTHON = ".py"


def graph_of(sources: Mapping[PurePosixPath, str]) -> dict[str, set[str]]:
    """Return the imports between the modules with these texts; broken ones import nothing."""
    names = {module_name(path) for path in sources}
    graph: dict[str, set[str]] = {}
    for path, text in sources.items():
        name = module_name(path)
        try:
            followed = name not in _NOT_FOLLOWED
            graph[name] = set(imports_of(path, ast.parse(text), names)) - {name} if followed else set()
        except (SyntaxError, ValueError):
            graph[name] = set()
    return graph


def concerned(changed: Iterable[PurePosixPath], graph: Graph, processes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the processes that use one of the changed files.

    `processes` has the modules with which each one starts. A process uses these modules, all that
    they import, and the packages of both. A file that is no module belongs to all modules of its
    folder.
    """
    files = list(changed)
    return [name for name, starts in processes.items() if _uses(_used(starts, graph), files)]


def _used(starts: Sequence[str], graph: Graph) -> set[str]:
    modules = {*starts, *reachable(starts, graph)}
    return modules | {package for name in modules for package in _packages(name)}


def _packages(name: str) -> Iterator[str]:
    """Yield `db.bus` and `db` for `db.bus.read`."""
    while name := name.rpartition(".")[0]:
        yield name


def _uses(used: set[str], files: Iterable[PurePosixPath]) -> bool:
    folders = {name.rpartition(".")[0] for name in used}
    return any(module_name(path) in used if path.suffix == PYTHON else ".".join(path.parent.parts) in folders for path in files)
