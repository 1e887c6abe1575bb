"""The fenced blocks of the documents, and what becomes of each: run, checked, or, of the commands listed here, left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.examples.example import DOCUMENTS
from tests.support.processes import ROOT

LANGUAGES = {"sh", "js", "python", "json", "html", "text", ""}  # the last two are output, diagrams and tables: nothing runs them

# What a command begins with -> why no test runs it as it stands there.
LEFT_OUT = {
    "make run": "installs into .venv and takes the default ports; the system of these tests is `manage.py up`, which is what it runs",
    "INGESTION_INTERVAL_SECONDS=0.5 make run": "as `make run`; the system of these tests has that interval",
    "SOURCES=": "as `make run`; tests/integration/test_up.py and the tests of each source start these",
    "make test": "is what runs this",
    "make bench": "takes many minutes; tests/integration/test_bench_load.py tries its load generator",
    ".venv/bin/python -m tests.bench": "takes minutes and needs the machine for itself; as `make bench`",
    "npm install": "tests/js/node_modules has what it installs",
    "pip install": ".venv has what it installs",
    "cp .env.example .env": "would replace the settings of whoever runs the tests",
    "docker compose": "no Docker here; the tests of tests/unit/test_compose.py and tests/integration/test_compose.py read the file",
    "python -m jobs.scheduler": "does not end; `up` runs the same command, and a test here sees it do so",
    "python -m gunicorn": "does not end; as `python -m jobs.scheduler`",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, `line` being that of its fence."""

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
    """Every block of README.md and docs/*.md, or those of one language."""
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
    assert opened is None, f"{file.name}: a block that never ends"


def left_out(command: str) -> str | None:
    """What of `LEFT_OUT` the command begins with; None where it is to be run."""
    return next((start for start in LEFT_OUT if command.startswith(start)), None)


def substituted(text: str, places: Mapping[str, str]) -> str:
    """The text with each place of the documents, such as `127.0.0.1:5001`, as it is in the test."""
    for documented, actual in places.items():
        text = text.replace(documented, actual)
    return text


def messages(text: str) -> list[tuple[str | None, Any]]:
    """The JSON values of a block, each with the word before it, which names its event."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while rest := text[place:].strip():
        place = len(text) - len(text[place:].lstrip())
        word = re.match(r"(\w+)\s+(?=[{\[])", rest)
        value, end = decoder.raw_decode(text, place + (word.end() if word else 0))
        found.append((word[1] if word else None, value))
        place = end
    return found


def links(file: Path) -> list[str]:
    """Where the document's relative links lead, anchors included."""
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]


def anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative(file: Path) -> str:
    """Its name in the repository."""
    return file.relative_to(ROOT).as_posix()
