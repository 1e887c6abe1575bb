"""scripts/structure.py on small trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.reload.imports import Graph
from scripts import structure


def tree(root: Path, files: dict[str, str]) -> dict[str, structure.Module]:
    """Write the files and read them as modules."""
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return structure.read_modules(root)


def graph(root: Path, files: dict[str, str]) -> Graph:
    return structure.import_graph(tree(root, files))


CLEAN = {
    "db/__init__.py": "",
    "db/prices.py": "import os\n\n\ndef read():\n    return os.name\n",
    "jobs/__init__.py": "",
    "jobs/writer.py": "from db import prices\n",
    "manage.py": "import jobs.writer\n",
}


def test_clean_tree_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, CLEAN)
    assert structure.main(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "folder                    modules  directly   lines",
        ".                               3         1       7",
        "db                              1         1       5",
        "jobs                            1         1       1",
        "longest module: db/prices.py, 5 lines",
        "longest function: read in db/prices.py, 2 lines",
        "no import cycle, no folders that import each other, no folder above its limit",
    ]


def test_imports_resolve_to_modules(tmp_path: Path) -> None:
    assert graph(
        tmp_path,
        {
            "db/__init__.py": "from . import prices\n",
            "db/prices.py": "from .bus import connection, Bus\nfrom db import NAME\n",
            "db/bus/__init__.py": "import json\nfrom . import connection\n",
            "db/bus/connection.py": "from ..topics import TOPIC\n",
            "db/topics.py": "def read():\n    import db.bus.connection\n",
            "api/app.py": "from db import *\nfrom flask import Flask\n",
            "tests/test_app.py": "import api.app\n",
        },
    ) == {
        "db": {"db.prices"},
        "db.prices": {"db.bus.connection", "db.bus", "db"},
        "db.bus": {"db.bus.connection"},
        "db.bus.connection": {"db.topics"},
        "db.topics": {"db.bus.connection"},
        "api.app": {"db"},
    }


def test_cycle_over_three_modules_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"db/a.py": "import db.b\n", "db/b.py": "from db import c\n", "db/c.py": "from .a import x\n", "db/d.py": "import db.a\n"}
    assert structure.find_cycles(graph(tmp_path, files)) == [["db.a", "db.b", "db.c"]]
    assert structure.main(tmp_path) == 1
    assert "import cycle: db.a, db.b, db.c" in capsys.readouterr().out.splitlines()


def test_import_for_type_checking_counts(tmp_path: Path) -> None:
    guarded = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from api.session import Session\n"
    files = {"api/server.py": guarded, "api/session.py": "from api import server\n"}
    assert structure.find_cycles(graph(tmp_path, files)) == [["api.server", "api.session"]]


def test_two_cycles_are_separate(tmp_path: Path) -> None:
    files = {"db/a.py": "import db.b", "db/b.py": "import db.a, db.c", "db/c.py": "import db.d", "db/d.py": "import db.c"}
    assert structure.find_cycles(graph(tmp_path, files)) == [["db.a", "db.b"], ["db.c", "db.d"]]


def test_pair_of_folders_without_a_cycle_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"api/hub/a.py": "import api.rest.a", "api/rest/a.py": "", "api/rest/routes/b.py": "import api.hub.b", "api/hub/b.py": ""}
    modules = tree(tmp_path, files)
    found = structure.import_graph(modules)
    assert structure.find_cycles(found) == []
    assert structure.find_folder_pairs(modules, found) == [("api/hub", "api/rest")]
    assert structure.main(tmp_path) == 1
    assert "folders import each other: api/hub, api/rest" in capsys.readouterr().out.splitlines()


def test_folder_and_folder_inside_it_are_no_pair(tmp_path: Path) -> None:
    files = {"api/a.py": "import api.hub.wire.c", "api/hub/wire/c.py": "", "api/hub/wire/d.py": "import api.b", "api/b.py": ""}
    modules = tree(tmp_path, files)
    assert structure.find_folder_pairs(modules, structure.import_graph(modules)) == []


def test_folder_above_limit_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twelve = {f"jobs/m{number}.py": "" for number in range(12)} | {"jobs/__init__.py": ""}
    exempt = {f"{folder}/m{number}.py": "" for folder in ("db", "api/rest/routes") for number in range(13)}
    tree(tmp_path, twelve | exempt)
    assert structure.main(tmp_path) == 0
    tree(tmp_path, {"jobs/m12.py": ""})
    capsys.readouterr()
    assert structure.main(tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "folder above 12 modules: jobs (13)"


def test_longest_function_of_tree_without_functions_is_none(tmp_path: Path) -> None:
    assert structure.longest_function(tree(tmp_path, {"db/a.py": "NAME = 1\n"}).values()) is None
