"""Times as text: one output form, several input forms, no loss of precision."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.timestamps import format_time, parse_time

zones = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)
# A day less than the calendar at both ends, so that the UTC of every zone is a date.
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - hypothesis requires naive bounds


@given(moments)
def test_moment_is_read_back_to_the_microsecond(moment: datetime) -> None:
    text = format_time(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC
    assert format_time(parse_time(text)) == text


@given(moments)
def test_time_with_an_offset_is_the_same_moment(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment


@given(moments)
def test_time_without_an_offset_is_utc(moment: datetime) -> None:
    naive = moment.replace(tzinfo=None)
    assert parse_time(naive.isoformat()) == naive.replace(tzinfo=UTC)


@given(moments, moments)
def test_text_sorts_like_time(one: datetime, other: datetime) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-18T12:34:56.789123Z", "2025-11-18T12:34:56.789123Z"),
        ("2025-11-18T12:30:00Z", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18T13:30:00+01:00", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18T12:30", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18", "2025-11-18T00:00:00.000000Z"),
        ("2014-05-05T00:00:23.668Z", "2014-05-05T00:00:23.668000Z"),
        ("2025-11-18T00:30:00-05:30", "2025-11-18T06:00:00.000000Z"),
    ],
)
def test_accepted_text_becomes_contract_time(text: str, expected: str) -> None:
    assert format_time(parse_time(text)) == expected


@given(st.text())
def test_other_text_is_a_value_error(text: str) -> None:
    try:
        parse_time(text)
    except ValueError:
        return
    assert text[:4].isdigit()


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2025-02-29", "yesterday", "", "1763468096"])
def test_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)
