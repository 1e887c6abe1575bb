"""The fenced blocks of the documents. Tests run or check them, except for the commands below."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.examples.example import DOCUMENTS
from tests.support.processes import ROOT

# the last two are output, diagrams and tables, which no test runs
LANGUAGES = {"sh", "js", "jsx", "python", "json", "html", "sql", "text", ""}

# beginning of a command -> the reason why no test runs it
LEFT_OUT = {
    "make run": "installs into .venv and takes the default ports; the system of these tests is `manage.py up`, which is what it runs",
    "INGESTION_INTERVAL_SECONDS=0.5 make run": "as `make run`; the system of these tests has that interval",
    "PERFORMANCE_LOG_SECONDS=5": "as `make run`; tests/integration/test_performance_log.py has its lines",
    ".venv/bin/python scripts/start_observability_api.py": "as `make run`; tests/unit/test_start_script.py has its arguments",
    "SOURCES=": "as `make run`; tests/integration/test_up.py and the tests of each source start these",
    ".venv/bin/python manage.py doctor": "its exit code depends on the machine; tests/integration/test_doctor.py and test_up.py run it",
    "make test": "is what runs this",
    "make bench": "takes many minutes; tests/integration/test_bench_load.py tries its load generator",
    ".venv/bin/python -m tests.bench": "takes minutes and needs the machine for itself; as `make bench`",
    "npm install": "tests/js/node_modules has what it installs",
    "npm create": "tests/examples/react.py writes the same files",
    "npm run dev": "stays in the foreground; a test builds the same project and serves it with the same proxy",
    "cd prices": "belongs to `npm create`",
    "curl -X POST http://127.0.0.1:5001/hub/drain": "would empty the hub of these tests; tests/integration/test_hub_drain.py sends it",
    "CORS_ORIGINS=": "as `make run`; tests/integration/test_access.py has the rule of origins",
    "npx wscat": "stays in the foreground; tests/integration/test_plain_stock_clients.py connects with `ws`, its library",
    "pip install": ".venv has what it installs",
    "sleep 10": "belongs to `sudo`; tests/integration/test_rolling.py replaces hubs in that order",
    "$(scripts/promtool.sh) test rules": "takes seconds; tests/integration/test_rules.py runs it",
    "sudo ": "changes the machine as root; tests/integration/test_proxy.py runs the same files in nginx",
    "cd /srv/tickwire/app": "belongs to `sudo`",
    "curl -s -i https://prices.example.com": "an invented name; tests/integration/test_proxy.py sends the same requests over TLS",
    'curl -s -H "X-API-Key: $KEY" https://prices.example.com': "as the request without a key",
    "TICKWIRE_API_KEY=$KEY": "an invented name; tests/integration/test_proxy.py connects both clients over TLS",
    "cp .env.example .env": "would replace the settings of whoever runs the tests",
    ".venv/bin/python manage.py backup": "writes outside the checkout; tests/integration/test_backup.py runs it",
    ".venv/bin/python manage.py restore": "needs a stopped system; as `backup`",
    ".venv/bin/python manage.py upgrade-database": "needs data of 16; tests/integration/test_upgrade_database.py runs it",
    "docker compose": "no Docker here; the tests of tests/unit/test_compose.py and tests/integration/test_compose.py read the file",
    "docker build": "no Docker here; tests/unit/test_image.py reads the Dockerfile",
    "docker save": "belongs to `docker build`",
    "docker volume rm": "belongs to `docker compose`",
    "kubectl ": "no cluster here; tests/unit/test_manifests.py compares the Secrets and the objects with the code",
    "for name in SUPERUSER": "belongs to `kubectl`",
    "python -m jobs.scheduler": "does not end; `up` runs the same command, and a test here sees it do so",
    "python -m jobs.books": "does not end; as `python -m jobs.scheduler`",
    "python -m jobs.observer": "does not end; as `python -m jobs.scheduler`",
    "python -m gunicorn": "does not end; as `python -m jobs.scheduler`",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is the line of its fence."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.name}-{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, each with its continuation lines."""
        return [line for line in re.split(r"(?<!\\)\n", self.text) if line.strip()]


def blocks(language: str | None = None) -> list[Block]:
    """Return every block of README.md and docs/*.md, or those of one language."""
    found = [block for file in DOCUMENTS for block in _of(file)]
    return [block for block in found if language is None or block.language == language]


def _of(file: Path) -> Iterator[Block]:
    opened: tuple[int, str, int] | None = None  # line, language, indentation
    lines: list[str] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        fence = re.match(r"( *)```(\w*)$", line)
        if opened is None and fence:
            opened, lines = (number, fence[2], len(fence[1])), []
        elif opened is not None and fence:
            yield Block(file, opened[0], opened[1], "\n".join(lines) + "\n")
            opened = None
        elif opened is not None:
            lines.append(line[opened[2] :])
    assert opened is None, f"{file.name}: a block without an end"


def left_out(command: str) -> str | None:
    """Return the key of `LEFT_OUT` that the command begins with, or None if a test runs it."""
    return next((start for start in LEFT_OUT if command.startswith(start)), None)


def substituted(text: str, places: Mapping[str, str]) -> str:
    """Replace each address of the documents, such as `127.0.0.1:5001`, by the test's."""
    for documented, actual in places.items():
        text = text.replace(documented, actual)
    return text


def messages(text: str) -> list[tuple[str | None, Any]]:
    """Return the JSON values of a block as (event name before the value or None, value)."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while rest := text[place:].strip():
        place = len(text) - len(text[place:].lstrip())
        word = re.match(r"(\w+)\s+(?=[{\[])", rest)
        value, end = decoder.raw_decode(text, place + (word.end() if word else 0))
        found.append((word[1] if word else None, value))
        place = end
    return found


def links(file: Path) -> list[str]:
    """Return the targets of the document's relative links, including anchors."""
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]


def anchors(file: Path) -> set[str]:
    """Return the anchors of a document's headings, by GitHub's rules."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative(file: Path) -> str:
    """Return the path in the repository."""
    return file.relative_to(ROOT).as_posix()
