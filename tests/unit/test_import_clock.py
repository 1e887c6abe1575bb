"""Times of imported files: zones, clock changes, notations and Unix times.

Oracle of the zones: `zoneinfo`, from UTC to the wall clock, which is never ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.feeds.files.formats.clock import AnyTimes, LocalTimes, Times, UnixTimes, times_of
from jobs.feeds.files.formats.detect import detect
from jobs.feeds.files.formats.model import AmbiguousDate, BadOptionValue, Options, Quote
from jobs.feeds.files.formats.notations import DOTS, ISO, notations_of
from jobs.feeds.files.formats.zones import UTC_ZONE, zone_of

ZONES = ["America/New_York", "America/New_York+07:00", "Europe/Athens", "Europe/London-01:30", "EET", "Australia/Sydney", "Asia/Tokyo"]
STEP = timedelta(minutes=10)


def contract(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def wall(zone: str, moment: datetime) -> datetime:
    """The reading of the zone's clock, by `zoneinfo` and plain addition of the shift."""
    name, sign, shift = zone.partition("+") if "+" in zone else zone.rpartition("-") if zone[-3] == ":" else (zone, "", "0:0")
    hours, minutes = map(int, shift.split(":"))
    distance = timedelta(hours=hours, minutes=minutes)
    return moment.astimezone(ZoneInfo(name)).replace(tzinfo=None) + (-distance if sign == "-" else distance)


def changes(zone: str) -> Iterator[tuple[datetime, timedelta]]:
    """The clock changes of 2025 and 2026: moment and difference of the wall clock."""
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    while moment < datetime(2027, 1, 1, tzinfo=UTC):
        following = moment + timedelta(hours=1)
        jump = wall(zone, following) - wall(zone, moment) - timedelta(hours=1)
        if jump:
            yield following, jump
        moment = following


def read(times: Times, texts: list[str], instrument: str = "EUR_USD") -> list[str]:
    return [times.parse(text, instrument) for text in texts]


@pytest.mark.parametrize("zone", ZONES)
def test_clock_changes_of_two_years_are_read_as_zoneinfo_has_them(zone: str) -> None:
    found = list(changes(zone))
    assert len(found) == (0 if zone == "Asia/Tokyo" else 4)
    for change, _ in found:
        moments = [change + number * STEP for number in range(-30, 30)]
        texts = [f"{wall(zone, moment):%Y.%m.%d %H:%M:%S}" for moment in moments]
        assert read(LocalTimes((DOTS,), zone_of(zone)), texts) == [contract(moment) for moment in moments]


@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone != "Asia/Tokyo"])
def test_hour_that_a_change_skips_is_a_fault(zone: str) -> None:
    forward = [change for change, jump in changes(zone) if jump > timedelta()]
    assert len(forward) == 2
    for change in forward:
        times = LocalTimes((ISO,), zone_of(zone))
        for minutes in (0, 1, 30, 59):
            skipped = wall(zone, change) - timedelta(hours=1) + timedelta(minutes=minutes)
            with pytest.raises(ValueError, match=f"does not exist in {zone.replace('+', '.')}: a clock change skips it"):
                times.parse(f"{skipped:%Y-%m-%dT%H:%M:%S}", "EUR_USD")
        assert times.parse(f"{wall(zone, change):%Y-%m-%dT%H:%M:%S}", "EUR_USD") == contract(change)


NEW_YORK = ["2026-11-01 01:10", "2026-11-01 01:50", "2026-11-01 01:50", "2026-11-01 01:20", "2026-11-01 01:55", "2026-11-01 02:00"]


def test_repeated_hour_is_the_second_one_when_times_go_back() -> None:
    # 2026-11-01 06:00 UTC: 02:00 EDT becomes 01:00 EST.
    times = read(LocalTimes((ISO,), zone_of("America/New_York")), NEW_YORK)
    assert [time[11:16] for time in times] == ["05:10", "05:50", "05:50", "06:20", "06:55", "07:00"]


def test_equal_start_of_candles_is_in_the_second_hour() -> None:
    texts = ["2026-11-01 00:00", "2026-11-01 01:00", "2026-11-01 01:00", "2026-11-01 02:00"]
    hours = read(LocalTimes((ISO,), zone_of("America/New_York"), unique=True), texts)
    assert [time[11:16] for time in hours] == ["04:00", "05:00", "06:00", "07:00"]
    ticks = read(LocalTimes((ISO,), zone_of("America/New_York")), texts)
    assert [time[11:16] for time in ticks] == ["04:00", "05:00", "05:00", "07:00"]


def test_repeated_hour_of_a_file_that_begins_with_its_newest_line() -> None:
    texts = ["2026-11-01 02:10", "2026-11-01 01:40", "2026-11-01 01:05", "2026-11-01 01:50", "2026-11-01 01:10", "2026-11-01 00:30"]
    times = read(LocalTimes((ISO,), zone_of("America/New_York")), texts)
    assert [time[11:16] for time in times] == ["07:10", "06:40", "06:05", "05:50", "05:10", "04:30"]


def test_each_instrument_has_its_own_repeated_hour() -> None:
    times = LocalTimes((ISO,), zone_of("America/New_York"))
    read_of = {name: [times.parse(f"2026-11-01 {clock}", name)[11:16] for clock in ("01:50", "01:10")] for name in ("EUR_USD", "USD_JPY")}
    assert read_of == {"EUR_USD": ["05:50", "06:10"], "USD_JPY": ["05:50", "06:10"]}
    assert times.parse("2026-11-01 01:55", "GBP_USD")[11:16] == "05:55"


def test_repeated_hours_of_two_years_are_apart() -> None:
    times = LocalTimes((ISO,), zone_of("America/New_York"))
    texts = ["2025-11-02 01:50", "2025-11-02 01:10", "2026-11-01 01:30"]
    assert [time[11:16] for time in read(times, texts)] == ["05:50", "06:10", "05:30"]


def test_histdata_in_july_is_five_hours_behind() -> None:
    lines = [(1, "20260701 120000123,1.10000,1.10010,0\n"), (2, "20260115 120000123,1.10000,1.10010,0\n")]
    found = detect(lines, Options(), name="DAT_ASCII_EURUSD_T_202607.csv", instruments=["EUR_USD"])
    quotes = [item for _, item in found.read(lines)]
    assert [quote.time for quote in quotes if isinstance(quote, Quote)] == ["2026-07-01T17:00:00.123000Z", "2026-01-15T17:00:00.123000Z"]
    assert found.zone == "UTC-05:00"


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime(1971, 1, 2), datetime(2100, 1, 1)), st.sampled_from(ZONES))  # noqa: DTZ001 - UTC is added below
def test_every_moment_outside_changes_is_read_back(moment: datetime, zone: str) -> None:
    aware = moment.replace(tzinfo=UTC)
    reading = wall(zone, aware)
    near = [wall(zone, aware + timedelta(hours=hours)) - timedelta(hours=hours) for hours in (-2, -1, 1, 2)]
    text = f"{reading:%Y}".zfill(4) + f"{reading:-%m-%dT%H:%M:%S.%f}"
    found = LocalTimes((ISO,), zone_of(zone)).parse(text, "EUR_USD")
    assert found == contract(aware) or any(each != reading for each in near)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-02", "2026-03-02T00:00:00.000000Z"),
        ("2026-03-02 09:00", "2026-03-02T09:00:00.000000Z"),
        ("2026-03-02T09:00:01", "2026-03-02T09:00:01.000000Z"),
        ("2026-03-02 09:00:01.5", "2026-03-02T09:00:01.500000Z"),
        ("2026-03-02 09:00:01.123456789", "2026-03-02T09:00:01.123456Z"),
        ("2026-03-02T09:00:01Z", "2026-03-02T09:00:01.000000Z"),
        ("2026-03-02T09:00:01+02:00", "2026-03-02T07:00:01.000000Z"),
        ("2026-03-02 09:00:01-0530", "2026-03-02T14:30:01.000000Z"),
        ("2026.03.02", "2026-03-02T00:00:00.000000Z"),
        ("2026.03.02 09:00:01.123", "2026-03-02T09:00:01.123000Z"),
        ("20260302", "2026-03-02T00:00:00.000000Z"),
        ("20260302 090001", "2026-03-02T09:00:01.000000Z"),
        ("20260302 09:00:01.123", "2026-03-02T09:00:01.123000Z"),
        ("20260302T090001123", "2026-03-02T09:00:01.123000Z"),
        ("20260302090001", "2026-03-02T09:00:01.000000Z"),
        ("1772442001", "2026-03-02T09:00:01.000000Z"),
        ("1772442001123", "2026-03-02T09:00:01.123000Z"),
        ("1772442001123456", "2026-03-02T09:00:01.123456Z"),
        ("1772442001123456789", "2026-03-02T09:00:01.123456Z"),
    ],
)
def test_first_time_shows_the_notation(text: str, time: str) -> None:
    assert AnyTimes(UTC_ZONE).parse(text, "") == time


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2026-13-02", "2026-02-29", "2026-03-02 24:00", "2026-03-02 09:60", "2026-03-02 09:00:60", "2026-3-2",
        "2026/03/02", "177244200", "17724420011", "2026-03-02 9:00", "-1772442001", "1772442001.5", "٢٠٢٦-٠٣-٠٢", "2026-03-02+99:00",
    ],
)  # fmt: skip
def test_text_that_is_no_time_is_a_fault(text: str) -> None:
    times = AnyTimes(UTC_ZONE)
    with pytest.raises(ValueError, match=r"."):
        times.parse(text, "")
    assert times.parse("2026-03-02", "") == "2026-03-02T00:00:00.000000Z", "a fault decides nothing"


@pytest.mark.parametrize(("first", "other"), [("2026-03-02", "1772442001"), ("1772442001", "1772442001123"), ("2026.03.02", "2026-03-02")])
def test_second_notation_in_a_file_is_a_fault(first: str, other: str) -> None:
    times = AnyTimes(UTC_ZONE)
    times.parse(first, "")
    with pytest.raises(ValueError, match=r"."):
        times.parse(other, "")


def test_unix_times_of_binance_have_one_width() -> None:
    times = UnixTimes((13, 16))
    with pytest.raises(ValueError, match="not a Unix time of 13 or 16 digits"):
        times.parse("1772442001", "")
    assert times.parse("1772442001123456", "") == "2026-03-02T09:00:01.123456Z"
    with pytest.raises(ValueError, match="not a Unix time of 16 digits"):
        times.parse("1772442001123", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("03/04/2026", "'03/04/2026' may be March or April: --date-format dmy or mdy"),
        ("04/03/2026 09:00", "'04/03/2026' may be March or April: --date-format dmy or mdy"),
        ("12-11-26", "'12-11-26' may be November or December: --date-format dmy or mdy"),
        ("3.4.2026", "'3.4.2026' may be March or April: --date-format dmy or mdy"),
        ("13/04/2026", "'13/04/2026' has the day first: --date-format dmy"),
        ("04/13/2026", "'04/13/2026' has the month first: --date-format mdy"),
        ("05/05/2026", "'05/05/2026' may have the day or the month first: --date-format dmy or mdy"),
    ],
)
def test_date_with_two_readings_refuses_the_file(text: str, message: str) -> None:
    with pytest.raises(AmbiguousDate) as caught:
        AnyTimes(UTC_ZONE).parse(text, "")
    assert str(caught.value) == message
    assert str(caught.value.at(7)) == f"line 7: {message}"


@pytest.mark.parametrize(
    ("date_format", "text", "time"),
    [
        ("dmy", "03/04/2026", "2026-04-03T00:00:00"),
        ("mdy", "03/04/2026", "2026-03-04T00:00:00"),
        ("dmy", "3.4.26 09:30", "2026-04-03T09:30:00"),
        ("mdy", "12-31-1999 23:59:59", "1999-12-31T23:59:59"),
        ("ymd", "2026/3/4", "2026-03-04T00:00:00"),
        ("ymd", "20260304", "2026-03-04T00:00:00"),
        ("iso", "2026-03-04T09:30:00Z", "2026-03-04T09:30:00"),
        ("unix", "1772616600", "2026-03-04T09:30:00"),
        ("%d-%b-%Y %H:%M", "04-MAR-2026 09:30", "2026-03-04T09:30:00"),
        ("%d/%m/%y %H.%M.%S", "04/03/26 09.30.00", "2026-03-04T09:30:00"),
        ("%Y%m%d%H%M%S%f", "20260304093000000", "2026-03-04T09:30:00"),
        ("(%m) %d %Y", "(03) 04 2026", "2026-03-04T00:00:00"),
        ("%d.%m.%y", "04.03.70", "1970-03-04T00:00:00"),
    ],
)
def test_date_format_is_followed(date_format: str, text: str, time: str) -> None:
    times = times_of(date_format, UTC_ZONE, unique=False)
    assert times.parse(text, "") == f"{time}.000000Z"
    with pytest.raises(ValueError, match=r"."):
        times.parse(f"x{text}", "")


def test_fraction_of_a_date_format_has_any_length() -> None:
    times = times_of("%Y-%m-%d %H:%M:%S,%f", UTC_ZONE, unique=False)
    assert times.parse("2026-03-04 09:30:01,5", "") == "2026-03-04T09:30:01.500000Z"
    assert times.parse("2026-03-04 09:30:01,123456789", "") == "2026-03-04T09:30:01.123456Z"


@pytest.mark.parametrize(
    ("date_format", "cause"),
    [
        ("%Y-%m", "it has no day"),
        ("%q", "%q is not known"),
        ("", "it has no year"),
        ("%Y-%Y-%m-%d", "is there twice"),
        ("%Y %m %d %", "% is not"),
    ],
)
def test_date_format_that_cannot_be_used_is_refused(date_format: str, cause: str) -> None:
    with pytest.raises(BadOptionValue, match=cause) as caught:
        notations_of(date_format)
    assert caught.value.option == "--date-format"


@pytest.mark.parametrize(
    "zone", ["Mars/Phobos", "", "+07:00", "America/New_York+7", "America/New_York+15:00", "../etc/passwd", "Europe", "UTC+07:60"]
)
def test_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(BadOptionValue, match="is no zone: use an IANA name") as caught:
        zone_of(zone)
    assert caught.value.option == "--timezone"


@pytest.mark.parametrize(
    ("zone", "time"),
    [
        ("UTC", "12:00"),
        ("utc", "12:00"),
        ("UTC+02:00", "10:00"),
        ("UTC-05:00", "17:00"),
        ("Etc/GMT+5", "17:00"),
        ("America/New_York+07:00", "10:00"),
        ("Asia/Kolkata", "06:30"),
        ("America/Port-au-Prince", "17:00"),
    ],
)
def test_zone_and_shift_are_read(zone: str, time: str) -> None:
    assert LocalTimes((ISO,), zone_of(zone)).parse("2026-01-15 12:00", "")[11:16] == time
