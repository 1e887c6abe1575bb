"""Print `.env.example` from the table of settings.

.venv/bin/python scripts/env_example.py > .env.example
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config import settings
from config.settings import Settings, SourceSpec


def main() -> None:
    """Print the file."""
    print(example(), end="")


def example() -> str:
    """Return `.env.example`: comments and blank lines of the table, and NAME=DEFAULT per row."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    """Yield a line for each row of `Settings`, and the comments and blank lines above it."""
    source = inspect.getsource(settings).splitlines()
    table = next(node for node in ast.parse("\n".join(source)).body if isinstance(node, ast.ClassDef) and node.name == Settings.__name__)
    defaults = settings._Environment().load({})
    done = table.body[0].end_lineno or 0  # the last line of the docstring
    first = True
    for row in table.body:
        if not isinstance(row, ast.AnnAssign) or not isinstance(row.target, ast.Name):
            continue
        above = [line.strip() for line in source[done : row.lineno - 1]]
        yield from above[1:] if first else above
        name = settings._VARIABLES[row.target.id]
        yield f"{name.upper()}={_text(defaults[name])}"
        done, first = row.end_lineno or 0, False


def _text(value: Any) -> str:
    """Return a default as the environment would contain it; empty if the variable has none."""
    if isinstance(value, tuple):
        return ",".join(item.name if isinstance(item, SourceSpec) else str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value or value == 0 else ""


if __name__ == "__main__":
    main()
