"""docs/scenarios.md and docs/order-books.md beside the code: fields, faults, states, formats."""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import pairwise

import orjson

from config.settings import Settings
from db.scenarios.checks import parse_scenario
from db.scenarios.lines import read_line
from db.scenarios.model import FAULT_KINDS, Scenario
from jobs.books.parts.states import Reason, State
from scripts.draw_book_states import ARROWS, BOXES, FILE, drawing
from tests.examples.blocks import Block, blocks
from tests.support.processes import ROOT

SCENARIOS = (ROOT / "docs" / "scenarios.md").read_text()
BOOKS = (ROOT / "docs" / "order-books.md").read_text()


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table with this heading, each a list of its cells."""
    lines = text.split(f"\n{heading}\n", 1)[1].splitlines()
    assert re.fullmatch(r"[| -]+", lines[0])
    end = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:end]]


def names(rows: list[list[str]]) -> list[str]:
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]


def texts(*beginnings: str) -> list[Block]:
    return [each for each in blocks("text") if each.file.name == "scenarios.md" and each.text.startswith(beginnings)]


def test_scenario_file_of_the_document_can_be_played() -> None:
    [block] = texts('{"name"')
    content = orjson.loads(block.text)
    scenario = parse_scenario(content, "scenarios.md")
    assert set(content) == set(names(table(SCENARIOS, "| field | value | default |"))) == set(scenario.body())


def test_table_of_fields_has_each_field_of_a_file() -> None:
    assert len(table(SCENARIOS, "| field | value | default |")) == len(fields(Scenario))


def test_table_of_faults_has_each_kind_and_its_option() -> None:
    rows = table(SCENARIOS, "| kind | effect | expected | fields of its own |")
    assert sorted(names(rows)) == sorted(FAULT_KINDS)
    for row in rows:
        for kind in names([row]):
            rules = FAULT_KINDS[kind]
            wanted = {*(["seconds"] if rules.needs_seconds else []), *([rules.option] if rules.option else [])}
            assert set(re.findall(r"`([^`]+)`", row[3])) == wanted, kind


def test_recorded_lines_of_the_document_are_accepted() -> None:
    [block] = texts("17231")
    kinds = [entry and entry.kind for line in block.text.encode().splitlines() for _, entry in [read_line(1, line)]]
    assert kinds == ["diff", "snapshot"]


def test_tables_of_states_and_reasons_are_complete() -> None:
    assert names(table(BOOKS, "| state | meaning | served |")) == [str(each) for each in State]
    assert sorted(names(table(BOOKS, "| reason | cause |"))) == sorted(Reason)


def test_picture_of_the_states_is_that_of_the_script() -> None:
    assert FILE.read_text() == drawing(), "run scripts/draw_book_states.py"
    assert set(BOXES) == set(State)
    shown = " ".join(re.findall(r"<text[^>]*>([^<]*)", drawing()))
    assert [each for each in Reason if each not in shown] == []


def test_arrows_of_the_picture_end_inside_the_page() -> None:
    for arrow in ARROWS:
        assert all(0 <= int(number) <= 990 for number in re.findall(r"\d+", arrow.path)), arrow


def test_settings_table_has_each_setting_of_books() -> None:
    listed = set(names(table(BOOKS, "| name | default | |")))
    ours = {each.name.upper() for each in fields(Settings) if each.name.startswith(("book_", "scenario", "heartbeat", "retention_books"))}
    assert ours - listed == set()


def test_headings_of_the_documents_are_unique() -> None:
    for text in (SCENARIOS, BOOKS):
        headings = sorted(re.findall(r"^#+ (.*)$", text, re.MULTILINE))
        assert not [one for one, two in pairwise(headings) if one == two]
