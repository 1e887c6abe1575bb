"""Reads the entries of `POST /prices`: prices, and the entries that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from marshmallow import ValidationError

from api.errors import ErrorCode, unknown_instrument
from api.rest.batches import BadLine, JsonObject
from api.rest.schemas.arguments import PRINTABLE
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
    if isinstance(entry, BadLine):
        raise Rejection(ErrorCode.INVALID_PAYLOAD, str(entry))
    if not isinstance(entry, JsonObject):
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
