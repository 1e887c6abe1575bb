"""Every check of admission, at and beside each bound, for each kind of record and each mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.admission import (
    MARKETS,
    MAX_AHEAD_SECONDS,
    SOURCES,
    Kind,
    Mode,
    NotAdmitted,
    Refusals,
    Window,
    check_candle,
    check_quote,
    check_trade,
    market_window,
    open_windows,
)
from db.candles import CandleRow
from db.intervals import INTERVALS, candle_end, candle_start
from db.messages import Tick, Trade
from db.prices import PriceRow
from db.timestamps import format_time, parse_time

Record: TypeAlias = Tick | PriceRow | Trade | CandleRow
MICROSECOND = timedelta(microseconds=1)
NOW = datetime(2025, 11, 19, 15, tzinfo=UTC)
TIME = "2025-11-18T12:00:00.000000Z"
CALENDARS = {"EUR_USD": "fx", "AAPL": "equity", "BTCUSDT": "crypto"}
DIGITS = "9" * 24
LARGEST, SMALLEST = f"{DIGITS}.{DIGITS}", f"0.{'0' * 23}1"
OHLC = ("1.10", "1.30", "1.00", "1.20")

tick = Tick("EUR_USD", bid="1.10000", ask="1.10010", mid="1.10005", time=TIME, source="oanda")
row = PriceRow("EUR_USD", TIME, TIME, "1.10000", "1.10010", "1.10005", None, "file:EUR_USD.csv", "file:EUR_USD.csv", 2)
trade = Trade("BTCUSDT", 500, TIME, "91000.10", "0.00100", "buy")
candle = CandleRow("EUR_USD", "1m", TIME, "2025-11-18T12:01:00.000000Z", OHLC, OHLC, OHLC, "10", 10, complete=True, source="oanda")

QUOTES = [pytest.param(tick, id="tick"), pytest.param(row, id="row")]
RECORDS = [*QUOTES, pytest.param(trade, id="trade"), pytest.param(candle, id="candle")]
MODES: list[Mode] = ["live", "recorded"]
NO_DECIMALS = [
    "", " ", "-1", "+1", "1.", ".5", "1e3", "1,5", "1_0", " 1", "1 ", "1\n", "1\t", "NaN", "Infinity", "0x1", "1.2.3",
    "\u0661", "\uff11", "1.\u0663", "9" * 25, "1." + "9" * 25, None, 1, 1.5, True, Decimal(1),
]  # fmt: skip


def changed(record: Record, **fields: Any) -> Record:
    return record._replace(**fields) if isinstance(record, Trade) else replace(record, **fields)


def at(record: Record, moment: datetime) -> Record:
    """The record at another time; a candle begins there."""
    if isinstance(record, CandleRow):
        end = candle_end("fx", record.interval, moment)
        return replace(record, start_time=format_time(moment), end_time=format_time(end))
    return changed(record, time=format_time(moment))


def check(record: Record, window: Window, now: datetime = NOW) -> None:
    if isinstance(record, Trade):
        check_trade(record, window)
    elif isinstance(record, CandleRow):
        check_candle(record, window, format_time(now))
    else:
        check_quote(record, window)


def refusal(record: Record, window: Window | None = None, now: datetime = NOW) -> Kind | None:
    """The kind of the refusal; None if the record is admitted."""
    try:
        check(record, window or market_window("live", "fx", now), now)
    except NotAdmitted as error:
        return error.kind
    return None


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("market", "source"), [*((market, "") for market in MARKETS), ("crypto", "binance"), ("fx", "oanda")])
def test_good_record_is_admitted(record: Record, mode: Mode, market: str, source: str) -> None:
    assert refusal(record, market_window(mode, market, NOW, source=source)) is None


@pytest.mark.parametrize("record", RECORDS)
def test_refusal_has_a_reason_and_a_kind(record: Record) -> None:
    with pytest.raises(NotAdmitted, match=r"^time 1970-01-01T00:00:00\.000000Z is before 1971-01-01T00:00:00\.000000Z$") as caught:
        check(at(record, datetime(1970, 1, 1, tzinfo=UTC)), market_window("live", "fx", NOW))
    assert (caught.value.kind, caught.value.reason) == ("time_too_old", str(caught.value))
    assert isinstance(caught.value, ValueError)


# the instrument


def test_unknown_instrument_is_refused() -> None:
    windows = open_windows("live", CALENDARS, NOW)
    for symbol in ("EUR_XXX", "eur_usd", ""):
        with pytest.raises(NotAdmitted, match=f"unknown instrument '{symbol}'") as caught:
            check_trade(trade, windows[symbol])
        assert caught.value.kind == "unknown_instrument"
    assert set(windows) == set(CALENDARS)


@pytest.mark.parametrize("mode", MODES)
def test_each_instrument_has_the_window_of_its_market(mode: Mode) -> None:
    windows = open_windows(mode, CALENDARS, NOW, source="binance", max_ahead_seconds=7)
    for symbol, market in CALENDARS.items():
        assert windows[symbol] == market_window(mode, market, NOW, source="binance", max_ahead_seconds=7)
        assert windows[symbol].market == market


# the window of time


@pytest.mark.parametrize(
    ("market", "source", "earliest"),
    [
        ("fx", "", "1971-01-01T00:00:00.000000Z"),
        ("equity", "", "1971-01-01T00:00:00.000000Z"),
        ("crypto", "", "2009-01-03T00:00:00.000000Z"),
        ("crypto", "binance", "2017-07-14T00:00:00.000000Z"),
        ("crypto", "replay:btc.csv", "2009-01-03T00:00:00.000000Z"),
        ("fx", "oanda", "1971-01-01T00:00:00.000000Z"),
    ],
)
@pytest.mark.parametrize("ahead", [1, 300, 3600])
def test_window_of_a_mode(market: str, source: str, earliest: str, ahead: int) -> None:
    live = market_window("live", market, NOW, source=source, max_ahead_seconds=ahead)
    assert live == Window(earliest, format_time(NOW + timedelta(seconds=ahead)), market)
    recorded = market_window("recorded", market, NOW, source=source, max_ahead_seconds=ahead)
    assert recorded == Window(earliest, format_time(NOW), market)


def test_live_records_may_be_five_minutes_ahead_by_default() -> None:
    assert MAX_AHEAD_SECONDS == 300
    assert market_window("live", "fx", NOW).latest == "2025-11-19T15:05:00.000000Z"


def test_market_without_an_earliest_date_is_an_error() -> None:
    with pytest.raises(KeyError):
        market_window("live", "bond", NOW)


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("market", "source"), [("fx", ""), ("equity", ""), ("crypto", ""), ("crypto", "binance")])
def test_time_at_and_beside_the_bounds(record: Record, mode: Mode, market: str, source: str) -> None:
    window = market_window(mode, market, NOW, source=source)
    earliest, latest = parse_time(window.earliest), parse_time(window.latest)
    step = timedelta(minutes=1) if isinstance(record, CandleRow) else MICROSECOND
    later = timedelta(hours=1)  # a clock at which candles at the upper bound have ended
    assert refusal(at(record, earliest - step), window) == "time_too_old"
    assert refusal(at(record, earliest), window) is None
    assert refusal(at(record, latest), window, NOW + later) is None
    assert refusal(at(record, latest + step), window, NOW + later) == "time_in_future"


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("time", "kind"),
    [
        ("0001-01-01T00:00:00.000000Z", "time_too_old"),
        ("1969-12-31T23:59:00.000000Z", "time_too_old"),
        ("1970-01-01T00:00:00.000000Z", "time_too_old"),
        ("2099-01-01T00:00:00.000000Z", "time_in_future"),
        ("9999-12-31T23:59:59.999999Z", "time_in_future"),
    ],
)
def test_wild_time_is_refused(record: Record, mode: Mode, time: str, kind: Kind) -> None:
    wild = replace(record, start_time=time) if isinstance(record, CandleRow) else changed(record, time=time)
    assert refusal(wild, market_window(mode, "fx", NOW)) == kind


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize(
    "time",
    [
        "", "noon", "2025-11-18", "2025-11-18T12:00:00Z", "2025-11-18 12:00:00.000000Z", "2025-11-18T12:00:00.000000+00:00",
        "2025-11-18T24:00:00.000000Z", "2025-11-18T12:00:60.000000Z", "2025-02-29T12:00:00.000000Z", "2025-11-31T12:00:00.000000Z",
        "2025-13-01T12:00:00.000000Z", "2025-11-18T12:00:00.000000Z\n", None, 1763467200, "2025-11-18T12:00:00.00000\u0663Z",
    ],
)  # fmt: skip
def test_time_that_is_not_in_contract_form_is_unreadable(record: Record, time: Any) -> None:
    bad = replace(record, start_time=time) if isinstance(record, CandleRow) else changed(record, time=time)
    with pytest.raises(ValueError, match="is not a time in contract form") as caught:
        check(bad, market_window("live", "fx", NOW))
    assert not isinstance(caught.value, NotAdmitted)


def test_window_contains_its_bounds() -> None:
    window = market_window("recorded", "crypto", NOW)
    assert [window.contains(time) for time in (window.earliest, TIME, window.latest)] == [True, True, True]
    assert not window.contains("2009-01-02T23:59:59.999999Z")
    assert not window.contains(format_time(NOW + MICROSECOND))


# decimals


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        pytest.param(tick, ("bid", "ask", "mid", "volume"), id="tick"),
        pytest.param(row, ("bid", "ask", "mid", "volume"), id="row"),
        pytest.param(trade, ("price", "quantity"), id="trade"),
        pytest.param(candle, ("volume",), id="candle"),
    ],
)
def test_field_that_is_no_decimal_is_refused(record: Record, fields: tuple[str, ...]) -> None:
    for field, text in product(fields, NO_DECIMALS):
        if field == "volume" and text is None and not isinstance(record, CandleRow):
            continue  # a quote may have no volume
        assert refusal(changed(record, **{field: text})) == "not_a_decimal", (field, text)


@pytest.mark.parametrize("side", ["mid", "bid", "ask"])
@pytest.mark.parametrize("place", range(4))
def test_candle_price_that_is_no_decimal_is_refused(side: str, place: int) -> None:
    for text in NO_DECIMALS:
        prices = (*OHLC[:place], text, *OHLC[place + 1 :])
        assert refusal(changed(candle, **{side: prices})) == "not_a_decimal", text


@pytest.mark.parametrize("text", [LARGEST, SMALLEST, DIGITS, "000000000000000000000001", "1.000000000000000000000000"])
def test_decimal_of_48_digits_is_admitted(text: str) -> None:
    for quote in (tick, row):
        assert refusal(replace(quote, bid=text, ask=text, mid=text, volume=text)) is None
    assert refusal(trade._replace(price=text, quantity=text)) is None
    assert refusal(replace(candle, mid=(text,) * 4, bid=(text,) * 4, ask=(text,) * 4, volume=text)) is None


# quotes


@pytest.mark.parametrize("record", QUOTES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("bid", "ask", "mid", "kind"),
    [
        ("1.1", "1.1", "1.1", None),
        ("1.10", "1.1", "1.1", None),  # equal as numbers
        ("9", "10", "9.5", None),  # "9" is above "10" as text
        ("10", "9", "9.5", "bad_price"),
        ("1.1000000000000000000000001"[:26], "1.1", "1.1", None),
        (f"1.{'0' * 23}1", "1", "1", "bad_price"),  # beyond the precision of floats
        ("0", "1", "1", "bad_price"),
        ("0.000", "1", "1", "bad_price"),
        (SMALLEST, "1", "1", None),
        ("0", "0", "1", "bad_price"),
        ("1", "0", "1", "bad_price"),
        ("1", "1", "0", "bad_price"),
        ("1", "1", "0.000", "bad_price"),
        ("1", "1", SMALLEST, None),
        ("1", "2", "3", None),  # mid of a trade may lie outside
    ],
)
def test_prices_of_a_quote(record: Tick | PriceRow, mode: Mode, bid: str, ask: str, mid: str, kind: Kind | None) -> None:
    assert refusal(replace(record, bid=bid, ask=ask, mid=mid), market_window(mode, "fx", NOW)) == kind


@pytest.mark.parametrize("record", QUOTES)
@pytest.mark.parametrize("volume", [None, "0", "0.5", LARGEST])
def test_volume_of_a_quote(record: Tick | PriceRow, volume: str | None) -> None:
    assert refusal(replace(record, volume=volume)) is None


# trades


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"price": "0"}, "bad_trade"),
        ({"price": "0.00000000"}, "bad_trade"),
        ({"price": SMALLEST}, None),
        ({"quantity": "0"}, "bad_trade"),
        ({"quantity": "0.00000000"}, "bad_trade"),
        ({"quantity": "0E-8"}, "not_a_decimal"),
        ({"quantity": SMALLEST}, None),
        ({"trade_id": -1}, "bad_trade"),
        ({"trade_id": 0}, None),
        ({"trade_id": 2**63 - 1}, None),
        ({"trade_id": 2**63}, "bad_trade"),
        ({"trade_id": True}, "bad_trade"),
        ({"trade_id": 1.0}, "bad_trade"),
        ({"trade_id": "1"}, "bad_trade"),
        ({"trade_id": None}, "bad_trade"),
        ({"side": "buy"}, None),
        ({"side": "sell"}, None),
        ({"side": "Buy"}, "bad_trade"),
        ({"side": ""}, "bad_trade"),
        ({"side": "buy "}, "bad_trade"),
    ],
)
def test_fields_of_a_trade(mode: Mode, fields: dict[str, Any], kind: Kind | None) -> None:
    assert refusal(trade._replace(**fields), market_window(mode, "crypto", NOW, source="binance")) == kind


decimals = st.from_regex(r"[0-9]{1,26}(\.[0-9]{1,26})?", fullmatch=True) | st.from_regex(r"0{1,24}(\.0{1,24})?", fullmatch=True) | st.text(
    "0123456789.-\t\n", max_size=6
)  # fmt: skip


@given(
    decimals,
    decimals,
    st.integers(-2, 2**63 + 2),
    st.datetimes(datetime(2008, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants naive bounds
    st.sampled_from(["buy", "sell", "none"]),
)
@settings(max_examples=200)
def test_trade_is_admitted_if_every_part_is(price: str, quantity: str, trade_id: int, time: datetime, side: str) -> None:
    def is_good(text: str) -> bool:
        whole, _, fraction = text.partition(".")
        plain = all(part.isascii() and part.isdigit() and len(part) <= 24 for part in ((whole, fraction) if "." in text else (whole,)))
        return plain and Decimal(text) > 0

    in_time = datetime(2009, 1, 3, tzinfo=UTC) <= time <= NOW
    expected = is_good(price) and is_good(quantity) and 0 <= trade_id < 2**63 and in_time and side != "none"
    record = Trade("BTCUSDT", trade_id, format_time(time), price, quantity, side)
    assert (refusal(record, market_window("recorded", "crypto", NOW)) is None) == expected


# candles


@pytest.mark.parametrize(
    ("prices", "kind"),
    [
        (("1.1", "1.3", "1.0", "1.2"), None),
        (("1", "1", "1", "1"), None),
        (("1.0", "1.00", "1", "1.000"), None),  # equal as numbers
        (("9", "10", "9", "10"), None),  # "9" is above "10" as text
        (("10", "9", "9", "9"), "bad_candle"),
        (("1.1", "1.2", "1.0", "1.3"), "bad_candle"),
        (("1.3", "1.2", "1.0", "1.1"), "bad_candle"),
        (("1.1", "1.3", "1.15", "1.2"), "bad_candle"),
        (("1.2", "1.3", "1.15", "1.1"), "bad_candle"),
        (("1.1", "1.0", "1.3", "1.2"), "bad_candle"),
        ((f"1.{'0' * 23}2", f"1.{'0' * 23}1", "1", "1"), "bad_candle"),
        (("0", "1", "0", "1"), "bad_candle"),
        (("1", "1", "0", "1"), "bad_candle"),
        (("0.00", "0", "0", "0.0"), "bad_candle"),
        ((SMALLEST, SMALLEST, SMALLEST, SMALLEST), None),
        ((SMALLEST, LARGEST, SMALLEST, LARGEST), None),
    ],
)
def test_prices_of_a_candle(prices: tuple[str, ...], kind: Kind | None) -> None:
    for side, mode in product(("mid", "bid", "ask"), MODES):
        assert refusal(changed(candle, **{side: prices}), market_window(mode, "fx", NOW)) == kind, (side, mode)


def test_candle_may_lack_bid_and_ask() -> None:
    assert refusal(replace(candle, bid=None, ask=None)) is None
    assert refusal(replace(candle, bid=None)) is None


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"volume": "0"}, None),
        ({"volume": "-1"}, "not_a_decimal"),  # no decimal of ours has a sign
        ({"trades": None}, None),
        ({"trades": 0}, None),
        ({"trades": 2**63 - 1}, None),
        ({"trades": 2**63}, "bad_candle"),
        ({"trades": -1}, "bad_candle"),
        ({"trades": True}, "bad_candle"),
        ({"trades": 1.0}, "bad_candle"),
        ({"interval": "2m"}, "bad_candle"),
        ({"interval": ""}, "bad_candle"),
        ({"end_time": "2025-11-18T12:00:00.000000Z"}, "bad_candle"),
        ({"end_time": "2025-11-18T12:02:00.000000Z"}, "bad_candle"),
        ({"complete": False}, None),
    ],
)
def test_fields_of_a_candle(fields: dict[str, Any], kind: Kind | None) -> None:
    assert refusal(changed(candle, **fields)) == kind


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("market", MARKETS)
def test_start_on_and_beside_the_grid(interval: str, market: str) -> None:
    window, width = market_window("recorded", market, NOW), INTERVALS[interval]
    for day in ("2025-03-07", "2025-03-10", "2025-11-03", "2025-07-16"):
        start = candle_start(market, interval, parse_time(f"{day}T12:34:56Z"))
        end = format_time(candle_end(market, interval, start))
        on_grid = replace(candle, interval=interval, start_time=format_time(start), end_time=end)
        assert refusal(on_grid, window) is None, day
        for step in (-MICROSECOND, MICROSECOND, timedelta(seconds=1), width / 2, -width / 4):
            beside = replace(on_grid, start_time=format_time(start + step), end_time=format_time(start + step + width))
            assert refusal(beside, window) == "bad_candle", (day, step)


@pytest.mark.parametrize(
    ("market", "interval", "start", "end", "kind"),
    [
        ("fx", "1d", "2025-07-15T21:00:00Z", "2025-07-16T21:00:00Z", None),
        ("fx", "1d", "2025-01-15T22:00:00Z", "2025-01-16T22:00:00Z", None),
        ("fx", "1d", "2025-07-15T22:00:00Z", "2025-07-16T22:00:00Z", "bad_candle"),
        ("fx", "1d", "2025-07-15T00:00:00Z", "2025-07-16T00:00:00Z", "bad_candle"),
        ("fx", "1d", "2025-03-08T22:00:00Z", "2025-03-09T21:00:00Z", None),  # 23 hours
        ("fx", "1d", "2025-03-08T22:00:00Z", "2025-03-09T22:00:00Z", "bad_candle"),
        ("fx", "1d", "2025-11-01T21:00:00Z", "2025-11-02T22:00:00Z", None),  # 25 hours
        ("fx", "4h", "2025-07-15T21:00:00Z", "2025-07-16T01:00:00Z", None),
        ("fx", "4h", "2025-07-15T20:00:00Z", "2025-07-16T00:00:00Z", "bad_candle"),
        ("crypto", "1d", "2025-07-15T00:00:00Z", "2025-07-16T00:00:00Z", None),
        ("crypto", "1d", "2025-07-15T21:00:00Z", "2025-07-16T21:00:00Z", "bad_candle"),
        ("equity", "4h", "2025-07-15T20:00:00Z", "2025-07-16T00:00:00Z", None),
    ],
)
def test_fx_days_begin_at_17_new_york(market: str, interval: str, start: str, end: str, kind: Kind | None) -> None:
    begins, ends = format_time(parse_time(start)), format_time(parse_time(end))
    assert refusal(replace(candle, interval=interval, start_time=begins, end_time=ends), market_window("recorded", market, NOW)) == kind


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("complete", [True, False])
def test_candle_that_has_not_ended_is_refused(interval: str, mode: Mode, complete: bool) -> None:
    start = candle_start("fx", interval, NOW - timedelta(minutes=1))
    end = candle_end("fx", interval, start)
    forming = replace(candle, interval=interval, start_time=format_time(start), end_time=format_time(end), complete=complete)
    window = market_window(mode, "fx", end)
    assert refusal(forming, window, end - MICROSECOND) == "not_ended"
    assert refusal(forming, window, end) is None
    assert refusal(forming, window, end + MICROSECOND) is None


def test_live_candle_that_begins_within_the_allowance_has_not_ended() -> None:
    window = market_window("live", "fx", NOW)
    assert refusal(at(candle, NOW + timedelta(minutes=5)), window) == "not_ended"
    assert refusal(at(candle, NOW + timedelta(minutes=6)), window) == "time_in_future"


# counts


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        ([], "0 bad"),
        ([NotAdmitted("bid 2 is above ask 1", "bad_price")], "1 bad: 1 of kind bad_price; first: line 1: bid 2 is above ask 1"),
        (
            [NotAdmitted("old", "time_too_old"), ValueError("3 fields"), NotAdmitted("a", "bad_candle"), ValueError("4 fields")],
            "4 bad: 2 of kind unreadable, 1 of kind bad_candle, 1 of kind time_too_old; first: line 1: old",
        ),
    ],
)
def test_refusals_as_text(refused: list[ValueError], text: str) -> None:
    refusals = Refusals()
    for number, error in enumerate(refused, 1):
        refusals.add(f"line {number}", error)
    assert str(refusals) == text
    assert len(refusals) == len(refused) == sum(refusals.counts.values())
    assert bool(refusals) == bool(refused)


def test_refusals_count_by_kind() -> None:
    refusals = Refusals()
    checks: list[Callable[[], None]] = [
        lambda: check_quote(replace(tick, bid="9"), market_window("live", "fx", NOW)),
        lambda: check_trade(trade._replace(side="none"), market_window("live", "crypto", NOW)),
        lambda: check_trade(trade._replace(trade_id=-1), market_window("live", "crypto", NOW)),
        lambda: check_trade(trade, open_windows("live", CALENDARS, NOW)["XXX"]),
    ]
    for place, each in enumerate(checks):
        with pytest.raises(NotAdmitted) as caught:
            each()
        refusals.add(str(place), caught.value)
    assert refusals.counts == {"bad_trade": 2, "bad_price": 1, "unknown_instrument": 1}
    assert refusals.first == ("0", "bid 9 is above ask 1.10010")
    refusals.counts.clear()
    assert len(refusals) == 4


def test_tables_hold_contract_form() -> None:
    for earliest in (*MARKETS.values(), *SOURCES.values()):
        assert format_time(parse_time(earliest)) == earliest
