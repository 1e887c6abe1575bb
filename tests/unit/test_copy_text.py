"""Text for COPY: the escapes of PostgreSQL's documentation of COPY, "Text Format"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from db.copy import escaped
from db.rows import lines_of


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    amount: Decimal | None
    time: datetime
    day: date
    digest: bytes
    fees: dict[str, Decimal]
    counted: bool
    number: int


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EUR_USD", "EUR_USD"),
        ("", ""),
        ("a\\b", "a\\\\b"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("\u00a0\u2028é", "\u00a0\u2028é"),  # not printable for Python, and without a meaning for COPY
    ],
)
def test_special_characters_alone_are_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_line_has_each_value_in_the_order_of_the_fields() -> None:
    moment = datetime(2025, 11, 18, 12, 34, 56, 789123, UTC)
    row = Row("a\tb", Decimal("1E+3"), moment, date(2025, 11, 18), b"\x01\xff", {"USD": Decimal("0.020")}, counted=True, number=7)
    [line] = lines_of(Row, [row])
    amounts = '{"USD":"0.020"}'
    assert line == f"a\\tb\t1000\t2025-11-18 12:34:56.789123+00:00\t2025-11-18\t\\\\x01ff\t{amounts}\tTrue\t7\n"


def test_missing_value_is_null() -> None:
    row = Row("a", None, datetime(2025, 1, 1, tzinfo=UTC), date(2025, 1, 1), b"", {}, counted=False, number=0)
    [line] = lines_of(Row, [row])
    assert line.split("\t")[1] == "\\N"
