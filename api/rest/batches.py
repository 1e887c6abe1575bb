"""Reads the body of a batch: JSON with one list, or NDJSON with one entry per line.

A body that is no batch is refused as a whole. The entries are read one by one elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from api.rest.errors import ApiError, invalid_payload

JSON, NDJSON = "application/json", "application/x-ndjson"


class JsonObject(dict[str, Any]):
    """A JSON object; `repeated` has the names that it contains more than once."""

    repeated: tuple[str, ...] = ()


class BadLine(str):
    """The problem of a line that is not JSON, in place of its entry."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class BatchForm:
    """The form of a batch: the name of its list, one entry as `a price`, and its limits."""

    name: str
    entry: str
    max_entries: int
    max_bytes: int


def read_entries(form: BatchForm, kind: str, body: bytes) -> list[Any]:
    """Return the entries of a body with the content type `kind`.

    A line that is not JSON becomes a `BadLine`. Raises `ApiError`: 413 for a body that is too
    large, 422 if it is no batch.
    """
    if len(body) > form.max_bytes:
        raise ApiError(413, "request_entity_too_large", f"the body exceeds {form.max_bytes} bytes: send several batches")
    if kind not in (JSON, NDJSON):
        raise invalid_payload({"Content-Type": [f"Use {JSON} or {NDJSON}."]})
    entries = _entries_of_lines(form, body) if kind == NDJSON else _entries_of_json(form, body)
    if not 1 <= len(entries) <= form.max_entries:
        raise invalid_payload({form.name: [f"{len(entries)} {form.name}: send 1 to {form.max_entries}."]})
    return entries


def _entries_of_json(form: BatchForm, body: bytes) -> list[Any]:
    try:
        document = _parse(body)
    except ValueError as error:
        raise invalid_payload({"body": [f"Not JSON: {error}."]}) from None
    if not isinstance(document, JsonObject):
        raise invalid_payload({"body": [f'Not an object: use {{"{form.name}": [...]}}.']})
    problems = {name: [f"Unknown field: use {form.name}."] for name in document if name != form.name}
    problems |= {name: ["Given more than once."] for name in document.repeated}
    entries = document.get(form.name)
    if not isinstance(entries, list):
        problems[form.name] = [f"Missing: a list of {form.name}."] if entries is None else ["Not a list."]
    if problems:
        raise invalid_payload(problems)
    return list(entries or ())


def _entries_of_lines(form: BatchForm, body: bytes) -> list[Any]:
    """Return one entry per line. Blank lines do not count."""
    entries = [_entry_of_line(line) for line in body.split(b"\n") if line.strip()]
    if entries and all(isinstance(entry, BadLine) for entry in entries):
        raise invalid_payload({"body": [f"No line is {form.entry}. Line 1: {entries[0]}."]})
    return entries


def _entry_of_line(line: bytes) -> Any:
    try:
        return _parse(line)
    except ValueError as error:
        return BadLine(f"not JSON: {error}")


def _parse(text: bytes) -> Any:
    """Return the value of a JSON text; objects are `JsonObject`s. Raises `ValueError`.

    orjson is strict about numbers and Unicode, but keeps the last of repeated names silently.
    """
    orjson.loads(text)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        found.repeated = tuple(name for name, count in counts.items() if count > 1)
    return found
