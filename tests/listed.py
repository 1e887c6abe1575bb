"""A listing as its tests ask for it: page by page, and as files."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from flask.testing import FlaskClient

Row = dict[str, Any]

MIMETYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class Listed:
    """One listing and what of it is stored: `query` asks for `rows`, which are in order of `time`."""

    path: str
    query: dict[str, str]
    field: str
    time: str
    file: str
    rows: list[Row]


def ask(client: FlaskClient, listed: Listed, **query: object) -> Any:
    return client.get(f"{listed.path}?" + urlencode({**listed.query, **query}))


def walk(client: FlaskClient, listed: Listed, **query: object) -> list[Row]:
    """Every row of every page."""
    rows: list[Row] = []
    token: str | None = ""
    while token is not None:
        answer = ask(client, listed, **query, **({"page_token": token} if token else {}))
        assert answer.status_code == 200, answer.text
        rows += answer.json[listed.field]
        token = answer.json["next_page_token"]
    return rows


def check_walk(client: FlaskClient, listed: Listed, times: tuple[str | None, str | None], *, limit: int, order: str) -> None:
    """Pages of `limit` rows give every row between `times` once, in order."""
    bounds = {name: time for name, time in zip(("start", "end"), times, strict=True) if time is not None}
    rows = [row for row in listed.rows if bounds.get("start", "") <= row[listed.time] < bounds.get("end", "9999")]
    assert walk(client, listed, limit=limit, order=order, **bounds) == (rows if order == "asc" else rows[::-1])


def as_text(row: Row) -> dict[str, str]:
    """A row as CSV has it."""
    return {name: "" if value is None else {True: "t", False: "f"}.get(value, str(value)) if isinstance(value, bool) else str(value)
            for name, value in row.items()}  # fmt: skip


def read(kind: str, answer: Any) -> list[Row]:
    """The rows of a file."""
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))
    return [orjson.loads(line) for line in answer.data.split(b"\n")[:-1]]


def expected(kind: str, rows: list[Row]) -> list[Row]:
    """Rows as such a file has them."""
    return [as_text(row) for row in rows] if kind == "csv" else rows


def get(client: FlaskClient, path: str, status: int = 200, **query: Any) -> Any:
    """The JSON of an answer of that status; of a file, the answer itself."""
    answer = client.get(f"{path}?{urlencode(query)}")
    assert answer.status_code == status, answer.text
    return answer.json if answer.is_json else answer


def refusal(client: FlaskClient, path: str, status: int, **query: Any) -> tuple[str, dict[str, Any]]:
    """Code and details of the error."""
    error = get(client, path, status, **query)["error"]
    return error["code"], error["details"]
