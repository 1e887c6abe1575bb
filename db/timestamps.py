"""Times as text: UTC, ISO 8601, microseconds, `Z`. One format from the source to the client."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The clock of every process. Entry points pass it on; other code takes it as an argument."""
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """An aware datetime as `2025-11-18T12:34:56.789123Z`: the contract form."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Parse ISO 8601 with `Z`, an offset, or none (then UTC); raises `ValueError` otherwise."""
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from None
