"""The OANDA source on lines that are recorded, generated or damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.admission import NotAdmitted, Window, check_quote, market_window
from db.intervals import INTERVALS
from db.messages import Tick
from db.timestamps import parse_time, utc_now
from jobs.feeds.base import SourceError
from jobs.feeds.http_json import JsonClient
from jobs.feeds.http_lines import _split
from jobs.feeds.oanda.candles import candle_of
from jobs.feeds.oanda.history import GRANULARITIES, OandaHistory, oanda_history
from jobs.feeds.oanda.stream import OandaSource, price_of
from jobs.feeds.oanda.wire import contract_time, request_headers
from jobs.venues import VENUE_PARTS
from tests.standins.oanda_market import INTERVAL_OF, Market, Quote, price_line

RECORDED = Path(__file__).parents[1] / "data" / "oanda"
STREAM = json.loads((RECORDED / "pricing.json").read_text())["v3/accounts/{accountID}/pricing/stream"]["response"]
INSTRUMENTS = frozenset({"EUR_USD", "EUR_JPY"})
PRICE: dict[str, Any] = STREAM[2]

decimals = st.decimals(min_value="0.00001", max_value="99999", places=5).map(lambda price: f"{price:f}")


def window() -> Window:
    return market_window("live", "fx", utc_now())


def source(latest_times: Mapping[str, str] | None = None) -> OandaSource:
    return OandaSource("http://127.0.0.1:9/", "101-1", "secret-token", INSTRUMENTS, latest_times=latest_times or {}, window=window)


def faults_of(line: bytes) -> list[ValueError]:
    """The faults that the source reports of a line from which it reads no price."""
    feed, faults = source(), list[ValueError]()
    feed.note_bad = faults.append
    assert feed.parse(line) == []
    return faults


def test_recorded_lines_keep_every_digit() -> None:
    said = [tick for line in STREAM for tick in source().parse(orjson.dumps(line))]
    assert said == [
        Tick("EUR_JPY", bid="114.295", ask="114.312", mid="114.3035", time="2016-10-27T08:38:43.094548Z", source="oanda"),
        Tick("EUR_USD", bid="1.09177", ask="1.09188", mid="1.091825", time="2016-10-27T08:38:45.664613Z", source="oanda"),
        Tick("EUR_JPY", bid="114.298", ask="114.315", mid="114.3065", time="2016-10-27T08:38:45.681572Z", source="oanda"),
    ]


def test_stand_in_sends_prices_like_the_real_service() -> None:
    made = price_line(Quote(parse_time("2016-10-27T08:38:45.664613Z"), "EUR_USD", "1.09177", "1.09188"))
    assert PRICE.keys() <= made.keys()
    for name, value in PRICE.items():
        assert type(made[name]) is type(value)
    assert made["bids"][0].keys() == PRICE["bids"][0].keys()
    assert len(made["time"]) == len(PRICE["time"])
    [tick] = source().parse(orjson.dumps(made))
    assert (tick.bid, tick.ask, tick.time) == ("1.09177", "1.09188", "2016-10-27T08:38:45.664613Z")


@pytest.mark.parametrize("name", ["GetInstrumentCandles200Response.json", "GetAccountCandlesLatest200Response.json"])
def test_stand_in_sends_candles_like_the_real_service(name: str) -> None:
    answer = json.loads((RECORDED / name).read_text())
    recorded = [candle for each in answer.get("latestCandles", [answer]) for candle in each["candles"]]
    market = Market([Quote(parse_time("2016-10-27T08:38:45.664Z"), "EUR_USD", "1.09177", "1.09188")])
    now = parse_time("2016-10-27T08:39:00Z")
    [made] = [candle.as_json("MBA", now) for candle in market.candles("EUR_USD", "M1", now)]
    for candle in recorded:
        for key, value in candle.items():
            assert type(made[key]) is type(value)
            assert not isinstance(value, dict) or made[key].keys() == value.keys()
        assert len(made["time"]) == len(candle["time"])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2018-01-01T00:00:00.999999999Z", "2018-01-01T00:00:00.999999Z"),
        ("2018-01-01T00:00:00.1Z", "2018-01-01T00:00:00.100000Z"),
        ("2018-01-01T00:00:00Z", "2018-01-01T00:00:00.000000Z"),
    ],
)
def test_contract_time_cuts_to_microseconds(given: str, wanted: str) -> None:
    assert contract_time(given) == wanted


@pytest.mark.parametrize(
    "given", [None, 1477557525.6, "1477557525.664613867", "2018-13-01T00:00:00Z", "2018-01-01", "２018-01-01T00:00:00Z", ""]
)
def test_contract_time_refuses_other_values(given: Any) -> None:
    with pytest.raises(ValueError, match=r"time|month"):
        contract_time(given)


@given(decimals, decimals, st.integers(0, 999_999_999))
def test_price_keeps_its_digits_with_an_exact_mid(one: str, other: str, nanoseconds: int) -> None:
    bid, ask = sorted((one, other), key=Decimal)
    line = {**PRICE, "bids": [{"price": bid}], "asks": [{"price": ask}], "time": f"2020-01-01T00:00:00.{nanoseconds:09}Z"}
    tick = price_of(orjson.dumps(line), INSTRUMENTS)
    assert tick is not None
    assert (tick.bid, tick.ask) == (bid, ask)
    assert Decimal(tick.mid) * 2 == Decimal(bid) + Decimal(ask)
    assert tick.time == f"2020-01-01T00:00:00.{nanoseconds // 1000:06}Z"


def test_exponents_of_prices_become_plain_digits() -> None:
    tick = price_of(orjson.dumps({**PRICE, "bids": [{"price": "10900e-4"}], "asks": [{"price": "1.0902E0"}]}), INSTRUMENTS)
    assert tick is not None
    assert (tick.bid, tick.ask, tick.mid) == ("1.0900", "1.0902", "1.0901")


def test_exponents_of_candles_become_plain_digits() -> None:
    flat = dict.fromkeys("ohlc", "1.5702e2")
    sides = {"bid": flat, "ask": {**flat, "h": "15.704E+1"}}
    candle = candle_of("USD_JPY", "fx", "1h", {"time": "2025-01-02T03:00:00Z", "volume": 3, "complete": True, **sides})
    assert (candle.bid, candle.ask) == (("157.02",) * 4, ("157.02", "157.04", "157.02", "157.02"))
    assert candle.mid == ("157.02", "157.03", "157.02", "157.02")


@pytest.mark.parametrize("closed", [{"tradeable": False}, {"status": "non-tradeable"}, {"status": "invalid"}, {"status": None}])
def test_untradeable_price_is_skipped_without_a_log_line(closed: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert source().parse(orjson.dumps({**PRICE, **closed})) == []
    assert caplog.records == []


GARBAGE: list[Any] = [
    b"{",
    b"\xff\xfe",
    b"null",
    b'"PRICE"',
    {"type": "TRANSACTION"},
    {**PRICE, "instrument": "XAU_USD"},
    {**PRICE, "instrument": ["EUR_USD"]},
    {**PRICE, "asks": None},
    {**PRICE, "bids": [{"price": 1.09177}]},
    {**PRICE, "bids": [{"price": "1e25"}]},
    {**PRICE, "bids": [{"price": "-1"}]},
    {**PRICE, "bids": [{"price": "0.00000"}]},
    {**PRICE, "bids": [{"price": "1.1"}, {"price": "0"}]},
    {**PRICE, "asks": [{"price": "1.2"}, {}]},
    {**PRICE, "asks": [{"price": "1.2"}, None]},
    {**PRICE, "time": "yesterday"},
    {name: value for name, value in PRICE.items() if name != "time"},
]


@pytest.mark.parametrize("line", GARBAGE)
def test_garbage_is_skipped_and_reported(line: Any) -> None:
    assert len(faults_of(line if isinstance(line, bytes) else orjson.dumps(line))) == 1


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_price_without_offers_on_one_side_is_no_price(side: str) -> None:
    assert faults_of(orjson.dumps({**PRICE, side: []})) == []


@given(st.permutations(["1.09950", "1.10000", "1.1", "1.09"]), st.permutations(["1.10060", "1.10010", "9.9", "1.2"]))
def test_best_price_is_that_of_all_offers_in_any_order(bids: list[str], asks: list[str]) -> None:
    sides = {name: [{"price": price, "liquidity": 1} for price in prices] for name, prices in (("bids", bids), ("asks", asks))}
    tick = price_of(orjson.dumps({**PRICE, **sides}), INSTRUMENTS)
    assert tick is not None
    assert (Decimal(tick.bid), tick.ask) == (Decimal("1.1"), "1.10010")


def test_crossed_price_is_left_to_the_admission() -> None:
    [tick] = source().parse(orjson.dumps({**PRICE, "bids": [{"price": "1.2"}], "asks": [{"price": "1.1"}]}))
    with pytest.raises(NotAdmitted) as caught:
        check_quote(tick, window())
    assert caught.value.kind == "bad_price"


def price_at(time: str, bid: str = "1.09177") -> bytes:
    return orjson.dumps({**PRICE, "instrument": "EUR_USD", "time": time, "bids": [{"price": bid}], "asks": [{"price": "1.2"}]})


def test_only_admitted_prices_decide_which_later_prices_are_old() -> None:
    feed = source()
    lines = [price_at(f"{day}T00:00:00.000000000Z") for day in ("2016-01-02", "2099-01-01", "1970-01-01", "2016-01-03", "2016-01-02")]
    lines[3:3] = [price_at("2020-01-01T00:00:00.000000000Z", bid="1.3")]  # above the ask
    assert [feed._is_news(line) for line in lines] == [True, True, True, True, True, False]


def test_stored_time_ahead_of_the_clock_is_ignored() -> None:
    feed = source({"EUR_USD": "2099-01-01T00:00:00.000000Z", "EUR_JPY": "2020-01-01T00:00:00.000000Z"})
    assert feed._last_times == {"EUR_JPY": "2020-01-01T00:00:00.000000Z"}
    assert feed._is_news(price_at("2016-01-02T00:00:00.000000000Z"))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text() | st.sampled_from(["PRICE", "EUR_USD"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PRICE, "price"]), inner, max_size=6),
)


@given(st.one_of(st.binary(), json_values.map(lambda value: json.dumps(value).encode())))
def test_parse_of_any_bytes_raises_nothing(line: bytes) -> None:
    assert source().parse(line) == []


@given(st.sampled_from(list(PRICE)), json_values)
def test_parse_of_any_field_raises_nothing(name: str, value: Any) -> None:
    for tick in source().parse(json.dumps({**PRICE, name: value}).encode()):
        assert Decimal(tick.bid) > 0
        assert Decimal(tick.ask) > 0


@given(st.integers(0, len(orjson.dumps(PRICE)) - 1))
def test_incomplete_line_is_never_a_price(length: int) -> None:
    assert source().parse(orjson.dumps(PRICE)[:length]) == []


@given(st.lists(st.text("ab{}", max_size=5)), st.text("ab{}", max_size=5), st.data())
def test_lines_are_independent_of_chunks_and_an_incomplete_one_is_dropped(whole: list[str], half: str, data: st.DataObject) -> None:
    sent = "".join(f"{line}\n" for line in whole) + half
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    chunks = [sent[begin:end].encode() for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert [line.decode() for line in _split(chunks)] == whole


def test_endless_line_is_an_error() -> None:
    with pytest.raises(SourceError, match="without an end") as caught:
        list(_split([b"x" * 1000] * 2000))
    assert not caught.value.fatal


@pytest.mark.parametrize("token", [None, "", "abc\nX-Other: 1", "abc def", "tökén-abc"])
def test_unsendable_token_is_a_fatal_error_without_the_token(token: str | None) -> None:
    with pytest.raises(SourceError, match="OANDA_API_TOKEN") as caught:
        request_headers(token)
    assert caught.value.fatal
    assert "abc" not in str(caught.value)


def test_token_is_in_no_repr() -> None:
    assert "secret" not in repr(source())
    assert "secret" not in repr(OandaHistory(JsonClient("http://127.0.0.1:9", headers=request_headers("secret-token"))))


def test_granularities_cover_our_intervals() -> None:
    assert GRANULARITIES.keys() == INTERVALS.keys()
    assert {granularity: interval for interval, granularity in GRANULARITIES.items()} == INTERVAL_OF


def test_oanda_is_accepted_in_sources() -> None:
    assert "oanda" in VENUE_PARTS
    assert callable(oanda_history)
