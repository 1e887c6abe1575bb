"""Report the structure of the source tree: sizes, import cycles, folders that import each other.

    .venv/bin/python scripts/structure.py

Exits with 1 on an import cycle, on two folders that import each other, or on a folder above its
limit of modules. Imports are read from the syntax tree, so those in functions and under
TYPE_CHECKING count. No module is executed.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ops.reload.imports import PACKAGE_FILE, Graph, imports_of, module_name, reachable
from ops.reload.source_files import FILES, FOLDERS

MAX_MODULES_PER_FOLDER = 12
# One module per table, one module per subject.
EXEMPT_FOLDERS = frozenset({"db", "api/rest/routes"})


@dataclass(frozen=True, slots=True)
class Module:
    """A source file; `path` is relative to the root, `is_package` is true for `__init__.py`."""

    name: str  # dotted: db.bus.read
    path: PurePosixPath
    is_package: bool
    lines: int
    tree: ast.Module

    @property
    def folder(self) -> str:
        """The folder that contains the file; "." for the root."""
        return str(self.path.parent)


def read_modules(root: Path) -> dict[str, Module]:
    """Parse every module of the source folders; those that do not exist are left out."""
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    files += [path for name in FILES if (path := root / name).exists()]
    modules = [_read(path, PurePosixPath(path.relative_to(root))) for path in sorted(files)]
    return {module.name: module for module in modules}


def _read(file: Path, path: PurePosixPath) -> Module:
    source = file.read_text(encoding="utf-8")
    is_package = path.name == PACKAGE_FILE
    return Module(module_name(path), path, is_package, len(source.splitlines()), ast.parse(source, str(path)))


def import_graph(modules: Mapping[str, Module]) -> Graph:
    """Return the imports between the given modules; imports of other packages are left out."""
    return {name: set(imports_of(module.path, module.tree, modules.keys())) - {name} for name, module in modules.items()}


def find_cycles(graph: Graph) -> list[list[str]]:
    """Return each largest group of modules that all import each other, directly or indirectly."""
    targets = {name: reachable([name], graph) for name in graph}
    groups = {frozenset(other for other in found if name in targets[other]) for name, found in targets.items()}
    return sorted(sorted(group) for group in groups if group)


def find_folder_pairs(modules: Mapping[str, Module], graph: Graph) -> list[tuple[str, str]]:
    """Return the folders whose modules import each other; a folder and one inside it are no pair.

    A folder's modules include the modules of its subfolders.
    """
    imported: set[tuple[str, str]] = set()
    for name, targets in graph.items():
        for target in targets:
            imported |= _folder_imports(modules[name].path, modules[target].path)
    return sorted((one, two) for one, two in imported if one < two and (two, one) in imported)


def _folder_imports(importer: PurePosixPath, target: PurePosixPath) -> set[tuple[str, str]]:
    return {
        (str(one), str(two))
        for one in importer.parents
        for two in target.parents
        if not one.is_relative_to(two) and not two.is_relative_to(one)
    }


def count_modules(modules: Iterable[Module]) -> Counter[str]:
    """Return the number of modules directly in each folder, without `__init__.py`."""
    return Counter(module.folder for module in modules if not module.is_package)


def longest_function(modules: Iterable[Module]) -> tuple[int, str, Module] | None:
    """Return its lines, name and module, without decorators; None if there is no function."""
    functions = [
        ((node.end_lineno or node.lineno) - node.lineno + 1, node.name, module)
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return max(functions, key=lambda function: function[0], default=None)


def size_lines(modules: Iterable[Module]) -> Iterator[str]:
    """Yield the table of folders, the longest module and the longest function."""
    modules = list(modules)
    direct = count_modules(modules)
    yield f"{'folder':<24}{'modules':>9}{'directly':>10}{'lines':>8}"
    for folder in sorted({str(folder) for module in modules for folder in module.path.parents}):
        inside = [module for module in modules if module.path.is_relative_to(folder)]
        lines = sum(module.lines for module in inside)
        yield f"{folder:<24}{count_modules(inside).total():>9}{direct[folder]:>10}{lines:>8}"
    if longest := max(modules, key=lambda module: module.lines, default=None):
        yield f"longest module: {longest.path}, {longest.lines} lines"
    if function := longest_function(modules):
        lines, name, module = function
        yield f"longest function: {name} in {module.path}, {lines} lines"


def fault_lines(modules: Mapping[str, Module]) -> list[str]:
    """Return a line for each cycle, pair and large folder."""
    graph = import_graph(modules)
    return [
        *(f"import cycle: {', '.join(cycle)}" for cycle in find_cycles(graph)),
        *(f"folders import each other: {', '.join(pair)}" for pair in find_folder_pairs(modules, graph)),
        *(
            f"folder above {MAX_MODULES_PER_FOLDER} modules: {folder} ({count})"
            for folder, count in sorted(count_modules(modules.values()).items())
            if count > MAX_MODULES_PER_FOLDER and folder not in EXEMPT_FOLDERS
        ),
    ]


def main(root: Path) -> int:
    """Print the report; return 1 if the structure has a fault."""
    modules = read_modules(root)
    faults = fault_lines(modules)
    print(*size_lines(modules.values()), *faults, sep="\n")
    if not faults:
        print("no import cycle, no folders that import each other, no folder above its limit")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1]))
