"""Reads the body of `POST /prices`: prices, and the entries that are none.

A body that is no batch is refused as a whole. In a batch, each entry is read by itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson
from marshmallow import ValidationError

from api.errors import ErrorCode, unknown_instrument
from api.rest.errors import ApiError, invalid_payload
from api.rest.schemas.arguments import PRINTABLE
from api.rest.schemas.publish import JSON, MAX_BYTES, MAX_PRICES, NDJSON
from db.admission import NotAdmitted, Windows, check_quote
from db.admitted import AdmittedQuotes
from db.messages import Tick
from db.quotes import digest_of, make_quote

FIELDS = ("instrument", "bid", "ask", "mid", "time", "volume")
_MAX_MESSAGE_CHARACTERS = 200  # a message may quote a value of the client


class Rejection(Exception):
    """An entry that is not accepted."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Object(dict[str, Any]):
    """A JSON object; `repeated` has the names that it contains more than once."""

    repeated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reception:
    """The circumstances of a batch: instruments, rights and source of the caller, time."""

    windows: Windows
    may_publish: Callable[[str], bool]
    source: str
    now: datetime

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all instruments."""
        return frozenset(self.windows)


@dataclass(slots=True)
class Batch:
    """The prices that may be published, in order, and the refusals of the others.

    `timed` is False for a price whose time is that of its reception.
    """

    quotes: AdmittedQuotes = field(default_factory=AdmittedQuotes)
    timed: list[bool] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)


def read_entries(kind: str, body: bytes) -> list[Any]:
    """Return the entries of a body with the content type `kind`.

    A line that is not JSON becomes a `Rejection`. Raises `ApiError`: 413 for a body that is too
    large, 422 if it is no batch.
    """
    if len(body) > MAX_BYTES:
        raise ApiError(413, "request_entity_too_large", f"the body exceeds {MAX_BYTES} bytes: send several batches")
    if kind not in (JSON, NDJSON):
        raise invalid_payload({"Content-Type": [f"Use {JSON} or {NDJSON}."]})
    entries = _entries_of_lines(body) if kind == NDJSON else _entries_of_json(body)
    if not 1 <= len(entries) <= MAX_PRICES:
        raise invalid_payload({"prices": [f"{len(entries)} prices: send 1 to {MAX_PRICES}."]})
    return entries


def read_batch(entries: Iterable[Any], reception: Reception) -> Batch:
    """Return the prices of the entries that are admitted, and the refusals of the others.

    Equal prices without a time are numbered as occurrences.
    """
    batch, untimed = Batch(), Counter[tuple[str, str]]()
    for index, entry in enumerate(entries):
        try:
            quote = _read_quote(entry, reception)
        except (Rejection, NotAdmitted) as error:
            code = error.kind if isinstance(error, NotAdmitted) else error.code
            batch.rejected.append({"index": index, "code": str(code), "message": str(error)[:_MAX_MESSAGE_CHARACTERS]})
            continue
        timed = "time" in entry
        if not timed:
            content = quote.instrument, digest_of(quote)
            untimed[content] += 1
            quote = replace(quote, occurrence=untimed[content])
        batch.quotes.append(quote)
        batch.timed.append(timed)
    return batch


def _read_quote(entry: Any, reception: Reception) -> Tick:
    """Return the price of an entry. Raises `Rejection` or `NotAdmitted`."""
    values = _texts(entry)
    instrument = values["instrument"]
    if instrument not in reception.windows:
        error = unknown_instrument(instrument, reception.known, reception.may_publish)
        raise Rejection(error.code, str(error))
    if not reception.may_publish(instrument):
        raise Rejection(ErrorCode.FORBIDDEN, f"no right to the instrument: {instrument}")
    mid = values.get("mid")
    bid, ask = values.get("bid", mid), values.get("ask", mid)
    if bid is None or ask is None or ("bid" in values) != ("ask" in values):
        raise _invalid("ask" if "bid" in values else "bid", "missing: use bid and ask, or mid alone")
    try:
        quote = make_quote(instrument, bid, ask, mid, values.get("time", reception.now), reception.source, values.get("volume"))
    except ValueError as error:
        raise _invalid("time", str(error)) from None
    check_quote(quote, reception.windows[instrument])
    return quote


def _texts(entry: Any) -> Mapping[str, str]:
    """Return the fields of an entry, all text. Raises `Rejection` for another shape."""
    if isinstance(entry, Rejection):
        raise entry
    if not isinstance(entry, _Object):
        raise Rejection(ErrorCode.INVALID_PAYLOAD, "not an object with the fields of a price")
    for name, value in entry.items():
        if name not in FIELDS:
            raise _invalid(name, f"unknown field: there are {', '.join(FIELDS)}")
        if name in entry.repeated:
            raise _invalid(name, "given more than once")
        if not isinstance(value, str):
            raise _invalid(name, f"not text, as {_EXAMPLES[name]}")
    try:
        PRINTABLE(entry.get("instrument"))
    except ValidationError as error:
        raise _invalid("instrument", f"missing, as {_EXAMPLES['instrument']}" if "instrument" not in entry else error.messages[0]) from None
    return entry


_EXAMPLES = {
    "instrument": '"EUR_USD"',
    **dict.fromkeys(("bid", "ask", "mid"), 'the decimal string "1.0945"'),
    "time": '"2026-03-02T06:00:00.250Z"',
    "volume": 'the decimal string "12"',
}


def _invalid(name: str, problem: str) -> Rejection:
    return Rejection(ErrorCode.INVALID_PAYLOAD, f"{name:.64}: {problem}")


def _entries_of_json(body: bytes) -> list[Any]:
    try:
        document = _parse(body)
    except ValueError as error:
        raise invalid_payload({"body": [f"Not JSON: {error}."]}) from None
    if not isinstance(document, _Object):
        raise invalid_payload({"body": ['Not an object: use {"prices": [...]}.']})
    problems = {name: ["Unknown field: use prices."] for name in document if name != "prices"}
    problems |= {name: ["Given more than once."] for name in document.repeated}
    prices = document.get("prices")
    if not isinstance(prices, list):
        problems["prices"] = ["Missing: a list of prices."] if prices is None else ["Not a list."]
    if problems:
        raise invalid_payload(problems)
    return list(prices or ())


def _entries_of_lines(body: bytes) -> list[Any]:
    """Return one entry per line. Blank lines do not count."""
    entries = [_entry_of_line(line) for line in body.split(b"\n") if line.strip()]
    if entries and all(isinstance(entry, Rejection) for entry in entries):
        raise invalid_payload({"body": [f"No line is a price. Line 1: {entries[0]}."]})
    return entries


def _entry_of_line(line: bytes) -> Any:
    try:
        return _parse(line)
    except ValueError as error:
        return Rejection(ErrorCode.INVALID_PAYLOAD, f"not JSON: {error}")


def _parse(text: bytes) -> Any:
    """Return the value of a JSON text; objects are `_Object`s. Raises `ValueError`.

    orjson is strict about numbers and Unicode, but keeps the last of repeated names silently.
    """
    orjson.loads(text)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        found.repeated = tuple(name for name, count in counts.items() if count > 1)
    return found
