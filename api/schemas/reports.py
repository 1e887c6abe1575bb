"""Reports of bots at the edge: each one is checked by itself, then the good ones go to the bus.

REST and the hub share it. The hub calls `check_reports` in an event, puts the batch on its queue,
and makes the answer with `report_accepted`; REST calls `accept`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any, Protocol

from api.access.model import Access
from api.errors import ErrorCode, Refusal, unknown_instrument
from api.schemas.report_fields import FIELDS, check_time, is_id
from db.bus import BatchOutcome, Outcome, ReportLimits, ReportsFull
from db.reports.model import CANCEL, KINDS, MODELS, REPLACE, Correction, Report
from db.timestamps import format_time

MAX_REPORTS = 500  # of a batch
_MAX_MESSAGE_CHARACTERS = 200  # a message may quote a value of the client
_CORRECTED = ("quantity", "price", "fee")
_CONFLICT = "The id was used for another content; the first report stays."


class ReportBus(Protocol):
    """The part of the bus that accepts reports."""

    def append_reports(self, batches: Sequence[Sequence[Report]], limits: ReportLimits) -> list[BatchOutcome]:
        """Accept each batch, or refuse it as a whole. Raises `BusError`."""


class RejectedReport(Exception):
    """A report that is not accepted."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class CheckedReports:
    """The good reports of a batch, their places in it, and the refusals of the others."""

    reports: tuple[Report, ...]
    places: tuple[int, ...]
    rejected: tuple[dict[str, Any], ...]


def accept(
    entries: Sequence[Any], access: Access, instruments: Collection[str], now: datetime, bus: ReportBus, limits: ReportLimits
) -> dict[str, Any]:
    """Accept a batch and return the body of `report_accepted`.

    Raises `BusError`, `ReportsFull` if too many reports wait, and `Refusal` (`too_many_requests`)
    above the rate of a bot: nothing is accepted then.
    """
    checked = check_reports(entries, access, instruments, now)
    outcome = bus.append_reports([checked.reports], limits)[0] if checked.reports else BatchOutcome()
    return report_accepted(checked, outcome, limits, now)


def check_reports(entries: Sequence[Any], access: Access, instruments: Collection[str], now: datetime) -> CheckedReports:
    """Check each entry of a batch: its fields, its time, its instrument, and the caller's bots.

    Entries are values of JSON, or `RejectedReport`s of lines that are not JSON. `instruments` are
    the names of all; pass the same frozenset each time, as for `api.nearest`.
    """
    reports: list[Report] = []
    places: list[int] = []
    rejected: list[dict[str, Any]] = []
    for index, entry in enumerate(entries):
        try:
            reports.append(_read(entry, access, instruments, now))
            places.append(index)
        except RejectedReport as error:
            rejected.append(_rejection(index, _id_of(entry), error.code, str(error)))
    return CheckedReports(tuple(reports), tuple(places), tuple(rejected))


def report_accepted(checked: CheckedReports, outcome: BatchOutcome, limits: ReportLimits, now: datetime) -> dict[str, Any]:
    """Return the body of `report_accepted` for the answer of the bus.

    Raises `ReportsFull` or `Refusal` if the bus has refused the batch.
    """
    if outcome.full:
        raise ReportsFull("too many reports wait for the observer")
    if outcome.retry_after is not None:
        details = {"retry_after": max(1, ceil(outcome.retry_after)), "rate": f"{limits.rate}/s"}
        raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {limits.rate} reports per second of one bot; nothing was accepted.", details)
    conflicts = [
        _rejection(place, report.id, ErrorCode.CONFLICT, _CONFLICT)
        for place, report, each in zip(checked.places, checked.reports, outcome.outcomes, strict=True)
        if each == Outcome.CONFLICT
    ]
    return {
        "accepted": outcome.outcomes.count(Outcome.NEW),
        "duplicates": outcome.outcomes.count(Outcome.DUPLICATE),
        "rejected": sorted([*checked.rejected, *conflicts], key=lambda each: each["index"]),
        "timestamp": format_time(now),
    }


def _rejection(index: int, report_id: str | None, code: ErrorCode, message: str) -> dict[str, Any]:
    return {"index": index, "id": report_id, "code": code.value, "message": message[:_MAX_MESSAGE_CHARACTERS]}


def _id_of(entry: Any) -> str | None:
    """Return the id of an entry, if it has a readable one."""
    found = entry.get("id") if isinstance(entry, Mapping) else None
    return found if isinstance(found, str) and is_id(found) else None


def _read(entry: Any, access: Access, instruments: Collection[str], now: datetime) -> Report:
    """Return the report of an entry. Raises `RejectedReport`."""
    if isinstance(entry, RejectedReport):
        raise entry
    kind, values = _values(entry)
    try:
        check_time(values["time"], now)
    except ValueError as error:
        raise _invalid("time", str(error)) from None
    if kind == "fill" and values.pop("fill_id") != values["id"]:
        raise _invalid("fill_id", "Must be equal to id.")
    if not access.may_report(values["bot"]):
        raise RejectedReport(ErrorCode.FORBIDDEN, f"bot: No right to report for {values['bot']!r}.")
    symbol = values.get("symbol")
    if symbol is not None and symbol not in instruments:
        refusal = unknown_instrument(symbol, instruments)
        raise RejectedReport(refusal.code, f"symbol: {refusal}")
    report = MODELS[kind](**values)
    if isinstance(report, Correction):
        _check_correction(report)
    return report


def _values(entry: Any) -> tuple[str, dict[str, Any]]:
    """Return the kind of an entry and its values by field; null is a missing value."""
    if not isinstance(entry, dict):
        raise RejectedReport(ErrorCode.INVALID_PAYLOAD, "Not an object with the fields of a report.")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise _invalid("kind", f"Must be one of: {', '.join(KINDS)}.")
    values: dict[str, Any] = {}
    for field in FIELDS[kind]:
        value = entry.get(field.name)
        if value is not None:
            try:
                values[field.name] = field.read(value)
            except ValueError as error:
                raise _invalid(field.name, str(error)) from None
        elif field.required:
            raise _invalid(field.name, "Missing data for required field.")
    if len(values) < len(entry) - 1:
        names = {"kind", *(field.name for field in FIELDS[kind])}
        if unknown := [name for name in entry if name not in names]:
            raise _invalid(str(unknown[0]), f"Unknown field of a report of kind {kind}.")
    return kind, values


def _check_correction(report: Correction) -> None:
    given = [name for name in _CORRECTED if getattr(report, name) is not None]
    if report.action == REPLACE and not given:
        raise _invalid("action", "replace needs a new quantity, price or fee.")
    if report.action == CANCEL and given:
        raise _invalid(given[0], "Must not be given: action is cancel.")


def _invalid(name: str, problem: str) -> RejectedReport:
    return RejectedReport(ErrorCode.INVALID_PAYLOAD, f"{name:.64}: {problem}")
