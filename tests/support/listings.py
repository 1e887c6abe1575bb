"""Requests for a listing of REST: page by page, and as files."""

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
    """A listing and its stored rows: `query` selects `rows`, which are in order of `time`."""

    path: str
    query: dict[str, str]
    field: str
    time: str
    file: str
    rows: list[Row]


def request(client: FlaskClient, listed: Listed, **query: object) -> Any:
    return client.get(f"{listed.path}?" + urlencode({**listed.query, **query}))


def walk(client: FlaskClient, listed: Listed, **query: object) -> list[Row]:
    """Return every row of every page."""
    rows: list[Row] = []
    token: str | None = ""
    while token is not None:
        answer = request(client, listed, **query, **({"page_token": token} if token else {}))
        assert answer.status_code == 200, answer.text
        rows += answer.json[listed.field]
        token = answer.json["next_page_token"]
    return rows


def check_walk(client: FlaskClient, listed: Listed, times: tuple[str | None, str | None], *, limit: int, order: str) -> None:
    """Check that pages of `limit` rows contain every row between `times` once, in order."""
    bounds = {name: time for name, time in zip(("start", "end"), times, strict=True) if time is not None}
    rows = [row for row in listed.rows if bounds.get("start", "") <= row[listed.time] < bounds.get("end", "9999")]
    assert walk(client, listed, limit=limit, order=order, **bounds) == (rows if order == "asc" else rows[::-1])


def as_text(row: Row) -> dict[str, str]:
    """Return a row in its CSV form."""
    return {name: "" if value is None else {True: "t", False: "f"}.get(value, str(value)) if isinstance(value, bool) else str(value)
            for name, value in row.items()}  # fmt: skip


def read(kind: str, answer: Any) -> list[Row]:
    """Return the rows of a file."""
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))
    return [orjson.loads(line) for line in answer.data.split(b"\n")[:-1]]


def expected(kind: str, rows: list[Row]) -> list[Row]:
    """Return rows in the form of such a file."""
    return [as_text(row) for row in rows] if kind == "csv" else rows


def get(client: FlaskClient, path: str, status: int = 200, **query: Any) -> Any:
    """Return the JSON of an answer of that status; for a file, the answer itself."""
    answer = client.get(f"{path}?{urlencode(query)}")
    assert answer.status_code == status, answer.text
    return answer.json if answer.is_json else answer


def refusal(client: FlaskClient, path: str, status: int, **query: Any) -> tuple[str, dict[str, Any]]:
    """Return code and details of the error."""
    error = get(client, path, status, **query)["error"]
    return error["code"], error["details"]
