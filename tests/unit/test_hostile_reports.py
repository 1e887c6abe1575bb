"""Reports of a buggy or foreign process in the registry count as missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from db.bus import ProcessEntry
from db.timestamps import format_time
from health.reports import MAX_NAME_CHARACTERS, ProcessTable

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
NAME = "jobs@a1"


def table_with(name: str = NAME, **parts: Any) -> ProcessTable:
    at = format_time(NOW)
    body = {"name": name, "role": "jobs", "acting": True, "started": at, "at": at, "failing": {}, **parts}
    table = ProcessTable()
    table.update([ProcessEntry(name, NOW_MS, orjson.dumps(body))], NOW_MS)
    return table


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "parts",
    [
        {"resources": {"rss_bytes": 1e300}},
        {"writer": {"unstored": {"price_updates": [1, -1e17]}}},
        {"sources": {"oanda": {"ticks": 2**63}}},
        {"failing": {"part\nof two lines": "x"}},
        {"sources": {"x" * (MAX_NAME_CHARACTERS + 1): {}}},
    ],
)
def test_report_that_no_reader_can_use_is_malformed(parts: dict[str, Any]) -> None:
    table = table_with(**parts)
    assert [process.missing for process in table.expected()] == [True]
    assert set(table.malformed) == {NAME}


def test_plain_numbers_and_deep_parts_are_read() -> None:
    families = {"process_virtual_memory_bytes": [["", {}, 1e18]]}
    table = table_with(resources={"rss_bytes": 2**53}, writer={"deep": nested(200)}, metrics={"families": families})
    assert [process.missing for process in table.expected()] == [False]


def test_process_whose_name_is_no_line_of_text_is_not_expected() -> None:
    table = table_with('hub:9@x\n"y')
    assert table.expected() == []
    assert list(table.malformed) == ["'hub:9@x\\n\"y'"]
